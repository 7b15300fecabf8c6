"""Connections to single nodes: who answers is checked before any write, and every way of not answering gets its own sentence.

The servers are a few lines in this process that speak just enough of the protocol.
"""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from operations.clients import mapped
from operations.connect import Fleet, Link, Refused, Timeouts, endpoint, identity, identity_problem
from operations.errors import NotOurs, ToolkitError, Unreachable
from operations.inventory import Access, Credentials, NodeEntry
from operations.steps import Action, act
from tests.unit.states import inventory_of

INVENTORY = inventory_of("standalone")
NODE = INVENTORY.node("node-1")
QUICK = Timeouts(connect_seconds=0.3, command_seconds=0.3)
PATIENT = Timeouts(connect_seconds=5.0, command_seconds=5.0)
"""For whatever is answered: a busy machine may be slow to do so."""
OURS = f"{{title}} {{listen-addr}} {identity('shop', 'node-1')}"

Answer = Callable[[list[str]], bytes]


def access_to(port: int) -> Access:
    node = NODE.model_copy(update={"host_port": port})
    inventory = INVENTORY.model_copy(update={"nodes": (node,)})
    return Access(inventory=inventory, credentials=Credentials.of({"admin": "hunter2"}))


def link_to(port: int, timeouts: Timeouts = PATIENT) -> Link:
    access = access_to(port)
    return Link(access, access.inventory.nodes[0], timeouts=timeouts)


def bulk(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(w)}\r\n{w}\r\n".encode() for w in words)


def titled(title: str, received: list[list[str]]) -> Answer:
    """A server with this process title that says yes to everything and keeps what it was told."""

    def answer(words: list[str]) -> bytes:
        if words[:2] == ["CONFIG", "GET"]:
            return bulk("proc-title-template", title)
        if words[0] != "AUTH":
            received.append(words)
        return b"-ERR no such thing\r\n" if words[0] == "WRONG" else b"+OK\r\n"

    return answer


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """A server on a free port of this machine that answers each command by a function."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while header := self.rfile.readline():
                words = []
                for _ in range(int(header[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:-2].decode())
                reply = answer(words)
                if not reply:
                    return
                self.wfile.write(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_the_right_node_is_written_to() -> None:
    received: list[list[str]] = []
    with serving(titled(OURS, received)) as port, Fleet(access_to(port), timeouts=PATIENT) as fleet:
        refusals = act(fleet, [Action("node-1", (("REPLICAOF", "NO", "ONE"), ("WRONG",)), None)], Credentials.of({}))
    assert received == [["REPLICAOF", "NO", "ONE"], ["WRONG"]]
    assert refusals == ["node-1 refused WRONG: no such thing"]


@pytest.mark.parametrize(
    ("title", "phrase"),
    [
        ("{title} {listen-addr}", "it is not marked as a node of this toolkit"),
        (f"{{title}} {identity('other', 'node-1')}", "it calls itself other/node-1"),
        (f"{{title}} {identity('shop', 'node-10')}", "it calls itself shop/node-10"),
    ],
)
def test_a_stranger_is_never_written_to(title: str, phrase: str) -> None:
    received: list[list[str]] = []
    with serving(titled(title, received)) as port, Fleet(access_to(port), timeouts=PATIENT) as fleet:
        (refusal,) = act(fleet, [Action("node-1", (("REPLICAOF", "NO", "ONE"),), None)], Credentials.of({}))
    assert received == []
    assert phrase in refusal
    assert f"127.0.0.1:{port}" in refusal
    assert "nothing was written to it" in refusal


def test_whoever_answers_a_new_connection_has_to_prove_itself_again() -> None:
    received: list[list[str]] = []
    titles = [OURS, "{title}"]

    def answer(words: list[str]) -> bytes:
        if words[0] == "HANGUP":
            titles.pop(0)
            return b""
        return titled(titles[0], received)(words)

    with serving(answer) as port:
        link = link_to(port)
        link.ensure_ours()
        with pytest.raises(Unreachable, match="closed the connection"):
            link.ask("HANGUP")
        with pytest.raises(NotOurs):
            link.ensure_ours()
        link.close()


def test_a_closed_port_names_the_container() -> None:
    with serving(titled(OURS, [])) as port:
        pass
    with pytest.raises(Unreachable, match=f"nothing listens for node-1 at 127.0.0.1:{port}; container redis-shop-node-1"):
        link_to(port).ask("PING")


def test_a_hung_server_is_given_up_in_the_stated_time() -> None:
    release = threading.Event()

    def hang(_words: list[str]) -> bytes:
        release.wait(5)
        return b""

    with serving(hang) as port:
        started = time.monotonic()
        with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
            link_to(port, QUICK).ask("PING")
        assert time.monotonic() - started < 4
        release.set()


def test_a_wrong_password_means_another_server() -> None:
    with (
        serving(lambda _words: b"-WRONGPASS invalid username-password pair\r\n") as port,
        pytest.raises(NotOurs, match="refuses user admin with this stack's password"),
    ):
        link_to(port).ask("PING")


def test_something_else_than_redis_is_no_node() -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with serving(lambda _words: answer) as port, pytest.raises(NotOurs, match="is no Redis server"):
        link_to(port).ask("PING")


def test_one_refused_command_does_not_spoil_the_others() -> None:
    with serving(titled(OURS, [])) as port:
        link = link_to(port)
        first, second, third = link.ask_all([["PING"], ["WRONG"], ["PING"]])
        assert (first, third) == ("OK", "OK")
        assert isinstance(second, Refused)
        with pytest.raises(Refused, match="no such thing"):
            link.ask("WRONG")
        link.close()


def test_a_fleet_turns_failures_into_values() -> None:
    with serving(titled(OURS, [])) as port:
        access = access_to(port)
        alive = access.inventory.nodes[0]
        dead = alive.model_copy(update={"name": "node-2", "host_port": 1})
        with Fleet(access, [alive, dead], timeouts=PATIENT) as fleet:
            answers = fleet.each(lambda link: link.ask("PING"))
    assert answers["node-1"] == "OK"
    assert isinstance(answers["node-2"], Unreachable)


def test_no_password_shows_in_an_error() -> None:
    for answer in (lambda _words: b"-WRONGPASS no\r\n", lambda _words: b""):
        with serving(answer) as port, pytest.raises(ToolkitError) as caught:
            link_to(port).ask("PING")
        assert "hunter2" not in str(caught.value)


def test_addresses_are_mapped_to_published_ports_and_others_left_alone() -> None:
    cluster = inventory_of("cluster")
    node = cluster.node("node-2-1")
    assert mapped(cluster, node.address, 6379) == ("127.0.0.1", node.host_port)
    assert mapped(cluster, "10.9.9.9", 6379) == ("10.9.9.9", 6379)


def test_an_unpublished_node_is_reached_at_its_own_address() -> None:
    hidden: NodeEntry = NODE.model_copy(update={"host_port": 0})
    assert endpoint(NODE) == ("127.0.0.1", NODE.host_port)
    assert endpoint(hidden) == (NODE.address, 6379)


def test_a_name_that_only_begins_like_ours_is_another() -> None:
    assert identity_problem("shop", NODE, OURS) is None
    assert identity_problem("shop", NODE, OURS + "0") is not None
