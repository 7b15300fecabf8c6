"""Which files of an archive bring a shard to the second T, and why there are none. Pure.

All times are Unix seconds of the servers' clocks. The state "at T" holds everything up to the end of second T: that is how
`redis-check-aof --truncate-to-timestamp` cuts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from operations.errors import ToolkitError, Unreachable
from operations.parse import Slots, format_slots, uncovered

CRON_SECONDS = 0.1
"""The clock that writes the annotations is read ten times a second (`hz 10`)."""


class OutsideArchive(Unreachable):
    """The archive does not hold this moment; the message says which it holds."""


class BadManifest(ToolkitError):
    """A manifest of append-only files that is not understood."""


@dataclass(frozen=True)
class Listed:
    """One line of a manifest: kind b (base), i (increment) or h (history, about to be deleted)."""

    name: str
    sequence: int
    kind: str


@dataclass(frozen=True)
class Base:
    """A base file. `made` is the second in which it was made; `first_increment` the sequence of what follows it."""

    name: str
    sequence: int
    made: int
    first_increment: int


@dataclass(frozen=True)
class Increment:
    """An increment with the first and last annotation in it. `leads`: it begins with one. `clock_back`: seconds that occur twice,
    because the clock was set back while it was written."""

    name: str
    sequence: int
    first: int | None
    last: int | None
    leads: bool
    clock_back: tuple[int, int] | None = None
    whole_bytes: int = 0
    """Up to the end of the last whole command."""
    damaged: bool = False
    """What follows that is no command."""


@dataclass(frozen=True)
class Look:
    """What the archiver found at a node, noted when it changed. `primary`: it served writes. `moving`: slots stood open."""

    at: float
    primary: bool
    slots: Slots = ()
    moving: bool = False


@dataclass(frozen=True)
class NodeArchive:
    """All that is archived of one node. `looks` in order of time; `covered` is until when nothing can be missing."""

    node: str
    shard: int
    bases: tuple[Base, ...]
    increments: tuple[Increment, ...]
    looks: tuple[Look, ...]
    covered: float
    clock_offset_seconds: float = 0.0
    folder: str = ""
    """Where its files lie in the archive."""

    def role_at(self, moment: float) -> Look | None:
        """What it was at a moment."""
        return next((look for look in reversed(self.looks) if look.at <= moment), None)


@dataclass(frozen=True)
class NodePlan:
    """Files that bring a node to a moment: a base and increments, of which the last is cut at that second."""

    node: str
    shard: int
    base: Base
    increments: tuple[Increment, ...]
    at: int
    folder: str = ""


@dataclass(frozen=True)
class StackPlan:
    """One plan for each node that served anything. `skew_seconds`: how far apart the shards' cuts can be."""

    nodes: tuple[NodePlan, ...]
    at: int
    skew_seconds: float


def parse_manifest(text: str) -> tuple[Listed, ...]:
    """The lines of `appendonly.aof.manifest`; raises BadManifest."""
    found = []
    for line in text.splitlines():
        words = line.split()
        fields = dict(zip(words[::2], words[1::2], strict=False))
        if not line.strip() or line.startswith("#"):
            continue
        try:
            found.append(Listed(fields["file"], int(fields["seq"]), fields["type"]))
        except (KeyError, ValueError):
            raise BadManifest(f"{line!r} is no line of a manifest of append-only files") from None
    return tuple(found)


def write_manifest(plan: NodePlan) -> str:
    """A manifest of the files of a plan."""
    lines = [f"file {plan.base.name} seq {plan.base.sequence} type b"]
    lines += [f"file {one.name} seq {one.sequence} type i" for one in plan.increments]
    return "".join(f"{line}\n" for line in lines)


def chain(archive: NodeArchive, base: Base) -> tuple[Increment, ...]:
    """The increments that follow a base without a gap; the last may be damaged."""
    known = {one.sequence: one for one in archive.increments}
    found, number = [], base.first_increment
    while number in known:
        found.append(known[number])
        if known[number].damaged:
            break
        number += 1
    return tuple(found)


