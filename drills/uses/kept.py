"""Rows written behind, sessions, and visitors: is what was acknowledged still there, and nothing that should be gone?"""

from collections import defaultdict

from drills.uses.base import EXAMPLES, Facts, Finding, allowed, at, lost, plural, unknown, workload

STANDARD_ERROR = 0.0081
"""Of HyperLogLog as Redis has it; three times as much is allowed."""


def judge_behind(use: str, title: str, facts: Facts) -> Finding:
    """Writing behind: every acknowledged row reached the origin."""
    written = {event.subject: event for event in facts.of("write") if event.outcome == "ok"}
    there = {event.subject for event in facts.of("final")}
    gone = [event for row, event in written.items() if row not in there]
    left = sum(event.value for event in facts.of("left"))
    text = f"{len(gone):,} of {plural(len(written), 'acknowledged row')} never reached the database"
    if not written:
        outcome = unknown(use, "lost", "no row was acknowledged")
    elif left:
        outcome = unknown(use, "lost", f"{plural(left, 'row')} could not be carried over in time")
    else:
        outcome = lost(facts, use, "lost", [event.end for event in gone], text)
    details = tuple(f"row {event.subject}, acknowledged at {at(event.end)}" for event in gone[:EXAMPLES])
    figures = {"rows": len(written), "lost": len(gone), "left": left}
    return Finding(use, title, text, (outcome,), figures, details, tuple(event.end for event in gone))


def judge_sessions(use: str, title: str, facts: Facts) -> Finding:
    """Sessions: none lost that nobody logged out, none back after its logout was acknowledged."""
    started = {event.subject: event for event in facts.of("start") if event.outcome == "ok"}
    logouts = {event.subject: event for event in facts.of("logout")}
    missing = {}
    for event in facts.of("seen"):
        begun = started.get(event.subject)
        out = logouts.get(event.subject)
        if event.value == 0 and begun and event.start > begun.end and (out is None or event.end < out.start):
            missing[event.subject] = begun
    back = {event.subject: logouts[event.subject] for event in facts.of("after") if event.value and event.subject in logouts
            and logouts[event.subject].outcome == "ok" and event.start > logouts[event.subject].end}  # fmt: skip
    ended = sum(event.outcome == "ok" for event in logouts.values())
    first = f"{len(missing):,} of {plural(len(started), 'acknowledged session')} lost"
    second = f"{len(back):,} of {ended:,} logged out came back"
    if not started:
        outcomes = [unknown(use, "lost", "no session was acknowledged")]
    else:
        outcomes = [
            lost(facts, use, "lost", [event.end for event in missing.values()], first),
            lost(facts, use, "back after logout", [event.end for event in back.values()], second),
        ]
    details = [f"session {name}, acknowledged at {at(event.end)}, was lost" for name, event in list(missing.items())[:EXAMPLES]]
    details += [f"session {name}, logged out at {at(event.end)}, came back" for name, event in list(back.items())[:EXAMPLES]]
    figures = {"sessions": len(started), "lost": len(missing), "logged_out": ended, "came_back": len(back)}
    bad = tuple(event.end for event in (*missing.values(), *back.values()))
    return Finding(use, title, f"{first}, {second}", tuple(outcomes), figures, tuple(details), bad)


def judge_visits(use: str, title: str, facts: Facts) -> Finding:
    """Visitors: the bitmap has every acknowledged user, HyperLogLog about as many, and neither more than there were."""
    first: dict[str, dict[int, int]] = defaultdict(dict)
    tried: dict[str, set[int]] = defaultdict(set)
    for event in facts.of("visit"):
        tried[event.subject].add(event.value)
        if event.outcome == "ok":
            first[event.subject][event.value] = event.end  # the last acknowledgement: before it others may have been lost
    exactly = {event.subject: event.value for event in facts.of("exactly")}
    about = {event.subject: event.value for event in facts.of("about")}
    users = sum(len(seen) for seen in first.values())
    if not users or set(exactly) != set(tried):
        return Finding(
            use, title, "the visitors could not be counted", (unknown(use, "lost", "the visitors could not be counted"),)
        )
    missing = {day: max(0, len(seen) - exactly[day]) for day, seen in first.items()}
    more = sum(max(0, exactly[day] - len(tried[day])) for day in tried)
    error = max(abs(about[day] - exactly[day]) / max(exactly[day], 1) for day in tried)
    # Which ones are missing a count does not tell: those acknowledged nearest to a fault, in favour of the stack.
    moments = [moment for day, count in missing.items() for moment in nearest(facts, list(first[day].values()), count)]
    text = f"{sum(missing.values()):,} of {plural(users, 'acknowledged visitor')} lost"
    outcomes = (
        lost(facts, use, "lost", moments, text),
        allowed(use, "too many", 0, more, f"{plural(more, 'visitor')} more than there were"),
        allowed(
            use, "error of HyperLogLog", 3 * STANDARD_ERROR, round(error, 4), f"HyperLogLog is off by {error:.2%} of the bits"
        ),
    )
    figures = {"visitors": users, "lost": sum(missing.values()), "too_many": more, "hyperloglog_error": round(error, 4)}
    return Finding(use, title, f"{text}, {more:,} too many, HyperLogLog off by {error:.2%}", outcomes, figures)


def nearest(facts: Facts, moments: list[int], count: int) -> list[int]:
    """The `count` moments that lie nearest to the begin of a fault; the last ones where there was none."""
    begins = [begin for begin, _ in facts.faults] or [facts.stopped]
    return sorted(moments, key=lambda moment: min(abs(moment - begin) for begin in begins))[:count]


KEPT = (
    workload("write-behind", "Writing behind through a stream", judge_behind),
    workload("write-behind-careless", "Writing behind from memory", judge_behind, "write-behind"),
    workload("session", "Sessions with a sliding end", judge_sessions),
    workload("session-careless", "Sessions read, changed and written back", judge_sessions, "session"),
    workload("visits", "Visitors in HyperLogLog and bitmap", judge_visits),
    workload("visits-careless", "Visitors by INCR", judge_visits, "visits"),
)
