"""Bloom filters: was a row denied that exists, and how many questions for what never was got through?"""

from drills.uses.base import EXAMPLES, SECOND, Facts, Finding, allowed, at, plural, unknown, workload
from drills.workload.uses.bloom import REBUILD_SECONDS

ERROR = 0.01
"""The share of wrong answers that the filter is made for; three times as much is allowed."""
FEW = 100
"""Questions, below which a share says nothing."""


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a filter under the name of its workload."""
    exists = {event.subject: event for event in facts.of("row") if event.outcome == "ok"}
    asked = [event for event in facts.of("denied") if event.subject in exists and event.start > exists[event.subject].end]
    denied = [event for event in asked if event.value]
    wrong = [event for event in denied if facts.waits or not facts.unsteady(event.start, REBUILD_SECONDS)]
    forever = [event for event in facts.of("final") if event.value and event.subject in exists]
    quiet = [event for event in facts.of("other") if event.outcome == "ok"]
    share = sum(not event.value for event in quiet) / len(quiet) if quiet else 0.0
    longest = max((event.start - exists[event.subject].end for event in denied), default=0) / SECOND
    sentence = (
        f"{len(denied):,} of {plural(len(asked), 'question')} for rows that exist denied"
        + (f", up to {longest:.2f} s after they were there" if denied else "")
        + f", {len(forever):,} of {plural(len(exists), 'row')} in the end; "
        f"{share:.1%} of {plural(len(quiet), 'other')} let through"
    )  # fmt: skip
    if not asked or not facts.of("final"):
        outcomes = [unknown(use, "denied", "nobody could ask for a row that exists")]
    else:
        where = "" if facts.waits else f" {REBUILD_SECONDS:g} s or more after a fault"
        outcomes = [
            allowed(use, "denied", 0, len(wrong), f"{plural(len(wrong), 'row')} denied{where}"),
            allowed(use, "denied in the end", 0, len(forever), f"{plural(len(forever), 'row')} denied in the end"),
        ]
        if len(quiet) >= FEW:
            outcomes.append(allowed(use, "let through", 3 * ERROR, round(share, 4), f"{share:.1%} of what never was let through"))
    details = tuple(f"row {event.subject} was denied at {at(event.start)}" for event in (*wrong, *forever)[:EXAMPLES])
    figures = {"rows": len(exists), "denied": len(denied), "denied_in_the_end": len(forever), "let_through": round(share, 4)}
    return Finding(use, title, sentence, tuple(outcomes), figures, details, tuple(event.start for event in denied))


BLOOMS = (
    workload("bloom", "Bloom filter before a database", judge_as),
    workload("bloom-careless", "Bloom filter that is filled once", judge_as, "bloom"),
)
