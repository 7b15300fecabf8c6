#!/usr/bin/env python3
"""Finds out what is wrong with a cluster and repairs it: open slots, two owners or none, stray keys, forgotten nodes.

usage: scripts/repair.py --stack NAME [--dry-run] [--accept-loss] [--json]
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from operations.errors import ExitCode, ToolkitError
from operations.inventory import load_access
from operations.repair.findings import Finding
from operations.repair.run import Assessment, Repaired, assess, repair
from scripts._command import JsonOption, StackOption, make_console, print_json, run
from scripts.reshard import progress_on

REPORTS = Path(__file__).resolve().parent.parent / "reports"


def main(
    stack: StackOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is wrong and what would be done; change nothing.")] = False,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Also do what gives up data of nodes that are gone: takeovers, empty slots."),
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where each step is written down; default: reports/repair-STACK-TIME.jsonl."),
    ] = None,
    as_json: JsonOption = False,
) -> ExitCode:
    """Find out what is wrong with a cluster and repair it, without giving anything up unless it is told to."""
    access = load_access(stack)
    console = make_console()
    if dry_run:
        found = assess(access, accept_loss)
        if as_json:
            print_json(assessment_json(found))
        else:
            show(console, found)
        return ExitCode.MISSED if found.findings else ExitCode.OK
    path = record or REPORTS / f"repair-{stack}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl"
    with progress_on(make_console(stderr=True)) as (report, watch):
        try:
            done = repair(access, path, accept_loss, report, watch, lambda first: None if as_json else show(console, first))
        except ToolkitError as error:
            if path.exists():
                error.args = (f"{error}\nWhat was done until then stands in {path}; run it again to go on.",)
            raise
    if as_json:
        print_json(repaired_json(done, path if done.did else None))
    else:
        tell(console, done, path)
    return ExitCode.MISSED if done.left else ExitCode.OK


def show(console: Console, assessment: Assessment) -> None:
    """What is wrong, and what would be done, in plain words."""
    if not assessment.findings:
        return console.print("nothing is wrong: every slot has one owner, none is open, all nodes know each other", markup=False)
    console.print("found:", markup=False)
    for finding in assessment.findings:
        console.print(f"  - {finding.text}", markup=False)
    if assessment.plan.steps:
        console.print("to do:", markup=False)
    for number, step in enumerate(assessment.plan.steps, start=1):
        console.print(f"  {number}. {step.text}", markup=False)
    _held_back(console, assessment.plan.held_back)
    return None


def _held_back(console: Console, reasons: tuple[str, ...]) -> None:
    if reasons:
        console.print("not done:", markup=False)
    for reason in reasons:
        console.print(f"  - {reason}", markup=False)


def tell(console: Console, done: Repaired, path: Path) -> None:
    """What came of it."""
    if not done.did and not done.left:
        return
    for line in done.did:
        console.print(f"done: {line}", markup=False)
    if done.did:
        console.print(f"{len(done.did)} steps in {done.seconds:.1f} s; each stands in {path}", markup=False)
    if not done.left:
        console.print("the cluster is whole: every slot has one owner, none is open, all nodes know each other", markup=False)
        return
    console.print("left:", markup=False)
    for finding in done.left:
        console.print(f"  - {finding.text}", markup=False)
    if done.did:
        _held_back(console, done.held_back)


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding for programs: its kind in lower case, and its sentence."""
    return {"kind": type(finding).__name__.lower(), "text": finding.text}


def assessment_json(found: Assessment) -> dict[str, Any]:
    """Findings, steps and what is held back."""
    return {
        "findings": [finding_json(finding) for finding in found.findings],
        "steps": [{"stage": step.stage, "text": step.text} for step in found.plan.steps],
        "held_back": found.plan.held_back,
    }


def repaired_json(done: Repaired, path: Path | None) -> dict[str, Any]:
    """What was found, done and left."""
    return {
        "found": [finding_json(finding) for finding in done.found],
        "did": done.did,
        "left": [finding_json(finding) for finding in done.left],
        "held_back": done.held_back,
        "seconds": round(done.seconds, 3),
        "record": str(path) if path else None,
    }


if __name__ == "__main__":
    run(main)
