"""Did reads on one primary go back in time?"""

from typing import NamedTuple

from drills.checkers.base import EXAMPLES, SECOND, Check, OnePass, Verdict, plural
from drills.records import Fault, Operation, Record, Role

SEEN_WITHIN = int(0.5 * SECOND)
"""A change of role is seen this long after it happened, at most: the watcher's period and its time-out."""


class _Backwards(NamedTuple):
    node: str
    end: int
    text: str


class StaleReads(OnePass):
    """A read answered by a primary must not show less than that node acknowledged, or showed, before the read began.

    The rule holds for one tenure: it starts anew when another node answers for the lane, when the node said that it
    is a replica, or when it was the target of a fault (it may have restarted; what it lost then is the business of the check for
    lost writes). What a fault or a heal did while it went on, and what happened shortly before a change of role was seen, is
    known only afterwards: until then a read that went back in time is kept in mind. Each lane has one client, which does one
    thing at a time, so the order of the history is the order of events within a lane.
    """

    def __init__(self) -> None:
        self._newest: dict[int, tuple[str, int]] = {}
        self._roles: dict[str, tuple[str, int]] = {}
        self._began: dict[str, int] = {}
        self._backwards: list[_Backwards] = []
        self.reads = 0

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            if record.outcome == "ok" and record.node is not None:
                self._answered(record, record.node)
        elif isinstance(record, Fault) and record.stage in ("inject", "heal"):
            targets = set(record.targets)
            self._forget(targets)
            self._began |= dict.fromkeys(targets, record.until)
            self._excuse(targets, record.at, record.until)
        elif isinstance(record, Role) and record.seen_by == record.node and record.role in ("primary", "replica"):
            self._roles[record.node] = (record.role, record.at)
            if record.role == "replica":
                self._forget({record.node})
                self._excuse({record.node}, record.at - SEEN_WITHIN, None)

    def _forget(self, nodes: set[str]) -> None:
        self._newest = {lane: seen for lane, seen in self._newest.items() if seen[0] not in nodes}

    def _excuse(self, nodes: set[str], since: int, until: int | None) -> None:
        self._backwards = [
            one for one in self._backwards if not (one.node in nodes and one.end >= since and (until is None or one.end <= until))
        ]

    def _led(self, node: str, at: int) -> bool:
        role, since = self._roles.get(node, ("primary", 0))
        return role == "primary" or at < since - SEEN_WITHIN

    def _answered(self, op: Operation, node: str) -> None:
        if op.kind == "read":
            self.reads += 1
        elif op.end > self._roles.get(node, ("", 0))[1]:
            self._roles[node] = ("primary", op.end)  # only a primary acknowledges writes
        if op.end <= self._began.get(node, -1) or not self._led(node, op.end):
            return  # of an earlier tenure: clients hand their records over a little later than the drill does
        known = self._newest.get(op.lane)
        newest = known[1] if known is not None and known[0] == node else 0
        if op.kind == "read" and op.value < newest:
            text = f"lane {op.lane}: {node} showed {op.value} at {op.end / SECOND:.3f} s after it had shown {newest}"
            self._backwards.append(_Backwards(node, op.end, text))
        self._newest[op.lane] = (node, max(newest, op.value))

    @property
    def stale(self) -> int:
        return len(self._backwards)

    def check(self) -> Check:
        figures = {"reads": self.reads, "stale": self.stale}
        if self.stale:
            summary = f"{self.stale:,} of {plural(self.reads, 'read')} went back in time"
            return Check("stale", Verdict.FALSE, summary, figures, tuple(one.text for one in self._backwards[:EXAMPLES]))
        if not self.reads:
            return Check("stale", Verdict.UNKNOWN, "nothing was read, so nothing is proven", figures)
        return Check("stale", Verdict.TRUE, f"none of {plural(self.reads, 'read')} went back in time", figures)
