"""Planned changes, seen as faults: they must cost next to nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from drills.bounds import FaultKind
from drills.faults.base import Engine, Fault, FaultFailed
from operations.connect import Fleet
from operations.inventory import Access, NodeEntry
from operations.parse import format_slots
from operations.reshard.live import Live, read_live
from operations.reshard.plan import ranges_of
from operations.reshard.proposal import Unfinished, propose
from operations.reshard.run import Done, abort, carry_out
from operations.switchover import Switched, switchover


class Switchover(Fault):
    """What `scripts/switchover.py` does; `evidence` is the confirmation by ROLE on both sides."""

    name: ClassVar[str] = "switchover"
    gone_by_itself: ClassVar[bool] = True

    def __init__(self, engine: Engine, access: Access, targets: Sequence[NodeEntry], kind: FaultKind = "switchover") -> None:
        super().__init__(engine, targets, kind)
        self._access = access
        self._done: Switched | None = None

    def inject(self) -> str:
        self._done = switchover(self._access, shard=self.targets[0].shard)
        return f"{self._done.new} takes over shard {self._done.shard} from {self._done.old}"

    def evidence(self) -> str:
        if self._done is None:
            raise FaultFailed("no switchover was made")
        return f"ROLE on both sides confirms {self._done.new} as primary after {self._done.took_seconds:.3f} s"

    def heal(self) -> str:
        return "nothing to heal: the new primary stays"


class Reshard(Fault):
    """What `scripts/reshard.py` does with weight 0 for the shards of the targets: all of their slots go to the others, with every
    key that clients use at that moment. `heal` moves them back to where they were, also after a move that was interrupted."""

    name: ClassVar[str] = "reshard"
    gone_by_itself: ClassVar[bool] = True

    def __init__(
        self, engine: Engine, access: Access, targets: Sequence[NodeEntry], tell: Callable[[str], None],
        kind: FaultKind = "switchover",
    ) -> None:  # fmt: skip
        super().__init__(engine, targets, kind)
        self._access = access
        self._tell = tell
        self._before: Mapping[int, str] = {}
        self._moving: frozenset[int] = frozenset()

    def _live(self) -> Live:
        inventory = self._access.inventory
        with Fleet(self._access, inventory.data_nodes) as fleet:
            return read_live(fleet, inventory)

    def inject(self) -> str:
        proposal = propose(self._access, {str(shard): 0.0 for shard in self.shards})
        self._before = dict(proposal.owners)
        self._moving = frozenset(slot for move in proposal.moves for slot in move.slots)
        told = self._told(carry_out(self._access, proposal, report=self._tell))
        return f"all slots of {', '.join(proposal.emptied)} given away: {told}"

    def evidence(self) -> str:
        owners = self._live().owners
        kept = [slot for slot in self._moving if owners[slot] == self._before[slot]]
        if kept or not self._moving:
            raise FaultFailed(f"slots {format_slots(ranges_of(kept)) or 'of nobody'} were not moved")
        takers = sorted({owners[slot] for slot in self._moving})
        return f"{len(self._moving):,} slots are now served by {', '.join(takers)}, as these say themselves"

    def heal(self) -> str:
        if not self._before:
            return "nothing to heal: no slot was moved"
        try:
            proposal = propose(self._access, placement=self._before)
        except Unfinished:
            return f"the move that was interrupted went back: {self._told(abort(self._access, back=True, report=self._tell))}"
        if not proposal.moves:
            return "all slots are where they were"
        return f"moved back: {self._told(carry_out(self._access, proposal, report=self._tell))}"

    @staticmethod
    def _told(done: Done) -> str:
        return f"{done.slots:,} slots with {done.keys:,} keys in {done.seconds:.1f} s"
