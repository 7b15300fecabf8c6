"""What a restore decides and writes: which shard goes where, files in place of old ones, nothing lost before all is checked."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from operations import alone as alone_module
from operations.backup import fetch as fetch_module
from operations.backup import job
from operations.backup import restore as restore_module
from operations.backup.fetch import Wanted, fetch, swap
from operations.backup.fit import engine_problem, fit
from operations.backup.launch import Place
from operations.backup.restic import Repository
from operations.backup.restore import restore
from operations.backup.session import Home, Session
from operations.backup.settings import BackupSettings
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Access, Credentials
from operations.observe import ClusterView, NodeState, Observation
from operations.parse import ClusterNode
from tests.unit.test_backup_parts import CLUSTER_SLOTS, inventory, manifest, node, record

WHOLE = tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3))


def observed(shop: Any, slots: dict[str, Any]) -> Observation:
    """Every data node as provisioned; primaries of a cluster serve `slots`."""

    def state(entry: Any) -> NodeState:
        view = None
        if shop.topology == "cluster":
            mine = slots.get(entry.name, ())
            me = ClusterNode("i" + entry.name, entry.address, entry.port, frozenset({"myself", "master"}), None, 1, True, mine)
            view = ClusterView("i" + entry.name, True, 1, 2000, (me,))
        role = "primary" if entry.member == 1 else "replica"
        return NodeState(entry.name, info=node(role).info, cluster=view)

    return Observation(shop.stack, shop.topology, 0.0, 0.0, tuple(state(entry) for entry in shop.data_nodes))


def test_shards_go_to_the_nodes_that_serve_their_slots_whatever_their_numbers() -> None:
    shop = inventory("cluster", replicas=1)
    seen = observed(shop, {"node-1-1": CLUSTER_SLOTS[2], "node-2-1": CLUSTER_SLOTS[0], "node-3-1": CLUSTER_SLOTS[1]})
    found = fit(manifest(WHOLE), seen, shop)
    assert found.reasons == ()
    assert {name: shard.shard for name, shard in found.targets.items()} == {"node-1-1": 3, "node-2-1": 1, "node-3-1": 2}


def test_a_single_primary_takes_a_single_shard_whatever_its_topology() -> None:
    one = manifest((record(1),), topology="standalone", shard_count=1)
    shop = inventory("sentinel")
    assert {name: s.shard for name, s in fit(one, observed(shop, {}), shop).targets.items()} == {"node-1": 1}


def test_another_shape_is_told_apart_from_what_cannot_be_restored_at_all() -> None:
    shop = inventory("cluster", replicas=0)
    other_slots = observed(shop, {"node-1-1": ((0, 99),), "node-2-1": ((100, 999),), "node-3-1": ((1000, 16383),)})
    found = fit(manifest(WHOLE), other_slots, shop)
    assert found.other_shape
    assert "no node serves exactly 0-5460" in found.reasons[0]
    single = inventory("standalone")
    assert fit(manifest(WHOLE), observed(single, {}), single).other_shape


def test_a_backup_of_a_newer_engine_is_refused_with_the_version_that_it_needs() -> None:
    shop = inventory("cluster")
    assert engine_problem(manifest(WHOLE, version="8.0.6"), shop) is None
    assert "engine.version 8.2 or later" in str(engine_problem(manifest(WHOLE, version="8.2.0"), shop))
    assert "cannot read" in str(engine_problem(manifest(WHOLE, engine="valkey"), shop))


def test_a_target_with_too_little_memory_is_refused() -> None:
    shop = inventory("standalone", memory={"maxmemory": "16mb"})
    seen = observed(shop, {})
    state = seen.nodes[0]
    assert state.info is not None
    info = type(state.info)(**{**state.info.__dict__, "maxmemory_bytes": 10})
    small = Observation(seen.stack, seen.topology, 0.0, 0.0, (NodeState(state.name, info=info),))
    found = fit(manifest((record(1),), topology="standalone", shard_count=1), small, shop)
    assert not found.other_shape
    assert "raise memory.maxmemory" in found.reasons[0]


class Stored:
    """A repository that holds texts."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, _snapshot: str, name: str) -> Iterator[bytes]:
        for at in range(0, len(self.files[name]), 3):
            yield self.files[name][at : at + 3]


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volumes of a primary and a replica that hold old data and know their roles."""
    monkeypatch.setattr(os, "chown", lambda *_: None)
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "appendonlydir").mkdir(parents=True)
        (folder / "appendonlydir" / "appendonly.aof.7.incr.aof").write_text("old")
        (folder / "dump.rdb").write_text("old")
        (folder / "nodes.conf").write_text("who I am")
    return tmp_path


def bring(volumes: Path, stored: bytes, promised: bytes, aof: bool = True) -> None:
    wanted = [Wanted("one", "snap", "shard-1.rdb", len(promised), hashlib.sha256(promised).hexdigest())]
    repository = cast(Repository, Stored({"shard-1.rdb": stored}))
    fetch(repository, wanted, aof, lambda _: None, volumes)
    swap(["one"], ["two"], "20260101", volumes)


def test_an_rdb_becomes_the_base_of_an_append_only_file(volumes: Path) -> None:
    bring(volumes, b"REDIS data", b"REDIS data")
    files = {path.name: path.read_bytes() for path in (volumes / "one" / "appendonlydir").iterdir()}
    assert files == {
        "appendonly.aof.1.base.rdb": b"REDIS data",
        "appendonly.aof.1.incr.aof": b"",
        "appendonly.aof.manifest": b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
    }
    assert not (volumes / "one" / "dump.rdb").exists()
    assert (volumes / "one" / "nodes.conf").read_text() == "who I am"


def test_a_stack_without_append_only_files_gets_a_snapshot_file(volumes: Path) -> None:
    bring(volumes, b"REDIS data", b"REDIS data", aof=False)
    assert (volumes / "one" / "dump.rdb").read_bytes() == b"REDIS data"
    assert not (volumes / "one" / "appendonlydir").exists()


def test_replicas_are_emptied_and_all_volumes_fenced(volumes: Path) -> None:
    bring(volumes, b"REDIS data", b"REDIS data")
    assert not (volumes / "two" / "appendonlydir").exists()
    assert (volumes / "two" / "nodes.conf").exists()
    assert [(volumes / name / "fenced").read_text() for name in ("one", "two")] == ["20260101\n"] * 2
    assert [(volumes / name / "restored").exists() for name in ("one", "two")] == [True, False]


@pytest.mark.parametrize("stored", [b"REDIS dat", b"REDIS dbta", b"REDIS data and more"])
def test_a_file_that_is_not_the_stored_one_replaces_nothing(volumes: Path, stored: bytes) -> None:
    with pytest.raises(CheckFailed, match="is not what was stored"):
        bring(volumes, stored, b"REDIS data")
    assert (volumes / "one" / "appendonlydir" / "appendonly.aof.7.incr.aof").read_text() == "old"
    assert (volumes / "two" / "dump.rdb").read_text() == "old"
    assert not list(volumes.glob("*/fenced"))
    assert not list(volumes.glob("*/restore.part"))


def test_without_room_nothing_is_replaced(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "ROOM", 1e12)
    with pytest.raises(Unreachable, match="MB of room"):
        bring(volumes, b"REDIS data", b"REDIS data")
    assert (volumes / "one" / "dump.rdb").read_text() == "old"


def test_what_an_interrupted_restore_left_beside_is_written_anew(volumes: Path) -> None:
    (volumes / "one" / "restore.part").mkdir()
    (volumes / "one" / "restore.part" / "dump.rdb").write_text("half")
    bring(volumes, b"REDIS data", b"REDIS data")
    assert not (volumes / "one" / "restore.part").exists()
    assert not (volumes / "one" / "dump.rdb").exists()


def test_nothing_is_exchanged_when_what_was_fetched_is_gone(volumes: Path) -> None:
    with pytest.raises(CheckFailed, match="fetched for one are gone"):
        swap(["one"], ["two"], "20260101", volumes)
    assert (volumes / "two" / "dump.rdb").read_text() == "old"
    assert not list(volumes.glob("*/fenced"))


def test_what_is_fetched_and_not_wanted_any_more_is_removed(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def wait(self) -> None:
            assert list(volumes.glob("*/restore.part"))
            raise KeyboardInterrupt

    data = b"REDIS data"
    monkeypatch.setattr(job, "_WORD", Interrupted())
    monkeypatch.setattr(fetch_module.fetch, "__defaults__", (volumes,))
    monkeypatch.setattr(fetch_module.discard, "__defaults__", (volumes,))
    wanted = {
        "node": "one",
        "snapshot": "snap",
        "file": "shard-1.rdb",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    session = Session({"stack": "shop", "settings": {}, "wanted": [wanted], "aof": True}, Home(volumes / "home"), lambda _: None)
    session.home.store_secret("password", "the password")
    session.repository = cast(Repository, Stored({"shard-1.rdb": data}))
    with pytest.raises(KeyboardInterrupt):
        job.do_exchange(session)
    assert not list(volumes.glob("*/restore.part"))
    assert (volumes / "one" / "dump.rdb").read_text() == "old"


def test_what_applications_wrote_while_the_files_came_is_not_replaced_unless_it_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []

    class Containers:
        def __init__(self, _: Any) -> None:
            pass

        def kill(self, nodes: Any) -> None:
            killed.append(nodes)
            raise CheckFailed("far enough")

        def run(self, *_: Any) -> str:
            return ""

    shop = inventory("standalone")
    state = observed(shop, {}).nodes[0]
    assert state.info is not None

    def holding(keys: int) -> Observation:
        info = dataclasses.replace(cast(Any, state.info), keys=keys)
        return Observation(shop.stack, shop.topology, 0.0, 0.0, (NodeState(state.name, info=info),))

    monkeypatch.setattr(alone_module, "FOLDER", tmp_path / "stacks")
    monkeypatch.setattr(restore_module, "Containers", Containers)
    monkeypatch.setattr(restore_module, "_wake", lambda *_: holding(0))
    monkeypatch.setattr(restore_module, "observe", lambda _: holding(3))
    monkeypatch.setattr(restore_module, "run_job", lambda _place, _do, _report, between, **_: between())
    access = Access(inventory=shop, credentials=Credentials.of({}))
    one = manifest((record(1),), topology="standalone", shard_count=1)
    with pytest.raises(CheckFailed, match=r"holds 3 keys.*written while the files came; nothing was replaced"):
        restore(Place("shop", BackupSettings()), access, one, replace=False)
    assert killed == []
    with pytest.raises(CheckFailed, match="far enough"):
        restore(Place("shop", BackupSettings()), access, one, replace=True)
