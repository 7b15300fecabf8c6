"""The seconds that stand in append-only files: annotations between commands, and when a base was made.

Annotations (`#TS:1700000000`) are told from values that look like them by reading the commands around them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MARK = b"#TS:"
RDB_MAGIC = (b"REDIS", b"VALKEY")
AUX, AUX_LIMIT = 0xFA, 64
CREATED = b"ctime"
LINE_BYTES = 256
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Annotations:
    """What `scan` found; see `timeline.Increment`. `whole` is the number of bytes up to the end of the last whole command.

    `damaged`: something else than a command follows there. A command without its end is no damage: it was being written.
    """

    first: int | None
    last: int | None
    leads: bool
    clock_back: tuple[int, int] | None
    whole: int
    damaged: bool = False


UNREAD = Annotations(None, None, leads=False, clock_back=None, whole=0)
"""Of an increment of which nothing was read yet."""


class _Cut(Exception):
    """The file ends within a command."""


class _Damaged(Exception):
    """There is no command where one should be."""


def scan(path: Path, known: Annotations = UNREAD, end: int | None = None) -> Annotations:
    """Read an increment from where `known` ended, up to `end` bytes of the file (None: all of it)."""
    if known.damaged:
        return known
    first, last, leads, back, whole, damaged = known.first, known.last, known.leads, known.clock_back, known.whole, False
    with path.open("rb", buffering=1 << 20) as file:
        file.seek(whole)
        try:
            while line := _line(file):
                second = _number(line[len(MARK) :]) if line.startswith(MARK) else None
                if second is None and not line.startswith(b"*"):
                    raise _Damaged
                if second is None:
                    _skip(file, _number(line[1:]))
                if end is not None and file.tell() > end:
                    break
                if second is not None:
                    leads = leads or whole == 0
                    if last is not None and second < last:
                        back = (min(second, back[0]) if back else second, max(last, back[1]) if back else last)
                    first = second if first is None else first
                    last = second
                whole = file.tell()
        except _Cut:
            pass
        except _Damaged:
            damaged = True
    return Annotations(first, last, leads, back, whole, damaged)


def _line(file: BinaryIO) -> bytes:
    """The next line without its end, nothing at the end of the file."""
    line = file.readline(LINE_BYTES)
    if line and not line.endswith(b"\n"):
        raise _Cut if len(line) < LINE_BYTES else _Damaged
    if line and not line.endswith(b"\r\n"):
        raise _Damaged
    return line[:-2]


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise _Damaged
    return int(text)


def _skip(file: BinaryIO, words: int) -> None:
    """Go past the words of a command."""
    for _ in range(words):
        head = _line(file)
        if not head:
            raise _Cut
        if not head.startswith(b"$"):
            raise _Damaged
        left = _number(head[1:]) + 2
        while left:
            data = file.read(min(left, CHUNK_BYTES))
            if not data:
                raise _Cut
            left -= len(data)


def made(path: Path) -> int | None:
    """The second in which a base was made: from the head of an RDB, or the annotation at the head of commands; None: unknown."""
    with path.open("rb") as file:
        head = file.read(9)
        if head.startswith(MARK):
            return int((head + file.readline())[len(MARK) :])
        if not head.startswith(RDB_MAGIC):
            return None
        if head.startswith(RDB_MAGIC[1]):
            file.seek(9)
        for _ in range(AUX_LIMIT):
            if file.read(1) != bytes([AUX]):
                return None
            name, value = _word(file), _word(file)
            if name == CREATED and value is not None:
                return int(value)
    return None


def _word(file: BinaryIO) -> bytes | None:
    """A string of an RDB's head: with a length of 6, 14 or 32 bits, or an integer of 1, 2 or 4 bytes (rdb.h)."""
    kind = file.read(1)[0]
    if kind >> 6 == 0:
        return file.read(kind & 0x3F)
    if kind >> 6 == 1:
        return file.read((kind & 0x3F) << 8 | file.read(1)[0])
    if kind == 0x80:
        return file.read(int.from_bytes(file.read(4), "big"))
    if kind in (0xC0, 0xC1, 0xC2):
        return b"%d" % int.from_bytes(file.read(1 << (kind & 0x3F)), "little", signed=True)
    return None
