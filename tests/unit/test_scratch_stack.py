"""Stacks for the time of a rehearsal or a drill: what they are made of, and that only one process has one."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from operations import scratch_stack as module
from operations.apply import ROOT
from operations.errors import Busy
from operations.scratch_stack import holders, other_shape, same_shape, scratch_name, tidy
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


OWNER = """
import subprocess, sys
from pathlib import Path
from operations import scratch_stack
scratch_stack.STACK_FILES = Path(sys.argv[1])
with scratch_stack._alone("shop-rehearsal") as lock:
    child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    print(child.pid, flush=True)
    child.wait()
"""


@pytest.fixture
def removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Another place for the files of stacks; the names of scratch stacks that were removed."""
    names: list[str] = []
    monkeypatch.setattr(module, "STACK_FILES", tmp_path)

    def remove(name: str) -> bool:
        names.append(name)
        return True

    monkeypatch.setattr(module, "_remove", remove)
    return names


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has the scratch stack, and the number of a child that inherited its lock, as Pulumi does."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process, child
    process.kill()
    process.wait()
    process.stdout.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def test_a_scratch_stack_that_another_process_has_is_left_alone(
    owner: tuple[subprocess.Popen[str], int], removed: list[str]
) -> None:
    with pytest.raises(Busy, match="try again when it has ended"):
        tidy("shop-rehearsal")
    assert removed == []
    assert owner[0].poll() is None
    os.kill(owner[1], 0)


def test_what_a_killed_process_had_started_is_ended_before_its_scratch_stack_is_removed(
    owner: tuple[subprocess.Popen[str], int], removed: list[str], tmp_path: Path
) -> None:
    process, child = owner
    process.kill()
    process.wait()
    assert holders(tmp_path / "shop-rehearsal.lock") == [child]
    assert tidy("shop-rehearsal")
    assert removed == ["shop-rehearsal"]
    assert holders(tmp_path / "shop-rehearsal.lock") == []
