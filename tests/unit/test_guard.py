"""The guard refuses what must not happen, and lets the rest through; pure values only."""

import dataclasses

from topologies.addresses import addressing
from topologies.engine import EngineState, FoundContainer, FoundNetwork, FoundVolume
from topologies.guard import problems
from topologies.plan import Plan, make_plan
from topologies.spec import Spec

OWNER = "0123456789ab"


def plan_of(topology: str = "cluster", **fields: object) -> Plan:
    spec = Spec.model_validate({"topology": topology, **fields})
    return make_plan(spec, "shop", addressing(7, spec.network.subnet, spec.network.port_base), OWNER)


def engine_with(plan: Plan, **found: object) -> EngineState:
    state = EngineState(address="unix:///var/run/docker.sock", images={plan.image: "sha256:1"})
    return dataclasses.replace(state, **found)  # type: ignore[arg-type]


def standing(plan: Plan, owner: str = OWNER) -> tuple[FoundContainer, ...]:
    nodes = tuple(
        FoundContainer(
            node.container, {**node.labels, "redis-topologies.owner": owner}, "sha256:1", frozenset({node.host_port}), True
        )
        for node in plan.nodes
    )
    carrier = FoundContainer(
        plan.carrier, {**plan.carrier_labels, "redis-topologies.owner": owner}, "sha256:1", frozenset(), False
    )
    return (*nodes, carrier)


def kept(plan: Plan, **identity: str) -> tuple[FoundVolume, ...]:
    fields = {
        "topology": plan.spec.topology,
        "shards": str(plan.spec.shard_count),
        "engine": "redis",
        "version": "8.0.2",
    } | identity
    return tuple(FoundVolume(node.volume, node.labels, fields) for node in plan.data_nodes)


def test_an_empty_engine_takes_any_plan() -> None:
    plan = plan_of()
    assert problems(plan, engine_with(plan)) == ()


def test_a_stack_that_stands_as_planned_is_let_through() -> None:
    plan = plan_of()
    ports = frozenset(node.host_port for node in plan.nodes)
    assert problems(plan, engine_with(plan, containers=standing(plan), busy_ports=ports)) == ()


def test_containers_of_another_owner_are_never_taken_over() -> None:
    plan = plan_of("standalone")
    found = problems(plan, engine_with(plan, containers=standing(plan, owner="ffffffffffff")))
    assert any("container redis-shop-node-1 exists and was not made by this Pulumi stack" in problem for problem in found)


def test_volumes_of_another_backend_are_not_adopted() -> None:
    plan = plan_of("standalone")
    volume = FoundVolume(plan.nodes[0].volume, {**plan.nodes[0].labels, "redis-topologies.owner": "ffffffffffff"})
    (problem,) = problems(plan, engine_with(plan, volumes=(volume,)))
    assert "holds data of a stack of the same name under another Pulumi backend" in problem


def test_a_subnet_that_overlaps_another_network_is_refused_with_both_names() -> None:
    plan = plan_of(network={"subnet": "10.50.0.0/24"})
    (problem,) = problems(plan, engine_with(plan, networks=(FoundNetwork("office", ("10.50.0.0/16",), {}),)))
    assert "network.subnet 10.50.0.0/24 overlaps 10.50.0.0/16 of the Docker network office" in problem


def test_a_port_on_which_somebody_listens_is_refused() -> None:
    plan = plan_of("standalone")
    port = plan.nodes[0].host_port
    (problem,) = problems(plan, engine_with(plan, busy_ports=frozenset({port})))
    assert f"port {port} for node-1 is taken" in problem


def test_a_port_that_another_container_publishes_is_refused_with_its_name() -> None:
    plan = plan_of("standalone")
    port = plan.nodes[0].host_port
    other = FoundContainer("web", {}, "sha256:2", frozenset({port}), True)
    (problem,) = problems(plan, engine_with(plan, containers=(other,), busy_ports=frozenset({port})))
    assert problem.startswith(f"port {port} for node-1 is published by container web")


def test_a_missing_image_of_our_own_names_the_command_that_builds_it() -> None:
    plan = plan_of("standalone", engine={"name": "valkey", "version": "9.1"})
    (problem,) = problems(plan, engine_with(plan, images={}))
    assert problem.endswith("make images ENGINE=valkey-9.1")


def test_a_foreign_image_is_left_to_be_pulled() -> None:
    plan = plan_of("standalone", engine={"image": "redis:8"})
    assert problems(plan, engine_with(plan, images={})) == ()


def test_a_cluster_does_not_become_another_topology_in_place() -> None:
    before, after = plan_of("cluster"), plan_of("sentinel")
    found = problems(after, engine_with(after, containers=standing(before)))
    assert any("runs as cluster and cannot become sentinel in place" in problem for problem in found)


