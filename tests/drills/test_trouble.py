"""What goes wrong around a drill: it is refused before anything is touched, or what it broke is put back."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from drills import journal as journals
from drills.faults.base import LABEL
from drills.faults.network import FOUND
from drills.history import read_history
from drills.lock import lock_name
from drills.records import Operation, Start
from operations.connect import Link
from operations.errors import ExitCode, ToolkitError
from operations.inventory import Access
from tests.drills.drilling import drill, heal, run_drill
from tests.live.harness import ROOT, Result, Stack, engine, throw_away_stack
from tests.waiting import wait_until

SPEC = {"topology": "replication", "replicas": 1}
HEALTHY_SECONDS = 60
STAGE_SECONDS = 60


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("drill-trouble", SPEC, tmp_path_factory.mktemp("trouble"), request.config) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(standing: Stack) -> Access:
    return standing.access()


@pytest.fixture
def stack(standing: Stack, access: Access) -> Iterator[Stack]:
    """The stack as declared before and after, with nothing of a drill beside it."""
    standing.wait_healthy(access, HEALTHY_SECONDS)
    yield standing
    standing.wait_healthy(access, HEALTHY_SECONDS)
    assert drill_containers(standing) == []


def drill_containers(stack: Stack) -> list[str]:
    found: list[Container] = engine().containers.list(all=True, filters={"label": f"{LABEL}={stack.name}"}, ignore_removed=True)
    return sorted(str(container.name) for container in found)


def writes(access: Access) -> dict[str, int]:
    """How many writes each node that answers has served since it started."""
    found: dict[str, int] = {}
    for node in access.inventory.data_nodes:
        link = Link(access, node)
        try:
            lines = str(link.ask("INFO", "commandstats")).splitlines()
        except ToolkitError:  # it is down on purpose
            lines = []
        finally:
            link.close()
        calls = (line for line in lines if line.partition(":")[0] in ("cmdstat_set", "cmdstat_setrange", "cmdstat_append"))
        found[node.name] = sum(int(line.partition("calls=")[2].partition(",")[0]) for line in calls)
    return found


def refused(stack: Stack, access: Access, report: Path, result: Result, code: ExitCode, before: dict[str, int]) -> None:
    """It ended with `code`, nothing was written, nothing was left, and there is no report of what never was."""
    result.failed(code)
    assert writes(access) == before, "a drill that was refused wrote to the stack"
    assert drill_containers(stack) == []
    assert not (report / "journal.json").exists()


@contextmanager
def running(stack: Stack, name: str, report: Path, stage: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A drill in a process of its own that has reached a stage; with what it has told so far."""
    told = report.with_name(f"{report.name}.log")
    command = [sys.executable, "scripts/drill.py", "run", name, "--stack", stack.name, "--report", str(report)]
    with told.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=stack.env, stdout=log, stderr=log, text=True, start_new_session=True)
    try:

        def missing() -> str:
            text = told.read_text()
            assert process.poll() is None, f"the drill ended before it could be disturbed:\n{text}"
            return "" if f"{stage}: " in text else f"not yet {stage}; so far: {text[-300:]}"

        wait_until(f"the stage {stage} of the drill", missing, STAGE_SECONDS, poll_seconds=0.02)
        yield process, told
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(120)


# ---- refused before anything is touched ------------------------------------------------------------------------------------


def test_a_drill_that_does_not_exist_is_refused_with_those_that_do(stack: Stack, access: Access, tmp_path: Path) -> None:
    before = writes(access)
    result = run_drill(stack, "crash-everything", tmp_path).says("there is no drill 'crash-everything'", "crash-primary")
    refused(stack, access, tmp_path, result, ExitCode.USAGE, before)


def test_a_drill_that_does_not_fit_the_topology_is_refused_with_those_that_it_fits(
    stack: Stack, access: Access, tmp_path: Path
) -> None:
    before = writes(access)
    result = run_drill(stack, "lose-sentinels", tmp_path).says("lose-sentinels is for sentinel", "is replication")
    refused(stack, access, tmp_path, result, ExitCode.INVALID, before)


