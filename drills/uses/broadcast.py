"""Messages to everybody: which subscriber missed what, and for how long did it hear nothing?"""

from collections import defaultdict

from drills.uses.base import EXAMPLES, SECOND, Facts, Finding, Use, at, lost, measured_only, plural, unknown, workload

LATE_SECONDS = 1.0
"""What was published so shortly before the end of the load need not have been heard, where nobody can read on."""
JOIN_SECONDS = 1.0
"""Subscribers that only hear what is said while they listen are given so long to join."""


def judge_as(use: str, title: str, facts: Facts, reads_on: bool) -> Finding:
    """The judgement of a channel; `reads_on`: a subscriber may read later what it has missed."""
    published = [event for event in facts.of("publish") if event.outcome == "ok"]
    heard: dict[int, set[tuple[str, int, int]]] = defaultdict(set)
    moments: dict[tuple[int, str], list[int]] = defaultdict(list)
    joined: dict[tuple[int, str], int] = {}
    for event in facts.of("receive"):
        listener = event.actor, event.subject
        heard[event.actor].add((event.subject, event.other, event.value))
        joined[listener] = min(joined.get(listener, event.start), event.start)
        if event.end <= facts.stopped:  # what is read on when the load has stopped says nothing about a silence
            moments[listener].append(event.end)
    for event in facts.of("join"):  # who never hears anything misses everything
        joined.setdefault((event.actor, event.subject), event.start)
    last = facts.stopped if reads_on else facts.stopped - int(LATE_SECONDS * SECOND)
    due = [(subscriber, event, since) for (subscriber, channel), since in joined.items() for event in published
           if event.subject == channel]  # fmt: skip
    missed = [
        (subscriber, event) for subscriber, event, since in due
        if event.end < last and (event.subject, event.other, event.value) not in heard[subscriber]
        and (reads_on or event.start > since + int(JOIN_SECONDS * SECOND))
    ]  # fmt: skip
    subscribers = len({subscriber for subscriber, _ in joined})
    silence = max(
        (b - a for times in moments.values() for a, b in zip(sorted(times), sorted(times)[1:], strict=False)), default=0
    )
    total = len(due)
    sentence = (
        f"{len(missed):,} of {plural(total, 'delivery')} missed ({plural(len(published), 'message')} to "
        f"{plural(subscribers, 'subscriber')}); longest silence on a channel {silence / SECOND:.2f} s"
    ).replace("deliverys", "deliveries")
    if not total:
        outcomes = [unknown(use, "missed", "no message was published, or nobody listened")]
    else:
        text = f"{len(missed):,} of {total:,} deliveries missed"
        outcomes = [lost(facts, use, "missed", [event.end for _, event in missed], text)]
        seconds = f"longest silence on a channel {silence / SECOND:.2f} s"
        outcomes.append(measured_only(use, "silence", round(silence / SECOND, 3), seconds))
    details = [f"subscriber {who} missed message {event.value} of publisher {event.other}, published at {at(event.end)}"
               for who, event in missed[:EXAMPLES]]  # fmt: skip
    figures = {
        "messages": len(published),
        "subscribers": subscribers,
        "missed": len(missed),
        "silence_seconds": round(silence / SECOND, 3),
    }
    return Finding(use, title, sentence, tuple(outcomes), figures, tuple(details), tuple(event.end for _, event in missed))


def _use(name: str, title: str, reads_on: bool, twin: str | None = None) -> Use:
    return workload(name, title, lambda name, title, facts: judge_as(name, title, facts, reads_on), twin)


BROADCASTS = (
    _use("broadcast", "Messages to everybody through a stream", True),
    _use("broadcast-careless", "Messages by PUBLISH and SUBSCRIBE", False, "broadcast"),
    _use("broadcast-sharded", "Messages by SPUBLISH and SSUBSCRIBE", False, "broadcast"),
)
