"""A provider ends with the Pulumi that it works for, also when a shell stands between them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_until

WORK = "import time; from operations.orphan import end_with_parent; end_with_parent(); print('ready', flush=True); time.sleep(60)"
SHELL = f'"{sys.executable}" -c "{WORK}"; true'
ENGINE = f"import subprocess; subprocess.run(['sh', '-c', {SHELL!r}])"


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def command_line(pid: int) -> bytes:
    """Empty for a process that is gone or only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_it_ends_when_the_grandparent_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ENGINE], stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == "ready\n"
        provider = child_of(child_of(engine.pid))
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
        wait_until("the end of the provider", lambda: command_line(provider), 10)
