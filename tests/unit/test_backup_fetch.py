"""Files of a backup on their way to the nodes: what is refused for want of room, and what is left then."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operations.backup.fetch import STAGE, Wanted, fetch
from operations.backup.restic import Repository
from operations.errors import Unreachable

DATA = b"x" * 1_000_000
NODES = ("node-1", "node-2")
WANTED = [Wanted(node, "snapshot", "shard.rdb", len(DATA), hashlib.sha256(DATA).hexdigest()) for node in NODES]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository("/repository", tmp_path / "password", tmp_path / "cache")
    monkeypatch.setattr(found, "read", lambda *_: iter([DATA]))
    return found


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    for node in NODES:
        (tmp_path / "target" / node).mkdir(parents=True)
    return tmp_path / "target"


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=size, f_frsize=1))


def test_nodes_on_one_disk_need_room_for_all_their_files(
    repository: Repository, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 2_100_000)
    with pytest.raises(Unreachable, match=r"node-1, node-2: 2 MB of room are needed .* nothing was replaced"):
        fetch(repository, WANTED, True, lambda _: None, targets)
    assert [list((targets / node).iterdir()) for node in NODES] == [[], []]
    free(monkeypatch, 2_300_000)
    assert set(fetch(repository, WANTED, True, lambda _: None, targets)) == set(NODES)


def test_a_disk_that_is_filled_meanwhile_is_named_and_nothing_is_left(
    repository: Repository, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Iterator[bytes]:
        yield DATA[:10]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(repository, "read", full)
    with pytest.raises(Unreachable, match="cannot be written: No space left on device; nothing was replaced"):
        fetch(repository, WANTED, True, lambda _: None, targets)
    assert not any((targets / node / STAGE).exists() for node in NODES)
