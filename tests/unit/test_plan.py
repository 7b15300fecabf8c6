"""The plan of each topology, as a whole in golden files and by its rules."""

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.sizes import MIB
from topologies.addresses import addressing
from topologies.plan import Plan, data_memory_limit_bytes, make_plan
from topologies.spec import Spec

TOPOLOGIES = ("standalone", "replication", "sentinel", "cluster")


def plan_of(topology: str, **fields: Any) -> Plan:
    return make_plan(Spec.model_validate({"topology": topology, **fields}), "shop", addressing(7), "0123456789ab")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_plan_of_the_defaults_is_as_recorded(topology: str, golden: Callable[[str, str], None]) -> None:
    plan = plan_of(topology)
    data = {**dataclasses.asdict(dataclasses.replace(plan, spec=None)), "spec": plan.spec.as_data()}  # type: ignore[arg-type]
    golden(f"plan-{topology}.json", json.dumps(data, indent=2) + "\n")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_each_shard_has_one_primary_and_all_nodes_are_labelled(topology: str) -> None:
    plan = plan_of(topology)
    assert [node.shard for node in plan.primaries] == list(range(1, plan.spec.shard_count + 1))
    for node in plan.nodes:
        assert node.labels == {
            "redis-topologies.stack": "shop",
            "redis-topologies.owner": "0123456789ab",
            "redis-topologies.index": "7",
            "redis-topologies.node": node.name,
            "redis-topologies.shard": str(node.shard),
        }
        assert node.container == f"redis-shop-{node.name}"
        assert node.volume == f"redis-shop-{node.name}-data"


@given(st.integers(3, 48), st.integers(0, 4))
def test_neighbours_in_the_order_of_replacement_are_never_of_one_shard(shards: int, replicas: int) -> None:
    plan = plan_of("cluster", shards=shards, replicas=replicas)
    assert all(one.shard != two.shard for one, two in pairwise(plan.nodes))


def test_only_cluster_nodes_have_a_bus_and_only_published_nodes_a_port() -> None:
    assert {node.bus_port for node in plan_of("cluster").nodes} == {16379}
    assert {node.bus_port for node in plan_of("sentinel").nodes} == {0}
    assert {node.host_port for node in plan_of("cluster", network={"publish": False}).nodes} == {0}


@pytest.mark.parametrize(
    ("topology", "fields", "restart"),
    [
        ("cluster", {}, "unless-stopped"),
        ("cluster", {"persistence": {"policy": "none"}}, "unless-stopped"),
        ("replication", {"persistence": {"policy": "rdb"}}, "no"),
        ("cluster", {"restart": "never"}, "no"),
    ],
)
def test_dockers_restart_policy_follows_the_spec(topology: str, fields: dict[str, Any], restart: str) -> None:
    assert {node.restart for node in plan_of(topology, **fields).data_nodes} == {restart}


def test_sentinels_always_come_back() -> None:
    assert {node.restart for node in plan_of("sentinel", restart="never").sentinels} == {"unless-stopped"}


@pytest.mark.parametrize(
    ("topology", "fields", "mebibytes"),
    [
        # maxmemory with copy-on-write headroom + backlog + replica buffer + AOF rewrite buffer + overhead
        ("cluster", {}, 256 * 1.6 + 64 + 256 + 32 + 64),
        ("cluster", {"persistence": {"policy": "none"}}, 256 * 1.6 + 64 + 256 + 64),
        ("standalone", {"memory": {"maxmemory": "100mb", "copy_on_write_headroom": 1.0}}, 200 + 64 + 32 + 64),
    ],
)
def test_the_memory_limit_leaves_room_for_snapshots_and_buffers(topology: str, fields: dict[str, Any], mebibytes: float) -> None:
    plan = plan_of(topology, **fields)
    assert data_memory_limit_bytes(plan.spec) == int(mebibytes * MIB)
    assert plan.memory_total_bytes == len(plan.nodes) * int(mebibytes * MIB)


@pytest.mark.parametrize(
    ("engine", "image", "user"),
    [
        ({}, "redis-topologies/node:redis-8.0", "redis"),
        ({"name": "valkey"}, "redis-topologies/node:valkey-8.1", "valkey"),
        ({"image": "redis:8.2", "version": "8.2", "user": "999"}, "redis:8.2", "999"),
    ],
)
def test_the_engine_decides_image_and_user(engine: dict[str, Any], image: str, user: str) -> None:
    plan = plan_of("cluster", engine=engine)
    assert (plan.image, plan.user) == (image, user)
