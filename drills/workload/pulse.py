"""A heartbeat inside the processes of a drill. Servers and clients run for a moment and sleep again; so does this. When it is
late, they could not run either, and what took long then tells nothing about the stack."""

import threading
import time
from collections.abc import Callable

from drills.records import Stall, encode

BEAT_SECONDS = 0.02
LATE_NS = 10_000_000
"""Less is what any machine does now and then."""


class Pulse(threading.Thread):
    """Beats until `ended` is set; each stall goes to `tell` as a line of the history, in times that count from `origin`."""

    def __init__(self, where: str, origin: int, ended: threading.Event, tell: Callable[[str], None]) -> None:
        super().__init__(name="pulse", daemon=True)
        self._where = where
        self._origin = origin
        self._ended = ended
        self._tell = tell

    def run(self) -> None:
        beat = int(BEAT_SECONDS * 1e9)
        while not self._ended.is_set():
            due = time.monotonic_ns() + beat
            time.sleep(BEAT_SECONDS)
            now = time.monotonic_ns()
            if now - due > LATE_NS:
                self._tell(encode(Stall(due - self._origin, now - self._origin, self._where)))
