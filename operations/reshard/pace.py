"""How much a move may take from clients: how long a node works in one go, how much of the time, how many bytes a second.

A burst of MIGRATE holds its source, which answers nobody meanwhile. Bursts are cut by an estimate, and the estimate follows the
slow ones among those that were measured. Besides, what a client waits is measured directly: a PING to each end of the move every
few milliseconds. While these take too long, because the machines are busy, sources rest between their bursts. Too long is more
than the limit, and more than twice what it was before the move: resting does not help against what others do.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from operations.errors import ToolkitError
from operations.inventory import Access
from operations.reshard.wire import KeyLink

IN_FLIGHT = 2
"""Bursts of one source under way: while the answer to one comes back, the source works on the other."""
EXCHANGE_SECONDS = 0.0008
"""What an exchange with a node takes besides its work, most of it in this process. Without it small bursts would stay small."""
PING_SECONDS = 0.01
WINDOW = 64
"""Waits that are looked at together."""
SLOW_PART = 0.9
"""Of the waits in a window, this part has to be within the limit."""
LEAST_SHARE = 0.4
USUAL_PINGS = 20
USUAL_PAUSE_SECONDS = 0.002
SWITCH_SECONDS = 0.0005
"""How long a thread of this process may keep others waiting: with Python's default of 5 ms that would be what is measured."""


@dataclass(frozen=True)
class Limits:
    """`stall_seconds`: how long a node may be busy with moving before it serves clients again; no single key is split for it.

    `bytes_per_second`: most that one source gives, in memory bytes; None for as fast as clients allow.
    """

    stall_seconds: float = 0.005
    bytes_per_second: float | None = None


class Gate:
    """What the workers of one source share: few bursts are under way (`turn`), and the estimate of their time is corrected."""

    def __init__(self, limits: Limits) -> None:
        self.turn = threading.Semaphore(IN_FLIGHT)
        self._limits = limits
        self._factor = 1.0
        self._mutex = threading.Lock()
        self._next_start = 0.0
        self._last_end = 0.0

    def admits(self, estimated_seconds: float) -> bool:
        """Whether a burst may be as long as that."""
        return estimated_seconds * self._factor <= self._limits.stall_seconds / IN_FLIGHT

    def wait(self, now: float) -> float:
        """Seconds until the next burst may begin."""
        with self._mutex:
            return max(0.0, self._next_start - now)

    def learn(self, estimated_seconds: float, began: float, ended: float, moved_bytes: int, share: float) -> float:
        """The seconds that a burst held the source, which was busy with the one before at first.

        The estimate follows slow bursts at once, quick ones slowly: the slow ones are what clients notice. The next may begin
        when moving takes no more than `share` of the source's time, and no more bytes a second than allowed.
        """
        with self._mutex:
            began = max(began, self._last_end)
            took = max(1e-6, ended - began)
            self._last_end = ended
            seen = max(0.0, took - EXCHANGE_SECONDS) / estimated_seconds
            weight = 0.5 if seen > self._factor else 0.05
            self._factor = min(8.0, max(0.1, (1 - weight) * self._factor + weight * seen))
            spacing = took / share
            if self._limits.bytes_per_second:
                spacing = max(spacing, moved_bytes / self._limits.bytes_per_second)
            self._next_start = max(self._next_start, began) + spacing
        return took


class Pace:
    """The part of its time that a source may spend on moving: less while waits are over the limit, up to all of it otherwise."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.stall_seconds
        self._waits: deque[float] = deque(maxlen=WINDOW)
        self._new = 0
        self.share = 1.0

    def expect(self, usual_seconds: float) -> None:
        """What a slow wait was before the move."""
        self._limit = max(self._limit, 2 * usual_seconds)

    def saw(self, wait_seconds: float) -> None:
        """A client's wait was measured."""
        self._waits.append(wait_seconds)
        self._new += 1
        if self._new < WINDOW // 4:
            return
        self._new = 0
        if slow_one(self._waits) > self._limit:
            self.share = max(LEAST_SHARE, self.share * 0.8)
        else:
            self.share = min(1.0, self.share * 1.15)


def slow_one(waits: Collection[float]) -> float:
    """A wait that all but the slowest tenth are within."""
    return sorted(waits)[int(len(waits) * SLOW_PART)]


def usual_wait(access: Access, nodes: Iterable[str]) -> float:
    """A slow wait at these nodes now, in seconds; nodes that do not answer do not count, which the mover notices."""
    waits = [0.0]
    links = [KeyLink(access, access.inventory.node(name)) for name in sorted(nodes)]
    try:
        for number in range(1 + USUAL_PINGS):
            for link in tuple(links):
                began = time.perf_counter()
                try:
                    link.raw([("PING",)])
                except ToolkitError:
                    links.remove(link)
                    continue
                if number:  # the first one opens the connection
                    waits.append(time.perf_counter() - began)
            time.sleep(USUAL_PAUSE_SECONDS)
    finally:
        for link in links:
            link.close()
    return slow_one(waits)


def watch_waits(access: Access, nodes: Iterable[str], pace: Pace, stop: threading.Event) -> None:
    """Measure what clients of `nodes` wait until `stop` is set; a node that does not answer is left to the mover to notice."""
    links = [KeyLink(access, access.inventory.node(name)) for name in sorted(nodes)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        while not stop.is_set():
            for link in links:
                began = time.perf_counter()
                try:
                    link.raw([("PING",)])
                except ToolkitError:
                    stop.wait(1.0)
                    continue
                pace.saw(time.perf_counter() - began)
                stop.wait(PING_SECONDS)
    finally:
        sys.setswitchinterval(usual)
        for link in links:
            link.close()
