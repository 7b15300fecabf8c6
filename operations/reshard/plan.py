"""Which slots move where. Pure.

The fewest slots move that reach the goal: a shard that has too many gives exactly the surplus, one that has too few gets exactly
what it lacks, and each slot that moves goes to its final place at once. Where a share is no whole number, it is rounded up for
those shards that have more already, which saves a move each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Literal

from operations.errors import InvalidInput
from operations.parse import SLOT_COUNT, Slots, normalise

Measure = Literal["slots", "keys", "bytes"]
"""What is shared out: slots, or the keys or bytes that are stored in them."""

TOLERANCE = 0.02
"""A rebalance by keys or bytes is content with shares that are up to this part of the average away from the goal."""

Owners = Mapping[int, str]
"""Slot to the shard (named by its primary) that owns it."""


@dataclass(frozen=True)
class Size:
    """What one slot, or several, hold. `bytes` is an estimate in memory."""

    keys: int = 0
    bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.keys + other.keys, self.bytes + other.bytes)


NOTHING = Size()


@dataclass(frozen=True)
class Move:
    """Slots that one shard gives to another."""

    source: str
    target: str
    slots: tuple[int, ...]

    @property
    def ranges(self) -> Slots:
        return ranges_of(self.slots)


def ranges_of(slots: Iterable[int]) -> Slots:
    """Single slots as ranges: 5, 7, 6 -> ((5, 7),)."""
    return normalise((slot, slot) for slot in slots)


def slots_in(ranges: Iterable[Iterable[int]]) -> tuple[int, ...]:
    """Ranges as single slots, in order."""
    return tuple(slot for first, last in sorted(tuple(r) for r in ranges) for slot in range(first, last + 1))


def plan_moves(
    owners: Owners, weights: Mapping[str, float], measure: Measure = "slots", sizes: Mapping[int, Size] | None = None
) -> tuple[Move, ...]:
    """The moves that give each shard its share of `measure` according to `weights` (0: it gives everything away).

    `owners` names the owner of every slot; a shard that has none yet stands in `weights` only. Raises InvalidInput when a slot
    has no owner, an owner no weight, or when there is no weight at all.
    """
    _check(owners, weights)
    if measure == "slots":
        return _moves(owners, _by_slots(owners, weights))
    known = sizes or {}
    loads = {slot: (known.get(slot, NOTHING).keys if measure == "keys" else known.get(slot, NOTHING).bytes) for slot in owners}
    return _moves(owners, _by_load(owners, weights, loads))


def moves_to(owners: Owners, placement: Owners) -> tuple[Move, ...]:
    """The moves that lead to a placement given slot by slot; slots that it does not name stay where they are."""
    return _moves(owners, placement)


def fewest_moves(owners: Owners, weights: Mapping[str, float]) -> int:
    """The lower bound: no plan that gives each shard its share (rounded down or up) moves fewer slots."""
    have = _counts(owners, weights)
    least = 0
    kept_by_rounding_up = []
    spare = SLOT_COUNT
    for shard, share in _shares(weights, SLOT_COUNT).items():
        whole = int(share)
        spare -= whole
        least += max(0, have[shard] - whole)
        kept_by_rounding_up.append(share > whole and have[shard] > whole)
    return least - min(spare, sum(kept_by_rounding_up))


def _check(owners: Owners, weights: Mapping[str, float]) -> None:
    missing = SLOT_COUNT - len(owners)
    if missing or set(owners) != set(range(SLOT_COUNT)):
        raise InvalidInput(f"{missing} of {SLOT_COUNT} slots have no owner; slots are planned only where every one is served")
    strangers = sorted(set(owners.values()) - set(weights))
    if strangers:
        raise InvalidInput(f"{', '.join(strangers)} own slots but have no weight")
    bad = [f"{shard}={weight:g}" for shard, weight in weights.items() if not 0 <= weight < float("inf")]
    if bad:
        raise InvalidInput(f"weights must be 0 or more: {', '.join(bad)}")
    if not any(weights.values()):
        raise InvalidInput("all weights are 0, so no shard could hold the data; give at least one a weight above 0")


def _shares(weights: Mapping[str, float], total: int) -> dict[str, Fraction]:
    whole = sum((Fraction(weight) for weight in weights.values()), Fraction(0))
    return {shard: Fraction(weight) * total / whole for shard, weight in weights.items()}


def _counts(owners: Owners, weights: Mapping[str, float]) -> dict[str, int]:
    counts = dict.fromkeys(weights, 0)
    for shard in owners.values():
        counts[shard] += 1
    return counts


def _by_slots(owners: Owners, weights: Mapping[str, float]) -> dict[int, str]:
    """Where the surplus slots go: the last ones of each shard that has too many, in runs that stay together."""
    have = _counts(owners, weights)
    shares = _shares(weights, SLOT_COUNT)
    wanted = {shard: int(share) for shard, share in shares.items()}
    # What rounding down left over goes to shards that have it already, then to those that come nearest to the next whole number.
    fractional = [shard for shard in weights if shares[shard] > wanted[shard]]
    fractional.sort(key=lambda shard: (have[shard] <= wanted[shard], wanted[shard] - shares[shard]))
    for shard in fractional[: SLOT_COUNT - sum(wanted.values())]:
        wanted[shard] += 1
    surplus: list[int] = []
    for shard in weights:
        extra = have[shard] - wanted[shard]
        if extra > 0:
            surplus += sorted(slot for slot, owner in owners.items() if owner == shard)[-extra:]
    placement: dict[int, str] = {}
    free = iter(surplus)
    for shard in weights:
        for _ in range(wanted[shard] - have[shard]):
            placement[next(free)] = shard
    return placement


def _by_load(owners: Owners, weights: Mapping[str, float], loads: Mapping[int, int]) -> dict[int, str]:
    """Greedy: the slots that a shard must give go, largest first, to the shard that lacks most.

    A shard above its share gives the fewest slots that bring it within the tolerance: its largest that do not take more than
    the surplus. That is a heuristic (the exact problem is bin packing); no slot moves that does not lessen the surplus.
    """
    shares = _shares(weights, sum(loads.values()))
    tolerance = TOLERANCE * sum(loads.values()) / max(1, sum(weight > 0 for weight in weights.values()))
    load = {shard: Fraction(0) for shard in weights}
    for slot, shard in owners.items():
        load[shard] += loads[slot]
    placement: dict[int, str] = {}
    receivers = [shard for shard in weights if weights[shard] > 0]

    def give(slot: int, source: str) -> None:
        target = min((r for r in receivers if r != source), key=lambda r: load[r] - shares[r])
        placement[slot] = target
        load[source] -= loads[slot]
        load[target] += loads[slot]

    for shard in (s for s in weights if weights[s] == 0):
        for slot in sorted((s for s, owner in owners.items() if owner == shard), key=lambda s: -loads[s]):
            give(slot, shard)
    if len(receivers) > 1:
        for shard in receivers:
            for slot in sorted((s for s, owner in owners.items() if owner == shard), key=lambda s: -loads[s]):
                over = load[shard] - shares[shard]
                if over <= tolerance or not loads[slot]:
                    break
                room = max(shares[r] - load[r] for r in receivers if r != shard)
                if loads[slot] <= over + tolerance and loads[slot] <= room + tolerance:
                    give(slot, shard)
    return placement


def _moves(owners: Owners, placement: Owners) -> tuple[Move, ...]:
    changed = sorted((owners[slot], target, slot) for slot, target in placement.items() if owners[slot] != target)
    return tuple(
        Move(source, target, tuple(slot for *_, slot in group))
        for (source, target), group in groupby(changed, key=lambda entry: entry[:2])
    )


# What a plan costs


@dataclass(frozen=True)
class Headroom:
    """Memory of a primary in bytes; `most` is its limit, 0 for none."""

    used: int
    most: int


HEADROOM_PART = 0.05
"""This part of a node's memory limit stays free when a plan is accepted: copies of buffers and growth while keys arrive."""


