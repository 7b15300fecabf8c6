#!/usr/bin/env python3
"""Runs the tests, tier by tier, quick ones first; what `make test` and `make test-full` do.

usage: scripts/test.py [--full] [--tier NAME ...] [--workers N] [--keep-failed]

A failing quick tier ends the run. For each tier its budget and the time it took are printed; at the end, what was not run.
Exit code 0 only when everything that was asked for ran and passed; 10 when something failed; 20 when a tier could not run.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import docker
import typer
from docker.errors import DockerException
from rich.table import Table

from operations.errors import ExitCode, UsageError
from scripts._command import make_console, run

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PROGRAMS = Path(PYTHON).parent
OWN_CONTAINERS = "redis-t-"
"""How the containers of throw-away stacks begin; with others on it, the engine is not restarted."""
PATIENCE = 3
"""A tier that takes longer than so many budgets is interrupted: its stacks are taken down, and it counts as failed."""
TEARDOWN_SECONDS = 180
NO_TESTS = 5


@dataclass(frozen=True)
class Tier:
    """A part of the tests. `commands` are checks that count one each; `tests` are arguments of pytest. Budgets in seconds."""

    name: str
    budget: int
    quick: bool
    commands: tuple[tuple[str, ...], ...] = ()
    tests: tuple[str, ...] = ()
    full_budget: int = 0
    obstacle: Callable[[], str] = lambda: ""
    """Why the tier cannot run on this machine now; empty when it can."""
    optional: bool = False
    """With an obstacle it is left out and named, instead of failing the run."""


@dataclass
class Outcome:
    """How a tier ended; `left_out` names what was not run."""

    tier: str
    budget: int
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    left_out: list[str] = field(default_factory=list)
    could_not_run: str = ""


def no_engine() -> str:
    """Live tiers need a Docker engine and Pulumi."""
    if shutil.which("pulumi") is None:
        return "pulumi is not on PATH; run `make setup`, then `source env.sh`"
    try:
        docker.from_env(timeout=10).ping()
    except DockerException:
        return "no Docker engine answers; run `make setup`"
    return ""


def engine_in_use() -> str:
    """An engine that runs anything else must not be restarted."""
    if problem := no_engine():
        return problem
    if not Path("/var/run/docker.pid").exists() or os.geteuid() != 0:
        return "the engine does not run on this machine, or its owner is not who runs the tests"
    names = (entry["Names"][0].lstrip("/") for entry in docker.from_env().api.containers())
    others = sorted(name for name in names if not name.startswith(OWN_CONTAINERS))
    return f"the engine must not be restarted while it runs other containers: {', '.join(others)}" if others else ""


def drill_files() -> list[str]:
    """The files of the drills tier, the longest first."""
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests" / "drills").glob("test_*.py"))]
    return sorted(files, key=lambda file: not file.endswith("/test_run_all.py"))


def tiers(workers: int) -> tuple[Tier, ...]:
    """All tiers in the order in which they run."""
    lint = tuple((str(PROGRAMS / words[0]), *words[1:]) for words in LINT)
    side_by_side = ("-n", str(workers), "--dist", "loadscope")
    # Drills wait most of the time, but with more of them at once than this what they measure is how late everything is.
    drills_side_by_side = ("-n", str(workers + 1), "--dist", "loadscope", "--no-loadscope-reorder")
    return (
        Tier("lint", 60, True, commands=lint),
        Tier("unit", 90, True, tests=("tests/unit", "-q")),
        Tier("program", 60, True, tests=("tests/program", "-q")),
        Tier("toolchain", 30, True, commands=((PYTHON, "-m", "toolchain.check_schema"),)),
        Tier(
            "live", 1200, False, tests=("tests/live", f"--ignore={RESTART}", *side_by_side), full_budget=4800, obstacle=no_engine
        ),
        Tier(
            "drills",
            1200,
            False,
            tests=(*drill_files(), *drills_side_by_side),
            full_budget=18_000,
            obstacle=no_engine,
        ),
        Tier("restart", 240, False, tests=(RESTART,), obstacle=engine_in_use, optional=True),
    )


LINT = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))
RESTART = "tests/live/test_engine_restart.py"


def run_bounded(command: Sequence[str], seconds: float) -> int:
    """Run a command on this terminal; interrupted when it takes longer, so that what it has made is taken down."""
    # PYTHONPATH holds nothing of ours: the environment's own .pth makes the repository importable.
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"\ntest: interrupted after {seconds:.0f} s: {' '.join(command)}", flush=True)
            interrupt(process)
            return ExitCode.INTERRUPTED
        except KeyboardInterrupt:
            interrupt(process)
            raise


def sweep() -> None:
    """Remove the stacks of tests that were interrupted too hard to do it themselves."""
    subprocess.run([PYTHON, "-m", "tests.live.sweep"], cwd=ROOT, check=False, start_new_session=True)


def interrupt(process: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C does, and only then by force."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(TEARDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def run_commands(tier: Tier, outcome: Outcome) -> None:
    for command in tier.commands:
        words = (Path(command[0]).name, *command[1:])
        code = run_bounded(command, tier.budget * PATIENCE)
        print(f"{' '.join(words)}: {'ok' if code == 0 else f'FAILED ({code})'}", flush=True)
        outcome.passed += code == 0
        outcome.failed += code != 0


def run_tests(tier: Tier, outcome: Outcome, options: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report, left_out = Path(folder) / "report.xml", Path(folder) / "left-out"
        command = [PYTHON, "-m", "pytest", *tier.tests, *options, "-o", "junit_family=xunit1"]
        command += [f"--junitxml={report}", f"--left-out={left_out}"]
        try:
            code = run_bounded(command, outcome.budget * PATIENCE)
        finally:
            if not tier.quick:
                sweep()
        count(outcome, report)
        if left_out.exists():
            outcome.left_out += summarised(left_out.read_text().splitlines())
    if code == NO_TESTS:
        outcome.could_not_run = "no test was found"
    elif code != 0 and not outcome.failed:
        outcome.could_not_run = f"pytest ended with {code}"


def count(outcome: Outcome, report: Path) -> None:
    """Read pytest's own report; a skipped test did not run, which is never passed."""
    if not report.exists():
        return
    for case in ElementTree.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
        elif case.find("skipped") is not None:
            outcome.left_out.append(f"{case.get('classname')}::{case.get('name')} (skipped)")
        else:
            outcome.passed += 1


