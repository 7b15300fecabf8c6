"""Writing a history as it happens, and reading it back in flat memory. Standard library only, like `drills.records`.

One JSON record per line. Whoever measures hands over lines in chunks (`Recorder`), whoever keeps the file appends whole
chunks (`HistoryFile`); so a crash costs at most the last chunk, and at most one line is torn.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from drills.records import Damage, Marker, Operation, Record, decode, encode

CHUNK_LINES = 512
CHUNK_SECONDS = 0.2
"""A line waits at most this long before it leaves the process that measured it."""


class Recorder:
    """Collects lines and hands them to `sink` in chunks: after CHUNK_LINES lines, or CHUNK_SECONDS after the last chunk.

    Made for one thread (an event loop). `operations` counts the operations recorded.
    """

    def __init__(self, sink: Callable[[bytes], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock
        self._lines: list[str] = []
        self._sent = clock()
        self.operations = 0

    def operation(
        self,
        letter: str,
        client: int,
        op: int,
        lane: int,
        value: int,
        node: str,
        start: int,
        end: int,
        late: int,
        outcome: str,
        error: str | None = None,
    ) -> None:
        """Record one operation. `node` and `error` are plain words (no quotes or backslashes): nothing is escaped here,
        because this runs once per request and its cost is taken from what the clients can reach."""
        tail = '"]' if error is None else f'","{error}"]'
        lines = self._lines
        lines.append(f'["{letter}",{client},{op},{lane},{value},"{node}",{start},{end - start},{late},"{outcome}{tail}')
        self.operations += 1
        if len(lines) >= CHUNK_LINES:
            self.flush()

    def marker(self, record: Marker) -> None:
        """Record anything else."""
        self._lines.append(encode(record))
        if len(self._lines) >= CHUNK_LINES:
            self.flush()

    def tick(self) -> None:
        """To be called regularly: sends what has waited for CHUNK_SECONDS."""
        if self._lines and self._clock() - self._sent >= CHUNK_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is there, now."""
        if self._lines:
            lines, self._lines = self._lines, []
            lines.append("")
            self._sink("\n".join(lines).encode())
        self._sent = self._clock()


class HistoryFile:
    """The file under `DIR/history.jsonl`. Chunks are appended whole and reach the operating system at once, so they
    survive the death of this process. Safe to use from several threads; lines of different sources never mix.

    Raises OSError where the disk does (full, not permitted), at the write that failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def append(self, chunk: bytes) -> None:
        """Append whole lines."""
        if not chunk.endswith(b"\n"):
            raise ValueError("a chunk of a history ends with a line end")
        with self._lock:
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]

    def add(self, record: Operation | Marker) -> None:
        """Append one record."""
        self.append(encode(record).encode() + b"\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Record]:
    """The records of a history file, one after the other, in flat memory.

    Nothing in the file is fatal: a line that is no record comes out as `Damage`, an unfinished last line as torn damage.
    """
    with path.open("rb") as lines:
        yield from parse(lines)


def parse(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records in `lines`; see `read_history`."""
    for number, line in enumerate(lines, 1):
        try:
            record: Record = decode(line)
        except (ValueError, RecursionError) as error:
            torn = not line.endswith(b"\n")
            record = Damage(number, "the last line is not finished" if torn else str(error)[:200], torn)
        yield record


def write_history(path: Path, records: Iterable[Operation | Marker]) -> None:
    """Write a whole history at once, for tests and for doctored copies."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(encode(record))
            file.write("\n")
