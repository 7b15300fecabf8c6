"""What is decided when nodes are gone with their data: which shards came back empty, and which slots they get."""

import pytest

from operations.backup.rebuild import common, lost_shards, slots_for
from operations.errors import CheckFailed
from tests.unit.test_backup_parts import CLUSTER_SLOTS, inventory, manifest, record

SHOP = inventory("cluster", replicas=1)
WHOLE = manifest(tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3)))


def test_a_shard_is_lost_only_when_all_of_its_nodes_are_gone() -> None:
    gone = [SHOP.node(name) for name in ("node-1-1", "node-2-2", "node-2-1", "node-3-2")]
    assert [node.name for node in lost_shards(SHOP, gone)] == ["node-2-1"]
    assert lost_shards(SHOP, [SHOP.node("node-1-1")]) == []


def test_an_empty_shard_gets_the_slots_that_the_backup_says_it_had() -> None:
    blank = [SHOP.node("node-2-1")]
    assert slots_for(WHOLE, CLUSTER_SLOTS[1], blank) == {"node-2-1": CLUSTER_SLOTS[1]}
    two = slots_for(WHOLE, (*CLUSTER_SLOTS[0], *CLUSTER_SLOTS[2]), [SHOP.node("node-1-1"), SHOP.node("node-3-1")])
    assert two == {"node-1-1": CLUSTER_SLOTS[0], "node-3-1": CLUSTER_SLOTS[2]}


def test_slots_that_were_moved_since_the_backup_are_not_given_to_anybody() -> None:
    for lost in (((0, 99),), ((5461, 10922), (0, 0)), ((5461, 10921),)):
        with pytest.raises(CheckFailed, match="has other shards than these"):
            slots_for(WHOLE, lost, [SHOP.node("node-2-1")])


def test_what_ranges_have_in_common() -> None:
    assert common(((0, 10), (20, 30)), ((5, 25),)) == ((5, 10), (20, 25))
    assert common(((0, 10),), ((11, 20),)) == ()
