"""Could clients and servers run at all? What takes too long on a machine that stands still tells nothing about the stack."""

from bisect import bisect_right

from drills.checkers.base import SECOND, OnePass
from drills.records import Record, Stall


class Stalls(OnePass):
    """Fold over the late heartbeats of the drill's own processes."""

    def __init__(self) -> None:
        self._stalls: list[tuple[int, int]] = []
        self._joined: list[tuple[int, int]] | None = None

    def see(self, record: Record) -> None:
        if isinstance(record, Stall):
            self._stalls.append((record.at, record.until))
            self._joined = None

    def _union(self) -> list[tuple[int, int]]:
        """Stretches in which some process was late, in order, none touching another."""
        if self._joined is None:
            self._joined = []
            for start, end in sorted(self._stalls):
                if self._joined and start <= self._joined[-1][1]:
                    self._joined[-1] = (self._joined[-1][0], max(end, self._joined[-1][1]))
                else:
                    self._joined.append((start, end))
        return self._joined

    def seconds(self, start: int, end: int) -> float:
        """Of the time from `start` to `end` (nanoseconds of the history), that in which a process of the drill could not run."""
        union = self._union()
        first = max(0, bisect_right(union, (start, start)) - 1)
        return sum(max(0, min(end, high) - max(start, low)) for low, high in union[first:]) / SECOND

    def share(self, start: int, end: int | None) -> float | None:
        """The same as a share of the time, 0 to 1; None when there was none."""
        return None if end is None or end <= start else self.seconds(start, end) * SECOND / (end - start)
