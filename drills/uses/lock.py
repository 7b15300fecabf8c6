"""Locks: did two instances believe in one lock at once, and did the resource that it protects take a change from a stale one?"""

from collections import defaultdict
from collections.abc import Sequence

from drills.records import Event
from drills.uses.base import EXAMPLES, SECOND, Facts, Finding, allowed, at, measured_only, plural, unknown, workload

AFTER_SECONDS = 3.0
"""Grants of the time of a fault go on for up to their time to live after it."""
STUCK_SECONDS = 4.0
"""A lock that nobody gets for so long while the stack is well is locked for ever: four times its time to live."""


def overlaps(holds: Sequence[Event]) -> list[tuple[int, int, str]]:
    """From, to and lock of the times in which two instances believed in one lock, one per hold that began while another
    lasted."""
    found: list[tuple[int, int, str]] = []
    by_lock: dict[str, list[Event]] = defaultdict(list)
    for hold in holds:
        by_lock[hold.subject].append(hold)
    for held in by_lock.values():
        until = -1
        for hold in sorted(held, key=lambda hold: hold.start):
            if hold.start < until:
                found.append((hold.start, min(hold.end, until), hold.subject))
            until = max(until, hold.end)
    return found


def overwritten(writes: Sequence[Event]) -> list[Event]:
    """Changes that were accepted though another one, made from the same number, had been accepted before: one of them is lost."""
    seen: set[tuple[str, int]] = set()
    found = []
    for write in sorted(writes, key=lambda write: write.end):
        if write.outcome == "ok":
            if (write.subject, write.other) in seen:
                found.append(write)
            seen.add((write.subject, write.other))
    return found


def stuck(facts: Facts, holds: Sequence[Event]) -> list[str]:
    """Locks that were granted once and then, until the load stopped, not for STUCK_SECONDS without a fault."""
    last: dict[str, int] = {}
    for hold in holds:
        last[hold.subject] = max(last.get(hold.subject, 0), hold.end)
    healed = max((end for _, end in (*facts.faults, *facts.stalls)), default=0)
    return sorted(lock for lock, end in last.items() if facts.stopped - max(end, healed) > STUCK_SECONDS * SECOND)


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a lock under the name of its workload."""
    holds, writes = facts.of("hold"), facts.of("write")
    both, gone, dead = overlaps(holds), overwritten(writes), stuck(facts, holds)
    longest = max((end - begin for begin, end, _ in both), default=0) / SECOND
    outside = [pair for pair in both if facts.waits or not facts.near_fault(pair[0], after=AFTER_SECONDS)]
    refused = sum(write.outcome == "fail" for write in writes)
    sentence = (
        f"{len(both):,} of {plural(len(holds), 'lock grant')} overlapped" + (f", longest {longest:.2f} s" if both else "")
        + f"; {len(gone):,} of {plural(len(writes) - refused, 'change')} under the lock overwrote another, "
        f"{refused:,} of stale holders refused" + (f"; {plural(len(dead), 'lock')} locked for ever" if dead else "")
    )  # fmt: skip
    where = "" if facts.waits else " without a fault"
    if not holds:
        outcomes = [unknown(use, "overlaps", "no lock was ever granted")]
    else:
        outcomes = [
            allowed(use, f"overlaps{where}", 0, len(outside), f"{plural(len(outside), 'grant')} overlapped{where}"),
            allowed(use, "overwritten", 0, len(gone), f"{plural(len(gone), 'change')} under the lock overwrote another"),
            allowed(use, "locked for ever", 0, len(dead), f"{plural(len(dead), 'lock')} locked for ever"),
        ]
        if not facts.waits:
            inside = len(both) - len(outside)
            outcomes.append(measured_only(use, "overlaps in a fault", inside, f"{plural(inside, 'grant')} overlapped in a fault"))
    details = [f"two holders of lock {lock} for {(end - begin) / SECOND:.3f} s at {at(begin)}"
               for begin, end, lock in sorted(both, key=lambda pair: pair[0] - pair[1])[:EXAMPLES]]  # fmt: skip
    details += [f"instance {write.actor} overwrote a change at {at(write.end)}" for write in gone[:EXAMPLES]]
    figures = {
        "grants": len(holds), "overlaps": len(both), "longest_overlap_seconds": round(longest, 3),
        "changes": len(writes) - refused, "overwritten": len(gone), "stale_refused": refused, "locked_for_ever": len(dead),
    }  # fmt: skip
    bad = (*(begin for begin, _, _ in outside), *(write.end for write in gone))
    return Finding(use, title, sentence, tuple(outcomes), figures, tuple(details), bad)


LOCKS = (
    workload("lock", "Distributed lock with fencing", judge_as),
    workload("lock-careless", "Lock by SETNX, EXPIRE and DEL", judge_as, "lock"),
    workload("lock-redis-py", "redis-py's own Lock, without a fence", judge_as, "lock"),
)
