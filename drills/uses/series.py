"""Time series: is every acknowledged measurement there, once, so that sums over time are right?"""

from collections import Counter

from drills.uses.base import EXAMPLES, Facts, Finding, allowed, at, lost, plural, unknown, workload


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a time series under the name of its workload."""
    acknowledged = {(event.subject, event.value): event.end for event in facts.of("add") if event.outcome == "ok"}
    tried = {(event.subject, event.value) for event in facts.of("add")}
    there = Counter((event.subject, event.value) for event in facts.of("point"))
    gone = {point: moment for point, moment in acknowledged.items() if not there[point]}
    twice = sum(count - 1 for count in there.values())
    strange = [point for point in there if point not in tried]
    first = f"{len(gone):,} of {plural(len(acknowledged), 'acknowledged measurement')} lost"
    second = f"{twice:,} there twice"
    if not acknowledged or not there:
        outcomes = [unknown(use, "lost", "no measurement was acknowledged, or none could be read")]
    else:
        outcomes = [
            lost(facts, use, "lost", list(gone.values()), first),
            allowed(use, "twice", 0, twice, f"{plural(twice, 'measurement')} too many"),
            allowed(use, "strange", 0, len(strange), f"{plural(len(strange), 'measurement')} that nobody sent"),
        ]
    details = [f"sensor {who}: {value}, acknowledged at {at(moment)}" for (who, value), moment in list(gone.items())[:EXAMPLES]]
    figures = {"measurements": len(acknowledged), "lost": len(gone), "twice": twice}
    return Finding(use, title, f"{first}, {second}", tuple(outcomes), figures, tuple(details), tuple(gone.values()))


SERIES = (
    workload("time-series", "Measurements in streams by their time", judge_as),
    workload("time-series-careless", "Measurements by XADD without a place", judge_as, "time-series"),
)
