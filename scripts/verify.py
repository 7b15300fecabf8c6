#!/usr/bin/env python3
"""Checks a running stack against what is declared: processes, limits, users, secrets, configuration, replication, clients.

usage: scripts/verify.py --stack STACK [--json]

Changes nothing but keys of its own, which it removes. Exit code 0 when everything is as declared, 10 when a check failed,
69 when the stack is not up.
"""

import inspect
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from operations.errors import ExitCode, ToolkitError, Unreachable
from operations.inventory import Access, load_access
from operations.observe import observe
from scripts._command import JsonOption, StackOption, make_console, print_json, run

SUITE = Path(__file__).resolve().parent.parent / "tests" / "infra"
HINT = "hint"
"""Key under which a check reports a setting of the machine that could be better, without failing."""
LONGEST_REASON = 600
MOST_FAILURES_SHOWN = 40


@dataclass(frozen=True)
class Check:
    """One check that was made; `subject` is the node (or user, or command) that it was made for, empty for the whole stack."""

    group: str
    sentence: str
    subject: str
    passed: bool
    seconds: float
    reason: str = ""

    def as_data(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "check": self.sentence,
            "subject": self.subject,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
        }


@dataclass(eq=False)  # plugins are kept in sets
class Collector:
    """Takes pytest's reports as they come in."""

    checks: list[Check] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(str(report.longrepr))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            module = getattr(item, "module", None)
            self.groups[item.nodeid] = (inspect.getdoc(module) or item.path.stem).splitlines()[0]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.hints += [str(value) for name, value in report.user_properties if name == HINT and report.when == "call"]
        if report.failed and report.nodeid not in self._failed:
            self._failed.add(report.nodeid)
            self._add(report, reason_of(report))
        elif report.when == "call" and report.passed:
            self._add(report, "")

    def _add(self, report: pytest.TestReport, reason: str) -> None:
        sentence, _, subject = report.location[2].partition("[")
        self.checks.append(
            Check(
                group=self.groups.get(report.nodeid, "?"),
                sentence=sentence.rpartition(".")[2].removeprefix("test_").replace("_", " "),
                subject=subject.removesuffix("]"),
                passed=not report.failed,
                seconds=report.duration,
                reason=reason,
            )
        )


def reason_of(report: pytest.TestReport) -> str:
    """Why a check failed, in one paragraph, without the code around it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(getattr(crash, "message", None) or report.longrepr)
    text = text.removeprefix("AssertionError: ").removeprefix("operations.errors.").partition("\nassert ")[0]
    short = " ".join(text.split())
    return short if len(short) <= LONGEST_REASON else f"{short[:LONGEST_REASON]} …"


def check_stack(stack: str) -> Collector:
    """Run the suite against a stack; raises ToolkitError when the suite itself cannot run."""
    collector = Collector()
    # Without pytest's own terminal output; the options that belong to it stand in pyproject.toml's addopts.
    arguments = [str(SUITE), "--stack", stack, "-o", "addopts=", "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main(arguments, plugins=[collector])
    if collector.broken:
        raise ToolkitError(f"the suite itself is broken: {collector.broken[0]}")
    if not collector.checks or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise ToolkitError(f"the suite could not be run to its end (pytest ended with {code!r})")
    return collector


def require_up(access: Access) -> None:
    """Raises Unreachable when not a single node of the stack answers."""
    observation = observe(access)
    if not observation.answering:
        problems = sorted({node.problem for node in observation.nodes if node.problem})
        raise Unreachable(
            f"stack {access.inventory.stack} is not up: none of its {len(observation.nodes)} nodes answers "
            f"({problems[0]}); run `make up STACK={access.inventory.stack}`"
        )


def show(console: Console, access: Access, collector: Collector, seconds: float) -> None:
    """The summary by group, every failure with its reason, and what the machine could do better."""
    inventory = access.inventory
    engine = f"{inventory.engine.name} {inventory.engine.version}"
    table = Table(title=f"{inventory.stack}: {inventory.topology}, {engine}, {len(inventory.nodes)} nodes")
    table.add_column("what was checked")
    for heading in ("checks", "failed"):
        table.add_column(heading, justify="right")
    for group in dict.fromkeys(check.group for check in collector.checks):
        own = [check for check in collector.checks if check.group == group]
        failed = sum(not check.passed for check in own)
        table.add_row(group, str(len(own)), str(failed) if failed else "-", style="red" if failed else None)
    console.print(table)
    failures = [check for check in collector.checks if not check.passed]
    for check in failures[:MOST_FAILURES_SHOWN]:
        subject = f" [{check.subject}]" if check.subject else ""
        console.print(f"FAILED {check.group}: {check.sentence}{subject}\n       {check.reason}", markup=False, soft_wrap=True)
    if len(failures) > MOST_FAILURES_SHOWN:
        console.print(f"… and {len(failures) - MOST_FAILURES_SHOWN} more (all of them: --json)", markup=False)
    for hint in dict.fromkeys(collector.hints):
        console.print(f"hint: {hint}", markup=False, soft_wrap=True)
    verdict = "as declared" if not failures else "NOT as declared"
    passed = len(collector.checks) - len(failures)
    console.print(f"{verdict}: {passed} checks passed, {len(failures)} failed, in {seconds:.1f} s", markup=False)


def ended(checks: Iterable[Check]) -> ExitCode:
    return ExitCode.OK if all(check.passed for check in checks) else ExitCode.MISSED


def main(stack: StackOption, as_json: JsonOption = False) -> int:
    """Check a running stack against what is declared."""
    access = load_access(stack)
    require_up(access)
    started = time.monotonic()
    collector = check_stack(stack)
    seconds = time.monotonic() - started
    code = ended(collector.checks)
    if as_json:
        print_json(
            {
                "stack": stack,
                "topology": access.inventory.topology,
                "as_declared": code == ExitCode.OK,
                "passed": sum(check.passed for check in collector.checks),
                "failed": sum(not check.passed for check in collector.checks),
                "seconds": round(seconds, 1),
                "hints": list(dict.fromkeys(collector.hints)),
                "checks": [check.as_data() for check in collector.checks],
            }
        )
    else:
        show(make_console(), access, collector, seconds)
    return code


if __name__ == "__main__":
    run(main)
