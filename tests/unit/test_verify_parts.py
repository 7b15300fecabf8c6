"""The pure parts of the suite of `make verify` and of its script."""

import json
import os
from pathlib import Path

import pytest

from operations.errors import ExitCode
from scripts.verify import Check, ended
from tests.infra.subject import read_processes
from tests.live.harness import process_mark
from tests.live.sweep import forsaken
from tests.waiting import wait_until

RECORD = (
    "\x1e7\x1fredis-server\n\x1fredis-server *:6379\x00\x1fPATH=/usr/bin\x00HOME=/data\x00\x1f"
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max open files            20000                20000                files     \n\x1f"
    "Name:\tredis-server\nPPid:\t1\nUid:\t999\t999\t999\t999\nCapEff:\t0000000000000000\n\x1f"
)


def test_processes_are_read_with_arguments_environment_limits_and_status() -> None:
    (process,) = read_processes(RECORD)
    assert (process.pid, process.name, process.parent) == (7, "redis-server", 1)
    assert process.arguments == ("redis-server *:6379",)
    assert process.environment == ("PATH=/usr/bin", "HOME=/data")
    assert process.limits["Max open files"] == "20000"
    assert process.status["CapEff"] == "0000000000000000"


def test_a_process_that_ended_while_it_was_read_is_left_out() -> None:
    assert read_processes(RECORD + "\x1e8\x1f\x1f\x1f\x1f\x1f\x1f") == read_processes(RECORD)


def check(passed: bool) -> Check:
    return Check("group", "a sentence", "node-1", passed, 0.1)


def test_one_failed_check_decides_the_exit_code() -> None:
    assert ended([check(True), check(True)]) == ExitCode.OK
    assert ended([check(True), check(False)]) == ExitCode.MISSED


def test_waiting_ends_as_soon_as_nothing_is_missing() -> None:
    answers = iter(["one", "two", ""])
    assert wait_until("the end", lambda: next(answers), 5, poll_seconds=0) < 5


def test_waiting_in_vain_tells_what_was_missing_at_last() -> None:
    with pytest.raises(AssertionError, match="a pig with wings did not come about within 0 s; at last: wings"):
        wait_until("a pig with wings", lambda: "wings", 0)


def test_only_stacks_whose_test_process_is_gone_are_swept(tmp_path: Path) -> None:
    alive, gone = process_mark(os.getpid()), f"{os.getpid()}:1"
    for name, mark in (("t-alive", alive), ("t-gone", gone), ("t-never", "999999999:1")):
        note = {"name": name, "folder": str(tmp_path / name), "spec": "spec.yaml", "process": mark}
        (tmp_path / f"{name}.note.json").write_text(json.dumps(note))
    assert [stack.name for stack in forsaken(tmp_path)] == ["t-gone", "t-never"]
