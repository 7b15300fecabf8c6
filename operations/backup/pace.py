"""How fast the snapshots of a backup are read, so that whoever works on the same machine hardly notices.

A server's child that nobody reads blocks in its pipe, and restic has nothing to do: whoever reads slowly slows all of them. Only
small portions keep it even. A second's worth at once would occupy the processors as long as a backup without any limit does.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PORTION_SECONDS = 0.004
"""What is read at once lasts so long at the rate that is allowed."""
LEAST_BYTES = 1 << 14
"""Servers hand a snapshot on in pieces of this size (PROTO_IOBUF_LEN); smaller portions would only be more of them."""
CATCH_UP_SECONDS = 0.02
"""A reader who was late may make good for so much; more would be a burst."""


@dataclass
class Pace:
    """The rate that all readers of one backup share. Safe to use from several threads."""

    bytes_per_second: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _free: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def portion_bytes(self) -> int:
        """What a reader should take at once."""
        return max(LEAST_BYTES, int(self.bytes_per_second * PORTION_SECONDS))

    def took(self, size: int) -> None:
        """Note that `size` bytes were read, and wait until the rate allows more."""
        with self._lock:
            now = self.clock()
            self._free = max(self._free, now - CATCH_UP_SECONDS) + size / self.bytes_per_second
            pause = self._free - now
        if pause > 0:
            self.sleep(pause)
