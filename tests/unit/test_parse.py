"""What the four engines answered (recorded), read into values; and answers that no engine should give."""

import json
from pathlib import Path
from typing import Any

import pytest

from operations.observe import cluster_view
from operations.parse import (
    OpenSlot,
    UnexpectedReply,
    cluster_nodes,
    cluster_shards,
    format_slots,
    normalise,
    role,
    sentinel_entry,
    server_info,
    slot_total,
    uncovered,
)

RECORDED = Path(__file__).resolve().parent / "recorded"
ENGINES = {"redis-7.0": "7.0.15", "redis-8.0": "8.0.2", "valkey-8.1": "8.1.1", "valkey-9.1": "9.1.2"}


@pytest.fixture(params=ENGINES)
def answers(request: pytest.FixtureRequest) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((RECORDED / f"{request.param}.json").read_text())
    recorded["engine"] = request.param
    return recorded


def test_info_of_a_primary_names_engine_keys_memory_and_its_replicas(answers: dict[str, Any]) -> None:
    info = server_info(answers["info_primary"])
    assert (info.engine, info.version) == (answers["engine"].split("-")[0], ENGINES[answers["engine"]])
    assert info.keys == 100
    assert info.maxmemory_bytes == 100 * 1024**2
    assert 0 < info.used_memory_bytes < info.maxmemory_bytes
    assert info.replication.role == "primary"
    assert [(r.address, r.port, r.state) for r in info.replication.replicas] == [("10.214.1.13", 6379, "online")]
    assert info.persistence.aof_enabled
    assert info.persistence.is_ok
    assert not info.persistence.loading


def test_info_of_a_replica_names_its_primary_link_and_offset(answers: dict[str, Any]) -> None:
    link = server_info(answers["info_replica"]).replication
    assert (link.role, link.primary_address, link.primary_port, link.link_up) == ("replica", "10.214.1.10", 6379, True)
    assert link.offset >= server_info(answers["info_primary"]).replication.offset > 0


def test_role_tells_the_same_as_info(answers: dict[str, Any]) -> None:
    leader, follower = role(answers["role_primary"]), role(answers["role_replica"])
    assert (leader.role, [r.address for r in leader.replicas]) == ("primary", ["10.214.1.13"])
    assert (follower.role, follower.primary_address, follower.link_up) == ("replica", "10.214.1.10", True)
    assert follower.offset > 0


def test_role_of_a_sentinel_is_not_taken_for_a_data_node(answers: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedReply, match="not a data node"):
        role(answers["role_sentinel"])


def test_cluster_nodes_tell_roles_slots_and_addresses(answers: dict[str, Any]) -> None:
    nodes = cluster_nodes(answers["cluster_nodes"])
    assert len(nodes) == 6
    assert sorted(n.address for n in nodes) == [f"10.214.1.{octet}" for octet in range(10, 16)]
    assert all(n.connected and n.port == 6379 and not n.is_failing for n in nodes)
    primaries = [n for n in nodes if n.is_primary]
    assert sorted(n.slots for n in primaries) == [((0, 5460),), ((5461, 10921),), ((10922, 16383),)]
    assert {n.primary_id for n in nodes if not n.is_primary} == {n.node_id for n in primaries}


def test_open_slots_are_read_from_the_nodes_own_line(answers: dict[str, Any]) -> None:
    view = cluster_view(answers["cluster_myid"], answers["cluster_nodes"], answers["cluster_info"])
    other = next(n.node_id for n in view.nodes if n.address == "10.214.1.11")
    assert view.open_slots == (OpenSlot(7, "migrating", other), OpenSlot(6000, "importing", other))
    assert view.slots == ((0, 5460),)
    assert view.state_ok
    assert len(view.others) == 5


def test_a_failed_primary_shows_its_flag_and_no_slots(answers: dict[str, Any]) -> None:
    nodes = cluster_nodes(answers["cluster_nodes_after_failover"])
    failed = [n for n in nodes if n.is_failing]
    assert [(n.address, n.slots) for n in failed] == [("10.214.1.10", ())]
    heir = next(n for n in nodes if n.address == "10.214.1.13")
    assert heir.is_primary
    assert heir.slots == ((0, 5460),)


