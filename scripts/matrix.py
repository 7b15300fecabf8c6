#!/usr/bin/env python3
"""Which topology and policy carries which use of Redis: plays every careful workload through drills on throw-away stacks, keeps
what was measured, and writes docs/guide/choosing.md from it; what `make matrix` does. A part of it can be measured anew with
--topology, --policy and --drill; the rest stays as it was measured before. With --careless the careless versions are played
instead: each has to break somewhere.

Exit code 0 when everything was measured, 20 when a run left no answer. What does not hold is a finding and stands in the page.
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from drills.uses.catalogue import CAREFUL, CARELESS
from operations.errors import ExitCode, InvalidInput
from scripts._command import JsonOption, make_console, print_json, run
from scripts._matrix_page import PAGE, POLICIES, RAW, Policy, page
from tests.live.harness import Stack, throw_away_stack
from tests.live.harness import run as run_command

ROOT = Path(__file__).resolve().parent.parent
DRILLS = {
    "sentinel": ("crash-primary", "hang-primary", "isolate-primary", "switchover"),
    "cluster": ("crash-primary", "hang-primary", "isolate-primary", "switchover", "reshard"),
}
DRILL_NAMES = ",".join(DRILLS["cluster"])
DRILL_SECONDS = 300
HEALTHY_SECONDS = 90
POLICY_NAMES = ",".join(policy.name for policy in POLICIES)
FAST: Mapping[str, Mapping[str, str]] = {
    "sentinel": {"sentinel.down_after_seconds": "1", "sentinel.failover_timeout_seconds": "5"},
    "cluster": {"cluster.node_timeout_seconds": "2"},
}
"""Time-outs of the measured stacks; shorter ones than in production, so the windows are shorter."""


def measure(stack: Stack, policy: Policy, topology: str, drill: str, uses: Sequence[str], report: Path) -> dict[str, Any]:
    """One drill with these workloads; what programs want to know of it."""
    chosen = ("--workload", ",".join(uses))
    command = [sys.executable, "scripts/drill.py", "run", drill, "--stack", stack.name, *chosen, "--no-up", "--json"]
    result = run_command([*command, "--report", str(report)], stack.env, DRILL_SECONDS)
    try:
        told = json.loads(result.output)
    except ValueError:
        told = {"result": "broken", "summary": " ".join(result.text.split())[-300:], "workloads": []}
    kept = ("name", "verdict", "sentence", "figures")
    workloads = [{name: use[name] for name in kept} for use in told["workloads"]]
    return {"topology": topology, "policy": policy.name, "drill": drill, "measured": datetime.now(UTC).date().isoformat(),
            "result": told["result"], "summary": told["summary"], "workloads": workloads}  # fmt: skip


def measure_all(
    topologies: Sequence[str], policies: Sequence[Policy], drills: Sequence[str], uses: Sequence[str], reports: Path | None
) -> list[dict[str, Any]]:
    """Every drill on a stack of every topology and policy, one stack after the other; all are removed. `reports` keeps theirs."""
    console = make_console(stderr=True)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for topology in topologies:
            for policy in policies:
                settings = {**FAST.get(topology, {}), **policy.settings}
                spec = ROOT / "configs" / f"{topology}.yaml"
                with throw_away_stack(f"matrix-{topology}", spec, Path(folder), None, **settings) as stack:
                    console.print(f"{topology}, {policy.name}: making {stack.name}", markup=False)
                    stack.up().ok()
                    access = stack.access()
                    for drill in (drill for drill in DRILLS[topology] if drill in drills):
                        stack.wait_healthy(access, HEALTHY_SECONDS)
                        report = (reports or Path(folder)) / f"{topology}-{policy.name}-{drill}"
                        found = measure(stack, policy, topology, drill, uses, report)
                        runs.append(found)
                        console.print(f"  {drill}: {found['result']}: {found['summary']}", markup=False)
    return runs


def merged(before: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Runs of before, but for those that were measured anew, in the order of the page."""
    anew = {place(run) for run in runs}
    kept = [run for run in before if place(run) not in anew]
    return sorted((*kept, *runs), key=place)


def place(run: Mapping[str, Any]) -> tuple[int, int, int]:
    """Where a run stands on the page; no two stand at one place."""
    topology = str(run["topology"])
    policies = [policy.name for policy in POLICIES]
    return list(DRILLS).index(topology), policies.index(run["policy"]), DRILLS[topology].index(run["drill"])


def read_before() -> dict[str, Any] | None:
    """What was measured before, None where nothing was; raises InvalidInput when it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(RAW.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{RAW} cannot be read: {error}; remove it and measure anew: make matrix") from None
    return found


def main(
    as_json: JsonOption = False,
    topology: Annotated[str, typer.Option(metavar="T,...", help="Topologies to measure.")] = "sentinel,cluster",
    policy: Annotated[str, typer.Option(metavar="P,...", help="Policies to measure.")] = POLICY_NAMES,
    drill: Annotated[str, typer.Option(metavar="D,...", help="Drills to play.")] = DRILL_NAMES,
    reports: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the report of every drill there.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Only write the page anew from what was measured before.")] = False,
    careless: Annotated[bool, typer.Option("--careless", help="Play the careless versions instead.")] = False,
) -> ExitCode:
    """Measure which topology and policy carries which use of Redis, and write docs/guide/choosing.md."""
    before = read_before()
    if again:
        if before is None:
            raise InvalidInput(f"{RAW} is not there; measure first: make matrix")
        data = before
    else:
        topologies = [word for word in topology.split(",") if word]
        drills = [word for word in drill.split(",") if word]
        unfit = {*topologies} - {*FAST} | {*drills} - {*DRILLS["cluster"]}
        policies = [one for one in POLICIES if one.name in policy.split(",")]
        if unfit or not (topologies and policies and drills):
            raise InvalidInput(
                f"nothing to measure: topologies are {','.join(FAST)}, policies {POLICY_NAMES}, drills {DRILL_NAMES}"
            )
        runs = measure_all(topologies, policies, drills, CARELESS if careless else CAREFUL, reports)
        data = {"runs": [], "careless": [], **(before or {})}
        data |= {"machine": f"{os.cpu_count()} processors, {platform.machine()}", "uses": CAREFUL}
        kept = "careless" if careless else "runs"
        data[kept] = merged(data[kept], runs)
        RAW.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(data), encoding="utf-8")
    if as_json:
        print_json(data)
    else:
        make_console().print(f"written: {PAGE.relative_to(ROOT)}", markup=False)
    return ExitCode.OK if all(len(found["workloads"]) == len(data["uses"]) for found in data["runs"]) else ExitCode.UNKNOWN


if __name__ == "__main__":
    run(main)