@pytest.mark.parametrize("command", [("run", "crash-primary"), ("run-all",), ("heal",)], ids=lambda words: words[0])
def test_a_stack_that_does_not_exist_is_named(stack: Stack, command: tuple[str, ...]) -> None:
    nobody = replace(stack, name="t-nobody")
    drill(nobody, *command).failed(ExitCode.UNREACHABLE).says("no stack t-nobody", "make up STACK=t-nobody")


def test_a_stack_whose_nodes_are_all_down_is_refused(stack: Stack, access: Access, tmp_path: Path) -> None:
    containers = [stack.container(node.name) for node in access.inventory.nodes]
    for container in containers:
        container.stop()
    try:
        run_drill(stack, "crash-primary", tmp_path).failed().says("no node answers")
        assert not (tmp_path / "journal.json").exists()
        assert [stack.container(node.name).status for node in access.inventory.nodes] == ["exited", "exited"]
    finally:
        for container in containers:
            container.start()


def test_a_stack_that_is_not_well_beforehand_is_refused_and_left_as_it_is(stack: Stack, access: Access, tmp_path: Path) -> None:
    replica = stack.container("node-2")
    replica.stop()
    try:
        before = writes(access)
        result = run_drill(stack, "crash-primary", tmp_path).says("is not in its steady state", "node-2")
        refused(stack, access, tmp_path, result, ExitCode.MISSED, before)
        replica.reload()
        assert replica.status == "exited", "a drill that was refused started a node"
    finally:
        replica.start()


def test_a_stranger_on_the_port_of_a_node_is_refused_before_any_write(stack: Stack, access: Access, tmp_path: Path) -> None:
    """A server that accepts any password and would take every write."""
    node = access.inventory.node("node-2")
    own = stack.container(node.name)
    own.stop()
    anybody = ("on", "nopass", "~*", "&*", "+@all")
    server = ["redis-server", "--bind", "* -::*", "--protected-mode", "no", "--save", ""]
    stranger: Any = engine().containers.create(
        own.attrs["Config"]["Image"], [*server, "--user", "admin", *anybody, "--user", "app", *anybody], entrypoint="",
        name=f"{stack.name}-stranger-{secrets.token_hex(2)}", ports={"6379/tcp": ("127.0.0.1", node.host_port)},
    )  # fmt: skip
    try:
        stranger.start()
        link = Link(access, node)
        wait_until("the stranger", lambda: "" if _answers(link) else "no answer", 20)
        link.close()
        before = writes(access)
        result = run_drill(stack, "crash-primary", tmp_path).says("is not node-2 of stack", "nothing was written to it")
        assert result.code != ExitCode.OK
        refused(stack, access, tmp_path, result, ExitCode(result.code), before)
        assert before["node-2"] == 0, "somebody wrote to the stranger"
    finally:
        stranger.remove(force=True)
        own.start()


def _answers(link: Link) -> bool:
    try:
        return link.ask("PING") == "PONG"
    except ToolkitError:
        return False


# ---- two at once -----------------------------------------------------------------------------------------------------------


def test_a_second_drill_is_refused_while_one_runs_also_from_another_machine(stack: Stack, tmp_path: Path) -> None:
    with running(stack, "crash-replica", tmp_path / "first", "evidence") as (first, told):
        run_drill(stack, "crash-primary", tmp_path / "second").failed(ExitCode.BUSY).says(
            f"a drill runs on stack {stack.name} already", "crash-replica", f"process {first.pid}", "drill.py heal"
        )
        drill(stack, "run-all", "--report", str(tmp_path / "third")).failed(ExitCode.BUSY)
        other = elsewhere(stack, tmp_path / "other-machine")
        run_drill(other, "crash-primary", tmp_path / "fourth").failed(ExitCode.BUSY).says("crash-replica")
        assert first.wait(180) == ExitCode.OK, told.read_text()
    for name in ("second", "third", "fourth"):
        assert not list((tmp_path / name).glob("**/journal.json"))


