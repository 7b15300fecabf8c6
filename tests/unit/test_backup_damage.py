"""What is damaged is seen as such: past the copies that are kept here, in the list, by the retention, after half a prune."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from operations.backup import chores, job
from operations.backup.catalogue import Entry
from operations.backup.chores import forgotten, prune, verify
from operations.backup.create import MANIFEST_FILE, shard_file
from operations.backup.restic import Repository, Snapshot
from operations.backup.session import Home, Session
from operations.errors import CheckFailed, Unreachable
from tests.unit.test_backup_parts import manifest, record

DATA = b"REDIS data"
WHOLE = record(1).model_copy(update={"bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()})


class Disk:
    """What lies in a repository: files by entry. What is `rotten` can only be read from the copies that restic keeps."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.rotten: set[str] = set()
        self.asked: list[tuple[str, ...]] = []

    def add(self, entry: str, data: bytes, **tags: str) -> None:
        self.files[entry], self.tags[entry] = data, {"stack": "shop", **tags}

    def backup(self, identity: str) -> None:
        made = manifest(
            (WHOLE.model_copy(update={"snapshot": f"s-{identity}"}),), id=identity, topology="standalone", shard_count=1
        )
        self.add(f"s-{identity}", DATA, set=identity, kind="shard")
        self.add(f"m-{identity}", made.model_dump_json().encode(), set=identity, kind="manifest", state="complete")


class Fake(Repository):
    def __init__(self, disk: Disk, kept: bool = True) -> None:
        super().__init__("/repository", Path("/nowhere"), Path("/nowhere") if kept else None)
        self.disk, self.kept = disk, kept

    def without_cache(self) -> Repository:
        return Fake(self.disk, kept=False)

    def _is_gone(self, entry: str) -> bool:
        return not self.kept and entry in self.disk.rotten

    def snapshots(self, seconds: float | None = None, **tags: str) -> list[Snapshot]:  # noqa: ARG002 - as restic's
        known = [one for one in self.disk.tags if not self._is_gone(one) and tags.items() <= self.disk.tags[one].items()]
        return [Snapshot(one, datetime(2026, 1, 1, tzinfo=UTC), self.disk.tags[one]) for one in known]

    def read(self, snapshot: str, name: str) -> Iterator[bytes]:
        if self._is_gone(snapshot) or snapshot not in self.disk.files:
            raise CheckFailed(f"the repository is damaged: {snapshot}")
        assert name == (MANIFEST_FILE if snapshot.startswith("m-") else shard_file(1))
        yield self.disk.files[snapshot]

    def store_text(self, name: str, text: str, tags: Any) -> str:
        self.disk.add(name, text.encode(), **{key: value for key, value in tags.items() if key != "stack"})
        return name

    def run(self, *words: str, **_: object) -> str:
        self.disk.asked.append(words)
        return ""


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def session(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(chores, "release", lambda _: None)
    retention = {"last": 1, "daily": 0, "weekly": 0, "monthly": 0}
    made = Session({"stack": "shop", "settings": {"retention": retention}}, Home(tmp_path), lambda _: None)
    made.home.store_secret("password", "the password")
    made.repository = Fake(disk)
    return made


def states(session: Session) -> dict[str, str]:
    return {row["id"]: row["state"] for row in job.do_list(session)}


@pytest.mark.parametrize("rotten", ["s-20260101", "m-20260101"], ids=["a shard", "the manifest"])
def test_what_only_the_copies_on_this_machine_still_have_is_no_backup(session: Session, disk: Disk, rotten: str) -> None:
    disk.backup("20260101")
    assert verify(session, "latest")["bytes"] == len(DATA)
    assert states(session) == {"20260101": "complete"}
    disk.rotten = {rotten}
    with pytest.raises(CheckFailed, match="backup 20260101 is damaged"):
        verify(session, "latest")
    assert states(session) == {"20260101": "damaged"}
    disk.rotten = set()
    verify(session, "latest")
    assert states(session) == {"20260101": "complete"}


def test_a_manifest_that_cannot_be_read_hides_no_other_backup(session: Session, disk: Disk) -> None:
    disk.backup("20260101")
    disk.backup("20260102")
    del disk.files["m-20260102"]
    assert states(session) == {"20260101": "complete", "20260102": "damaged"}


def test_a_repository_that_goes_away_damages_nothing(session: Session, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.backup("20260101")

    def away(*_: object) -> Iterator[bytes]:
        raise Unreachable("it went away")

    monkeypatch.setattr(session.repository, "read", away)
    with pytest.raises(Unreachable):
        prune(session, dry_run=False)


def test_a_damaged_backup_does_not_push_a_good_one_out(session: Session, disk: Disk) -> None:
    disk.backup("20260101")
    verify(session, "latest")
    disk.backup("20260102")
    del disk.files["s-20260102"], disk.tags["s-20260102"]
    judged = {one["id"]: one["keep"] for one in prune(session, dry_run=False)}
    assert judged == {"20260101": True, "20260102": True}
    assert disk.asked == []
    found = {one["name"]: one for one in chores.check(session, read_data=False)}
    assert not found["whole"]["ok"] and "20260102 is damaged: shard 1 of 1 is missing" in found["whole"]["text"]
    assert found["newest"]["text"].startswith("20260101 is")


def test_manifests_are_taken_away_before_what_they_name() -> None:
    gone = [Entry(name, "shop", "complete", datetime.now(UTC), f"m-{name}", (f"m-{name}", f"s-{name}")) for name in "ab"]
    debris = Entry("c", "shop", "unfinished", datetime.now(UTC), None, ("s-c",))
    assert forgotten([*gone, debris]) == [["m-a", "m-b"], ["s-a", "s-b", "s-c"]]
    assert forgotten([debris]) == [["s-c"]]


def test_what_a_run_has_left_that_did_not_end_well_is_given_back_by_a_prune_that_removes_no_backup(
    session: Session, disk: Disk
) -> None:
    disk.backup("20260101")
    prune(session, dry_run=False)
    session.home.note(begun=True)
    prune(session, dry_run=True)
    assert disk.asked == []
    prune(session, dry_run=False)
    assert disk.asked == [("prune",)]


def test_restic_is_told_to_keep_no_copies_where_damage_is_looked_for() -> None:
    kept = Repository("/repository", Path("/backup/password"), Path("/backup/cache"))
    assert "--no-cache" not in kept._command(["dump"])
    assert "--no-cache" in kept.without_cache()._command(["dump"])
    assert "RESTIC_CACHE_DIR" not in kept.without_cache()._environment
