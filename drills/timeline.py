"""Stretches without an acknowledged write, found in memory that grows with time and failures, not with operations.

Acknowledgements are kept as the first and the last one of every 10 ms. Two neighbours that lie at least 10 ms apart fall into
different buckets, so every gap of that length or more is known to the nanosecond; shorter ones are not looked at.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

BUCKET = 10_000_000
"""Nanoseconds; also the shortest outage that is reported."""
_GROW = 4096


class Outage(NamedTuple):
    """No write was acknowledged from `start` to `end`, though some were tried. `end` is None when it never ended."""

    start: int
    end: int | None
    refused: int

    def seconds(self, until: int) -> float:
        """Length; an outage that never ended counts up to `until`, the end of the observation."""
        return ((self.end if self.end is not None else until) - self.start) / 1e9


class Line:
    """Acknowledged and refused writes of one shard, as one side of the network saw them. Order of arrival does not matter."""

    def __init__(self) -> None:
        self._base = 0
        self._first: array[int] = array("q")
        self._last: array[int] = array("q")
        self._refused: list[tuple[int, int]] = []
        self.acknowledged = 0
        self.latest = 0

    def acknowledge(self, end: int) -> None:
        """A write was acknowledged at `end`."""
        self.acknowledged += 1
        self.latest = max(self.latest, end)
        place = end // BUCKET - self._base
        if not 0 <= place < len(self._first):
            place = self._make_room(place)
        first = self._first[place]
        if first < 0:
            self._first[place] = self._last[place] = end
        elif end < first:
            self._first[place] = end
        elif end > self._last[place]:
            self._last[place] = end

    def _make_room(self, place: int) -> int:
        empty = array("q", [-1])
        if not self._first:
            self._base += place - _GROW // 4
            place = _GROW // 4
        elif place < 0:
            extra = -place + _GROW
            self._first, self._last = empty * extra + self._first, empty * extra + self._last
            self._base -= extra
            place += extra
        if place >= len(self._first):
            extra = place - len(self._first) + _GROW
            self._first.extend(empty * extra)
            self._last.extend(empty * extra)
        return place

    def refuse(self, start: int, end: int) -> None:
        """A write tried from `start` to `end` was not acknowledged."""
        self.latest = max(self.latest, end)
        self._refused.append((start, end))

    def gaps(self, shortest: int = BUCKET) -> Iterator[tuple[int, int]]:
        """Neighbouring acknowledgements that lie at least `shortest` (and at least BUCKET) nanoseconds apart."""
        shortest = max(shortest, BUCKET)
        before = -1
        for first, last in zip(self._first, self._last, strict=True):
            if first >= 0:
                if before >= 0 and first - before >= shortest:
                    yield before, first
                before = last

    def longest_gap(self, start: int, end: int) -> tuple[int, int]:
        """Longest stretch without an acknowledged write, whether or not one was tried, of the gaps that lie in or reach into
        `start`..`end`; before the first and after the last acknowledgement, time counts from `start` and to `end`."""
        span = self.span()
        if span is None:
            return start, max(start, end)
        stretches = [(start, start), (start, span[0]), (span[1], end)]
        stretches += [(low, high) for low, high in self.gaps() if high > start and low < end]
        return max(stretches, key=lambda stretch: stretch[1] - stretch[0])

    def span(self) -> tuple[int, int] | None:
        """First and last acknowledgement."""
        first = next((value for value in self._first if value >= 0), None)
        last = next((value for value in reversed(self._last) if value >= 0), None)
        return None if first is None or last is None else (first, last)

    def outages(self) -> tuple[Outage, ...]:
        """Every stretch of at least BUCKET without an acknowledged write in which at least one write was tried in vain.

        It starts with the first such write (but not before the last acknowledgement) and ends with the next acknowledgement.
        A write in vain that touches several such stretches counts for the longest: what a slow client still waits for after the
        shard is back is no further outage of the shard.
        """
        if not self._refused:
            return ()
        span = self.span()
        if span is None:
            return self._open(min(start for start, _ in self._refused), len(self._refused))
        gaps = list(self.gaps())
        earliest = min(start for start, _ in self._refused)
        if earliest < span[0]:
            gaps.insert(0, (earliest, span[0]))
        gaps.append((span[1], self.latest + 1))
        lows, highs = [low for low, _ in gaps], [high for _, high in gaps]
        found: dict[int, tuple[int, int]] = {}
        for start, end in self._refused:
            touched = range(bisect_right(highs, start), bisect_left(lows, end))
            if touched:
                number = max(touched, key=lambda place: highs[place] - lows[place])
                known, count = found.get(number, (start, 0))
                found[number] = (min(known, start), count + 1)
        outages: list[Outage] = []
        for number, (start, count) in sorted(found.items()):
            low, high = gaps[number]
            begun = max(low, start)
            if number == len(gaps) - 1:
                outages += self._open(begun, count)
            elif high - begun > 0:
                outages.append(Outage(begun, high, count))
        return tuple(outages)

    def _open(self, start: int, count: int) -> tuple[Outage, ...]:
        return (Outage(start, None, count),) if self.latest - start >= BUCKET else ()
