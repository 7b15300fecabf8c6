"""An RDB as a stream: taken from a server as a replica does (PSYNC), and the few facts that stand at its head.

Nothing is kept: the bytes go on to whoever takes them. The formats are those of `rdb.h` and of the replication protocol.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from operations.backup.pace import Pace
from operations.errors import Unreachable
from operations.inventory import NodeEntry

CHUNK_BYTES = 1 << 18
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 60.0
"""A server sends a newline now and then while its snapshot begins; longer silence means that it hangs."""
MARK_BYTES = 40
LINE_BYTES = 64 * 1024


class StreamBroken(Unreachable):
    """A server did not give its snapshot, or not to the end; what came so far is worth nothing."""


@dataclass(frozen=True)
class Begun:
    """A snapshot that a server has agreed to send: its replication id and the offset that the snapshot stands for."""

    replication_id: str
    offset: int


class SnapshotStream:
    """The RDB of one node, as it sends it to a new replica. Use as a context: leaving it drops the connection.

    `known_as`: the address of a node that sentinels know already. They take whoever reads a primary for a new replica, which
    would be down for ever afterwards (seen; INFO of the primary lists it), unless it goes by the name of one that they know.
    `pace`: how fast it is read, together with others that have the same; None for as fast as it comes.
    """

    def __init__(
        self, node: NodeEntry, user: str, password: str, address: tuple[str, int], known_as: tuple[str, int] | None = None,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self._node = node
        self._known_as = known_as
        self._login = (user, password)
        self._address = address
        self._pace = pace
        self._buffer = b""
        self._socket: socket.socket | None = None

    def __enter__(self) -> "SnapshotStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; the server gives up a snapshot that nobody waits for."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def begin(self) -> Begun:
        """Log in and ask for a snapshot; raises StreamBroken with the server's reason, Unreachable when it does not answer."""
        try:
            self._socket = self._connect()
            self._ask("AUTH", *self._login)
            if self._known_as is not None:
                self._ask("REPLCONF", "ip-address", self._known_as[0], "listening-port", str(self._known_as[1]))
            # A snapshot alone, without the writes that follow it, in the form that needs no file on the server.
            self._ask("REPLCONF", "rdb-only", "1")
            self._ask("REPLCONF", "capa", "eof", "capa", "psync2")
            answer = self._ask("PSYNC", "?", "-1").split()
        except OSError as error:
            raise Unreachable(f"{self._node.name} does not give a snapshot: {error}") from None
        if len(answer) != 3 or answer[0] != "+FULLRESYNC":
            raise StreamBroken(f"{self._node.name} answered {' '.join(answer)!r} to a request for a snapshot")
        return Begun(answer[1], int(answer[2]))

    def chunks(self, on_first: Callable[[], None]) -> Iterator[memoryview]:
        """The bytes of the RDB, each chunk good until the next one is asked for; `on_first` is called when the first arrives.

        Raises StreamBroken when they end too early.
        """
        try:
            head = self._line()
            while head == "":  # the server is still at it
                head = self._line()
            on_first()
            if head.startswith("$EOF:"):
                yield from self._until(head.removeprefix("$EOF:").encode())
            elif head.startswith("$"):
                yield from self._exactly(int(head[1:]))
            else:
                raise StreamBroken(f"{self._node.name} refused to send its snapshot: {head}")
        except OSError as error:
            raise StreamBroken(f"{self._node.name} stopped sending its snapshot: {error}") from None

    def _connect(self) -> socket.socket:
        made = socket.create_connection(self._address, CONNECT_SECONDS)
        made.settimeout(SILENCE_SECONDS)
        if self._pace is not None:  # a large buffer of the kernel's would be filled in bursts
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * self._pace.portion_bytes)
        return made

    def _ask(self, *words: str) -> str:
        assert self._socket is not None  # noqa: S101 - opened before
        packed = b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words)
        self._socket.sendall(b"*%d\r\n" % len(words) + packed)
        answer = self._line()
        while answer == "":
            answer = self._line()
        if answer.startswith("-"):
            raise StreamBroken(f"{self._node.name} refused {words[0]}: {answer[1:]}")
        return answer

    def _line(self) -> str:
        assert self._socket is not None  # noqa: S101 - opened before
        while b"\n" not in self._buffer:
            if len(self._buffer) > LINE_BYTES:
                raise StreamBroken(f"{self._node.name} sent no Redis answer")
            if not (data := self._socket.recv(LINE_BYTES)):
                raise self._cut_off()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode(errors="replace")

    def _exactly(self, length: int) -> Iterator[memoryview]:
        pieces = self._pieces(0)
        while length:
            data = next(pieces)[:length]
            yield data
            length -= len(data)

    def _until(self, mark: bytes) -> Iterator[memoryview]:
        if len(mark) != MARK_BYTES:
            raise StreamBroken(f"{self._node.name} announced its snapshot in a form that is not understood")
        for data in self._pieces(MARK_BYTES):
            yield data[:-MARK_BYTES]
            if data[-MARK_BYTES:] == mark:
                return

    def _pieces(self, kept: int) -> Iterator[memoryview]:
        """What comes, in one buffer that is used again and again: the last `kept` bytes of a piece are the first of the next."""
        room = memoryview(bytearray(kept + CHUNK_BYTES))
        filled = len(self._buffer)
        room[:filled], self._buffer = self._buffer, b""
        while True:
            if filled:
                yield room[:filled]
            held = min(kept, filled)
            room[:held] = room[filled - held : filled]
            filled = held + self._receive(room[held:])

    def _receive(self, room: memoryview) -> int:
        """Wait for bytes and read what is there, or a portion of it; returns how many."""
        assert self._socket is not None  # noqa: S101 - opened before
        if self._pace is not None:
            room = room[: self._pace.portion_bytes]
        if not (size := self._socket.recv_into(room)):
            raise self._cut_off()
        if self._pace is not None:
            self._pace.took(size)
        return size

    def _cut_off(self) -> StreamBroken:
        return StreamBroken(f"{self._node.name} closed the connection before its snapshot was complete")
