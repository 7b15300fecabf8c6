"""A planned switchover, seen as a fault: it must cost next to nothing."""

from collections.abc import Sequence
from typing import ClassVar

from drills.bounds import FaultKind
from drills.faults.base import Engine, Fault, FaultFailed
from operations.inventory import Access, NodeEntry
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
