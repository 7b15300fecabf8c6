"""Stacks for the time of a rehearsal or a drill: what they are made of, and that only one process has one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from operations import scratch_stack as module
from operations.errors import Busy
from operations.scratch_stack import other_shape, same_shape, scratch_name, scratch_stack
from topologies.load import load_spec
from topologies.spec import Spec

SOURCES: list[dict[str, Any]] = [
    {"topology": "standalone", "persistence": {"policy": "rdb"}},
    {"topology": "replication", "engine": {"name": "valkey", "version": "8.1"}},
    {"topology": "sentinel", "sentinel": {"down_after_seconds": 1}, "parameters": {"aof-timestamp-enabled": "yes"}},
    {"topology": "cluster", "shards": 4, "replicas": 2, "memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"},
     "change": {"surge": True},
     "backup": {"schedule": "0 3 * * *", "objectives": {"rpo_seconds": 60}}, "data": {"on_destroy": "keep"},
     "network": {"subnet": "10.50.0.0/24"}},
]  # fmt: skip


def declared(source: dict[str, Any]) -> dict[str, Any]:
    """A spec as an inventory has it, with all defaults."""
    return Spec.model_validate(source).as_data()


def read_back(spec: dict[str, Any], folder: Path) -> Spec:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return load_spec(path, {})


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source["topology"]))
def test_a_scratch_stack_is_as_its_source_on_addresses_of_its_own_and_without_agent_or_kept_volumes(
    source: dict[str, Any], tmp_path: Path
) -> None:
    of, made = Spec.model_validate(source), read_back(same_shape(declared(source)), tmp_path)
    for field in ("topology", "engine", "memory", "persistence", "parameters", "shard_count", "replica_count", "sentinel"):
        assert getattr(made, field) == getattr(of, field)
    assert (made.network.subnet, made.backup.schedule, made.data.on_destroy, made.change.surge) == (None, None, "delete", False)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source["topology"]))
def test_another_shape_is_a_cluster_with_the_same_engine_and_sizes(source: dict[str, Any], tmp_path: Path) -> None:
    of, made = Spec.model_validate(source), read_back(other_shape(declared(source), 5), tmp_path)
    assert (made.topology, made.shard_count, made.replica_count, made.data.on_destroy) == ("cluster", 5, 0, "delete")
    assert (made.engine, made.memory, made.persistence, made.parameters) == (of.engine, of.memory, of.persistence, of.parameters)


def test_its_name_fits_whatever_the_name_of_the_source() -> None:
    assert scratch_name("shop", "rehearsal") == "shop-rehearsal"
    assert len(scratch_name("a" * 40, "rehearsal")) == 40
    assert scratch_name("a" * 29 + "-" + "b" * 10, "elsewhere") == "a" * 29 + "-elsewhere"


def test_a_scratch_stack_that_another_process_has_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STACK_FILES", tmp_path / "files")
    removed: list[str] = []
    monkeypatch.setattr(module, "_remove", removed.append)
    with module._alone("shop-rehearsal"), pytest.raises(Busy, match="try again when it has ended"):  # noqa: SIM117
        with scratch_stack("shop-rehearsal", {"topology": "standalone"}, lambda _: None):
            raise AssertionError("two at once")
    assert removed == []
