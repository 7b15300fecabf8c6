"""What every judgement of a use is made of: the facts of one repetition in, a finding out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drills.checkers.base import EXAMPLES, SECOND, Figure, Verdict, plural, worst
from drills.objectives import Outcome
from drills.records import Event
from operations.inventory import Inventory
from operations.objectives import Budget

__all__ = ["EXAMPLES", "SECOND", "Facts", "Finding", "Interval", "Use", "Verdict", "allowed", "measured_only", "plural"]

Interval = tuple[int, int]
"""From, to, in nanoseconds of the history."""
CELLS = 240
SHORTEST_CELL = 50_000_000


@dataclass(frozen=True)
class Facts:
    """One use in one repetition. `events` are in order of their start; `faults` are the times from a fault to the end of its
    healing, and on until no two nodes of a shard say any more that they are primary.

    `lost` is what topology and policy allow to lose for this kind of fault, in seconds of writes before the fault and during it.
    `waits`: the application waits for every replica. `complete`: every event that was recorded is here. `stopped` is the end of
    the load.
    """

    events: Sequence[Event]
    faults: Sequence[Interval] = ()
    lost: Budget = 0.0
    waits: bool = False
    complete: bool = True
    stopped: int = 0
    stalls: Sequence[Interval] = ()

    def of(self, *verbs: str) -> list[Event]:
        return [event for event in self.events if event.verb in verbs]

    def near_fault(self, moment: int, before: float = 0.0, after: float = 0.0) -> bool:
        """Whether a moment lies in a fault, or so many seconds before or after one."""
        return any(begin - before * SECOND <= moment <= end + after * SECOND for begin, end in self.faults)

    def stalled(self, until: int, seconds: float) -> float:
        """For how many of the `seconds` before `until`, and of the stall that this begins in, the machine stood still."""
        since = until - int(seconds * SECOND)
        return sum(max(0, min(end, until) - begin) for begin, end in self.stalls if end > since and begin < until) / SECOND

    def unsteady(self, moment: int, after: float) -> bool:
        """Whether a moment lies in a fault or in a stall of the machine, or so many seconds after one: no time to be in time."""
        return any(begin <= moment <= end + after * SECOND for begin, end in (*self.faults, *self.stalls))


@dataclass(frozen=True)
class Finding:
    """`sentence` is the result in the user's terms. `outcomes` are the promises, each with what was measured; `bad` are the
    moments at which something was lost or one was broken, for the time line."""

    use: str
    title: str
    sentence: str
    outcomes: tuple[Outcome, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    bad: tuple[int, ...] = ()
    complete: bool = True
    drawing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Incomplete records never pass; what they show to be broken is broken."""
        found = worst(outcome.verdict for outcome in self.outcomes)
        return Verdict.UNKNOWN if found is Verdict.TRUE and not self.complete else found


@dataclass(frozen=True)
class Use:
    """One workload: `title` for people, `judge` the pure function, `twin` the careful use whose careless version it is.
    `unfit` says why it cannot be played on a stack, or None."""

    name: str
    title: str
    judge: Callable[[Facts], Finding]
    twin: str | None = None
    unfit: Callable[[Inventory], str | None] = lambda _inventory: None


HARMS = ("lost", "missed", "denied", "overlaps", "came_back")
"""Figures of uses that say what users would notice."""
STRAINS = (
    "most_in_fault", "delivered_twice", "oldest_seconds", "latest_seconds", "latest_in_fault_seconds", "silence_seconds",
)  # fmt: skip
"""Figures that a fault makes larger and nobody loses anything by."""


def harm(figures: Mapping[str, Any]) -> float:
    """How much users would notice."""
    return float(sum(figures.get(name, 0) for name in HARMS))


def badness(verdict: str, figures: Mapping[str, Any]) -> tuple[int, float, float]:
    """How ill a use fared, to compare it with itself in other runs: by its verdict, then by what users lost, then by what was
    late or too much."""
    rank = {Verdict.TRUE: 0, Verdict.UNKNOWN: 1, Verdict.FALSE: 2}[Verdict(verdict)]
    return rank, harm(figures), float(sum(figures.get(name, 0) for name in STRAINS))


Judge = Callable[[str, str, Facts], Finding]
"""A judgement under a name and a title: a use and its careless twin are judged alike."""


def workload(name: str, title: str, judge: Judge, twin: str | None = None) -> Use:
    """A workload whose judgement carries its name, for every stack."""
    return Use(name, title, lambda facts: judge(name, title, facts), twin)


def allowed(use: str, what: str, limit: int | float, measured: float, text: str, unit: str = "") -> Outcome:
    """A promise with a limit on a number."""
    verdict = Verdict.TRUE if measured <= limit else Verdict.FALSE
    words = "none" if limit == 0 else f"{limit:g}{unit}"
    return Outcome(f"{use}: {what}", words, None, float(measured), verdict, f"{use}: {text}")


def measured_only(use: str, what: str, measured: float, text: str) -> Outcome:
    """What nobody promises here."""
    return Outcome(f"{use}: {what}", "measured only", None, float(measured), Verdict.TRUE, f"{use}: {text}")


def unknown(use: str, what: str, text: str) -> Outcome:
    """What could not be told, which is never a pass."""
    return Outcome(f"{use}: {what}", "", None, None, Verdict.UNKNOWN, f"{use}: {text}")


def lost(facts: Facts, use: str, what: str, moments: Sequence[int], text: str) -> Outcome:
    """Acknowledged things that are gone, by the moments at which they were acknowledged: the budget of the policy allows so many
    seconds of them, and only around a fault. What was not read back is not gone."""
    if moments and not facts.complete:
        return unknown(use, what, f"{text} by what was read back, which is not everything")
    if facts.lost == "any":
        return measured_only(use, what, len(moments), text)
    outside = [moment for moment in moments if not facts.near_fault(moment, before=facts.lost)]
    span = (max(moments) - min(moments)) / SECOND if moments else 0.0
    good = not moments or (facts.lost > 0 and not outside and span <= facts.lost)
    words = "none" if facts.lost == 0 else f"{facts.lost:g} s of writes around a fault"
    if moments and facts.lost:
        text += f", acknowledged within {span:.3f} s, {len(outside)} of them away from any fault"
    return Outcome(f"{use}: {what}", words, None, float(len(moments)), Verdict.TRUE if good else Verdict.FALSE, f"{use}: {text}")


def at(moment: int) -> str:
    """A moment for details."""
    return f"{moment / SECOND:.3f} s"


def drawing(events: Iterable[Event], bad: Iterable[int], zero: int) -> dict[str, Any]:
    """Plain data for the time line of a use: how many events ended how, by their start; seconds count from `zero`."""
    seen = sorted(events, key=lambda event: event.start)
    if not seen:
        return {}
    first, last = seen[0].start, seen[-1].start
    width = max((last - first) // CELLS + 1, SHORTEST_CELL)
    counts: dict[str, list[int]] = {name: [0] * ((last - first) // width + 1) for name in ("ok", "fail", "info")}
    for event in seen:
        counts[event.outcome][(event.start - first) // width] += 1
    marks = sorted({round((moment - zero) / SECOND, 3) for moment in bad})[:500]
    return {**counts, "start": (first - zero) / SECOND, "width": width / SECOND, "bad": marks}
