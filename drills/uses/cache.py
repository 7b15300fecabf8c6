"""Caches: how old was what readers got, do cache and origin agree in the end, and how often was the origin asked?"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence

from drills.records import Event
from drills.uses.base import EXAMPLES, SECOND, Facts, Finding, Interval, allowed, at, measured_only, plural, unknown, workload

STALE_SECONDS = 3.0
"""The declared bound: 2 s in Redis (fresh, and then grace), the rest for a load that was under way."""
ABSENT_LOADS = 4
"""So often per second at most is the origin asked for a row that it does not have."""
AFTER_SECONDS = 2.0
"""Instances that could not reach Redis in a fault come back one after the other."""


def staleness(reads: Sequence[Event], writes: Sequence[Event]) -> list[tuple[float, Event]]:
    """Of each read, how many seconds before its start a newer version than the one it showed had been acknowledged."""
    commits: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for write in sorted(writes, key=lambda write: write.value):
        commits[write.subject].append((write.value, write.end))
    found = []
    for read in reads:
        known = commits.get(read.subject, [])
        newer = known[bisect_right(known, (read.value, 1 << 62)) :]
        first = min((end for _, end in newer), default=read.start)
        found.append((max(0, read.start - first) / SECOND, read))
    return found


def crowd(loads: Sequence[Event]) -> list[tuple[int, int]]:
    """Moments at which a load of a key began while others of that key were under way, with how many there were then."""
    by_key: dict[str, list[Event]] = defaultdict(list)
    for load in loads:
        by_key[load.subject].append(load)
    found = []
    for same in by_key.values():
        ends: list[int] = []
        for load in sorted(same, key=lambda load: load.start):
            ends = [end for end in ends if end > load.start]
            ends.append(load.end)
            found.append((load.start, len(ends)))
    return found


def most_per_second(loads: Sequence[Event]) -> int:
    """The most loads of one key that began within one second."""
    by_key: dict[str, list[int]] = defaultdict(list)
    for load in loads:
        by_key[load.subject].append(load.start)
    most = 0
    for starts in by_key.values():
        starts.sort()
        most = max(most, *(place - bisect_left(starts, start - SECOND) + 1 for place, start in enumerate(starts)))
    return most


def rates(facts: Facts, loads: Sequence[Event], keys: int) -> Mapping[str, float]:
    """Loads per key and second before, during and after the fault."""
    if not facts.events or not keys:
        return {}
    first, last = facts.events[0].start, facts.stopped
    begin, end = (min(b for b, _ in facts.faults), max(e for _, e in facts.faults)) if facts.faults else (last, last)
    spans: dict[str, Interval] = {"before": (first, begin), "during": (begin, end), "after": (end, last)}
    return {
        word: round(sum(low <= load.start < high for load in loads) / keys / ((high - low) / SECOND), 2)
        for word, (low, high) in spans.items()
        if high - low > SECOND / 2
    }


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a cache under the name of its workload."""
    reads = [event for event in facts.of("read") if event.outcome == "ok"]
    writes, finals = facts.of("write"), facts.of("final")
    rows = {event.subject for event in (*writes, *finals)}
    loads = [event for event in facts.of("load") if event.subject in rows]
    absent = [event for event in facts.of("load") if event.subject not in rows and not near(facts, event.start)]
    ages = staleness(reads, writes)
    old = [(age, read) for age, read in ages if age > STALE_SECONDS + facts.stalled(read.start, STALE_SECONDS)]
    crowds = [(moment, count) for moment, count in crowd(loads) if not near(facts, moment)]
    most = max((count for _, count in crowds), default=0)
    in_fault = max((count for moment, count in crowd(loads) if near(facts, moment)), default=0)
    apart = [event for event in finals if event.outcome == "ok" and event.value != event.other]
    pace = rates(facts, loads, len(rows))
    told = ", ".join(f"{value:g} {word}" for word, value in pace.items())
    oldest = max((age for age, _ in ages), default=0.0)
    sentence = (
        f"origin loads per key and second: {told or 'none'}; at most {most:,} at once for one key ({in_fault:,} in a fault); "
        f"{len(old):,} of {plural(len(reads), 'read')} older than {STALE_SECONDS:g} s, oldest {oldest:.2f} s; "
        f"{len(apart):,} of {plural(len(finals), 'row')} wrong in the end"
    )
    if not reads:
        outcomes = [unknown(use, "stale", "nothing could be read")]
    else:
        per_second = most_per_second(absent) if absent else 0
        outcomes = [
            allowed(
                use, "stale", 0, len(old), f"{plural(len(old), 'read')} older than {STALE_SECONDS:g} s, oldest {oldest:.2f} s"
            ),
            allowed(use, "loads at once", 1, most, f"up to {most} loads of one key at once, without a fault"),
            allowed(use, "loads of what is not there", ABSENT_LOADS, per_second, f"up to {per_second} per second and key", "/s"),
            measured_only(use, "loads at once in a fault", in_fault, f"up to {in_fault} loads of one key at once in a fault"),
        ]
        if not finals:
            outcomes.append(unknown(use, "agrees", "nothing was read in the end"))
        else:
            outcomes.append(allowed(use, "agrees", 0, len(apart), f"{plural(len(apart), 'row')} of the cache wrong in the end"))
    details = [
        f"row {read.subject}: version {read.value} was {age:.2f} s old at {at(read.start)}" for age, read in old[:EXAMPLES]
    ]
    details += [f"row {e.subject}: the cache has version {e.value}, the origin {e.other}" for e in apart[:EXAMPLES]]
    figures = {
        "reads": len(reads), "stale": len(old), "oldest_seconds": round(oldest, 3), "loads": len(loads), "loads_at_once": most,
        "loads_at_once_in_fault": in_fault, "wrong_in_the_end": len(apart),
        **{f"loads_per_key_and_second_{word}": value for word, value in pace.items()},
    }  # fmt: skip
    bad = [*(read.start for _, read in old), *(moment for moment, count in crowds if count > 1)]
    return Finding(use, title, sentence, tuple(outcomes), figures, tuple(details), tuple(bad))


def near(facts: Facts, moment: int) -> bool:
    return facts.unsteady(moment, AFTER_SECONDS)


CACHES = (
    workload("cache-aside", "Cache beside a database", judge_as),
    workload("cache-aside-careless", "Cache without versions, ends and single flight", judge_as, "cache-aside"),
)
