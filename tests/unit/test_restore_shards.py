"""A backup into another number of shards: the spec of the new stack, and what is refused before anything is touched."""

from typing import Any

import pytest

from operations.backup.launch import Place
from operations.backup.manifest import Manifest
from operations.backup.settings import BackupSettings
from operations.errors import CheckFailed, InvalidInput, UsageError
from scripts import _shards as module
from scripts import pulumi_cli, stack_files
from scripts._shards import bring_up, is_new, require_shards, spec_of
from tests.unit.test_backup_parts import inventory, manifest, record
from topologies.spec import Spec

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"}}
PLACE = Place("shop", BackupSettings(repository="/srv/backups"))


def backup(topology: str = "cluster", **fields: Any) -> Manifest:
    spec = Spec.model_validate({"topology": topology, "backup": {"schedule": "0 3 * * *"}, **fields}).as_data()
    return manifest(tuple(record(number) for number in (1, 2, 3)), topology=topology, spec=spec)


def test_the_copy_is_as_its_source_but_for_the_shards_and_is_born_from_the_backup() -> None:
    source = backup(shards=3, **SMALL, network={"port_base": 20000})
    made = spec_of(source, PLACE, 5, "copy")
    assert made == {
        "topology": "cluster", "shards": 5, "memory": {"maxmemory": 64 * 1024**2}, "replication": {"backlog": 4 * 1024**2},
        "restore_from": {"stack": "shop", "backup": source.id, "repository": "/srv/backups"},
    }  # fmt: skip


@pytest.mark.parametrize("topology", ["standalone", "replication", "sentinel"])
def test_any_topology_becomes_a_cluster(topology: str) -> None:
    made = Spec.model_validate(spec_of(backup(topology), PLACE, 3, "copy"))
    assert (made.topology, made.shard_count) == ("cluster", 3)


def test_what_cannot_be_is_refused_beforehand() -> None:
    with pytest.raises(InvalidInput, match="at least 3 primaries"):
        spec_of(backup(), PLACE, 2, "copy")
    heavy = tuple(record(number).model_copy(update={"used_memory_bytes": 60_000_000}) for number in (1, 2, 3, 4, 5))
    source = backup(**SMALL).model_copy(update={"shards": heavy})
    with pytest.raises(CheckFailed, match="each of 3 shards would hold about 110 MB"):
        spec_of(source, PLACE, 3, "copy")
    assert spec_of(source, PLACE, 5, "copy")


def test_a_running_stack_has_to_have_so_many_shards() -> None:
    require_shards(inventory("cluster", shards=5), 5)
    with pytest.raises(UsageError, match="has 3 shards, not 5"):
        require_shards(inventory("cluster"), 5)
    with pytest.raises(UsageError, match="has 1 shard, not 5"):
        require_shards(inventory("standalone"), 5)


def test_only_a_name_that_nothing_stands_behind_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi_cli, "exists", lambda name: name == "up")
    monkeypatch.setattr(stack_files, "possible_stacks", lambda: ("planned",))
    assert (is_new("up"), is_new("copy")) == (False, True)
    with pytest.raises(UsageError, match="has a spec and is not up"):
        is_new("planned")


def test_volumes_of_an_earlier_stack_are_not_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        @property
        def api(self) -> "Engine":
            return self

        def volumes(self, **_: Any) -> dict[str, Any]:
            return {"Volumes": [{"Name": "redis-copy-node-1-data"}]}

    monkeypatch.setattr(module, "connect", Engine)
    with pytest.raises(UsageError, match="redis-copy-node-1-data"):
        bring_up("copy", {})
