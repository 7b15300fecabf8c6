"""A cluster that is gone is a trouble like any other, so that applications go on without it."""

from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, SlotNotCoveredError

from applications.call import Confirm, Script, run
from drills.workload import connections
from drills.workload.settings import Settings, Target
from operations.cluster_client import MappedCluster


def test_a_cluster_without_any_node_is_a_trouble_of_the_connection() -> None:
    nobody = Settings(run="r", way="cluster", targets=(Target("node-1", "127.0.0.1", 1),), username="app", password="secret")
    with pytest.raises(redis.ConnectionError, match="cannot be connected"):
        connections.connect(nobody)


@pytest.mark.parametrize(
    "error", [RedisClusterException("Redis Cluster cannot be connected. Please …"), SlotNotCoveredError("Slot 7 is not covered")]
)
def test_a_command_to_a_cluster_that_is_gone_fails_as_any_other(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    client = commanding(error, monkeypatch)
    with pytest.raises(redis.ConnectionError, match=str(error)[:20]):
        client.get("a")


def test_a_command_that_can_never_be_sent_stays_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    client = commanding(RedisClusterException("all keys must map to the same key slot"), monkeypatch)
    with pytest.raises(RedisClusterException):
        client.mget("a", "b")


def commanding(error: Exception, monkeypatch: pytest.MonkeyPatch) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(RedisCluster, "execute_command", fail)
    monkeypatch.setattr(RedisCluster, "__del__", lambda _self: None)
    return MappedCluster.__new__(MappedCluster)


def test_applications_meet_a_redis_error_also_where_redis_py_raises_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RedisClusterException("Redis Cluster cannot be connected.")

    monkeypatch.setattr(RedisCluster, "execute_command", fail)
    monkeypatch.setattr(RedisCluster, "__del__", lambda _self: None)
    plain = RedisCluster.__new__(RedisCluster)
    with pytest.raises(redis.ConnectionError, match="cannot be connected"):
        run(plain, Script("return 1"), ["key"])


def test_a_confirmed_write_to_a_slot_that_nobody_serves_is_a_trouble_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_key: str) -> None:
        raise SlotNotCoveredError("Slot 7 is not covered")

    client = commanding(AssertionError(), monkeypatch)
    client.get_node_from_key = nobody
    with pytest.raises(redis.ConnectionError, match="not covered"):
        run(client, Script("return 1"), ["key"], confirm=Confirm(1))
