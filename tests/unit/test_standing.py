"""What stands on the engine beside the plan: nodes that leave, nodes that join, and the shape that was last begun."""

import dataclasses

from tests.unit.test_guard import OWNER, engine_with, plan_of, standing
from topologies.standing import Shape, leaving, shape_of


def test_a_node_that_leaves_is_reached_where_it_was_while_it_was_planned() -> None:
    before, after = plan_of(shards=4), plan_of(shards=3)
    first, second = leaving(after, engine_with(after, containers=standing(before)))
    planned = {node.name: node for node in before.nodes}
    for found in (first, second):
        node = planned[found.name]
        assert (found.address, found.port, found.bus_port) == (node.announced_address, node.port, node.bus_port)
        assert (found.host, found.host_port) == (node.host, node.host_port)
        assert (found.container, found.volume, found.shard, found.member) == (
            node.container,
            node.volume,
            node.shard,
            node.member,
        )
    assert (first.role, second.role) == ("primary", "replica")


def test_a_sentinel_that_leaves_is_known_as_one() -> None:
    before, after = plan_of("sentinel", sentinel={"count": 5}), plan_of("sentinel", sentinel={"count": 3})
    found = leaving(after, engine_with(after, containers=standing(before)))
    assert [(node.name, node.role, node.port) for node in found] == [
        ("sentinel-4", "sentinel", 26379),
        ("sentinel-5", "sentinel", 26379),
    ]


def test_containers_of_others_do_not_leave() -> None:
    before, after = plan_of(shards=4), plan_of(shards=3)
    assert leaving(after, engine_with(after, containers=standing(before, owner="ffffffffffff"))) == ()


def test_containers_that_are_no_nodes_do_not_leave() -> None:
    plan = plan_of()
    helper = dataclasses.replace(standing(plan)[-1], name="redis-shop-helper")
    assert leaving(plan, engine_with(plan, containers=(*standing(plan), helper))) == ()


def test_without_published_ports_a_node_is_reached_at_its_address() -> None:
    before, after = plan_of("replication", replicas=2), plan_of("replication", replicas=1)
    stopped = tuple(dataclasses.replace(found, published=frozenset()) for found in standing(before))
    (found,) = leaving(after, engine_with(after, containers=stopped))
    assert (found.host, found.host_port) == ("10.213.7.106", 6379)


def test_a_stack_as_planned_has_the_planned_shape() -> None:
    plan = plan_of()
    shape = shape_of(plan, engine_with(plan, containers=standing(plan)))
    assert shape == Shape(shards=3)
    assert not shape.is_another(plan)


def test_a_new_stack_changes_nothing() -> None:
    plan = plan_of()
    assert shape_of(plan, engine_with(plan)) == Shape()


def test_more_shards_join_and_the_carrier_tells_what_was_begun() -> None:
    before, after = plan_of(shards=3), plan_of(shards=4)
    shape = shape_of(after, engine_with(after, containers=standing(before)))
    assert [node.name for node in shape.joining] == ["node-4-1", "node-4-2"]
    assert shape.shards == 3
    assert shape.is_another(after)
    assert not shape.only_grows(after)


def test_a_change_that_was_interrupted_and_taken_back_is_seen() -> None:
    """The carrier was replaced for 3 shards already, all nodes still run, and the spec says 5 again."""
    five, three = plan_of(shards=5), plan_of(shards=3)
    carrier = tuple(found for found in standing(three) if found.name == three.carrier)
    nodes = tuple(found for found in standing(five) if found.name != five.carrier)
    shape = shape_of(five, engine_with(five, containers=(*nodes, *carrier)))
    assert shape == Shape(shards=3)
    assert shape.is_another(five)


def test_one_more_replica_only_grows() -> None:
    before, after = plan_of("replication", replicas=1), plan_of("replication", replicas=2)
    shape = shape_of(after, engine_with(after, containers=standing(before)))
    assert shape.only_grows(after)
    assert shape.is_another(after)
    assert after.owner == OWNER
