"""The models: defaults by topology, strict types, and what follows from what."""

from typing import Any

import pytest
from pydantic import ValidationError

from topologies.addresses import MAX_MEMBERS
from topologies.spec import Spec


def spec(topology: str, **fields: Any) -> Spec:
    return Spec.model_validate({"topology": topology, **fields})


@pytest.mark.parametrize(
    ("topology", "shards", "replicas", "sentinels"),
    [("standalone", 1, 0, 0), ("replication", 1, 2, 0), ("sentinel", 1, 2, 3), ("cluster", 3, 1, 0)],
)
def test_each_topology_has_its_default_shape(topology: str, shards: int, replicas: int, sentinels: int) -> None:
    made = spec(topology)
    assert (made.shard_count, made.replica_count, made.sentinel_count) == (shards, replicas, sentinels)


@pytest.mark.parametrize(
    ("topology", "fields", "restart"),
    [
        ("standalone", {"persistence": {"policy": "none"}}, "immediate"),
        ("replication", {}, "immediate"),
        ("replication", {"persistence": {"policy": "rdb"}}, "never"),
        ("sentinel", {"persistence": {"policy": "rdb"}}, "after-failover"),
        ("cluster", {"persistence": {"policy": "both"}}, "immediate"),
        ("cluster", {"persistence": {"policy": "none"}}, "after-failover"),
        ("cluster", {"persistence": {"policy": "none"}, "replicas": 0}, "immediate"),
        ("cluster", {"restart": "never"}, "never"),
    ],
)
def test_the_restart_policy_never_loses_replicated_data_by_default(topology: str, fields: dict[str, Any], restart: str) -> None:
    assert spec(topology, **fields).restart_policy == restart


@pytest.mark.parametrize(
    ("topology", "fields", "limits"),
    [
        ("cluster", {}, (0, 5)),
        ("replication", {}, (0, 5)),
        ("sentinel", {}, (1, 5)),
        ("sentinel", {"replicas": 1}, (0, 5)),
        ("sentinel", {"sentinel": {"down_after_seconds": 2}}, (1, 2)),
        ("sentinel", {"sentinel": {"down_after_seconds": 1}}, (1, 2)),
        ("sentinel", {"sentinel": {"down_after_seconds": 30}}, (1, 5)),
        ("sentinel", {"replication": {"min_replicas_to_write": 0}}, (0, 5)),
        ("sentinel", {"replication": {"max_lag_seconds": 9}}, (1, 9)),
    ],
)
def test_only_sentinel_with_replicas_to_spare_limits_lag_by_default(
    topology: str, fields: dict[str, Any], limits: tuple[int, int]
) -> None:
    made = spec(topology, **fields).replication
    assert (made.min_replicas_to_write, made.max_lag_seconds) == limits


@pytest.mark.parametrize(("count", "quorum"), [(1, 1), (2, 2), (3, 2), (5, 3), (7, 4)])
def test_the_quorum_is_a_majority_by_default(count: int, quorum: int) -> None:
    assert spec("sentinel", sentinel={"count": count}).sentinel.quorum == quorum


@pytest.mark.parametrize(("engine", "version"), [("redis", "8.0"), ("valkey", "8.1")])
def test_the_version_follows_the_engine(engine: str, version: str) -> None:
    assert spec("cluster", engine={"name": engine}).engine.version == version


@pytest.mark.parametrize(
    "fields",
    [
        {"shards": "3"},
        {"shards": True},
        {"shards": 3.5},
        {"replicas": 5},
        {"memory": {"maxmemory": True}},
        {"memory": {"maxmemory": 1.5}},
        {"memory": {"copy_on_write_headroom": float("nan")}},
        {"cluster": {"node_timeout_seconds": float("inf")}},
        {"cluster": {"node_timeout_seconds": 0}},
        {"network": {"publish": 1}},
        {"persistence": {"rdb": {"save": [[0, 1]]}}},
        {"persistence": {"rdb": {"save": [[60]]}}},
        {"engine": {"version": "8"}},
        {"sentinel": {"service": "a b"}},
        {"parameters": {"hz": None}},
        {"unknown": 1},
    ],
)
def test_wrong_types_ranges_and_unknown_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec("cluster", **fields)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec("cluster"), "shards", 5)  # noqa: B010 - what the type checker forbids is tried on purpose


def test_plain_data_makes_the_same_spec_again() -> None:
    made = spec("sentinel", memory={"maxmemory": "1gb"}, persistence={"rdb": {"save": [[60, 1]]}}, parameters={"hz": 20})
    assert Spec.model_validate(made.as_data()) == made


def test_redis_words_for_switches_are_understood() -> None:
    assert spec("cluster", cluster={"full_coverage": "yes"}).cluster.full_coverage is True
    assert spec("cluster", network={"publish": "no"}).network.publish is False


def test_the_most_replicas_are_those_that_have_addresses() -> None:
    assert spec("cluster", replicas=MAX_MEMBERS - 1).replica_count == MAX_MEMBERS - 1
    with pytest.raises(ValidationError):
        spec("cluster", replicas=MAX_MEMBERS)