@dataclass(frozen=True)
class Pace:
    """What a source gives per second; measured on two shared cores, so a careful figure (bench/results)."""

    keys_per_second: float
    bytes_per_second: float
    slots_per_second: float


BY_KEYS = Pace(25_000, 60e6, 2_500)
ATOMIC = Pace(150_000, 150e6, 1e9)


def total(moves: Iterable[Move], sizes: Mapping[int, Size]) -> Size:
    """What all moves carry together."""
    return sum((sizes.get(slot, NOTHING) for move in moves for slot in move.slots), NOTHING)


def estimated_seconds(moves: Sequence[Move], sizes: Mapping[int, Size], pace: Pace) -> float:
    """Sources work side by side, so the busiest node (as source or as target) decides."""
    busiest = 0.0
    for node in {move.source for move in moves} | {move.target for move in moves}:
        own = [move for move in moves if node in (move.source, move.target)]
        size = total(own, sizes)
        slots = sum(len(move.slots) for move in own)
        seconds = max(size.keys / pace.keys_per_second, size.bytes / pace.bytes_per_second) + slots / pace.slots_per_second
        busiest = max(busiest, seconds)
    return busiest


def memory_problems(moves: Iterable[Move], sizes: Mapping[int, Size], memory: Mapping[str, Headroom]) -> tuple[str, ...]:
    """Targets whose memory limit the plan would break, in words."""
    incoming: dict[str, int] = {}
    for move in moves:
        incoming[move.target] = incoming.get(move.target, 0) + total([move], sizes).bytes
    problems = []
    for target, arriving in incoming.items():
        room = memory[target]
        if room.most and room.used + arriving > room.most * (1 - HEADROOM_PART):
            problems.append(
                f"{target} would hold {megabytes(room.used + arriving)} of {megabytes(room.most)} and must keep "
                f"{HEADROOM_PART:.0%} free: {megabytes(room.used)} are used, about {megabytes(arriving)} would arrive"
            )
    return tuple(problems)


def megabytes(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.1f} MB"
