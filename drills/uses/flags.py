"""Feature flags: was one ever unset, and how late did instances see a change?"""

from bisect import bisect_right
from collections import defaultdict

from drills.records import Event
from drills.uses.base import EXAMPLES, SECOND, Facts, Finding, allowed, at, measured_only, plural, unknown, workload

SEEN_SECONDS = 1.5
"""The declared time within which every instance sees a change: a look every 0.3 s, and its time-out."""
AFTER_SECONDS = 1.5


def late(facts: Facts) -> list[tuple[float, Event]]:
    """Of each use, for how many seconds a newer version had been acknowledged when it was decided by an older one."""
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in facts.of("set"):
        if event.outcome == "ok":
            changes[event.subject].append((event.value, event.end))
    found = []
    for event in facts.of("use"):
        known = sorted(changes.get(event.subject, []))
        newer = known[bisect_right(known, (event.value, 1 << 62)) :]
        first = min((end for _, end in newer), default=event.start)
        found.append((max(0, event.start - first) / SECOND, event))
    return found


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of flags under the name of their workload."""
    decisions = late(facts)
    unset = [event for _, event in decisions if event.value == 0]
    outside = [(age, e) for age, e in decisions if e.value and not facts.unsteady(e.start, AFTER_SECONDS)]
    inside = [(age, e) for age, e in decisions if e.value and facts.unsteady(e.start, AFTER_SECONDS)]
    slow = [(age, event) for age, event in outside if age > SEEN_SECONDS]
    latest, in_fault = max((age for age, _ in outside), default=0.0), max((age for age, _ in inside), default=0.0)
    sentence = (
        f"{len(unset):,} of {plural(len(decisions), 'decision')} by an unset flag; changes seen after at most {latest:.2f} s"
        + (f", {in_fault:.2f} s in a fault" if inside else "")
    )  # fmt: skip
    if not decisions or not facts.of("set"):
        outcomes = [unknown(use, "unset", "nothing was decided, or no flag was ever set")]
    else:
        outcomes = [
            allowed(use, "unset", 0, len(unset), f"{plural(len(unset), 'decision')} by an unset flag"),
            allowed(use, "late", 0, len(slow), f"{plural(len(slow), 'decision')} by a flag older than {SEEN_SECONDS:g} s"),
            measured_only(use, "late in a fault", round(in_fault, 3), f"changes seen after at most {in_fault:.2f} s in a fault"),
        ]
    details = [f"instance {event.actor} decided by an unset flag at {at(event.start)}" for event in unset[:EXAMPLES]]
    figures = {"decisions": len(decisions), "unset": len(unset), "late": len(slow), "latest_seconds": round(latest, 3),
               "latest_in_fault_seconds": round(in_fault, 3)}  # fmt: skip
    bad = (*(event.start for event in unset), *(event.start for _, event in slow))
    return Finding(use, title, sentence, tuple(outcomes), figures, tuple(details), bad)


FLAGS = (
    workload("flags", "Feature flags with a copy per instance", judge_as),
    workload("flags-careless", "Feature flags by GET, off without an answer", judge_as, "flags"),
)
