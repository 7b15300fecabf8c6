"""A machine is gone with Pulumi's state, passphrase and all volumes: repository and exported key bring its stack back."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Ledger, Load, fill, lost

pytestmark = [pytest.mark.live, pytest.mark.full]

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"}}
SHAPES = [
    {"topology": "cluster", "shards": 3, "replicas": 0},
    {"topology": "standalone"},
    {"topology": "sentinel", "replicas": 1},
]
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
    # Left: the spec in its repository, the backup repository, the key, and the passphrase in somebody's head.
    folder = tmp_path_factory.mktemp("second")
    second = Stack(name, folder, folder / "spec.yaml")
    second.write_spec(spec)
    second.note()
    try:
        second.prepare()
        second.script("backup", "import-key", str(key), text="another one, of some length").failed(65).says("does not open")
        second.script("backup", "import-key", str(key), text=PASSPHRASE).ok().says(f"the key of the backups of stack {name}")
        second.up().ok()
        second.script("restore", "--from", "latest").ok().says("digest as in the catalogue")
        access = second.access()
        assert lost(access, ledger) == []
        assert lost(access, Ledger(before)) == []
        second.wait_healthy(access, 30)
    finally:
        second.remove()
        second.note_file.unlink(missing_ok=True)
        shutil.rmtree(repository, ignore_errors=True)
    assert second.leftovers() == []
