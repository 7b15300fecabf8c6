"""Events of simulated applications, written by hand. Times are given in seconds."""

from collections.abc import Sequence
from typing import Any

from drills.records import Event, Outcome
from drills.synthetic import ns
from drills.uses.base import Facts, Finding
from drills.uses.catalogue import USES


def event(
    verb: str, subject: str, start: float, end: float | None = None, *, actor: int = 1, value: int = 0, other: int = 0,
    outcome: Outcome = "ok",
) -> Event:  # fmt: skip
    """One event; it takes a millisecond unless its end is given."""
    return Event("use", actor, verb, subject, value, other, ns(start), ns(start + 0.001 if end is None else end), outcome)


def judged(
    use: str, events: Sequence[Event], fault: tuple[float, float] | None = None, stopped: float = 20, **more: Any
) -> Finding:
    """The judgement of a use on these events, with a fault from and to these seconds."""
    faults = [(ns(fault[0]), ns(fault[1]))] if fault else []
    return USES[use].judge(Facts(sorted(events, key=lambda e: e.start), faults, stopped=ns(stopped), **more))


def broken(finding: Finding) -> set[str]:
    """The promises that were broken, without the name of the use."""
    return {o.name.partition(": ")[2] for o in finding.outcomes if o.verdict == "false"}
