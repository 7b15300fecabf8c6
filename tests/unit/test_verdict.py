"""The verdict on hand-written states of each topology: healthy ones are ok, and each kind of trouble is named."""

from dataclasses import replace

import pytest

from operations.inventory import Inventory
from operations.observe import NodeState, lag_bytes
from operations.parse import OpenSlot, SentinelEntry
from operations.verdict import State, Verdict, node_health, verdict
from tests.unit.states import (
    PERSISTENCE,
    blank,
    blank_member,
    foreign,
    formed,
    identifier,
    inventory_of,
    observed,
    primary,
    replica,
    replicated,
    sentinel,
    server,
    silent,
    watched,
    with_line,
)

REPLICATION = inventory_of("replication")
SENTINEL = inventory_of("sentinel")
CLUSTER = inventory_of("cluster")


def judge(inventory: Inventory, states: dict[str, NodeState]) -> Verdict:
    return verdict(observed(inventory, states), inventory)


@pytest.mark.parametrize(
    ("inventory", "states"),
    [
        (inventory_of("standalone"), {"node-1": primary("node-1")}),
        (REPLICATION, replicated(REPLICATION)),
        (REPLICATION, replicated(REPLICATION, leader="node-3")),
        (SENTINEL, watched(SENTINEL)),
        (SENTINEL, watched(SENTINEL, leader="node-2")),
        (CLUSTER, formed(CLUSTER)),
        (CLUSTER, formed(CLUSTER, {1: "node-1-2", 3: "node-3-2"})),
    ],
    ids=["standalone", "replication", "promoted", "sentinel", "failed over", "cluster", "cluster failed over"],
)
def test_a_healthy_stack_is_ok_wherever_its_primaries_are(inventory: Inventory, states: dict[str, NodeState]) -> None:
    found = judge(inventory, states)
    assert (found.state, found.reasons) == (State.OK, ())
    assert found.line.startswith("ok: ")
    assert all(node_health(observed(inventory, states), inventory, n.name) == "ok" for n in inventory.nodes)


def test_nobody_answering_is_unknown_not_down() -> None:
    found = judge(CLUSTER, {})
    assert found.state is State.UNKNOWN
    assert found.reasons == ("no node answers: nothing listens for node-1-1",)


def test_a_stranger_in_place_of_a_replica_leaves_the_state_unknown() -> None:
    states = replicated(REPLICATION) | {"node-3": foreign("node-3")}
    found = judge(REPLICATION, states)
    assert found.state is State.UNKNOWN
    assert node_health(observed(REPLICATION, states), REPLICATION, "node-3") == "not ours"


# Replication


def test_blank_nodes_without_a_primary_are_down() -> None:
    found = judge(REPLICATION, {name: blank(name) for name in ("node-1", "node-2", "node-3")})
    assert (found.state, found.reasons[0]) == (State.DOWN, "there is no primary; without a role yet: node-1, node-2, node-3")


def test_two_primaries_are_named() -> None:
    found = judge(REPLICATION, replicated(REPLICATION) | {"node-2": primary("node-2", 10, 100)})
    assert (found.state, found.reasons) == (State.DEGRADED, ("2 primaries accept writes: node-1, node-2",))


def test_a_dead_primary_is_down_and_a_silent_one_that_is_followed_is_not() -> None:
    dead = {"node-2": replica("node-2", REPLICATION.node("node-1").address, up=False)}
    alive = {"node-2": replica("node-2", REPLICATION.node("node-1").address, up=True)}
    assert judge(REPLICATION, dead).state is State.DOWN
    assert judge(REPLICATION, alive).state is State.DEGRADED


def test_a_replica_of_a_stranger_is_degraded() -> None:
    found = judge(REPLICATION, replicated(REPLICATION) | {"node-3": replica("node-3", "10.9.9.9")})
    assert found.state is State.DEGRADED
    assert "10.9.9.9:6379, which is no node of this stack" in found.reasons[0]


def test_a_replica_of_a_replica_is_fine_without_sentinel_and_not_with_it() -> None:
    chained = {"node-3": replica("node-3", REPLICATION.node("node-2").address, 10, 100)}
    assert judge(REPLICATION, replicated(REPLICATION) | chained).state is State.OK
    chained = {"node-3": replica("node-3", SENTINEL.node("node-2").address, 10, 100)}
    assert judge(SENTINEL, watched(SENTINEL) | chained).state is State.DEGRADED


