"""In which order standing nodes are replaced, and what they note about themselves."""

import dataclasses
import itertools

import pytest

from topologies.addresses import addressing
from topologies.components.node import replacing
from topologies.engine import EngineState, FoundContainer, FoundVolume, notes_primary
from topologies.plan import NodePlan, Plan, make_plan
from topologies.replacement import joining_too, replaced, standing_order
from topologies.spec import Spec
from topologies.standing import Shape

OLD, NEW, BROKEN = "sha256:old", "sha256:new", "sha256:broken"


def plan_of(topology: str, **fields: object) -> Plan:
    return make_plan(Spec.model_validate({"topology": topology, **fields}), "shop", addressing(7))


def engine_with(plan: Plan, primaries: tuple[str, ...] = (), images: dict[str, str] | None = None, down: str = "") -> EngineState:
    """All containers stand with the old image, but for `images` (node -> image id); `down` does not run."""
    containers = tuple(
        FoundContainer(node.container, {}, (images or {}).get(node.name, OLD), frozenset(), node.name != down)
        for node in plan.nodes
    )
    return EngineState("", containers, images={plan.image: NEW}, primaries=frozenset(f"redis-shop-{name}" for name in primaries))


def order_of(plan: Plan, state: EngineState) -> list[str]:
    return [name.removeprefix("redis-shop-") for name in standing_order(plan, state)]


def test_replicas_come_before_primaries_by_the_role_of_now() -> None:
    plan = plan_of("cluster")
    state = engine_with(plan, primaries=("node-1-1", "node-2-2", "node-3-1"))
    assert order_of(plan, state) == ["node-1-2", "node-2-1", "node-3-2", "node-1-1", "node-2-2", "node-3-1"]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("promoted", list(itertools.product((1, 2), repeat=3)))
def test_neighbours_are_never_of_one_shard(replicas: int, promoted: tuple[int, ...]) -> None:
    plan = plan_of("cluster", replicas=replicas)
    primaries = tuple(f"node-{shard}-{member}" for shard, member in enumerate(promoted, start=1))
    order = order_of(plan, engine_with(plan, primaries))
    assert set(order[-3:]) == set(primaries)
    shards = [name.split("-")[1] for name in order]
    assert all(a != b for a, b in itertools.pairwise(shards))


def test_sentinels_come_after_all_data_nodes() -> None:
    plan = plan_of("sentinel")
    order = order_of(plan, engine_with(plan, primaries=("node-2",)))
    assert order == ["node-3", "node-1", "node-2", "sentinel-1", "sentinel-2", "sentinel-3"]


def test_a_node_that_failed_to_come_back_is_replaced_before_any_other() -> None:
    plan = plan_of("cluster")
    primaries = ("node-1-1", "node-2-1", "node-3-1")
    assert order_of(plan, engine_with(plan, primaries, images={"node-2-2": BROKEN}))[0] == "node-2-2"
    assert order_of(plan, engine_with(plan, primaries, down="node-3-1"))[0] == "node-3-1"


def test_only_containers_with_another_image_than_the_planned_one_are_replaced() -> None:
    plan = plan_of("replication")
    assert replaced(plan, engine_with(plan, images={"node-2": NEW})) == {"redis-shop-node-1", "redis-shop-node-3"}
    unknown = dataclasses.replace(engine_with(plan), images={})
    assert replaced(plan, unknown) == frozenset(), "an image that is still to be pulled cannot be compared"


def volumes_of(plan: Plan, unused: tuple[str, ...] = ()) -> tuple[FoundVolume, ...]:
    """Volumes of all nodes; those of data nodes were used, but for `unused`."""
    return tuple(
        FoundVolume(node.volume, {}, {} if node.is_sentinel or node.name in unused else {"node": node.name})
        for node in plan.nodes
    )


def refused(plan: Plan, joining: tuple[NodePlan, ...] = (), volumes: tuple[FoundVolume, ...] = ()) -> str:
    return joining_too(Shape(joining), dataclasses.replace(engine_with(plan), volumes=volumes)) or ""


def test_an_image_is_not_changed_in_the_same_up_in_which_nodes_join() -> None:
    plan = plan_of("cluster", shards=4)
    new = tuple(node for node in plan.nodes if node.shard == 4)
    assert refused(plan, new).startswith("node-4-1, node-4-2 would join in the same `up` in which another image replaces")
    emptied = volumes_of(plan, unused=("node-4-1", "node-4-2"))
    assert refused(plan, new, emptied), "they left once, and come back as new nodes"
    sentinels = plan_of("sentinel")
    assert "sentinel-1" in refused(sentinels, tuple(node for node in sentinels.nodes if node.is_sentinel))


@pytest.mark.parametrize("topology", ["replication", "sentinel", "cluster"])
def test_an_image_change_that_was_interrupted_between_two_containers_goes_on(topology: str) -> None:
    plan = plan_of(topology)
    for node in plan.nodes:
        assert refused(plan, (node,), volumes_of(plan)) == ""
    assert refused(plan) == ""


@pytest.mark.parametrize(
    ("topology", "noted", "expected"),
    [
        ("cluster", "a1 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460\nvars currentEpoch 6", True),
        ("cluster", "a1 10.0.0.1:6379@16379 myself,master - 0 0 1 connected\n", False),
        ("cluster", "a1 10.0.0.1:6379@16379 myself,slave b1 0 0 1 connected\nb1 x master - 0 0 2 connected 0-9", False),
        ("sentinel", "include /config/data/declared.conf\n", True),
        ("replication", "replicaof 10.0.0.2 6379\ninclude x\n", False),
        ("replication", "", False),
    ],
)
def test_the_role_is_read_from_the_servers_own_file(topology: str, noted: str, expected: bool) -> None:
    assert notes_primary(topology, noted) is expected


def test_the_revision_changes_with_the_image_and_not_with_what_is_changed_in_place() -> None:
    plan, larger = plan_of("cluster"), plan_of("cluster", memory={"maxmemory": "1gb"}, parameters={"hz": 20}, shards=5)
    assert replacing(plan, plan.nodes[0], OLD) == replacing(larger, larger.nodes[0], OLD)
    assert replacing(plan, plan.nodes[0], OLD) != replacing(plan, plan.nodes[0], NEW)
    patient = plan_of("cluster", limits={"stop_timeout_seconds": 90})
    assert replacing(plan, plan.nodes[0], OLD) != replacing(patient, patient.nodes[0], OLD)
