"""How a request of an application is sent: what a cluster cannot take is refused before it is sent."""

from typing import Any

import pytest
from redis.cluster import RedisCluster

from applications.call import Confirm, NoCommonSlot, NotConfirmed, Script, run
from applications.session import Sessions


class Cluster(RedisCluster):
    """Reaches nobody, and keeps what it was to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def __del__(self) -> None:
        """There is nothing to close."""

    def execute_command(self, *args: Any, **_options: Any) -> Any:
        self.sent.append(args)


SCRIPT = Script("return 1")


def test_several_keys_without_a_common_slot_are_refused_with_the_reason_and_nothing_is_sent() -> None:
    client = Cluster()
    with pytest.raises(NoCommonSlot, match=r"board in slot \d+, once:1 in slot \d+; give all one {hash tag}"):
        run(client, SCRIPT, ["board", "once:1"])
    assert client.sent == []


def test_keys_with_one_hash_tag_go_together_to_a_cluster_and_any_keys_to_one_server() -> None:
    client = Cluster()
    run(client, SCRIPT, ["board:{a}", "once:{a}:1"], "x")
    assert client.sent == [("EVALSHA", SCRIPT.digest, 2, "board:{a}", "once:{a}:1", "x")]

    class One:
        def execute_command(self, *args: Any) -> int:
            return len(args)

    assert run(One(), SCRIPT, ["board", "once:1"]) == 5


class Alone:
    """A primary whose replicas are away: it takes everything, and nobody confirms."""

    def execute_command(self, *_: Any) -> list[bytes]:
        return [b"user", b"ann"]

    def pipeline(self, transaction: bool) -> "Alone":
        assert not transaction
        return self

    def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        return [[b"user", b"ann"], 0]


def test_a_change_of_a_session_is_confirmed_and_its_new_end_alone_is_not() -> None:
    sessions = Sessions(Alone(), 60, Confirm(1))
    assert sessions.use("s") == {"user": "ann"}
    with pytest.raises(NotConfirmed, match="0 of 1 replicas"):
        sessions.use("s", {"user": "bob"})
    assert Sessions(Alone(), 60).use("s", {"user": "bob"}) == {"user": "ann"}
