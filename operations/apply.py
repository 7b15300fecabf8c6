"""`pulumi up` without a question, for those who need the declared state back: drills heal with it and prove that it keeps roles.

The command line is used as everybody uses it, with this environment's backend and passphrase; what it wrote stands in the error
when it fails.
"""

import re
import signal
import subprocess
from pathlib import Path

from operations.errors import Busy, ToolkitError, Unreachable
from operations.owner import backend_url

ROOT = Path(__file__).resolve().parent.parent
APPLY_SECONDS = 600.0
LAST_LINES = 12
_COUNTS = re.compile(r"\d+ (?:unchanged|created|updated|deleted|replaced)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def command(stack: str, refresh: bool) -> list[str]:
    """What is run. `refresh` looks at what really exists first, so that what is gone is made anew."""
    return [
        "pulumi", "up", "--yes", "--skip-preview", "--suppress-outputs", "--non-interactive", "--color", "never",
        *(["--refresh"] if refresh else []), "--stack", stack,
    ]  # fmt: skip


def apply(stack: str, refresh: bool = False, seconds: float = APPLY_SECONDS) -> str:
    """Bring the stack to what is declared; the counts that Pulumi told, for instance `20 unchanged`.

    Raises Unreachable when there is no Pulumi, no stack or no answer, Busy when somebody else works on the stack, ToolkitError
    with Pulumi's last words when it fails. Ctrl-C is passed on as an interruption, never as a kill half-way.
    """
    try:
        process = subprocess.Popen(
            command(stack, refresh),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise Unreachable("pulumi is not on PATH; run `make setup`, then `source env.sh`") from None
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise Unreachable(f"`pulumi up` of stack {stack} took longer than {seconds:g} s and was interrupted") from None
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise
    if process.returncode != 0:
        raise failure(stack, output)
    return counts(output)


def counts(output: str) -> str:
    """`2 created, 1 updated, 17 unchanged` from the end of what Pulumi wrote; `done` when it counted nothing."""
    found = _COUNTS.findall(_COLOURS.sub("", output).rpartition("Resources:")[2])
    return ", ".join(found) or "done"


def failure(stack: str, output: str) -> ToolkitError:
    """The error for what a failed `pulumi up` wrote."""
    lines = [line.strip() for line in _COLOURS.sub("", output).splitlines() if line.strip()]
    text = " ".join(lines[-LAST_LINES:]) or "it gave no reason"
    if "no stack named" in text:
        return Unreachable(f"there is no stack {stack} in {backend_url()}; run `make up STACK={stack}`")
    if "currently locked" in text:
        return Busy(
            f"another Pulumi works on stack {stack}; wait for it, or run `scripts/recover.py --stack {stack}` if none is left"
        )
    return ToolkitError(f"`pulumi up` of stack {stack} failed: {text}")
