"""An RDB as a stream: taken from a server as a replica does (PSYNC), and the few facts that stand at its head.

Nothing is kept: the bytes go on to whoever takes them. The formats are those of `rdb.h` and of the replication protocol.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    """

    def __init__(
        self, node: NodeEntry, user: str, password: str, address: tuple[str, int], known_as: tuple[str, int] | None = None
    ) -> None:
        self._node = node
        self._known_as = known_as
        self._login = (user, password)
        self._address = address
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
            self._socket = socket.create_connection(self._address, CONNECT_SECONDS)
            self._socket.settimeout(SILENCE_SECONDS)
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

    def chunks(self, on_first: Callable[[], None]) -> Iterator[bytes]:
        """The bytes of the RDB; `on_first` is called when the first arrives. Raises StreamBroken when they end too early."""
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
        while b"\n" not in self._buffer:
            if len(self._buffer) > LINE_BYTES:
                raise StreamBroken(f"{self._node.name} sent no Redis answer")
            self._buffer += self._receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode(errors="replace")

    def _receive(self) -> bytes:
        assert self._socket is not None  # noqa: S101 - opened before
        data = self._socket.recv(CHUNK_BYTES)
        if not data:
            raise StreamBroken(f"{self._node.name} closed the connection before its snapshot was complete")
        return data

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            data, self._buffer = self._buffer or self._receive(), b""
            yield data[:length]
            length -= len(data[:length])

    def _until(self, mark: bytes) -> Iterator[bytes]:
        if len(mark) != MARK_BYTES:
            raise StreamBroken(f"{self._node.name} announced its snapshot in a form that is not understood")
        data, self._buffer = self._buffer, b""
        while not data.endswith(mark):
            if len(data) > MARK_BYTES:
                yield data[:-MARK_BYTES]
                data = data[-MARK_BYTES:]
            data += self._receive()
        if rest := data[:-MARK_BYTES]:
            yield rest