def test_a_primary_that_loads_its_data_is_down() -> None:
    loading = NodeState("node-1", info=server(persistence=replace(PERSISTENCE, loading=True)))
    assert judge(inventory_of("standalone"), {"node-1": loading}).state is State.DOWN


def test_a_primary_that_came_back_and_takes_no_writes_yet_is_degraded() -> None:
    back = replace(watched(SENTINEL)["node-1"], unconfirmed=True)
    found = judge(SENTINEL, watched(SENTINEL) | {"node-1": back})
    assert found.state is State.DEGRADED
    assert found.reasons == ("node-1 came back and takes no writes until the sentinels have seen it",)
    back = replace(replicated(REPLICATION)["node-1"], unconfirmed=True)
    found = judge(REPLICATION, replicated(REPLICATION) | {"node-1": back})
    assert found.reasons == ("node-1 came back and takes no writes until its peers agree that it is primary",)
    other = replace(watched(SENTINEL)["node-2"], unconfirmed=True)
    assert judge(SENTINEL, watched(SENTINEL) | {"node-2": other}).state is State.OK


def test_of_two_primaries_it_is_told_whether_both_accept_writes() -> None:
    two = replicated(REPLICATION) | {"node-2": primary("node-2", 7, 70)}
    assert "2 primaries accept writes: node-1, node-2" in judge(REPLICATION, two).reasons
    held = two | {"node-2": replace(two["node-2"], unconfirmed=True)}
    assert "2 nodes are primary: node-1, node-2" in judge(REPLICATION, held).reasons


def test_a_failed_append_is_degraded_and_named() -> None:
    broken = NodeState("node-1", info=server(persistence=replace(PERSISTENCE, aof_last_write_ok=False)))
    found = judge(inventory_of("standalone"), {"node-1": broken})
    assert found.state is State.DEGRADED
    assert found.reasons == ("node-1 cannot persist its data: the append-only file cannot be written",)


def test_memory_nearly_full_and_another_version_are_warnings_only() -> None:
    info = replace(server(), used_memory_bytes=95_000_000, version="8.0.6")
    found = judge(inventory_of("standalone"), {"node-1": NodeState("node-1", info=info)})
    assert found.state is State.OK
    assert [("95%" in w, "8.0.6" in w) for w in found.warnings] == [(True, False), (False, True)]


def test_lag_is_the_distance_to_the_primary_and_never_negative() -> None:
    address = REPLICATION.node("node-1").address
    states = {
        "node-1": primary("node-1", offset=1000),
        "node-2": replica("node-2", address, offset=990),
        "node-3": replica("node-3", address, offset=1010),
    }
    seen = observed(REPLICATION, states)
    assert [lag_bytes(seen, REPLICATION, name) for name in ("node-1", "node-2", "node-3")] == [None, 10, 0]
    unknown = observed(REPLICATION, {"node-2": replica("node-2", address, offset=990)})
    assert lag_bytes(unknown, REPLICATION, "node-2") is None


# Sentinel


def test_a_sentinel_that_watches_nothing_or_another_primary_is_named() -> None:
    states = watched(SENTINEL)
    states["sentinel-1"] = sentinel(SENTINEL, "sentinel-1", leader=None)
    states["sentinel-2"] = sentinel(SENTINEL, "sentinel-2", leader="node-2")
    found = judge(SENTINEL, states)
    assert found.state is State.DEGRADED
    assert "sentinel-1 watches nothing" in found.reasons
    assert "sentinel-2 watches node-2 as primary" in found.reasons
    assert node_health(observed(SENTINEL, states), SENTINEL, "sentinel-2") == "incomplete view"


def test_a_sentinel_that_misses_a_peer_or_lists_a_dead_one_is_named() -> None:
    states = watched(SENTINEL)
    view = states["sentinel-1"].sentinel
    assert view is not None
    stranger = SentinelEntry("10.9.9.9", 26379, frozenset({"sentinel", "s_down"}))
    states["sentinel-1"] = NodeState("sentinel-1", sentinel=replace(view, peers=(*view.peers, stranger)))
    states["sentinel-2"] = sentinel(SENTINEL, "sentinel-2", down=("node-3",))
    reasons = judge(SENTINEL, states).reasons
    assert "sentinel-1 sees 2 of 2 other sentinels and 1 dead" in reasons
    assert "sentinel-2 sees 1 of 2 replicas and 1 dead" in reasons


