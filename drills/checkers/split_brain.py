"""Did two nodes of one shard acknowledge writes at the same time, for how long, and how many?"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from drills.checkers.base import SECOND, Check, Verdict, plural
from drills.records import Lane, Operation, Record
from drills.timeline import Line

IDLE_NS = SECOND
"""A node counts as acknowledging from one write to the next if they lie at most this far apart."""


@dataclass(frozen=True)
class Overlap:
    """From `start` to `end` (nanoseconds) both `nodes` of `shard` acknowledged writes."""

    shard: int
    nodes: tuple[str, str]
    start: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SECOND


class SplitBrain:
    """Judged by what counts, acknowledgements: a node is active between two of its acknowledged writes that are at most IDLE_NS
    apart, and two nodes of a shard may not be active at once. A clean handover back and forth does not overlap.

    A second pass, only after an overlap, counts the writes in it per node. `slots_move`: slots of a shard go from node to node
    one after the other, so two nodes may not be active in one slot at once.
    """

    def __init__(self, idle: int = IDLE_NS, slots_move: bool = False) -> None:
        self._idle = idle
        self._slots_move = slots_move
        self._shards: dict[int, int] = {}
        self._acknowledged: dict[tuple[int, str], Line] = {}
        self._overlaps: tuple[Overlap, ...] | None = None
        self.writes: dict[str, int] = {}

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            if record.kind == "write" and record.outcome == "ok" and record.node is not None:
                place = (self._shards.get(record.lane, 0), record.node)
                line = self._acknowledged.get(place)
                if line is None:
                    line = self._acknowledged[place] = Line()
                line.acknowledge(record.end)
        elif isinstance(record, Lane):
            self._shards[record.lane] = (record.slot if self._slots_move else record.shard) or 0

    def _stretches(self, shard: int, node: str) -> tuple[tuple[int, int], ...]:
        """When the node was active."""
        line = self._acknowledged[shard, node]
        span = line.span()
        if span is None:
            return ()
        pauses = tuple(line.gaps(self._idle + 1))
        starts = (span[0], *(after for _, after in pauses))
        ends = (*(before for before, _ in pauses), span[1])
        return tuple(zip(starts, ends, strict=True))

    def overlaps(self) -> tuple[Overlap, ...]:
        """Every stretch in which two nodes of one shard were active, in order of time."""
        if self._overlaps is None:
            self._overlaps = tuple(sorted(self._find(), key=lambda overlap: (overlap.start, overlap.shard)))
        return self._overlaps

    def _find(self) -> Iterator[Overlap]:
        for (shard, one), (other_shard, other) in combinations(sorted(self._acknowledged), 2):
            if shard != other_shard:
                continue
            for low, high in self._stretches(shard, one):
                for other_low, other_high in self._stretches(shard, other):
                    start, end = max(low, other_low), min(high, other_high)
                    if start <= end:
                        yield Overlap(shard, (one, other), start, end)

    def wants_review(self) -> bool:
        return bool(self.overlaps())

    def review(self, record: Record) -> None:
        if not (isinstance(record, Operation) and record.kind == "write" and record.outcome == "ok") or not record.node:
            return
        shard = self._shards.get(record.lane, 0)
        for overlap in self.overlaps():
            if overlap.shard == shard and record.node in overlap.nodes and overlap.start <= record.end <= overlap.end:
                self.writes[record.node] = self.writes.get(record.node, 0) + 1
                return

    @property
    def seconds(self) -> float:
        """Longest stretch with two primaries that acknowledged."""
        return max((overlap.seconds for overlap in self.overlaps()), default=0.0)

    def check(self) -> Check:
        overlaps = self.overlaps()
        figures = {
            "seconds": round(self.seconds, 3),
            "intervals": len(overlaps),
            "writes": sum(self.writes.values()),
        }
        if overlaps:
            worst = max(overlaps, key=lambda overlap: overlap.seconds)
            what = f"{'slot' if self._slots_move else 'shard'} {worst.shard}"
            summary = f"{' and '.join(worst.nodes)} both acknowledged writes of {what} for {worst.seconds:.3f} s"
            details = tuple(
                f"{plural(count, 'write')} acknowledged by {node} meanwhile" for node, count in sorted(self.writes.items())
            )
            return Check("split-brain", Verdict.FALSE, summary, figures, details)
        if not self._acknowledged:
            return Check("split-brain", Verdict.UNKNOWN, "no acknowledged write names its node", figures)
        summary = "at no time did two nodes of a shard acknowledge writes"
        return Check("split-brain", Verdict.TRUE, summary, figures)
