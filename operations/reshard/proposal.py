"""What would be moved for a goal, and what speaks against it: one look at the cluster, nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from operations.connect import Fleet
from operations.errors import CheckFailed, InvalidInput
from operations.inventory import Access
from operations.parse import format_slots
from operations.reshard.journal import Journal
from operations.reshard.live import Live, Way, read_live, require_whole, survey, way_of
from operations.reshard.plan import (
    ATOMIC,
    BY_KEYS,
    Headroom,
    Measure,
    Move,
    Size,
    estimated_seconds,
    memory_problems,
    moves_to,
    plan_moves,
    ranges_of,
    total,
)


class Unfinished(CheckFailed):
    """A move is under way, or was interrupted and has to be ended first."""


@dataclass(frozen=True)
class Proposal:
    """What would be done. `problems` forbid it; `seconds` is an estimate."""

    goal: str
    way: Way
    owners: Mapping[int, str]
    moves: tuple[Move, ...]
    sizes: Mapping[int, Size]
    memory: Mapping[str, Headroom]
    seconds: float
    problems: tuple[str, ...]

    @property
    def total(self) -> Size:
        return total(self.moves, self.sizes)

    @property
    def slots(self) -> int:
        return sum(len(move.slots) for move in self.moves)

    @property
    def emptied(self) -> tuple[str, ...]:
        """Primaries that give their last slot away."""
        going = {slot: move.target for move in self.moves for slot in move.slots}
        return tuple(sorted(set(self.owners.values()) - {going.get(slot, at) for slot, at in self.owners.items()}))


def weights_for(live: Live, declared: Mapping[str, float]) -> dict[str, float]:
    """Weights of all primaries: 1, or what `declared` says, by the name of a node or the number of a shard.

    A replica's name stands for its primary. Raises UsageError for an unknown node, InvalidInput for an unknown shard.
    """
    weights = dict.fromkeys(live.primaries, 1.0)
    for word, weight in declared.items():
        if word.isdigit():
            names = [name for name in live.primaries if live.inventory.node(name).shard == int(word)]
            if not names:
                raise InvalidInput(f"stack {live.inventory.stack} has no primary in shard {word}; name a node instead")
        else:
            live.inventory.node(word)
            names = [live.heir(word)]
        weights.update(dict.fromkeys(names, weight))
    return weights


def propose(
    access: Access,
    weights: Mapping[str, float] | None = None,
    measure: Measure = "slots",
    placement: Mapping[int, str] | None = None,
    way: Way | None = None,
    joining: Mapping[str, Headroom] | None = None,
) -> Proposal:
    """The plan for a goal, from one look at the cluster; nothing is changed.

    `placement` (slot to primary) takes the place of weights. `joining` are primaries that do not exist yet, with what they use
    from the start: a preview of new shards, which cannot be carried out before they are there. Raises Unfinished while a move is
    under way or slots stand open.
    """
    inventory = access.inventory
    with Fleet(access, inventory.data_nodes) as fleet:
        live = read_live(fleet, inventory)
        require_whole(live)
        _refuse_unfinished(Journal(fleet, inventory), live)
        chosen = way or way_of(fleet, live)
        sizes = survey(access, live)
        if placement is not None:
            moves, goal = moves_to(live.owners, placement), "the given placement"
        else:
            shares = weights_for(live, weights or {}) | dict.fromkeys(joining or {}, 1.0)
            moves, goal = plan_moves(live.owners, shares, measure, sizes), _goal(shares, measure)
    memory = live.memory() | dict(joining or {})
    pace = BY_KEYS if chosen == "keys" else ATOMIC
    return Proposal(
        goal,
        chosen,
        live.owners,
        moves,
        sizes,
        memory,
        estimated_seconds(moves, sizes, pace),
        memory_problems(moves, sizes, memory),
    )


def _goal(shares: Mapping[str, float], measure: Measure) -> str:
    emptied = [name for name, weight in shares.items() if not weight]
    if len({weight for weight in shares.values() if weight}) == 1:
        return f"equal shares of {measure}" + (f", none for {', '.join(emptied)}" if emptied else "")
    return f"{measure} in shares of " + ", ".join(f"{name} {weight:g}" for name, weight in shares.items())


def _refuse_unfinished(journal: Journal, live: Live) -> None:
    journal.find(live.primaries)
    found = journal.read()
    stack = live.inventory.stack
    if found.entry is not None:
        raise Unfinished(
            f"a move of slots in stack {stack} began at {found.entry.since} by {found.entry.by} and has not ended. Run "
            f"`scripts/reshard.py resume --stack {stack}` to go on, or `abort` to leave slots where they are"
        )
    if live.marks:
        slots = format_slots(ranges_of(slot for _, slot in live.marks))
        raise Unfinished(
            f"slots {slots} of stack {stack} stand open: somebody moves them. `resume` ends these moves, if nobody does"
        )