def summarised(names: Iterable[str]) -> list[str]:
    """Tests that were left out, one line for each class or file."""
    groups: dict[str, int] = {}
    for name in names:
        groups[name.rpartition("::")[0]] = groups.get(name.rpartition("::")[0], 0) + 1
    return [f"{group} ({number} tests, part of make test-full)" for group, number in groups.items()]


def run_tier(tier: Tier, full: bool, keep_failed: bool) -> Outcome:
    outcome = Outcome(tier.name, tier.full_budget if full and tier.full_budget else tier.budget)
    if problem := tier.obstacle():
        if tier.optional:
            outcome.left_out.append(problem)
        else:
            outcome.could_not_run = problem
        return outcome
    print(f"\n=== {tier.name} (budget {outcome.budget} s)", flush=True)
    started = time.monotonic()
    options = [*(["--full"] if full else []), *(["--keep-failed"] if keep_failed else [])]
    run_commands(tier, outcome)
    if tier.tests:
        run_tests(tier, outcome, options)
    outcome.seconds = time.monotonic() - started
    return outcome


def show(outcomes: Sequence[Outcome], skipped: Sequence[Tier]) -> None:
    console = make_console()
    table = Table(title="tiers")
    for heading in ("tier", "budget s", "took s", "passed", "failed", "not run"):
        table.add_column(heading, justify="left" if heading == "tier" else "right")
    for one in outcomes:
        late = one.seconds > one.budget
        bad = one.failed or one.could_not_run
        missing = "all" if one.could_not_run else str(len(one.left_out) or "-")
        numbers = (str(one.budget), f"{one.seconds:.0f}{' (over)' if late else ''}", str(one.passed), str(one.failed), missing)
        table.add_row(one.tier, *numbers, style="red" if bad else "yellow" if late else None)
    for tier in skipped:
        table.add_row(tier.name, str(tier.budget), "-", "-", "-", "all", style="yellow")
    console.print(table)
    for one in outcomes:
        for line in one.left_out:
            console.print(f"not run: {one.tier}: {line}", markup=False, soft_wrap=True)
        if one.could_not_run:
            console.print(f"could not run: {one.tier}: {one.could_not_run}", markup=False, soft_wrap=True)
    for tier in skipped:
        console.print(f"not run: {tier.name}: the run ended before it", markup=False, soft_wrap=True)


def chosen(all_tiers: Sequence[Tier], names: Sequence[str]) -> tuple[Tier, ...]:
    known = [tier.name for tier in all_tiers]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no tier {name}; use {', '.join(known)}")
    return tuple(tier for tier in all_tiers if not names or tier.name in names)


def ended(outcomes: Sequence[Outcome], skipped: Sequence[Tier]) -> ExitCode:
    if any(one.failed for one in outcomes):
        return ExitCode.MISSED
    if skipped or any(one.could_not_run for one in outcomes) or not any(one.passed for one in outcomes):
        return ExitCode.UNKNOWN
    return ExitCode.OK


def main(
    full: Annotated[bool, typer.Option("--full", help="Also what takes long: further engines, 24 nodes.")] = False,
    tier: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this tier; may be given several times.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Stacks of the live tier that are tested side by side.")] = 2,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Leave the stacks of failed tests standing.")] = False,
) -> int:
    """Run the tests, tier by tier, quick ones first."""
    # A shell that starts this in the background has Ctrl-C ignored, for all that is started from here; tests interrupt programs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    waiting = list(chosen(tiers(workers), tier or ()))
    outcomes: list[Outcome] = []
    while waiting:
        current = waiting.pop(0)
        outcome = run_tier(current, full, keep_failed)
        outcomes.append(outcome)
        if current.quick and (outcome.failed or outcome.could_not_run):
            break
    show(outcomes, waiting)
    passed, failed = sum(one.passed for one in outcomes), sum(one.failed for one in outcomes)
    code = ended(outcomes, waiting)
    if code == ExitCode.UNKNOWN:
        print("not everything could be run, so this is not a success")
    print(f"{passed} passed, {failed} failed", flush=True)
    return code


if __name__ == "__main__":
    run(main)