def reach(archive: NodeArchive, base: Base) -> float:
    """The end of what a base and its increments lead to: seconds that are over by then are complete."""
    following = chain(archive, base)
    if not following:
        return base.made
    newest = max(one.sequence for one in archive.increments)
    if following[-1].sequence == newest and not following[-1].damaged:
        return archive.covered
    return max([base.made, *(one.last for one in following if one.last is not None)])  # the rest of that second may be missing


def file_ranges(archive: NodeArchive) -> tuple[tuple[int, int], ...]:
    """Seconds that the files of a node lead to, whatever it was then; first and last of each stretch."""
    return _joined((base.made, int(reach(archive, base)) - 1) for base in archive.bases)


def ranges(archives: Iterable[NodeArchive]) -> tuple[tuple[int, int], ...]:
    """Seconds that can be restored of what these nodes served: where the files of whoever was primary lead to."""
    return _joined((one.low, one.high) for archive in archives for one in _serving(archive))


@dataclass(frozen=True)
class _Serving:
    """Seconds in which a node was seen to serve writes for `slots`, and which its files lead to."""

    low: int
    high: int
    slots: Slots


def _serving(archive: NodeArchive) -> Iterator[_Serving]:
    ends = [look.at for look in archive.looks[1:]] + [archive.covered]
    for look, end in zip(archive.looks, ends, strict=False):
        if look.primary and not look.moving:
            for first, last in file_ranges(archive):
                low, high = max(first, _up(look.at)), min(last, int(end) - 1)
                if low <= high:
                    yield _Serving(low, high, look.slots)


def restorable(archives: Iterable[NodeArchive]) -> tuple[tuple[int, int], ...]:
    """Seconds that can be restored of all data together: of a cluster, those in which every slot was served by somebody whose
    files lead there, however many shards there were."""
    stretches = [one for archive in archives for one in _serving(archive)]
    marks = sorted({one.low for one in stretches} | {one.high + 1 for one in stretches})
    return _joined((low, end - 1) for low, end in pairwise(marks) if _is_whole([one for one in stretches if _holds(one, low)]))


def _holds(one: _Serving, moment: int) -> bool:
    return one.low <= moment <= one.high


def _is_whole(serving: Sequence[_Serving]) -> bool:
    slots = [one.slots for one in serving if one.slots]
    return bool(serving) and (not slots or not uncovered(slots))


def plan_stack(archives: Sequence[NodeArchive], moment: int) -> StackPlan:
    """One plan for each node that served anything then; raises OutsideArchive with what can be had instead."""
    if not archives:
        raise OutsideArchive("nothing is archived; set backup.point_in_time, or start scripts/archive.py run")
    possible = restorable(archives)
    if not any(low <= moment <= high for low, high in possible):
        raise OutsideArchive(_refusal(moment, possible, archives))
    plans: list[NodePlan] = []
    for one in sorted(_in_charge(archives, moment), key=lambda one: (one.shard, one.node)):
        number = one.shard
        while number in {plan.shard for plan in plans}:  # a replica that came from another shard was promoted
            number += 1
        plans.append(replace(plan_node(one, moment), shard=number))
    offsets = [one.clock_offset_seconds for one in archives]
    return StackPlan(tuple(plans), moment, CRON_SECONDS + max(offsets) - min(offsets))


def _in_charge(archives: Iterable[NodeArchive], moment: int) -> list[NodeArchive]:
    """Who served what then, whatever shard it was made for; of two that thought so of the same slots, the one promoted later.
    Raises OutsideArchive where that leaves slots to nobody."""
    serving = [(one, stretch.slots) for one in archives for stretch in _serving(one) if _holds(stretch, moment)]
    chosen: list[tuple[NodeArchive, Slots]] = []
    for one, slots in sorted(serving, key=lambda found: _since(found[0], moment), reverse=True):
        if not any(_meet(slots, others) for _, others in chosen):
            chosen.append((one, slots))
    served = [slots for _, slots in chosen if slots]
    if served and (lost := uncovered(served)):
        told = f"nodes disagreed about who served slots {format_slots(lost)} then"
        raise OutsideArchive(f"{_named(moment)} cannot be restored: {told}; use another second")
    return [one for one, _ in chosen]


