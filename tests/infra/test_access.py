"""Users and rights

What a user may do is asked with ACL DRYRUN, which runs nothing: a wrong answer must not cost anybody's data. One harmless
command of each user is then really tried.
"""

from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from operations.connect import endpoint
from operations.parse import items, pairs
from tests.infra.subject import Subject

KEY = "verify:key"
ASKS_CLUSTER = ("CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER INFO")
ADMINISTERS = (
    "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "ACL LIST", "ACL SETUSER x", "ACL LOAD",
    "FLUSHALL", "FLUSHDB", "SHUTDOWN", "DEBUG SLEEP 0", "REPLICAOF NO ONE", "MONITOR", "SAVE", "BGREWRITEAOF",
    "MODULE LIST", "CLIENT KILL 127.0.0.1:1", "CLUSTER RESET", "CLUSTER MEET 127.0.0.1 1", "CLUSTER FAILOVER",
    "SLOWLOG RESET", "SWAPDB 0 1", "KEYS *", "CLIENT PAUSE 1", "CLIENT LIST", "LATENCY RESET",
)  # fmt: skip
READS = (f"GET {KEY}", f"HGETALL {KEY}", f"DUMP {KEY}", "SCAN 0")
WRITES = (f"SET {KEY} 1", f"DEL {KEY}", f"EXPIRE {KEY} 1", f"XADD {KEY} * a 1")

DATA_MAY = {
    "app": (
        *READS[:2], *WRITES, *ASKS_CLUSTER, "SCAN 0", "PING", "INFO", "ROLE", "WAIT 0 1", "MULTI", "EXEC", f"WATCH {KEY}",
        "SUBSCRIBE verify", "PUBLISH verify 1", "SPUBLISH verify 1", f"EVAL return 0 {KEY}", "CLIENT SETNAME verify", "DBSIZE",
    ),
    "admin": (*READS, *WRITES, *ADMINISTERS, *ASKS_CLUSTER),
    "replication": ("PING", "PSYNC ? -1", "REPLCONF ACK 1"),
    "sentinel": (
        "PING", "INFO", "ROLE", "MULTI", "EXEC", "SLAVEOF NO ONE", "CONFIG REWRITE", "SUBSCRIBE __sentinel__:hello",
        "PUBLISH __sentinel__:hello 1", "CLIENT KILL TYPE normal", "SCRIPT KILL",
    ),
    "monitor": (
        *ASKS_CLUSTER, "PING", "INFO", "ROLE", "SLOWLOG GET", "SLOWLOG LEN", "LATENCY LATEST", "MEMORY STATS", "DBSIZE",
        "LASTSAVE",
    ),
    "backup": (*READS, *ASKS_CLUSTER, "PING", "INFO", "BGSAVE", "LASTSAVE", "PSYNC ? -1", f"PTTL {KEY}", f"TYPE {KEY}",
        "CLIENT PAUSE 1", "CLIENT UNPAUSE"),
}  # fmt: skip
DATA_MUST_NOT = {
    "app": ADMINISTERS,
    "admin": (),
    "replication": (*READS, *WRITES, *ADMINISTERS, "INFO", "EVAL return 0"),
    "sentinel": (*READS, *WRITES, *(set(ADMINISTERS) - {"REPLICAOF NO ONE", "CONFIG REWRITE", "CLIENT KILL 127.0.0.1:1"})),
    "monitor": (*READS, *WRITES, *ADMINISTERS, "PSYNC ? -1", f"EVAL return 0 {KEY}", "SUBSCRIBE verify"),
    # It pauses writers while it begins the snapshots of a consistent backup.
    "backup": (*WRITES, *(set(ADMINISTERS) - {"CLIENT PAUSE 1"}), f"RESTORE {KEY} 0 x", f"EVAL return 0 {KEY}"),
}

