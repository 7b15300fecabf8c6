"""A machine is gone with Pulumi's state, passphrase and all volumes: repository and exported key bring its stack back."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Ledger, Load, fill, lost
from tests.live.test_archive_agent import moment_of, wait_archived
from tests.live.test_point_in_time import flush

pytestmark = [pytest.mark.live, pytest.mark.full]

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"}}
SHAPES = [
    {"topology": "cluster", "shards": 3, "replicas": 0},
    {"topology": "standalone"},
    {"topology": "sentinel", "replicas": 1},
]
ARCHIVING: dict[str, Any] = {"topology": "cluster", "shards": 3, "replicas": 0, **SMALL}
PASSPHRASE = "correct horse battery staple"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape["topology"]))
def test_repository_and_exported_key_are_enough(
    shape: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> None:
    repository = tmp_path / "repository"  # on a disk of another machine
    repository.mkdir()
    spec = {**shape, **SMALL, "backup": {"repository": str(repository)}}
    with throw_away_stack("machine", spec, tmp_path_factory.mktemp("first"), pytestconfig) as first:
        first.up().ok()
        access = first.access()
        ledger = fill(access, "kept", 3000)
        with Load(access, "busy") as load:
            load.wait_for(200)
            before = load.ledger.acknowledged
            first.script("backup", "create").ok()
        key = tmp_path / "key"
        key.write_text(first.script("backup", "export-key", text=PASSPHRASE).ok().output)
        name = first.name
    with another_machine(name, spec, key, tmp_path_factory) as second:
        second.script("restore", "--from", "latest").ok().says("digest as in the catalogue")
        access = second.access()
        assert lost(access, ledger) == []
        assert lost(access, Ledger(before)) == []
        second.wait_healthy(access, 30)
    shutil.rmtree(repository, ignore_errors=True)


def test_a_second_of_a_machine_that_is_gone_is_restored_on_another_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    spec = {**ARCHIVING, "backup": {"repository": str(repository), "point_in_time": True}}
    with throw_away_stack("second", spec, tmp_path_factory.mktemp("first"), pytestconfig) as first:
        first.up().ok()
        access = first.access()
        at, ledger = moment_of(access, "kept")
        flush(access)
        late, after = moment_of(access, "after")
        wait_archived(first, late)
        key = tmp_path / "key"
        key.write_text(first.script("backup", "export-key", text=PASSPHRASE).ok().output)
        name = first.name
    with another_machine(name, spec, key, tmp_path_factory) as second:
        access = second.access()
        mine, new = moment_of(access, "mine")
        for second_there, there, gone in ((at, ledger, after), (late, after, ledger)):
            second.script("restore", "--at", str(second_there), "--replace").ok().says("found the same")
            assert lost(access, there) == []
            assert len(lost(access, gone)) == 500
        wait_archived(second, mine)
        second.script("restore", "--at", str(mine), "--replace").ok()
        assert lost(access, new) == []
    shutil.rmtree(repository, ignore_errors=True)


@contextmanager
def another_machine(
    name: str, spec: dict[str, Any], key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:  # fmt: skip
    """A stack of the same name. Left are the spec in its repository, that of the backups, the key, and the passphrase in
    somebody's head."""
    folder = tmp_path_factory.mktemp("second")
    second = Stack(name, folder, folder / "spec.yaml")
    second.write_spec(spec)
    second.note()
    try:
        second.prepare()
        second.script("backup", "import-key", str(key), text="another one, of some length").failed(65).says("does not open")
        second.script("backup", "import-key", str(key), text=PASSPHRASE).ok().says(f"the key of the backups of stack {name}")
        second.up().ok()
        yield second
    finally:
        second.remove()
        second.note_file.unlink(missing_ok=True)
    assert second.leftovers() == []
