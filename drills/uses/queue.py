"""Queues: was every acknowledged job processed at least once, or is it among the dead letters?"""

from collections import Counter

from drills.uses.base import EXAMPLES, Facts, Finding, at, lost, measured_only, plural, unknown, workload


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a queue under the name of its workload."""
    put = {event.subject: event for event in facts.of("put") if event.outcome == "ok"}
    processed = Counter(event.subject for event in facts.of("process"))
    dead = {event.subject for event in facts.of("dead")}
    gone = [event for job, event in put.items() if job not in processed and job not in dead]
    twice = sum(count - 1 for count in processed.values())
    left = sum(event.value for event in facts.of("left"))
    sentence = (
        f"{len(gone):,} of {plural(len(put), 'acknowledged job')} lost, {twice:,} delivered twice, "
        f"{plural(len(dead), 'dead letter')}" + (f"; {left:,} could not be emptied" if left else "")
    )
    if not put:
        outcomes = [unknown(use, "lost", "no job was acknowledged")]
    elif left:
        outcomes = [unknown(use, "lost", f"{plural(left, 'job')} could not be emptied in time")]
    else:
        text = f"{len(gone):,} of {plural(len(put), 'acknowledged job')} lost"
        outcomes = [lost(facts, use, "lost", [event.end for event in gone], text)]
    outcomes.append(measured_only(use, "delivered twice", twice, f"{plural(twice, 'job')} delivered twice"))
    details = [f"job {event.subject}, acknowledged at {at(event.end)}" + (", kills its worker" if event.value else "")
               for event in gone[:EXAMPLES]]  # fmt: skip
    figures = {"jobs": len(put), "lost": len(gone), "delivered_twice": twice, "dead_letters": len(dead), "left": left}
    return Finding(use, title, sentence, tuple(outcomes), figures, tuple(details), tuple(event.end for event in gone))


QUEUES = (
    workload("queue", "Queue on a stream with a consumer group", judge_as),
    workload("queue-careless", "Queue by RPUSH and LPOP", judge_as, "queue"),
)