SENTINEL_ASKS = (
    "SENTINEL GET-MASTER-ADDR-BY-NAME main", "SENTINEL REPLICAS main", "SENTINEL SENTINELS main", "SENTINEL MASTERS",
    "SENTINEL CKQUORUM main",
)  # fmt: skip
SENTINEL_COMMANDS = (
    "SENTINEL FAILOVER main", "SENTINEL SET main quorum 1", "SENTINEL REMOVE main", "SENTINEL MONITOR x 127.0.0.1 1 1",
    "SENTINEL RESET *", "SENTINEL FLUSHCONFIG", "ACL LIST", "SHUTDOWN", "CLIENT KILL 127.0.0.1:1", "CLIENT PAUSE 1",
)  # fmt: skip
SENTINEL_MAY = {
    "app": (*SENTINEL_ASKS, "PING", "SUBSCRIBE +switch-master"),
    "admin": (*SENTINEL_ASKS, *SENTINEL_COMMANDS),
    "sentinel": ("PING", "INFO", "PUBLISH __sentinel__:hello 1", "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *"),
    "monitor": (*SENTINEL_ASKS, "PING", "INFO"),
}
SENTINEL_MUST_NOT = {
    "app": SENTINEL_COMMANDS,
    "admin": (),
    "sentinel": SENTINEL_COMMANDS,
    "monitor": SENTINEL_COMMANDS,
}


def stranger(node: Subject, username: str | None = None, password: str | None = None) -> Any:
    """A client that knows no password of the stack, and does not try a second time."""
    host, port = endpoint(node.entry)
    options: dict[str, Any] = {"socket_connect_timeout": 2, "socket_timeout": 2, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
    return redis.Redis(host, port, username=username, password=password, **options)


@pytest.mark.parametrize("command", ["PING", "GET verify:key", "INFO", "CONFIG GET save", "ACL LIST", "CLUSTER NODES"])
def test_a_client_without_a_password_is_refused(data_node: Subject, command: str) -> None:
    assert_refused_without_password(data_node, command)


def assert_refused_without_password(node: Subject, command: str) -> None:
    with stranger(node) as client, pytest.raises(redis.AuthenticationError, match="Authentication required"):
        client.execute_command(*command.split())


@pytest.mark.parametrize("user", ["default", "app", "admin", "nobody"])
def test_a_wrong_password_is_refused(node: Subject, user: str) -> None:
    with stranger(node, user, "wrong") as client, pytest.raises(redis.AuthenticationError, match=r"WRONGPASS|invalid"):
        client.ping()


def test_the_default_user_is_off_and_has_no_rights(node: Subject) -> None:
    user = pairs(node.ask("ACL", "GETUSER", "default"))
    assert "off" in items(user["flags"])
    assert "nopass" not in items(user["flags"])
    assert user["commands"] == "-@all"


def test_only_the_declared_users_exist_and_all_need_a_password(node: Subject) -> None:
    wanted = SENTINEL_MAY if node.entry.is_sentinel else DATA_MAY
    assert set(map(str, items(node.ask("ACL", "USERS")))) == {"default", *wanted}
    for user in wanted:
        flags = items(pairs(node.ask("ACL", "GETUSER", user))["flags"])
        assert "on" in flags and "nopass" not in flags, f"{user} on {node.name}: {flags}"


def test_every_user_can_log_in_with_its_own_password(node: Subject) -> None:
    users = SENTINEL_MAY if node.entry.is_sentinel else DATA_MAY
    for user in users:
        assert node.ask("PING", user=user) == "PONG", f"{user} on {node.name}"


@pytest.mark.parametrize("user", DATA_MAY)
def test_a_user_of_a_data_node_can_do_what_it_needs(data_node: Subject, user: str) -> None:
    refused = [command for command in DATA_MAY[user] if not data_node.may(user, command)]
    assert not refused, f"{data_node.name} refuses {user}: {refused}"


@pytest.mark.parametrize("user", [user for user, commands in DATA_MUST_NOT.items() if commands])
def test_a_user_of_a_data_node_cannot_do_what_it_must_not(data_node: Subject, user: str) -> None:
    allowed = [command for command in DATA_MUST_NOT[user] if data_node.may(user, command)]
    assert not allowed, f"{data_node.name} lets {user} run {allowed}"


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("app", "CONFIG GET requirepass"),
        ("monitor", f"GET {KEY}"),
        ("monitor", "CONFIG GET masterauth"),
        ("replication", f"GET {KEY}"),
        ("sentinel", f"GET {KEY}"),
        ("backup", "CONFIG GET save"),
    ],
)
def test_the_server_really_refuses_what_a_user_must_not_do(data_node: Subject, user: str, command: str) -> None:
    refusal = data_node.refusal(*command.split(), user=user)
    assert "NOPERM" in refusal or "no permissions" in refusal, refusal
