"""How a job is talked to, and what making a backup decides on its way."""

import contextlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from operations.backup import create, job
from operations.backup.catalogue import Entry
from operations.backup.job import debris
from operations.backup.launch import _converse
from operations.backup.restic import Repository
from operations.backup.session import Home, Session
from operations.errors import CheckFailed, ToolkitError, Unreachable

JOB = """
import sys
sys.stdin.readline(); sys.stdin.readline()
print('{"event": "halfway"}', flush=True)
print('{"event": "result", "value": "%s"}' % sys.stdin.readline().strip(), flush=True)
"""


def talk(between: object) -> object:
    with subprocess.Popen(
        [sys.executable, "-c", JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        return _converse(process, {"do": "exchange"}, lambda _: None, between)  # type: ignore[arg-type]


def test_a_job_that_is_halfway_goes_on_when_what_comes_between_is_done() -> None:
    done: list[str] = []
    assert talk(lambda: done.append("stopped")) == "go on"
    assert done == ["stopped"]


def test_a_job_gets_no_word_when_what_comes_between_fails() -> None:
    def fail() -> None:
        raise CheckFailed("a node does not stop")

    with pytest.raises(CheckFailed, match="does not stop"):
        talk(fail)


def test_a_snapshot_is_compressed_unless_its_beginning_shows_that_it_gives_nothing() -> None:
    chunks = iter([b"REDIS0012", os.urandom(create.SAMPLE_BYTES), b"later"])
    head = create.beginning(chunks)
    assert len(head) == 9 + create.SAMPLE_BYTES
    assert next(chunks) == b"later"
    assert not create.is_compressible(head)
    assert create.is_compressible(b"a value like any other " * 1000)
    assert create.beginning(iter([b"short"])) == b"short"


def test_only_what_runs_before_this_one_left_is_debris() -> None:
    def entry(identity: str, state: str) -> Entry:
        return Entry(identity, "shop", state, datetime.now(UTC), None, (f"{identity}-1",))

    known = [entry("20260101", "complete"), entry("20260102", "unfinished"), entry("20260103", "failed"),
             entry("20260104", "unfinished")]  # fmt: skip
    assert debris(known, before="20260104") == ["20260102-1"]


def test_debris_is_looked_for_unless_the_last_run_ended_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    outcomes: list[ToolkitError | SimpleNamespace] = []
    good = SimpleNamespace(ended=1.0, id="20260101T000000.000Z", model_dump=lambda **_: {})

    def look() -> list[Entry]:
        looked.append("looked")
        return []

    def make(*_: object) -> SimpleNamespace:
        outcome = outcomes.pop(0)
        if isinstance(outcome, ToolkitError):
            raise outcome
        return outcome

    session = SimpleNamespace(
        access=lambda: None, home=Home(tmp_path), report=lambda _: None, told={}, settings=None,
        repository=SimpleNamespace(may_be_locked=lambda: False), entries=look,
    )  # fmt: skip
    monkeypatch.setattr(job, "stand_back", lambda: None)
    monkeypatch.setattr(job, "ensure_password", lambda _: True)
    monkeypatch.setattr(job, "create_patiently", make)

    def run(outcome: ToolkitError | SimpleNamespace) -> int:
        outcomes.append(outcome)
        before = len(looked)
        with contextlib.suppress(ToolkitError):
            job.do_create(cast(Session, session))
        return len(looked) - before

    assert run(good) == 1, "a new home may belong to an old repository"
    assert run(good) == 0
    assert run(Unreachable("the repository is away")) == 0
    assert run(good) == 1
    assert run(good) == 0


def test_a_folder_without_locks_need_not_be_unlocked(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path), tmp_path / "password", tmp_path / "cache")
    assert not repository.is_laid_out()
    assert repository.may_be_locked()
    (tmp_path / "config").write_text("")
    (tmp_path / "locks").mkdir()
    assert repository.is_laid_out()
    assert not repository.may_be_locked()
    (tmp_path / "locks" / "one").write_text("")
    assert repository.may_be_locked()
    assert Repository("rest:http://example.test/", tmp_path / "password", tmp_path / "cache").may_be_locked()
