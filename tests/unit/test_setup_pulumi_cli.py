"""Pulumi's complaints become sentences with a way out, its exit codes become ours."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from operations.errors import Busy, ExitCode, ToolkitError, Unreachable
from scripts.pulumi_cli import NoStack, exit_code, explain, finished, query, run_visible


@pytest.mark.parametrize(
    ("stderr", "kind", "says"),
    [
        (
            "error: getting stack configuration: get stack secrets manager: incorrect passphrase",
            Unreachable,
            "give the right one",
        ),
        ("error: passphrase must be set with PULUMI_CONFIG_PASSPHRASE", Unreachable, "source env.sh"),
        ("error: no stack named 'cluster' found", NoStack, "make up STACK=cluster"),
        ("error: the stack is currently locked by 1 lock(s). Either wait", Busy, "another Pulumi process"),
        ("error: could not open bucket s3://x", Unreachable, "does not answer"),
        ("error: something\n  else", ToolkitError, "error: something else"),
        ("", ToolkitError, "no reason"),
    ],
)
def test_a_complaint_becomes_a_sentence(stderr: str, kind: type[ToolkitError], says: str) -> None:
    error = explain(stderr, "cluster")
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (0, ExitCode.OK),
        (1, ExitCode.BROKEN),
        (255, ExitCode.BROKEN),
        (6, ExitCode.UNREACHABLE),
        (8, ExitCode.INTERRUPTED),
        (-signal.SIGINT, ExitCode.INTERRUPTED),
        (-signal.SIGKILL, ExitCode.BROKEN),
    ],
)
def test_exit_codes_are_ours(code: int, ours: ExitCode) -> None:
    assert exit_code(code) == ours


def test_a_failed_update_names_the_command_that_tries_again() -> None:
    with pytest.raises(ToolkitError, match="make down STACK=shop"):
        finished(ExitCode.BROKEN, "down", "shop")
    assert finished(ExitCode.OK, "down", "shop") == ExitCode.OK
    assert finished(ExitCode.INTERRUPTED, "down", "shop") == ExitCode.INTERRUPTED


def test_a_machine_without_pulumi_is_told_to_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="make setup"):
        query(["version"], "cluster")


def test_a_command_gives_its_own_exit_code() -> None:
    assert run_visible(["sh", "-c", "exit 7"]) == 7


def test_a_terminated_script_lets_its_child_end_in_order(tmp_path: Path) -> None:
    """SIGTERM reaches the script alone; the child is interrupted, tidies up, and only then the script ends."""
    done, ready = tmp_path / "tidied", tmp_path / "ready"
    child = f"trap 'touch {done}; exit 1' INT; touch {ready}; while :; do sleep 0.05; done"
    program = f"from scripts.pulumi_cli import run_visible; raise SystemExit(run_visible(['sh', '-c', {child!r}]) != -2)"
    with subprocess.Popen([sys.executable, "-c", program]) as script:
        for _ in range(200):
            if ready.exists():
                break
            with pytest.raises(subprocess.TimeoutExpired):
                script.wait(0.05)
        script.terminate()
        assert script.wait(10) == 0
    assert done.exists()


def test_a_script_that_is_terminated_while_it_starts_its_child_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def terminated(command: list[str], **how: Any) -> "subprocess.Popen[bytes]":
        made = start(command, **how)
        os.kill(os.getpid(), signal.SIGTERM)
        return made

    monkeypatch.setattr(subprocess, "Popen", terminated)
    assert run_visible(["sleep", "60"]) == -signal.SIGINT
