"""Which node may be taken down now, and which comes next."""

from dataclasses import replace

import pytest

from operations.rolling import next_to_take, unsafe_to_take
from tests.unit.states import formed, inventory_of, observed, replicated, sentinel, watched

CLUSTER = inventory_of("cluster")
REPLICATION = inventory_of("replication")
SENTINEL = inventory_of("sentinel")


@pytest.mark.parametrize("name", ["node-1-1", "node-3-2"])
def test_in_a_healthy_stack_any_node_may_go(name: str) -> None:
    assert unsafe_to_take(observed(CLUSTER, formed(CLUSTER)), CLUSTER, name) is None


def test_while_one_node_is_down_no_other_may_go() -> None:
    states = formed(CLUSTER)
    del states["node-1-2"]
    seen = observed(CLUSTER, states)
    assert unsafe_to_take(seen, CLUSTER, "node-1-1") == "node-1-2 is unreachable"
    assert unsafe_to_take(seen, CLUSTER, "node-3-2") == "node-1-2 is unreachable"


def test_the_node_that_is_down_itself_may_be_replaced() -> None:
    states = formed(CLUSTER)
    del states["node-1-2"]
    assert unsafe_to_take(observed(CLUSTER, states), CLUSTER, "node-1-2") is None


def test_a_primary_waits_for_a_replica_that_still_copies() -> None:
    states = replicated(REPLICATION)
    info = states["node-2"].info
    assert info is not None
    states["node-2"] = replace(
        states["node-2"], info=replace(info, replication=replace(info.replication, link_up=False, sync_in_progress=True))
    )
    assert unsafe_to_take(observed(REPLICATION, states), REPLICATION, "node-1") == "node-2 is synchronising"


def test_two_sentinels_are_never_missing_at_once() -> None:
    states = watched(SENTINEL)
    del states["sentinel-3"]
    assert unsafe_to_take(observed(SENTINEL, states), SENTINEL, "sentinel-1") == "sentinel-3 is unreachable"


def test_a_sentinel_that_still_sees_a_peer_as_down_holds_the_next_one_up() -> None:
    states = watched(SENTINEL)
    states["sentinel-1"] = sentinel(SENTINEL, "sentinel-1", down=("sentinel-3",))
    assert unsafe_to_take(observed(SENTINEL, states), SENTINEL, "sentinel-2") == "sentinel-1 is incomplete view"


def test_nodes_that_are_down_come_first_then_replicas_then_primaries() -> None:
    states = formed(CLUSTER, {2: "node-2-2"})
    left = {node.name for node in CLUSTER.data_nodes}
    del states["node-3-1"]
    order = []
    while left:
        order.append(next_to_take(observed(CLUSTER, states), CLUSTER, left))
        left.remove(order[-1])
    assert order == ["node-3-1", "node-1-2", "node-2-1", "node-3-2", "node-1-1", "node-2-2"]