def elsewhere(stack: Stack, home: Path) -> Stack:
    """The same stack as another machine sees it: own home and temporary folders, a copy of the Pulumi state."""
    shutil.copytree(stack.folder, home / "state-of-the-stack")
    env = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "TMPDIR": str(home)}
    pulumi_home = os.environ.get("PULUMI_HOME", str(Path.home() / ".pulumi"))
    return replace(stack, folder=home / "state-of-the-stack", extra_env={**env, "PULUMI_HOME": pulumi_home})


# ---- ended in the middle ---------------------------------------------------------------------------------------------------


def test_what_a_killed_drill_left_is_put_back_by_heal_and_its_history_is_kept(
    stack: Stack, access: Access, tmp_path: Path
) -> None:
    with running(stack, "isolate-primary", tmp_path, "evidence") as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    assert lock_name(stack.name) in drill_containers(stack)
    assert cut_off_still(stack), "the fault is gone, so there is nothing to heal"
    run_drill(stack, "crash-primary", tmp_path / "next").failed(ExitCode.BUSY).says("If it is dead, run", "drill.py heal")
    heal(stack).ok().says("rules in the network of", "removed")
    stack.wait_healthy(access, HEALTHY_SECONDS)
    assert drill_containers(stack) == []
    records = list(read_history(tmp_path / "history.jsonl"))
    assert isinstance(records[0], Start) and sum(isinstance(record, Operation) for record in records) > 500
    heal(stack).ok().says("nothing of a drill was left")
    again = run_drill(stack, "switchover", tmp_path / "again").ok()
    assert journals.load(tmp_path / "again").result == "met", again.told()


def cut_off_still(stack: Stack) -> list[str]:
    """Helper containers of the dead drill in whose network its rules are in force."""
    found = [engine().containers.get(name) for name in drill_containers(stack) if name.endswith("-drill-net")]
    return [str(helper.name) for helper in found if helper.exec_run(["sh", "-c", FOUND]).exit_code == 0]


@pytest.mark.parametrize(("name", "number"), [("isolate-primary", signal.SIGINT), ("crash-replica", signal.SIGTERM)])
def test_an_interrupted_drill_heals_before_it_ends(
    stack: Stack, access: Access, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    """Ctrl-C, and what `docker stop` or a CI system sends."""
    with running(stack, name, tmp_path, "evidence") as (process, told):
        began = time.monotonic()
        os.killpg(process.pid, number)
        code = process.wait(90)
    text = told.read_text()
    assert code == ExitCode.INTERRUPTED, text
    assert "Traceback" not in text
    assert time.monotonic() - began < 60
    assert drill_containers(stack) == []
    assert journals.load(tmp_path).result == "interrupted"
    stack.wait_healthy(access, HEALTHY_SECONDS)
    heal(stack).ok().says("nothing of a drill was left")


# ---- nowhere to write --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_report_that_fills_its_disk_ends_the_drill_and_heals(stack: Stack, access: Access, small_disk: Path) -> None:
    result = run_drill(stack, "crash-replica", small_disk).failed(ExitCode.BROKEN)
    result.says("No space left on device", str(small_disk))
    assert drill_containers(stack) == []
    stack.wait_healthy(access, HEALTHY_SECONDS)
    heal(stack).ok().says("nothing of a drill was left")


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_touched(
    stack: Stack, access: Access, tmp_path: Path
) -> None:
    before = writes(access)
    (tmp_path / "file").write_text("not a folder")
    result = run_drill(stack, "crash-replica", tmp_path / "file" / "report").says("cannot hold the report", "--report")
    refused(stack, access, tmp_path / "no-report", result, ExitCode.INVALID, before)
