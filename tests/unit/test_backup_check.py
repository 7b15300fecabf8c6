"""The named questions about backups, where the archive of points in time is one of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from operations.archive.segments import Catalogue
from operations.backup import chores
from operations.backup.catalogue import Entry
from operations.backup.session import Home, Session
from operations.errors import CheckFailed, ToolkitError, Unreachable


class Archive:
    """A repository whose checks end as told, one after the other."""

    def __init__(self, *ends: ToolkitError | None, there: bool = True) -> None:
        self._ends = list(ends)
        self._there = there
        self.asked: list[tuple[str, ...]] = []

    def exists(self) -> bool:
        return self._there

    def run(self, *words: str) -> None:
        self.asked.append(words)
        if error := self._ends.pop(0):
            raise error


def _no_repository() -> None:
    raise Unreachable("there is no backup repository yet")


def ask(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    archive: Archive,
    seconds: list[tuple[int, int]],
    read_data: bool = False,
    backed_up: bool = True,
) -> dict[str, Any]:
    told = {"stack": "shop", "settings": {"point_in_time": True}}
    session = Session(told, Home(tmp_path), lambda _: None)
    monkeypatch.setattr(session, "entries", list if backed_up else _no_repository)
    monkeypatch.setattr(session.repository, "run", lambda *_: "")
    monkeypatch.setattr(chores, "archive_repository", lambda _: archive)
    monkeypatch.setattr("operations.backup.chores.Store.load", lambda _: Catalogue())
    monkeypatch.setattr(chores, "restorable", lambda _: seconds)
    found = {one["name"]: one for one in chores.check(session, read_data)}
    assert list(found) == ["repository", "archive", *(("integrity", "whole", "newest", "verified", "key") if backed_up else ())]
    return found["archive"]


def test_an_archive_is_looked_through_without_keeping_its_agent_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    archive = Archive(None)
    found = ask(tmp_path, monkeypatch, archive, [(0, 10), (60, 120)], read_data=True)
    assert found["ok"] and "every second from 1970-01-01T00:01:00+00:00 to 1970-01-01T00:02:00+00:00" in found["text"]
    assert archive.asked == [("check", "--read-data", "--no-lock")]


def test_what_is_forgotten_meanwhile_is_no_damage_and_what_stays_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = CheckFailed("a pack is missing")
    assert ask(tmp_path, monkeypatch, Archive(gone, None), [(60, 120)])["ok"]
    found = ask(tmp_path, monkeypatch, Archive(gone, CheckFailed("that pack is missing")), [(60, 120)])
    assert (found["ok"], found["text"]) == (False, "that pack is missing")


def test_an_archive_that_is_not_there_or_empty_or_silent_is_not_answered_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    assert "no repository yet" in ask(tmp_path, monkeypatch, Archive(there=False), [])["text"]
    assert "no second" in ask(tmp_path, monkeypatch, Archive(None), [])["text"]
    silent = Archive(Unreachable("it did not answer"))
    assert ask(tmp_path, monkeypatch, silent, [(60, 120)])["text"] == "it did not answer"


def test_an_archive_is_looked_at_before_the_first_backup_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(tmp_path, monkeypatch, Archive(None), [(60, 120)], backed_up=False)["ok"]


@pytest.mark.parametrize(("age", "ok"), [(timedelta(hours=1), True), (timedelta(hours=-1), False)])
def test_a_backup_that_is_dated_later_than_now_is_no_proof_of_a_fresh_one(age: timedelta, ok: bool, tmp_path: Path) -> None:
    made = Entry("20260630T120000.000Z", "shop", "complete", datetime.now(UTC) - age, "manifest", ())
    found = chores._newest(Session({"stack": "shop", "settings": {}}, Home(tmp_path), lambda _: None), [made])
    assert (found.ok, "the clock went back" in found.text) == (ok, not ok)
