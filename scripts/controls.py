#!/usr/bin/env python3
"""Breaks throw-away stacks on purpose and shows which drill caught which seeded fault; what `make drill-controls` does.

Each drill first has to pass on the same stack while it is whole. The stacks are made for this and removed; running stacks are not
touched. Exit code 0 when every fault was caught, 10 when one was not, 20 when not everything could be run.
"""

import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer
from rich.table import Table

from operations.errors import ExitCode
from scripts._command import JsonOption, make_console, print_json, run
from scripts.test import interrupt
from tests.drills.rows import PROPERTY, Row

ROOT = Path(__file__).resolve().parent.parent
TESTS = "tests/drills/test_controls.py"


@dataclass(frozen=True)
class Found:
    """What the tests reported: rows, and the tests that ended without one, with the reason."""

    rows: tuple[Row, ...]
    unfinished: tuple[str, ...]


def read(report: Path) -> Found:
    """Rows out of a JUnit report; a test that failed before it knew its answer, or did not run, is unfinished."""
    if not report.exists():
        return Found((), ("the tests left no report",))
    rows: list[Row] = []
    unfinished: list[str] = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest
        told = [str(p.get("value")) for p in case.iter("property") if p.get("name") == PROPERTY]
        rows += [Row.of(text) for text in told]
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if bad is not None and (not told or bad.tag == "error"):
            unfinished.append(f"{case.get('name')}: {(bad.get('message') or bad.tag).splitlines()[0][:300]}")
    return Found(tuple(rows), tuple(unfinished))


def ended(found: Found) -> ExitCode:
    """A fault that was not caught counts more than a test that could not be run."""
    if any(not row.caught for row in found.rows):
        return ExitCode.MISSED
    return ExitCode.UNKNOWN if found.unfinished or not found.rows else ExitCode.OK


def show(found: Found) -> None:
    console = make_console()
    table = Table(title="seeded faults", title_justify="left", box=None, pad_edge=False)
    for name in ("topology", "seeded fault", "drill", "found by", "caught"):
        table.add_column(name, overflow="fold")
    for row in sorted(found.rows, key=lambda row: (row.topology, row.seeded != "nothing")):
        word = ("passes" if row.caught else "FAILS") if row.seeded == "nothing" else ("yes" if row.caught else "NO")
        table.add_row(row.topology, row.seeded, row.drill, row.by, word, style=None if row.caught else "red")
    console.print(table)
    for line in found.unfinished:
        console.print(f"could not be run: {line}", markup=False, soft_wrap=True)
    seeded = [row for row in found.rows if row.seeded != "nothing"]
    whole = [row for row in found.rows if row.seeded == "nothing"]
    console.print(
        f"{sum(row.caught for row in seeded)} of {len(seeded)} seeded faults caught; "
        f"{sum(row.caught for row in whole)} of {len(whole)} drills pass on whole stacks"
    )


def run_tests(report: Path, workers: int, only: str) -> None:
    """Run the controls with pytest; what it prints goes to stderr. On Ctrl-C its stacks are taken down first."""
    command = [sys.executable, "-m", "pytest", TESTS, "-q", "--tb=no", "--no-summary", "-n", str(workers), "--dist", "loadscope"]
    command += ["-o", "junit_family=xunit1", f"--junitxml={report}", *(["-k", only] if only else [])]
    with subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, start_new_session=True) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            interrupt(process)
            raise


def main(
    as_json: JsonOption = False,
    only: Annotated[str, typer.Option(metavar="WORD", help="Only controls with this word in their names, as pytest -k.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=4, help="Stacks that are broken side by side.")] = 2,
) -> ExitCode:
    """Break throw-away stacks on purpose, and show which drill catches what."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        try:
            run_tests(report, workers, only)
        finally:
            subprocess.run([sys.executable, "-m", "tests.live.sweep"], cwd=ROOT, check=False)
        found = read(report)
    if as_json:
        print_json({"controls": [asdict(row) for row in found.rows], "unfinished": found.unfinished})
    else:
        show(found)
    return ended(found)


if __name__ == "__main__":
    run(main)