def test_less_than_half_of_the_sentinels_cannot_fail_over() -> None:
    states = watched(SENTINEL) | {"sentinel-2": silent("sentinel-2"), "sentinel-3": silent("sentinel-3")}
    assert "only 1 of 3 sentinels answer: no failover is possible" in judge(SENTINEL, states).reasons


# Cluster


def test_blank_cluster_nodes_are_down_because_nothing_is_formed() -> None:
    found = judge(CLUSTER, {n.name: blank_member(CLUSTER, n.name) for n in CLUSTER.nodes})
    assert (found.state, found.reasons[0].split(":")[0]) == (State.DOWN, "the cluster is not formed")


def test_a_dead_primary_takes_its_slots_down() -> None:
    states = formed(CLUSTER)
    states["node-1-1"] = silent("node-1-1")
    follower = states["node-1-2"]
    assert follower.info is not None
    lost = replace(follower.info.replication, link_up=False)
    states["node-1-2"] = replace(follower, info=replace(follower.info, replication=lost))
    found = judge(CLUSTER, states)
    assert found.state is State.DOWN
    assert found.reasons[0] == "5461 slots are not served: 0-5460"
    assert "node-1-2 has no connection to its primary node-1-1" in found.reasons


def test_a_primary_that_only_we_cannot_reach_still_serves() -> None:
    states = formed(CLUSTER) | {"node-1-1": silent("node-1-1")}
    found = judge(CLUSTER, states)
    assert found.state is State.DEGRADED
    assert found.reasons == ("nothing listens for node-1-1",)


def test_a_primary_that_accepts_no_clients_is_down() -> None:
    states = formed(CLUSTER)
    view = states["node-2-1"].cluster
    assert view is not None
    states["node-2-1"] = replace(states["node-2-1"], cluster=replace(view, state_ok=False))
    found = judge(CLUSTER, states)
    assert found.state is State.DOWN
    assert found.reasons == ("node-2-1 serves no client yet (slots 5461-10921): cluster_state:fail",)


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"flags": frozenset({"master", "fail"})}, "sees as failing"),
        ({"address": "10.9.9.9"}, "has an old address of"),
        ({"flags": frozenset({"slave"})}, "sees another role of"),
        ({"primary_id": "x" * 40}, "sees another primary of"),
        ({"slots": ((0, 5),)}, "sees other slots of"),
        ({"connected": False}, "has no connection to"),
    ],
)
def test_every_way_in_which_one_view_can_differ_is_named(changes: dict[str, object], phrase: str) -> None:
    states = formed(CLUSTER)
    states["node-3-2"] = with_line(states["node-3-2"], identifier("node-1-1"), **changes)
    found = judge(CLUSTER, states)
    assert (found.state, found.reasons) == (State.DEGRADED, (f"node-3-2 {phrase} node-1-1",))


def test_an_open_slot_is_degraded() -> None:
    states = formed(CLUSTER)
    me = identifier("node-1-1")
    states["node-1-1"] = with_line(states["node-1-1"], me, open_slots=(OpenSlot(7, "migrating", identifier("node-2-1")),))
    assert judge(CLUSTER, states).reasons == ("slot 7 is open on node-1-1 (migrating)",)


def test_a_primary_without_a_replica_is_degraded_only_where_replicas_are_declared() -> None:
    without = inventory_of("cluster", replicas=0)
    assert judge(without, formed(without)).state is State.OK
    states = formed(CLUSTER)
    moved = with_line(states["node-3-2"], identifier("node-3-2"), primary_id=identifier("node-1-1"))
    for name, state in states.items():
        states[name] = with_line(state, identifier("node-3-2"), primary_id=identifier("node-1-1"))
    states["node-3-2"] = moved
    found = judge(CLUSTER, states)
    assert found.reasons == ("no replica follows node-3-1: a failure would lose its slots",)


def test_a_slot_claimed_by_two_primaries_is_degraded() -> None:
    states = formed(CLUSTER)
    states["node-2-1"] = with_line(states["node-2-1"], identifier("node-2-1"), slots=((5460, 10921),))
    assert "1 slots are claimed by two primaries" in judge(CLUSTER, states).reasons
