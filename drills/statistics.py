"""Summaries of figures, latency distributions and time series, in flat memory."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any

STEP = 1.04
"""Neighbouring edges of the latency histogram differ by 4 %, so a percentile is at most that far off."""
_EDGES: list[int] = []
_edge = 1_000.0
while _edge < 120e9:
    _EDGES.append(int(_edge))
    _edge *= STEP


@dataclass(frozen=True)
class Summary:
    """Smallest, median and largest of `count` figures, with the figures themselves in their order."""

    count: int
    least: float
    middle: float
    most: float
    values: tuple[float, ...]


def summarise(values: Iterable[float | None]) -> Summary | None:
    """The summary of the figures that are known, or None when none is."""
    known = tuple(value for value in values if value is not None)
    return Summary(len(known), min(known), median(known), max(known), known) if known else None


class Histogram:
    """Latencies in nanoseconds from 1 µs to 2 min; percentiles within 4 %, the largest exact."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.largest = 0

    def add(self, nanoseconds: int) -> None:
        place = bisect_right(_EDGES, nanoseconds)
        self._counts[place] = self._counts.get(place, 0) + 1
        self.count += 1
        self.largest = max(self.largest, nanoseconds)

    def merge(self, other: "Histogram") -> None:
        for place, count in other._counts.items():
            self._counts[place] = self._counts.get(place, 0) + count
        self.count += other.count
        self.largest = max(self.largest, other.largest)

    def percentile(self, share: float) -> int | None:
        """The latency that `share` (0 to 1) of all stayed at or below; the upper edge of its step. None when empty."""
        if not self.count:
            return None
        wanted = max(1, ceil(share * self.count))
        seen = 0
        for place in sorted(self._counts):
            seen += self._counts[place]
            if seen >= wanted:
                return min(self.largest, _EDGES[place]) if place < len(_EDGES) else self.largest
        return self.largest


class Cell:
    """What happened to one shard in one piece of time; `lost` counts acknowledged writes, which are in `ok` too."""

    __slots__ = ("fail", "info", "latency", "lost", "ok")

    def __init__(self) -> None:
        self.ok = 0
        self.fail = 0
        self.info = 0
        self.lost = 0
        self.latency = Histogram()

    def merge(self, other: "Cell") -> None:
        self.ok += other.ok
        self.fail += other.fail
        self.info += other.info
        self.lost += other.lost
        self.latency.merge(other.latency)


MOST_CELLS = 480


class Series:
    """Cells of equal length; when there are more than MOST_CELLS, neighbours are joined and the length doubles."""

    def __init__(self, start: int, width: int = 25_000_000) -> None:
        self.start = start
        self.width = width
        self.cells: list[Cell] = []

    def at(self, moment: int) -> Cell:
        """The cell of a moment in nanoseconds; what lies before the start falls into the first."""
        place = max(0, (moment - self.start) // self.width)
        while place >= MOST_CELLS:
            self._join()
            place = max(0, (moment - self.start) // self.width)
        while place >= len(self.cells):
            self.cells.append(Cell())
        return self.cells[place]

    def _join(self) -> None:
        joined = self.cells[0::2]
        for one, other in zip(joined, self.cells[1::2], strict=False):
            one.merge(other)
        self.cells, self.width = joined, self.width * 2

    def widen(self, width: int) -> None:
        """Join until cells are at least `width` long, so that several series can be drawn over each other."""
        while self.width < width:
            self._join()

    def data(self) -> dict[str, Any]:
        """Plain data: per cell the counts, and p50, p99 and maximum of the latency of acknowledged writes in ms (or None)."""

        def milliseconds(value: int | None) -> float | None:
            return None if value is None else round(value / 1e6, 3)

        def of(share: float) -> Sequence[float | None]:
            return [milliseconds(cell.latency.percentile(share)) for cell in self.cells]

        return {
            "start": self.start / 1e9,
            "width": self.width / 1e9,
            "ok": [cell.ok for cell in self.cells],
            "fail": [cell.fail for cell in self.cells],
            "info": [cell.info for cell in self.cells],
            "lost": [cell.lost for cell in self.cells],
            "p50": of(0.5),
            "p99": of(0.99),
            "max": [milliseconds(cell.latency.largest) if cell.latency.count else None for cell in self.cells],
        }
