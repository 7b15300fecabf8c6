"""How every script ends: one message, the right code, no traceback for what a user can do."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from operations.errors import Busy, CheckFailed, ExitCode, InvalidInput, ToolkitError, Undetermined, Unreachable, UsageError
from scripts._command import DEBUG, JsonOption, StackOption, exit_code, print_json

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailed("a"), 10),
        (Undetermined("a"), 20),
        (ToolkitError("a"), 30),
        (UsageError("a"), 64),
        (InvalidInput("a"), 65),
        (Unreachable("a"), 69),
        (Busy("a"), 75),
    ],
)
def test_each_error_ends_with_its_code_and_its_message_alone(
    error: ToolkitError, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert exit_code(command, []) == code
    assert capfd.readouterr() == ("", "a\n")


def test_every_problem_of_invalid_input_is_shown_unbroken_and_unstyled(capfd: pytest.CaptureFixture[str]) -> None:
    long = "x [bold] is wrong " * 20

    def command() -> None:
        raise InvalidInput("two problems:", (long, "[red]second[/red]"))

    assert exit_code(command, []) == ExitCode.INVALID
    assert capfd.readouterr().err == f"two problems:\n  - {long}\n  - [red]second[/red]\n"


def test_an_unexpected_error_ends_with_30_and_says_how_to_see_more(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        raise ValueError("boom")

    assert exit_code(command, [], "x.py") == ExitCode.BROKEN
    assert capfd.readouterr().err == "x.py broke: ValueError: boom\nRun it again with REDIS_TOPOLOGIES_DEBUG=1 to see where.\n"
    monkeypatch.setenv(DEBUG, "1")
    assert exit_code(command, [], "x.py") == ExitCode.BROKEN
    assert "Traceback" in capfd.readouterr().err


def test_an_interrupt_ends_with_130(capfd: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    assert exit_code(command, []) == ExitCode.INTERRUPTED
    assert capfd.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (ExitCode.OK, 0), (ExitCode.MISSED, 10), (ExitCode.UNKNOWN, 20)])
def test_a_command_may_answer_with_a_code(answer: ExitCode | None, code: int) -> None:
    def command() -> ExitCode | None:
        return answer

    assert exit_code(command, []) == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--stack'; see x.py --help\n"),
        (["--stack", "a", "--bogus"], "No such option: --bogus; see x.py --help\n"),
        (
            ["--stack", "A b"],
            "--stack is 'A b', which is no stack name; use up to 40 lower-case letters, digits and hyphens\n",
        ),
        (["--stack", "a\n"], "--stack is 'a\\n', which is no stack name; use up to 40 lower-case letters, digits and hyphens\n"),
    ],
)
def test_bad_usage_ends_with_64(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    def command(stack: StackOption, count: Annotated[int, typer.Option("--count")] = 1) -> None:
        raise AssertionError(f"must not run for {stack} {count}")

    assert exit_code(command, arguments, "x.py") == ExitCode.USAGE
    assert capfd.readouterr() == ("", message)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["--stack", "a", "more"], "Got unexpected extra argument"),
        (["--stack", "a", "--count", "x"], "Invalid value for '--count'"),
    ],
)
def test_what_typer_refuses_ends_with_64_too(arguments: list[str], start: str, capfd: pytest.CaptureFixture[str]) -> None:
    def command(stack: StackOption, count: Annotated[int, typer.Option("--count")] = 1) -> None:
        raise AssertionError(f"must not run for {stack} {count}")

    assert exit_code(command, arguments, "x.py") == ExitCode.USAGE
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(start)
    assert err.endswith("; see x.py --help\n")


def test_json_goes_to_standard_output_whole(capfd: pytest.CaptureFixture[str]) -> None:
    def command(stack: StackOption, json: JsonOption = False) -> None:
        print_json({"stack": stack, "json": json, "long": "ü" * 300})

    assert exit_code(command, ["--stack", "shop", "--json"]) == ExitCode.OK
    assert json.loads(capfd.readouterr().out) == {"stack": "shop", "json": True, "long": "ü" * 300}


def test_an_app_of_several_commands_works_the_same_way(capfd: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    def create(stack: StackOption) -> None:
        raise Busy(f"{stack} is locked")

    @app.command()
    def show() -> None: ...

    assert exit_code(app, ["create", "--stack", "shop"]) == ExitCode.BUSY
    assert exit_code(app, ["show"]) == ExitCode.OK
    assert exit_code(app, ["drop"]) == ExitCode.USAGE
    assert "shop is locked" in capfd.readouterr().err


SCRIPT = """
import sys, time
from scripts._command import run

def many() -> None:
    for number in range(200_000):
        print(number)

def patient() -> None:
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        print("healed", flush=True)

run({"many": many, "patient": patient}[sys.argv.pop(1)])
"""


def started(which: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SCRIPT, which]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    with started("many") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == ExitCode.INTERRUPTED


def test_a_script_that_is_told_to_end_heals_first() -> None:
    with started("patient") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "healed\n"
        assert process.wait(20) == ExitCode.INTERRUPTED
