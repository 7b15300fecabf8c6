"""The digest of a backup: noted once, compared ever after, and a restore that holds something else is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operations import alone
from operations.backup import proof
from operations.backup.launch import Place
from operations.backup.manifest import Manifest
from operations.backup.proof import compare_with_stack, prove
from operations.backup.settings import BackupSettings
from operations.digest.definition import NEVER, Digest, Part
from operations.digest.live import StackDigest
from operations.errors import CheckFailed, InvalidInput
from operations.scratch import Snapshot
from tests.unit.test_backup_parts import CLUSTER_SLOTS, manifest, record

PLACE = Place("shop", BackupSettings())
BOUNDARIES = (1, 2)
WHOLE = manifest(tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3)))


def digest(keys: int, total: int, boundaries: tuple[int, ...] = BOUNDARIES) -> Digest:
    return Digest(boundaries, {NEVER: Part(keys, total)}, ended_ms=10)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What was noted in the catalogue; every shard has one key, whose hash is the shard's number."""
    noted: list[dict[str, Any]] = []
    monkeypatch.setattr(alone, "FOLDER", tmp_path)
    monkeypatch.setattr(proof, "run_job", lambda _place, do, **told: noted.append({"do": do, **told}))
    monkeypatch.setattr(
        proof, "snapshots_of", lambda _place, made: [Snapshot(str(s.shard), "", 1, lambda: iter(())) for s in made.shards]
    )
    read_as(monkeypatch, lambda shard, boundaries: digest(1, shard, boundaries))
    return noted


def read_as(monkeypatch: pytest.MonkeyPatch, read: Callable[[int, tuple[int, ...]], Digest]) -> None:
    monkeypatch.setattr(proof, "digest_snapshot", lambda snapshot, _image, _owner, limits: read(int(snapshot.name), limits))


def known(found: Digest, **shards: Digest) -> Manifest:
    parts = {name.removeprefix("shard_"): one.to_data() for name, one in shards.items()}
    return WHOLE.model_copy(update={"digest": {**found.to_data(), "shards": parts}})


def test_the_digest_of_all_shards_is_noted_the_first_time(jobs: list[dict[str, Any]]) -> None:
    found = prove(PLACE, "image", WHOLE, lambda _: None)
    assert (found.all.keys, found.all.total) == (3, 6)
    assert [(one["do"], one["kind"], one["state"], one["content"]["keys"]) for one in jobs] == [("record", "digest", "passed", 3)]
    assert {name: one["keys"] for name, one in jobs[0]["content"]["shards"].items()} == {"1": 1, "2": 1, "3": 1}


def test_a_digest_that_is_known_is_compared_and_not_noted_again(jobs: list[dict[str, Any]]) -> None:
    assert prove(PLACE, "image", known(digest(3, 6)), lambda _: None).boundaries_ms == BOUNDARIES
    assert jobs == []


def test_a_backup_that_holds_something_else_than_before_is_marked_as_damaged(jobs: list[dict[str, Any]]) -> None:
    with pytest.raises(CheckFailed, match="something in them differs"):
        prove(PLACE, "image", known(digest(3, 7)), lambda _: None)
    assert [(one["kind"], one["state"]) for one in jobs] == [("verification", "failed")]


def test_a_snapshot_that_no_server_loads_is_marked_as_damaged(
    jobs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_shard: int, _boundaries: tuple[int, ...]) -> Digest:
        raise InvalidInput("the snapshot cannot be loaded: Wrong signature")

    read_as(monkeypatch, refuse)
    with pytest.raises(CheckFailed, match="is damaged: the snapshot cannot be loaded"):
        prove(PLACE, "image", WHOLE, lambda _: None)
    assert [(one["kind"], one["state"]) for one in jobs] == [("verification", "failed")]


def stack_holds(monkeypatch: pytest.MonkeyPatch, found: Digest) -> Any:
    monkeypatch.setattr(proof, "digest_stack", lambda *_, only, **__: StackDigest("shop", dict.fromkeys(only, found), 0.1, 0.001))
    inventory = type("Inventory", (), {"stack": "shop"})
    return type("Access", (), {"inventory": inventory})


TARGETS = {"node-1-1": WHOLE.shards[0], "node-2-1": WHOLE.shards[1]}


def test_the_restored_shards_are_compared_with_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    made = known(digest(9, 9), shard_1=digest(2, 3), shard_2=digest(2, 3), shard_3=digest(5, 3))
    same = compare_with_stack(made, stack_holds(monkeypatch, digest(2, 3)), TARGETS)
    assert same is not None
    assert same.compared == 4
    for other in (digest(1, 3), digest(2, 4)):
        with pytest.raises(CheckFailed, match="does not hold what backup"):
            compare_with_stack(made, stack_holds(monkeypatch, other), TARGETS)


def test_without_a_digest_in_the_catalogue_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare_with_stack(WHOLE, stack_holds(monkeypatch, digest(3, 6)), TARGETS) is None