def test_cluster_shards_agree_with_cluster_nodes(answers: dict[str, Any]) -> None:
    shards = cluster_shards(answers["cluster_shards"])
    nodes = {n.node_id: n for n in cluster_nodes(answers["cluster_nodes"])}
    assert sorted(shard.slots for shard in shards) == sorted(n.slots for n in nodes.values() if n.is_primary)
    for shard in shards:
        assert len(shard.members) == 2
        for member in shard.members:
            line = nodes[member.node_id]
            assert (member.address, member.port, member.role == "primary") == (line.address, line.port, line.is_primary)
            assert member.health == "online"


def test_sentinel_lists_tell_addresses_flags_and_settings(answers: dict[str, Any]) -> None:
    (watched,) = [sentinel_entry(item) for item in answers["sentinel_masters"]]
    assert (watched.address, watched.port, watched.fields["name"], watched.number("quorum")) == ("10.214.1.10", 6379, "main", 2)
    replicas = [sentinel_entry(item) for item in answers["sentinel_replicas"]]
    peers = [sentinel_entry(item) for item in answers["sentinel_peers"]]
    assert sorted(e.address for e in replicas) == ["10.214.1.11", "10.214.1.12"]
    assert {e.port for e in peers} == {26379}
    assert not any(e.is_down for e in (watched, *replicas, *peers))


def test_a_handshake_line_with_host_name_and_without_address_is_read() -> None:
    text = (
        "a1 10.0.0.1:6379@16379,cache-1.example myself,master - 0 0 1 connected 0-99 200 [5->-b2]\n"
        "b2 :0@0 master,noaddr - 0 0 2 disconnected\n"
        "c3 fd00::7:6379@16379 handshake - 0 0 0 connected\n"
    )
    me, gone, new = cluster_nodes(text)
    assert (me.address, me.slots) == ("10.0.0.1", ((0, 99), (200, 200)))
    assert gone.is_failing
    assert (gone.address, gone.port) == ("", 0)
    assert new.in_handshake
    assert (new.address, new.port) == ("fd00::7", 6379)


@pytest.mark.parametrize("line", ["too few fields", "a1 h:1@2 master - 0 0 1 connected [5=>b2]"])
def test_a_line_that_is_not_understood_is_quoted(line: str) -> None:
    with pytest.raises(UnexpectedReply, match="CLUSTER NODES"):
        cluster_nodes(line)


def test_a_view_that_does_not_list_the_node_itself_is_refused() -> None:
    with pytest.raises(UnexpectedReply, match="does not list the node itself"):
        cluster_view("ff", "a1 10.0.0.1:6379@16379 master - 0 0 1 connected", "cluster_state:ok")


def test_info_without_a_version_is_refused() -> None:
    with pytest.raises(UnexpectedReply, match="INFO names no version"):
        server_info("# Server\r\nuptime_in_seconds:5\r\n")


def test_a_failed_rewrite_is_told_from_a_failed_snapshot() -> None:
    base = "redis_version:8.0.2\r\nrole:master\r\n"
    rewrite = server_info(base + "aof_last_bgrewrite_status:err\r\n").persistence
    snapshot = server_info(base + "rdb_last_bgsave_status:err\r\n").persistence
    assert (rewrite.aof_last_rewrite_ok, rewrite.last_save_ok, rewrite.is_ok) == (False, True, False)
    assert (snapshot.aof_last_rewrite_ok, snapshot.last_save_ok, snapshot.is_ok) == (True, False, False)


def test_ranges_are_joined_counted_and_their_gaps_found() -> None:
    slots = normalise([(10, 19), (0, 4), (5, 9)])
    assert slots == ((0, 19),)
    assert slot_total(slots) == 20
    assert uncovered([slots, ((30, 16383),)]) == ((20, 29),)
    assert uncovered([((0, 16383),)]) == ()
    assert uncovered([]) == ((0, 16383),)
    assert format_slots(((0, 3), (7, 7))) == "0-3, 7"
    assert format_slots(()) == "none"
