"""Local tiers: how long did instances answer from memory what had changed, and how many requests did the memory spare?"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace

from drills.records import Event
from drills.uses.base import EXAMPLES, SECOND, Facts, Finding, allowed, at, plural, unknown, workload
from drills.workload.uses.near import ASKED, NEAR_SECONDS
from operations.inventory import Inventory

LATE_SECONDS = NEAR_SECONDS + 0.2
MOST_ASKED = 0.8
"""The share of reads with a request, by far more than changes and ends make necessary."""
SEEN_SECONDS = 0.5
"""Without a fault a change is told, and seen within this time."""
AFTER_SECONDS = 1.5
OLDEST_REDIS = (7, 4)


def unfit(inventory: Inventory) -> str | None:
    """Why redis-py's client-side cache cannot be used on a stack, or None."""
    engine = inventory.engine
    version = tuple(int(part) for part in engine.version.split(".")[:2])
    if engine.name == "redis" and version >= OLDEST_REDIS:
        return None
    return f"the client-side cache of redis-py works with Redis from 7.4 on, and this is {engine.name} {engine.version}"


def lateness(facts: Facts) -> list[tuple[float, Event]]:
    """Of each answer from memory, for how many seconds it could have been newer: since a newer version was acknowledged, or since
    this instance last asked, whichever came later. What the server itself had forgotten is not the memory's fault."""
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in facts.of("set"):
        if event.outcome == "ok":
            changes[event.subject].append((event.value, event.end))
    known = {subject: sorted(found) for subject, found in changes.items()}
    asked: dict[tuple[int, str], int] = {}
    found = []
    for event in facts.of("read"):
        if event.outcome != "ok":
            continue
        if event.other == ASKED:
            asked[event.actor, event.subject] = event.start
            continue
        versions = known.get(event.subject, [])
        newer = versions[bisect_right(versions, (event.value, 1 << 62)) :]
        first = min((end for _, end in newer), default=event.start)
        since = max(first, asked.get((event.actor, event.subject), first))
        found.append((max(0, event.start - since) / SECOND, event))
    return found


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a local tier under the name of its workload."""
    reads = [event for event in facts.of("read") if event.outcome == "ok"]
    ages = lateness(facts)
    late = [(age, event) for age, event in ages if age > LATE_SECONDS + facts.stalled(event.start, LATE_SECONDS)]
    outside = [(age, event) for age, event in ages if not facts.unsteady(event.start, AFTER_SECONDS)]
    unseen = [(age, event) for age, event in outside if age > SEEN_SECONDS]
    latest, quiet = max((age for age, _ in ages), default=0.0), max((age for age, _ in outside), default=0.0)
    share = len(ages) / len(reads) if reads else 0.0
    sentence = (
        f"{share:.0%} of {plural(len(reads), 'read')} without a request; a change seen after at most {quiet:.2f} s, "
        f"{latest:.2f} s in a fault; {len(late):,} answers older than {LATE_SECONDS:g} s"
    )
    if not reads or not facts.of("set"):
        outcomes = [unknown(use, "late", "nothing was read, or nothing was ever changed")]
    else:
        text = f"{plural(len(late), 'answer')} from memory older than {LATE_SECONDS:g} s, oldest {latest:.2f} s"
        outcomes = [
            allowed(use, "late", 0, len(late), text),
            allowed(use, "unseen", 0, len(unseen), f"a change seen after {quiet:.2f} s without a fault"),
            allowed(use, "requests", MOST_ASKED, round(1 - share, 3), f"{1 - share:.0%} of the reads needed a request"),
        ]
    details = tuple(
        f"key {event.subject}: instance {event.actor} answered version {event.value} at {at(event.start)}, {age:.2f} s too late"
        for age, event in (late + unseen)[:EXAMPLES]
    )
    figures = {
        "reads": len(reads), "spared_share": round(share, 3), "late": len(late), "latest_seconds": round(latest, 3),
        "latest_seconds_without_fault": round(quiet, 3),
    }  # fmt: skip
    return Finding(use, title, sentence, tuple(outcomes), figures, details, tuple(event.start for _, event in late))


NEARS = tuple(
    replace(use, unfit=unfit)
    for use in (
        workload("near-cache", "Hot keys from memory, told of changes", judge_as),
        workload("near-cache-careless", "The client-side cache of redis-py as it comes", judge_as, "near-cache"),
    )
)
