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
    joined: dict[int, int] = {}
    for event in facts.of("receive"):
        heard[event.actor].add((event.subject, event.other, event.value))
        moments[event.actor, event.subject].append(event.end)
        joined[event.actor] = min(joined.get(event.actor, event.start), event.start)
    last = facts.stopped if reads_on else facts.stopped - int(LATE_SECONDS * SECOND)
    missed = [
        (subscriber, event) for subscriber, got in heard.items() for event in published
        if event.end < last and (event.subject, event.other, event.value) not in got
        and (reads_on or event.start > joined[subscriber] + int(JOIN_SECONDS * SECOND))
    ]  # fmt: skip
    silence = max(
        (b - a for times in moments.values() for a, b in zip(sorted(times), sorted(times)[1:], strict=False)), default=0
    )
    total = len(published) * len(heard)
    sentence = (
        f"{len(missed):,} of {plural(total, 'delivery')} missed ({plural(len(published), 'message')} to "
        f"{plural(len(heard), 'subscriber')}); longest silence on a channel {silence / SECOND:.2f} s"
    ).replace("deliverys", "deliveries")
    if not total:
        outcomes = [unknown(use, "missed", "no message was published, or nobody heard one")]
    else:
        text = f"{len(missed):,} of {total:,} deliveries missed"
        outcomes = [lost(facts, use, "missed", [event.end for _, event in missed], text)]
        seconds = f"longest silence on a channel {silence / SECOND:.2f} s"
        outcomes.append(measured_only(use, "silence", round(silence / SECOND, 3), seconds))
    details = [f"subscriber {who} missed message {event.value} of publisher {event.other}, published at {at(event.end)}"
               for who, event in missed[:EXAMPLES]]  # fmt: skip
    figures = {
        "messages": len(published),
        "subscribers": len(heard),
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
