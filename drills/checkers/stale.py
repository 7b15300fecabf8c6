"""Did reads on one primary go back in time?"""

from drills.checkers.base import EXAMPLES, SECOND, Check, OnePass, Verdict, plural
from drills.records import Fault, Operation, Record


class StaleReads(OnePass):
    """A read answered by a node must not show less than that node acknowledged, or showed, before the read began.

    The rule holds for one tenure: it starts anew when another node answers for the lane, or when the node was the target of a
    fault (it may have restarted; what it lost then is the business of the check for lost writes). Each lane has one
    client, which does one thing at a time, so the order of the history is the order of events.
    """

    def __init__(self) -> None:
        self._newest: dict[int, tuple[str, int]] = {}
        self.reads = 0
        self.stale = 0
        self._examples: list[str] = []

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            if record.outcome == "ok" and record.node is not None:
                self._answered(record, record.node)
        elif isinstance(record, Fault) and record.stage in ("inject", "heal"):
            targets = set(record.targets)
            self._newest = {lane: seen for lane, seen in self._newest.items() if seen[0] not in targets}

    def _answered(self, op: Operation, node: str) -> None:
        known = self._newest.get(op.lane)
        newest = known[1] if known is not None and known[0] == node else 0
        if op.kind == "read":
            self.reads += 1
            if op.value < newest:
                self.stale += 1
                if len(self._examples) < EXAMPLES:
                    self._examples.append(
                        f"lane {op.lane}: {node} showed {op.value} at {op.end / SECOND:.3f} s after it had shown {newest}"
                    )
        self._newest[op.lane] = (node, max(newest, op.value))

    def check(self) -> Check:
        figures = {"reads": self.reads, "stale": self.stale}
        if self.stale:
            summary = f"{self.stale:,} of {plural(self.reads, 'read')} went back in time"
            return Check("stale", Verdict.FALSE, summary, figures, tuple(self._examples))
        if not self.reads:
            return Check("stale", Verdict.UNKNOWN, "nothing was read, so nothing is proven", figures)
        return Check("stale", Verdict.TRUE, f"none of {plural(self.reads, 'read')} went back in time", figures)
