"""What status shows and ends with, and what the client command looks like."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from operations.errors import ExitCode
from operations.inventory import Access, Credentials, Inventory
from operations.observe import NodeState
from operations.verdict import verdict
from scripts.cli import client_options, exec_command
from scripts.status import data, exit_code_of, persistence_words, rows, size, view
from tests.unit.states import (
    PERSISTENCE,
    blank,
    foreign,
    formed,
    inventory_of,
    observed,
    primary,
    replicated,
    server,
    silent,
    watched,
)

CLUSTER = inventory_of("cluster")
SENTINEL = inventory_of("sentinel")
REPLICATION = inventory_of("replication")


def shown(inventory: Inventory, states: dict[str, NodeState]) -> str:
    seen = observed(inventory, states)
    out = io.StringIO()
    console = Console(file=out, width=140)
    console.print(view(seen, inventory, verdict(seen, inventory), ("a hint",)))
    return out.getvalue()


def ended(inventory: Inventory, states: dict[str, NodeState]) -> ExitCode:
    seen = observed(inventory, states)
    return exit_code_of(seen, verdict(seen, inventory))


def test_rows_show_the_live_role_not_the_provisioned_one() -> None:
    seen = observed(CLUSTER, formed(CLUSTER, {2: "node-2-2"}))
    found = {row.node: row for row in rows(seen, CLUSTER)}
    assert (found["node-2-2"].role, found["node-2-2"].slots, found["node-2-2"].slot_count) == ("primary", "5461-10921", 5461)
    assert (found["node-2-1"].role, found["node-2-1"].follows, found["node-2-1"].provisioned_role) == (
        "replica",
        "node-2-2",
        "primary",
    )
    assert [row.shard for row in rows(seen, CLUSTER)] == [1, 1, 2, 2, 3, 3]


def test_the_table_has_a_line_for_each_node_and_the_verdict() -> None:
    text = shown(CLUSTER, formed(CLUSTER))
    assert all(text.count(f" {node.name} ") >= 1 for node in CLUSTER.nodes)
    assert "0-5460 (5461)" in text
    assert "ok: 3 shards serve all 16384 slots, all 6 nodes agree" in text
    assert "hint: a hint" in text


def test_sentinels_stand_in_the_table_with_what_they_watch_and_slots_do_not() -> None:
    text = shown(SENTINEL, watched(SENTINEL, "node-2"))
    assert text.count("sentinel watches node-2") == 3
    assert "slots" not in text


def test_every_reason_is_listed_when_there_are_several() -> None:
    text = shown(REPLICATION, {"node-1": primary("node-1"), "node-2": silent("node-2"), "node-3": blank("node-3")})
    assert "nothing listens for node-2" in text
    assert "node-3 is blank and has no role yet" in text


def test_json_is_complete_and_plain() -> None:
    seen = observed(SENTINEL, watched(SENTINEL) | {"node-3": silent("node-3")})
    found = json.loads(json.dumps(data(seen, SENTINEL, verdict(seen, SENTINEL), ())))
    assert found["state"] == "degraded"
    assert [node["node"] for node in found["nodes"]] == [n.name for n in (*SENTINEL.data_nodes, *SENTINEL.sentinels)]
    replica = found["nodes"][1]
    assert (replica["role"], replica["follows"], replica["lag_bytes"], replica["keys"]) == ("replica", "node-1", 0, 10)
    assert found["nodes"][2]["problem"] == "nothing listens for node-3"
    assert found["nodes"][2]["role"] is None


def test_exit_codes_tell_ok_degraded_unknown_and_unreachable_apart() -> None:
    assert ended(REPLICATION, replicated(REPLICATION)) is ExitCode.OK
    assert ended(REPLICATION, replicated(REPLICATION) | {"node-3": silent("node-3")}) is ExitCode.MISSED
    assert ended(REPLICATION, {name: blank(name) for name in ("node-1", "node-2", "node-3")}) is ExitCode.MISSED
    assert ended(REPLICATION, replicated(REPLICATION) | {"node-3": foreign("node-3")}) is ExitCode.UNKNOWN
    assert ended(REPLICATION, {}) is ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "aof, ok"),
        ({"aof_enabled": False}, "no aof, ok"),
        ({"loading": True}, "aof, loading"),
        ({"rewrite_in_progress": True}, "aof, rewrite running"),
        ({"save_in_progress": True}, "aof, snapshot running"),
        ({"aof_last_write_ok": False}, "aof, write failed"),
        ({"aof_last_rewrite_ok": False}, "aof, rewrite failed"),
        ({"last_save_ok": False}, "aof, snapshot failed"),
    ],
)
def test_persistence_is_told_in_a_few_words(changes: dict[str, bool], words: str) -> None:
    state = NodeState("node-1", info=server(persistence=replace(PERSISTENCE, **changes)))
    assert persistence_words(state) == words


def test_sizes_are_short() -> None:
    assert [size(n) for n in (None, 0, 1023, 2359296, 3 * 1024**3)] == ["", "0B", "1023B", "2.2M", "3.0G"]


def access(inventory: Inventory) -> Access:
    return Access(inventory=inventory, credentials=Credentials.of({"admin": "hunter2", "app": "hunter3"}))


def test_the_client_command_holds_no_password_and_follows_slots_only_in_a_cluster() -> None:
    command = exec_command(access(CLUSTER), CLUSTER.node("node-2-1"), "admin", ["GET", "k"], terminal=True)
    assert command[:3] == ["docker", "exec", "-it"]
    assert command[-2:] == ["GET", "k"]
    assert "redis-shop-node-2-1" in command
    assert "REDISCLI_AUTH" in command
    assert not any("hunter" in word for word in command)
    assert "-c" in client_options(access(CLUSTER), CLUSTER.node("node-2-1"), "admin", None)
    assert "-c" not in client_options(access(SENTINEL), SENTINEL.node("node-1"), "admin", None)


def test_a_sentinel_is_talked_to_on_its_own_port_and_a_pipe_gets_no_terminal() -> None:
    command = exec_command(access(SENTINEL), SENTINEL.node("sentinel-2"), "app", [], terminal=False)
    assert command[2] == "-i"
    assert command[command.index("-p") + 1] == "26379"
    assert command[command.index("--user") + 1] == "app"
