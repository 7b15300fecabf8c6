"""The Docker engine itself goes down and comes back: every stack with it. Only on an engine that nobody else uses.

scripts/test.py runs this file alone and last.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from tests.conftest import FIGURE
from tests.live.harness import PREFIX, ROOT, Stack, engine, throw_away_stack
from tests.live.ledger import fill, lost
from tests.waiting import wait_until

PID_FILE = Path("/var/run/docker.pid")
SPEC = {"topology": "cluster", "shards": 3, "replicas": 1}
RECOVERY_SECONDS = 90


def others() -> list[str]:
    """Running containers that are not of throw-away stacks."""
    names = [entry["Names"][0].lstrip("/") for entry in engine().api.containers()]
    return sorted(name for name in names if not name.startswith(f"redis-{PREFIX}"))


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    foreign = others()
    assert not foreign, f"this engine runs containers that are not ours, it must not be restarted: {foreign}"
    with throw_away_stack("restart", SPEC, tmp_path_factory.mktemp("restart"), request.config) as made:
        made.up().ok()
        yield made


def engine_process() -> int:
    """The engine's process id on this machine."""
    pid = int(PID_FILE.read_text())
    assert Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    return pid


def answers() -> str:
    try:
        docker.from_env(timeout=5).ping()
    except DockerException as error:
        return str(error)
    return ""


def restart(how: signal.Signals) -> None:
    """End the engine and start it again as `make up` does."""
    foreign = others()
    assert not foreign, foreign
    pid = engine_process()
    os.kill(pid, how)
    wait_until("the end of the engine", lambda: "it runs" if Path(f"/proc/{pid}").exists() else "", 90)
    started = subprocess.run(["bash", "toolchain/steps/engine.sh"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stdout + started.stderr
    wait_until("the engine", answers, 60)


def test_a_restart_of_the_engine_brings_the_stack_back_with_its_data(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    access = stack.access()
    ledger = fill(access, "before-restart", 2000)
    restart(signal.SIGTERM)
    took = stack.wait_healthy(access, RECOVERY_SECONDS)
    assert lost(access, ledger) == []
    stack.preview("--expect-no-changes").ok()
    record_property(FIGURE, f"{stack.name}: as declared {took:.1f} s after the engine was back, nothing lost")


def test_after_a_crash_of_the_engine_the_next_up_starts_what_the_engine_leaves_stopped(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    """An engine that was killed stops the containers that survived it when it is back, and may not start them again."""
    access = stack.access()
    ledger = fill(access, "before-crash", 2000)
    restart(signal.SIGKILL)
    came = stack.up("--refresh").ok()
    renewed = stack.access()
    stack.wait_healthy(renewed, RECOVERY_SECONDS)
    assert lost(renewed, ledger) == []
    stack.preview("--expect-no-changes").ok()
    record_property(FIGURE, f"{stack.name}: repaired after a crash of the engine by pulumi up --refresh in {came.seconds:.1f} s")
