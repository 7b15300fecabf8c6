"""Collects the events of all uses in one pass, and has each judged."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from drills.checkers.base import OnePass
from drills.records import Event, Fault, Phase, Record, Role, Stall, Tally
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
        self._primaries: dict[int, set[str]] = defaultdict(set)
        self._torn_since: dict[int, int] = {}
        self._torn: list[Interval] = []
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
        elif isinstance(record, Role):
            if record.seen_by == record.node:
                self._take_role(record)
        elif isinstance(record, Stall):
            if record.until - record.at >= LONG_STALL:
                self._stalls.append((record.at, record.until))
        elif isinstance(record, Phase) and record.name == "stop":
            self._stopped = record.at

    def _take_role(self, record: Role) -> None:
        """What a node says of itself: while two of a shard say that they are primary, clients still stand on both sides."""
        primaries = self._primaries[record.shard]
        (primaries.add if record.role == "primary" else primaries.discard)(record.node)
        if len(primaries) > 1:
            self._torn_since.setdefault(record.shard, record.at)
        elif record.shard in self._torn_since:
            self._torn.append((self._torn_since.pop(record.shard), record.at))

    def findings(self, lost: Budget, waits: bool, zero: int) -> tuple[Finding, ...]:
        """What became of every use; times of the drawing count from `zero`."""
        open_faults = [(begin, self._latest) for begin in self._open.values()]
        torn = [*self._torn, *((begin, self._latest) for begin in self._torn_since.values())]
        faults = lasting([*self._faults, *open_faults], torn)
        found = []
        for name in self._names:
            events = sorted(self._events[name], key=lambda event: event.start)
            told = self._told[name]
            complete = len(told) == self._sides and sum(told) == len(events)
            facts = Facts(events, faults, lost, waits, complete, self._stopped or self._latest, self._stalls)
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


def lasting(faults: Sequence[Interval], torn: Sequence[Interval]) -> list[Interval]:
    """Faults, each to the end of the last stretch of two primaries that began in it: a primary that comes back from behind a
    partition goes on for a while (with Sentinel for some ten seconds), and the clients that it has with it."""
    return [(begin, max([end, *(over for since, over in torn if begin <= since <= end)])) for begin, end in faults]


def until(stopped: int, events: Sequence[Event], bad: Sequence[int]) -> tuple[list[Event], list[int]]:
    """What belongs on a time line: reading back comes long after the load."""
    return [event for event in events if event.start <= stopped], [moment for moment in bad if moment <= stopped]
