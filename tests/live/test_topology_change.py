"""Shards, replicas, sentinels and the topology itself change by `pulumi up` while clients write; nothing is lost or replaced.

What takes long or breaks things on the way is in test_topology_trouble.py.
"""

from collections.abc import Callable
from typing import Any

import pytest

from operations.connect import Link
from operations.inventory import Access
from operations.parse import pairs
from tests.conftest import FIGURE
from tests.live.faults import roles
from tests.live.harness import Stack
from tests.live.ledger import Load, fill, lost
from tests.live.movers import assert_whole
from tests.live.shapes import CLUSTER, SMALL, assert_kept, data_containers, is_empty, reshape

pytestmark = pytest.mark.live

STANDALONE = {"topology": "standalone", **SMALL}
KEYS = 5000
WRITERS = 2

Record = Callable[[str, object], None]
Make = Callable[[dict[str, Any]], Stack]


def test_a_cluster_gets_two_shards_more_and_gives_them_back_while_clients_write(make: Make, record_property: Record) -> None:
    stack = make(CLUSTER)
    access = stack.access()
    ledger = fill(access, "before", KEYS)
    before = data_containers(stack)

    stack.configure(shards="5")
    stack.preview().ok().says("node-4-1, node-5-1, node-4-2, node-5-2 join", "6,553 slots with", "node-4-1 will use about")
    with Load(access, "growing", WRITERS) as grown:
        came = stack.up().ok().says("node-4-2 becomes a replica of node-4-1", "moved 6,553 slots")
    access = stack.access()
    live = assert_whole(access)
    assert sorted(len(live.slots_of(name)) for name in live.primaries) == [3276, 3277, 3277, 3277, 3277]
    assert_kept(before, five := data_containers(stack))
    assert len(five) == 10
    assert lost(access, ledger) == []
    assert lost(access, grown.ledger) == []
    stack.preview("--expect-no-changes").ok()

    # Roles change at run time: the nodes that leave are found where they are then, and so are the primaries that stay.
    for name in ("node-4-2", "node-1-2"):
        stack.script("switchover", "--to", name).ok()
    stack.configure(shards="3")
    stack.preview().ok().says("node-4-1, node-4-2, node-5-1, node-5-2 leave", "node-4-2 -> ", "6,553 slots with")
    with Load(access, "shrinking", WRITERS) as shrunk:
        gone = stack.up().ok().says("moved 6,553 slots", "all nodes forget node-4-1, node-4-2, node-5-1, node-5-2")
    access = stack.access()
    live = assert_whole(access)
    assert live.primaries == ("node-1-2", "node-2-1", "node-3-1")
    assert data_containers(stack) == before
    for part in (ledger, grown.ledger, shrunk.ledger):
        assert lost(access, part) == []
    assert all(is_empty(stack, name) for name in ("node-4-1", "node-4-2", "node-5-1", "node-5-2"))
    stack.preview("--expect-no-changes").ok()
    record_property(FIGURE, f"{stack.name}: 3 to 5 shards in {came.seconds:.1f} s, 5 to 3 in {gone.seconds:.1f} s, under load")


def told_by_sentinels(access: Access) -> list[tuple[str, str]]:
    """By each sentinel: how many others it knows, and how many have to agree that the primary is down."""
    found = []
    assert access.inventory.sentinel is not None
    for node in access.inventory.sentinels:
        told = pairs(Link(access, node).ask("SENTINEL", "MASTER", access.inventory.sentinel.service))
        found.append((str(told["num-other-sentinels"]), str(told["quorum"])))
    return found


def test_a_standalone_node_becomes_replication_then_sentinel_and_comes_back(make: Make) -> None:
    stack = make(STANDALONE)
    ledger = fill(stack.access(), "before", KEYS)
    before = data_containers(stack)

    with Load(stack.access(), "replication", WRITERS) as first:
        reshape(stack, topology="replication", replicas=1).says("node-2 joins")
    with Load(stack.access(), "sentinel", WRITERS) as second:
        reshape(stack, topology="sentinel", replicas=2).says("node-3, sentinel-1, sentinel-2, sentinel-3 join")
    access = stack.access()
    stack.wait_healthy(access, 5)
    assert_kept(before, data_containers(stack))
    stack.script("switchover", "--to", "node-3").ok()

    with Load(access, "sentinels", WRITERS) as third:
        reshape(stack, topology="sentinel", replicas=2, sentinel={"count": 5}).says("sentinel-4, sentinel-5 join")
        assert told_by_sentinels(stack.access()) == [("4", "3")] * 5
        reshape(stack, topology="sentinel", replicas=2).says("sentinel-4, sentinel-5 leave")
    access = stack.access()
    assert told_by_sentinels(access) == [("2", "2")] * 3, "those that left are forgotten: they would count in a majority"
    assert roles(access)["node-3"] == "primary"

    reshape(stack, topology="replication", replicas=1).says("node-1 takes over from node-3", "sentinel-2 stops watching main")
    access = stack.access()
    stack.wait_healthy(access, 5)
    assert roles(access) == {"node-1": "primary", "node-2": "replica"}
    reshape(stack, topology="standalone").says("node-2 leaves")
    access = stack.access()
    assert data_containers(stack) == before
    for part in (ledger, first.ledger, second.ledger, third.ledger):
        assert lost(access, part) == []
    assert is_empty(stack, "node-3")
    stack.preview("--expect-no-changes").ok()
