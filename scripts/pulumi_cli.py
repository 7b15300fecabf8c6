"""Pulumi's command line as scripts use it: its complaints become sentences with a way out."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from operations.errors import Busy, ExitCode, ToolkitError, Unreachable
from operations.owner import backend_url

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "redis-topologies"
QUERY_TIMEOUT_SECONDS = 120
NO_PULUMI = "pulumi is not on PATH; run `make setup`, then `source env.sh`"

_CANCELLED = 8
"""Pulumi's exit code for an update that was cancelled."""
_NOT_FOUND = 6


class NoStack(Unreachable):
    """The backend has no stack of that name."""


def explain(stderr: str, stack: str) -> ToolkitError:
    """The error for what Pulumi wrote to stderr."""
    text = " ".join(stderr.split())
    if "incorrect passphrase" in text:
        where = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
        given = f"PULUMI_CONFIG_PASSPHRASE_FILE={where}" if where else "PULUMI_CONFIG_PASSPHRASE"
        return Unreachable(
            f"the passphrase given by {given} is not the one that stack {stack} was made with; give the right one "
            f"(PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE), or, if it is lost, forget the stack with "
            f"`pulumi stack rm --force {stack}` and `rm .stacks/Pulumi.{stack}.yaml` and bring it up anew: data volumes stay"
        )
    if "passphrase must be set" in text:
        return Unreachable(
            f"Pulumi needs the passphrase of stack {stack}: run `source env.sh`, or set PULUMI_CONFIG_PASSPHRASE_FILE to its file"
        )
    if "no stack named" in text:
        return NoStack(f"there is no stack {stack} in {backend_url()}; run `make up STACK={stack}`")
    if "currently locked" in text:
        return Busy(f"another Pulumi process works on stack {stack}: {text}")
    if "could not open bucket" in text or "connection refused" in text or "no such host" in text:
        return Unreachable(f"the Pulumi backend {backend_url()} does not answer: {text}")
    return ToolkitError(f"pulumi failed on stack {stack}: {text or 'it gave no reason'}")


def query(arguments: Sequence[str], stack: str) -> str:
    """What `pulumi ARGUMENTS --stack STACK` prints; raises a ToolkitError that tells why it failed."""
    return _ask([*arguments, "--stack", stack], stack)


def exists(stack: str) -> bool:
    """Whether the backend has this stack."""
    listed = json.loads(_ask(["stack", "ls", "--json", "--project", PROJECT], stack))
    return any(entry["name"].rsplit("/", 1)[-1] == stack for entry in listed)


def _ask(arguments: Sequence[str], stack: str) -> str:
    command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
    try:
        answer = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Unreachable(NO_PULUMI) from None
    except subprocess.TimeoutExpired:
        raise Unreachable(
            f"`pulumi {' '.join(arguments)}` gave no answer within {QUERY_TIMEOUT_SECONDS} s; is {backend_url()} reachable?"
        ) from None
    if answer.returncode != 0:
        raise explain(answer.stderr or answer.stdout, stack)
    return answer.stdout


def visible(arguments: Sequence[str], stack: str) -> int:
    """Run Pulumi on the user's own terminal; returns one of our exit codes."""
    try:
        return exit_code(run_visible(["pulumi", *arguments, "--stack", stack]))
    except FileNotFoundError:
        raise Unreachable(NO_PULUMI) from None


def run_visible(command: Sequence[str]) -> int:
    """Run a command on the user's own terminal to its end; returns its exit code, negative when it was interrupted or killed.

    Ctrl-C reaches the command directly, which then ends in order: this process only waits for that. SIGTERM, which reaches this
    process alone, is passed on as an interruption. In neither case is the command killed half-way.
    """
    sys.stdout.flush()
    child: subprocess.Popen[bytes] | None = None
    interrupted = early = False

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted, early
        interrupted = True
        if child is None:
            early = True
        elif number == signal.SIGTERM:
            child.send_signal(signal.SIGINT)

    # Before the command starts, or it would go on alone when this process is ended at once. Handlers, not SIG_IGN, which the
    # command would inherit.
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with subprocess.Popen(command, cwd=ROOT) as child:
            if early:
                child.send_signal(signal.SIGINT)
            code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    # Pulumi ends an interrupted update like a failed one.
    return -signal.SIGINT if interrupted and code != 0 else code


def finished(code: int, doing: str, stack: str) -> int:
    """Tell how an update ended: the code, or a ToolkitError for a failure whose reason Pulumi has shown itself."""
    if code == ExitCode.INTERRUPTED:
        print(f"{doing}: interrupted; `make {doing} STACK={stack}` goes on from here")
    elif code != ExitCode.OK:
        raise ToolkitError(
            f"stack {stack} is not {doing}; what Pulumi wrote stands above, `make {doing} STACK={stack}` tries again"
        )
    return code


def exit_code(code: int) -> int:
    """Pulumi's exit code (negative: ended by that signal) as one of ours."""
    if code == 0:
        return ExitCode.OK
    if code in (_CANCELLED, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT):
        return ExitCode.INTERRUPTED
    if code == _NOT_FOUND:
        return ExitCode.UNREACHABLE
    return ExitCode.BROKEN


def export(stack: str) -> dict[str, Any]:
    """The state of the stack. Secrets are decrypted on the way, which proves the passphrase before anything is touched."""
    data: dict[str, Any] = json.loads(query(["stack", "export", "--show-secrets"], stack))
    return data
