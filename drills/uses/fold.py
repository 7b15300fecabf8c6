"""Collects the events of all uses in one pass, and has each judged."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from drills.checkers.base import OnePass
from drills.records import Event, Fault, Phase, Record, Stall, Tally
from drills.uses.base import Facts, Finding, Interval, drawing
from drills.uses.catalogue import USES
from operations.objectives import Budget

LONG_STALL = 200_000_000
"""Nanoseconds for which a process of the drill could not run, so that instances and servers may have been late, too."""


class Uses(OnePass):
    """Keeps every event: applications do some hundred things per second, not millions."""

    def __init__(self, names: Sequence[str], sides: int = 1) -> None:
        self._names = names
        self._sides = sides
        self._events: dict[str, list[Event]] = defaultdict(list)
        self._told: dict[str, list[int]] = defaultdict(list)
        self._open: dict[str, int] = {}
        self._faults: list[Interval] = []
        self._stalls: list[Interval] = []
        self._stopped = 0
        self._latest = 0

    def see(self, record: Record) -> None:
        if isinstance(record, Event):
            self._events[record.use].append(record)
            self._latest = max(self._latest, record.end)
        elif isinstance(record, Tally):
            self._told[record.use].append(record.events)
        elif isinstance(record, Fault):
            if record.stage == "inject":
                self._open.setdefault(record.fault, record.at)
            elif record.stage == "healed" and record.fault in self._open:
                self._faults.append((self._open.pop(record.fault), record.until))
        elif isinstance(record, Stall):
            if record.until - record.at >= LONG_STALL:
                self._stalls.append((record.at, record.until))
        elif isinstance(record, Phase) and record.name == "stop":
            self._stopped = record.at

    def findings(self, lost: Budget, waits: bool, zero: int) -> tuple[Finding, ...]:
        """What became of every use; times of the drawing count from `zero`."""
        faults = [*self._faults, *((begin, self._latest) for begin in self._open.values())]
        found = []
        for name in self._names:
            events = sorted(self._events[name], key=lambda event: event.start)
            told = self._told[name]
            complete = len(told) == self._sides and sum(told) == len(events)
            facts = Facts(events, faults, lost, waits, self._stopped or self._latest, self._stalls)
            finding = USES[name].judge(facts)
            missing = (
                () if complete else (f"the record of its events is not complete: {len(events):,} of {sum(told):,} are there",)
            )
            found.append(
                replace(
                    finding,
                    complete=complete,
                    details=(*missing, *finding.details),
                    drawing=drawing(*until(facts.stopped, events, finding.bad), zero),
                )
            )
        return tuple(found)


def until(stopped: int, events: Sequence[Event], bad: Sequence[int]) -> tuple[list[Event], list[int]]:
    """What belongs on a time line: reading back comes long after the load."""
    return [event for event in events if event.start <= stopped], [moment for moment in bad if moment <= stopped]
