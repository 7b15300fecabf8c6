"""Rate limits: were more admitted than the limit, and was anybody shut out for good?"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from drills.records import Event
from drills.uses.base import SECOND, Facts, Finding, Use, allowed, at, measured_only, plural, unknown, workload

LIMIT, WINDOW_SECONDS = 10, 1.0
SHUT_SECONDS = 4.0
"""Refused for so long without one admitted, while the window is a second: shut out."""
AFTER_SECONDS = 2.0
WINDOW = int(WINDOW_SECONDS * 1e6)

Count = Callable[[Sequence[Event]], list[tuple[int, Event]]]
"""Of one name's admitted events: how many counted together with each, in whatever the limit speaks of."""


def per_window(admitted: Sequence[Event]) -> list[tuple[int, Event]]:
    """In the window of the clock."""
    counts = Counter(event.value // WINDOW for event in admitted)
    return [(counts[event.value // WINDOW], event) for event in admitted]


def per_stretch(admitted: Sequence[Event]) -> list[tuple[int, Event]]:
    """In the stretch as long as the window that ends with it (the server counts a moment at its very begin no more)."""
    moments = sorted(event.value for event in admitted)
    found = []
    for event in admitted:
        later = bisect_left(moments, event.value + 1)
        found.append((later - bisect_left(moments, event.value - WINDOW + 1), event))
    return found


def for_certain(admitted: Sequence[Event]) -> list[tuple[int, Event]]:
    """In the stretch as long as the window that ends with the answer to each: those that were asked and answered within it. For
    limiters that do not tell the moment on the server: what counted at either edge is left out, in favour of the limiter."""
    window = int(WINDOW_SECONDS * SECOND)
    return [
        (sum(other.end <= event.end and other.start >= event.end - window for other in admitted), event) for event in admitted
    ]


def judge_as(use: str, title: str, facts: Facts, count: Count, limit: int) -> Finding:
    """The judgement of a limiter; `limit` is how many may count together."""
    admitted = facts.of("admit")
    names: dict[str, list[Event]] = defaultdict(list)
    for event in admitted:
        names[event.subject].append(event)
    counted = [pair for events in names.values() for pair in count(events)]
    outside = [(n, e) for n, e in counted if not facts.near_fault(e.start, before=WINDOW_SECONDS, after=AFTER_SECONDS)]
    inside = [(n, e) for n, e in counted if facts.near_fault(e.start, before=WINDOW_SECONDS, after=AFTER_SECONDS)]
    most, most_inside = max((n for n, _ in outside), default=0), max((n for n, _ in inside), default=0)
    shut = shut_out(facts, names)
    refused = len(facts.of("refuse"))
    sentence = (
        f"{plural(len(admitted), 'request')} admitted, {refused:,} refused; at most {most} where {limit} may pass"
        + (f", {most_inside} in a fault" if inside else "") + (f"; {plural(len(shut), 'name')} shut out for ever" if shut else "")
    )  # fmt: skip
    if not outside:
        outcomes = [unknown(use, "admitted", "nothing was admitted away from the fault")]
    else:
        outcomes = [
            allowed(use, "admitted", limit, most, f"at most {most} admitted in {WINDOW_SECONDS:g} s, without a fault"),
            allowed(use, "shut out", 0, len(shut), f"{plural(len(shut), 'name')} shut out for ever"),
        ]
    if inside:
        text = f"at most {most_inside} admitted in {WINDOW_SECONDS:g} s, in a fault"
        bound = limit if facts.lost == 0 and not facts.waits else 2 * limit  # limiters do not wait
        outcomes.append(
            measured_only(use, "admitted in a fault", most_inside, text) if facts.lost == "any"
            else allowed(use, "admitted in a fault", bound, most_inside, text)
        )  # fmt: skip
    bad = tuple(event.start for n, event in outside if n > limit)
    details = tuple(f"{n} admitted together at {at(event.start)}" for n, event in outside if n > limit)[:10]
    figures = {"admitted": len(admitted), "refused": refused, "most": most, "most_in_fault": most_inside, "shut_out": len(shut)}
    return Finding(use, title, sentence, tuple(outcomes), figures, details, bad)


def shut_out(facts: Facts, admitted: dict[str, list[Event]]) -> list[str]:
    """Names that were refused, and in the last SHUT_SECONDS of the load, away from faults, never admitted."""
    since = max([facts.stopped - int(SHUT_SECONDS * SECOND), *(end for _, end in (*facts.faults, *facts.stalls))])
    if facts.stopped - since < 2 * WINDOW_SECONDS * SECOND:
        return []
    refused = {event.subject for event in facts.of("refuse") if event.start > since}
    return sorted(name for name in refused if not any(event.start > since for event in admitted.get(name, ())))


def _use(name: str, title: str, count: Count, limit: int, twin: str | None = None) -> Use:
    return workload(name, title, lambda name, title, facts: judge_as(name, title, facts, count, limit), twin)


LIMITERS = (
    _use("limiter-fixed", "Rate limit per window", per_window, LIMIT),
    _use("limiter-sliding", "Rate limit per sliding window", per_stretch, LIMIT),
    _use("limiter-bucket", "Rate limit by token bucket", per_stretch, 2 * LIMIT),
    _use("limiter-limits", "Rate limit by the library limits", for_certain, 2 * LIMIT),
    _use("limiter-careless", "Rate limit by GET, INCR and EXPIRE", per_window, LIMIT, "limiter-fixed"),
)