def test_standalone_may_become_replication_in_place() -> None:
    before, after = plan_of("standalone"), plan_of("replication")
    assert problems(after, engine_with(after, containers=standing(before))) == ()


def test_other_numbers_of_shards_replicas_and_sentinels_are_let_through() -> None:
    shapes = ((plan_of(shards=3), plan_of(shards=5)), (plan_of("replication", replicas=2), plan_of("replication", replicas=1)))
    for one, other in (*shapes, (plan_of("sentinel", sentinel={"count": 5}), plan_of("sentinel", sentinel={"count": 3}))):
        for before, after in ((one, other), (other, one)):
            assert problems(after, engine_with(after, containers=standing(before))) == ()


def test_volumes_of_nodes_that_left_do_not_hinder_a_stack_that_stands() -> None:
    three, five, four = plan_of(shards=3), plan_of(shards=5), plan_of(shards=4)
    left = tuple(volume for volume in kept(five) if volume.name not in {node.volume for node in three.nodes})
    assert problems(four, engine_with(four, containers=standing(three), volumes=left)) == ()


def test_what_a_newer_engine_left_is_refused_also_while_the_stack_stands() -> None:
    three, four = plan_of(shards=3, engine={"version": "7.0"}), plan_of(shards=4, engine={"version": "7.0"})
    left = tuple(v for v in kept(four, version="8.0.2") if v.name not in {node.volume for node in three.nodes})
    assert any(
        "cannot read" in problem for problem in problems(four, engine_with(four, containers=standing(three), volumes=left))
    )


def test_empty_volumes_of_nodes_that_left_do_not_hinder_the_next_up_after_a_destroy() -> None:
    three, five = plan_of(shards=3), plan_of(shards=5)
    empty = tuple(dataclasses.replace(v, identity={}) for v in kept(five) if v.name not in {node.volume for node in three.nodes})
    assert problems(three, engine_with(three, volumes=(*kept(three), *empty))) == ()


def test_kept_data_of_the_same_shape_is_adopted() -> None:
    plan = plan_of()
    assert problems(plan, engine_with(plan, volumes=kept(plan))) == ()


def test_kept_data_with_another_shard_count_is_refused_with_the_choices() -> None:
    plan = plan_of()
    (problem,) = problems(plan, engine_with(plan, volumes=kept(plan, shards="5")))
    assert "it was written with 5 shards, the spec says 3" in problem
    assert problem.endswith("make down STACK=shop DATA=delete")


def test_kept_data_of_a_newer_engine_is_refused() -> None:
    plan = plan_of("standalone", engine={"version": "7.0"})
    (problem,) = problems(plan, engine_with(plan, volumes=kept(plan, version="8.0.2")))
    assert "redis 8.0.2, which redis 7.0 cannot read" in problem


def test_valkey_adopts_data_of_redis_7_0_but_not_of_redis_8() -> None:
    plan = plan_of("standalone", engine={"name": "valkey", "version": "8.1"})
    assert problems(plan, engine_with(plan, volumes=kept(plan, version="7.0.15"))) == ()
    assert problems(plan, engine_with(plan, volumes=kept(plan, version="8.0.2"))) != ()


def test_kept_volumes_that_the_spec_has_no_node_for_are_named() -> None:
    big, small = plan_of(replicas=2), plan_of(replicas=1)
    (problem,) = problems(small, engine_with(small, volumes=kept(big)))
    assert "redis-shop-node-1-3-data" in problem


def test_a_downgrade_that_cannot_read_what_running_nodes_wrote_is_refused() -> None:
    plan = plan_of("cluster", engine={"name": "redis", "version": "7.0"})
    found = problems(plan, engine_with(plan, containers=standing(plan), volumes=kept(plan)))
    assert len(found) == 2
    assert "would be lost: it was written by redis 8.0.2, which redis 7.0 cannot read" in found[0]
    assert "load a backup into a new stack" in found[1]
    assert problems(plan, engine_with(plan, containers=standing(plan), volumes=kept(plan, version="7.0.15"))) == ()


def test_an_upgrade_that_stopped_at_a_replica_can_go_back_when_its_copy_is_given_up() -> None:
    plan = plan_of("cluster", engine={"name": "redis", "version": "7.0"})
    volumes = tuple(
        dataclasses.replace(volume, identity={**volume.identity, "version": "8.0.2" if "node-1-2" in volume.name else "7.0.15"})
        for volume in kept(plan)
    )
    found = problems(plan, engine_with(plan, containers=standing(plan), volumes=volumes))
    assert "docker rm -f redis-shop-node-1-2 && docker volume rm redis-shop-node-1-2-data" in found[1]
    primary = engine_with(plan, containers=standing(plan), volumes=volumes, primaries=frozenset({"redis-shop-node-1-2"}))
    assert "load a backup" in problems(plan, primary)[1]