def _meet(one: Slots, other: Slots) -> bool:
    """Whether both are in charge of the same; outside a cluster there is but one thing to be in charge of."""
    return not (one and other) or any(low <= last and first <= high for low, high in one for first, last in other)


def plan_node(archive: NodeArchive, moment: int) -> NodePlan:
    """The newest base before a moment and what follows it up to there; raises OutsideArchive."""
    fitting = [base for base in archive.bases if base.made <= moment < int(reach(archive, base))]
    if not fitting:
        raise OutsideArchive(_refusal(moment, file_ranges(archive), [archive]))
    base = max(fitting, key=lambda one: one.sequence)
    taken: list[Increment] = []
    clock = base.made
    for one in chain(archive, base):
        # What stands before its first annotation was written in the second of the last one before it.
        start = one.first if one.leads and one.first is not None else clock
        if taken and start > moment:
            break
        if one.clock_back and one.clock_back[0] <= moment <= one.clock_back[1]:
            low, high = one.clock_back
            raise OutsideArchive(
                f"the clock of {archive.node} was set back from {_named(high)} to {_named(low)}: seconds between them occur "
                f"twice and name no moment; use {low - 1} or {high + 1}"
            )
        taken.append(one)
        clock = one.last if one.last is not None else clock
    return NodePlan(archive.node, archive.shard, base, tuple(taken), moment, archive.folder)


def _since(archive: NodeArchive, moment: int) -> float:
    """Since when a node was primary without a break, seen from a moment."""
    since = float("-inf")
    for look in archive.looks:
        if look.at > moment:
            break
        since = (since if since > float("-inf") else look.at) if look.primary else float("-inf")
    return since


def _refusal(moment: int, possible: Sequence[tuple[int, int]], archives: Sequence[NodeArchive]) -> str:
    moving = any((look := one.role_at(moment)) and look.moving for one in archives)
    why = "slots were on the move then" if moving else "it is outside the archive"
    if not possible:
        return f"{_named(moment)} cannot be restored: {why}, and there is no second that all shards have"
    before = max((high for _, high in possible if high < moment), default=None)
    after = min((low for low, _ in possible if low > moment), default=None)
    nearest = " or ".join(_named(one) for one in (before, after) if one is not None)
    told = ", ".join(f"{low} to {high}" for low, high in possible)
    return f"{_named(moment)} cannot be restored: {why}; what can be is {told}. The nearest is {nearest}"


def _named(second: int) -> str:
    """A second for programs and for people."""
    try:
        return f"{second} ({datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ})"
    except (ValueError, OverflowError, OSError):  # in no calendar
        return str(second)


def _joined(stretches: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Stretches in order, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted((low, high) for low, high in stretches if low <= high):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def _up(moment: float) -> int:
    return -int(-moment // 1)


def obsolete(archive: NodeArchive, since: float) -> list[str]:
    """Names of files that no second from `since` on needs: those before the newest base that was made earlier."""
    older = [base for base in archive.bases if base.made <= since]
    if not older:
        return []
    kept = max(older, key=lambda base: base.sequence)
    names = [base.name for base in archive.bases if base.sequence < kept.sequence]
    return names + [one.name for one in archive.increments if one.sequence < kept.first_increment]


def of_data(data: Mapping[str, Any]) -> NodeArchive:
    """A node's archive from JSON, as `dataclasses.asdict` makes it."""

    def increment(one: Mapping[str, Any]) -> Increment:
        return Increment(**{**one, "clock_back": tuple(one["clock_back"]) if one["clock_back"] else None})

    def look(one: Mapping[str, Any]) -> Look:
        return Look(one["at"], one["primary"], tuple((low, high) for low, high in one["slots"]), one["moving"])

    return NodeArchive(
        data["node"],
        data["shard"],
        tuple(Base(**one) for one in data["bases"]),
        tuple(map(increment, data["increments"])),
        tuple(map(look, data["looks"])),
        data["covered"],
        data["clock_offset_seconds"],
        data["folder"],
    )
