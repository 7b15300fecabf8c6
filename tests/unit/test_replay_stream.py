"""How keys are passed on (operations/replay/stream.py), against a scratch server and targets that are played here."""

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from operations.connect import Refused
from operations.errors import CheckFailed, ToolkitError
from operations.replay import stream as module
from operations.replay.errors import Moved
from operations.replay.stream import Notes, stream
from operations.replay.targets import Feed, Route
from operations.scratch import Session

KEYS = [b"key:%d" % number for number in range(95)]
STEP = 10
PACKED = 3


class Server:
    """A scratch server: SCAN gives `STEP` keys at a time, a pack at most `PACKED` of those asked for."""

    def __init__(self) -> None:
        self.replies: deque[Any] = deque()
        self.most_waiting = 0
        self.notes: dict[str, str] = {}

    def ask(self, *command: Any) -> Any:
        assert not self.replies, "a question in between would get the answer to another one"
        self.send(*command)
        return self.receive()

    def send(self, *command: Any) -> None:
        self.replies.append(self._answer(*command))
        self.most_waiting = max(self.most_waiting, len(self.replies))

    def receive(self) -> Any:
        return self.replies.popleft()

    def skip(self, replies: int) -> None:
        for _ in range(replies):
            self.receive()

    def _answer(self, word: str, *more: Any) -> Any:
        if word == "INFO":
            return b"db0:keys=95"
        if word == "GET":
            return self.notes.get(more[0])
        if word == "SET":
            self.notes[more[0]] = more[1]
        if word == "SCAN":
            at = int(more[0])
            following = at + STEP if at + STEP < len(KEYS) else 0
            return [str(following).encode(), KEYS[at : at + STEP]]
        if word == "EVAL_RO":
            keys = more[4:]
            return [b" ".join(keys[:PACKED]), len(keys[:PACKED]), len(keys[:PACKED]), []]
        return b"OK"


class Target:
    """Takes keys; fails once after `fails_after` pushes."""

    def __init__(self, fails_after: int = 10_000) -> None:
        self.keys: list[bytes] = []
        self.left = fails_after

    def push(self, commands: bytes, count: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Moved("it is gone")
        self.keys += commands.split(b" ") if count else []

    def settle(self) -> None: ...

    def select(self, database: int) -> None: ...


def passed(server: Server, targets: Sequence[Target]) -> module.Position:
    names = [f"node-{number}" for number in range(len(targets))]
    route = Route(tuple(names), {slot: names[slot % len(names)] for slot in range(16384)})
    feeds = cast(dict[str, Feed], dict(zip(names, targets, strict=True)))
    return stream(cast(Session, server), feeds, route, lambda *_: None)


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS_PER_NOTE", 2)


def test_every_key_arrives_once_and_the_server_is_asked_ahead() -> None:
    server, targets = Server(), [Target(), Target()]
    done = passed(server, targets)
    assert sorted(targets[0].keys + targets[1].keys) == sorted(KEYS)
    assert (done.keys, done.finished) == (len(KEYS), True)
    assert server.most_waiting > 2


def test_after_a_failover_of_a_target_it_goes_on_at_the_last_note_on_the_same_connection() -> None:
    server, targets = Server(), [Target(), Target(fails_after=9)]
    with pytest.raises(Moved):
        passed(server, targets)
    noted = Notes(cast(Session, server)).read("position")
    assert 0 < noted["keys"] < len(KEYS)
    assert passed(server, targets).keys == len(KEYS)
    assert set(targets[0].keys + targets[1].keys) == set(KEYS)


@pytest.fixture
def wire() -> Iterator[tuple[Feed, socket.socket]]:
    """A feed and the other end of its connection."""
    ours, theirs = socket.socketpair()
    feed = Feed.__new__(Feed)
    feed.node = cast(Any, SimpleNamespace(name="node-1"))
    feed._connection = SimpleNamespace(
        _sock=ours, send_packed_command=lambda packed, **_: ours.sendall(b"".join(packed)), disconnect=lambda: None
    )
    feed._waiting = 0
    yield feed, theirs
    ours.close()
    theirs.close()


def test_answers_are_counted_however_they_are_cut(wire: tuple[Feed, socket.socket]) -> None:
    feed, server = wire
    feed.push(b"three commands", 3)
    server.sendall(b"+OK\r\n+O")
    server.sendall(b"K\r")
    server.sendall(b"\n+OK\r\n")
    feed.settle()
    feed.push(b"one more", 1)
    assert server.recv(100) == b"three commandsone more"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"-MOVED 12 10.0.0.9:6379", Moved, "MOVED"),
        (b"-READONLY You can't write against a read only replica.", Moved, "read only"),
        (b"-CLUSTERDOWN The cluster is down", Moved, "down"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.", CheckFailed, "raise memory.maxmemory"),
        (b"-ERR DUMP payload version or checksum are wrong", CheckFailed, "newer engine"),
        (b"-ERR something else", CheckFailed, "refused a key: ERR something else"),
    ],
)
def test_one_refusal_among_many_answers_is_told(
    wire: tuple[Feed, socket.socket], answer: bytes, kind: type[ToolkitError], said: str
) -> None:
    feed, server = wire
    feed.push(b"", 3)
    server.sendall(b"+OK\r\n" + answer + b"\r\n+OK\r\n")
    with pytest.raises(kind, match=said):
        feed.settle()


def test_a_target_that_closes_the_connection_is_gone(wire: tuple[Feed, socket.socket]) -> None:
    feed, server = wire
    feed.push(b"", 2)
    server.sendall(b"+OK\r\n")
    server.close()
    with pytest.raises(Moved, match="node-1 is gone"):
        feed.settle()


def test_a_refused_step_is_no_refusal_of_a_target() -> None:
    class Refusing(Server):
        def receive(self) -> Any:
            answer = super().receive()
            if isinstance(answer, list) and self.replies:
                raise Refused("no")
            return answer

    with pytest.raises(Refused):
        passed(Refusing(), [Target()])
