#!/usr/bin/env python3
"""Which topology and policy carries which use of Redis: plays every careful workload through drills on throw-away stacks, keeps
what was measured, and writes docs/guide/choosing.md from it; what `make matrix` does. A part of it can be measured anew with
--topology, --policy and --drill; the rest stays as it was measured before.

Exit code 0 when everything was measured, 20 when a run left no answer. What does not hold is a finding and stands in the page.
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from drills.uses.catalogue import CAREFUL, USES
from operations.errors import ExitCode, InvalidInput
from scripts._command import JsonOption, make_console, print_json, run
from tests.live.harness import Stack, throw_away_stack
from tests.live.harness import run as run_command

ROOT = Path(__file__).resolve().parent.parent
RAW = ROOT / "bench" / "results" / "choosing.json"
PAGE = ROOT / "docs" / "guide" / "choosing.md"
DRILLS = {
    "sentinel": ("crash-primary", "hang-primary", "isolate-primary", "switchover"),
    "cluster": ("crash-primary", "hang-primary", "isolate-primary", "switchover", "reshard"),
}
DRILL_NAMES = ",".join(DRILLS["cluster"])
DRILL_SECONDS = 300
HEALTHY_SECONDS = 90
HARMS = ("lost", "missed", "denied", "overlaps", "came_back")
"""Figures of uses that say what users would notice; the worse of two runs that both hold has more of them."""


@dataclass(frozen=True)
class Policy:
    """A way to run a topology: what differs from configs/TOPOLOGY.yaml, and what it is in a sentence."""

    name: str
    settings: Mapping[str, str]
    sentence: str


POLICIES = (
    Policy("plain", {}, "as shipped: append-only file synced every second, the application does not wait for replicas"),
    Policy("wait-all", {"objectives.writes": "wait-all"}, "the application waits for every replica (WAIT) and checks the answer"),
    Policy("snapshots", {"persistence.policy": "rdb"}, "snapshots instead of an append-only file, nobody waits"),
)
POLICY_NAMES = ",".join(policy.name for policy in POLICIES)
FAST: Mapping[str, Mapping[str, str]] = {
    "sentinel": {"sentinel.down_after_seconds": "1", "sentinel.failover_timeout_seconds": "5"},
    "cluster": {"cluster.node_timeout_seconds": "2"},
}
"""Time-outs of the measured stacks; shorter ones than in production, so the windows are shorter."""


def measure(stack: Stack, policy: Policy, topology: str, drill: str, report: Path) -> dict[str, Any]:
    """One drill with every careful workload; what programs want to know of it."""
    names = ",".join(CAREFUL)
    command = [sys.executable, "scripts/drill.py", "run", drill, "--stack", stack.name, "--workload", names, "--no-up", "--json"]
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
    topologies: Sequence[str], policies: Sequence[Policy], drills: Sequence[str], reports: Path | None
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
                        found = measure(stack, policy, topology, drill, report)
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


class Fate(NamedTuple):
    """Verdict and sentence of a use in a drill, and whether its users lost something within what was promised."""

    verdict: str
    drill: str
    sentence: str
    harmed: bool

    @property
    def words(self) -> str:
        if self.verdict == "true":
            return "holds, with losses" if self.harmed else "holds"
        return {"false": "**breaks**", "unknown": "not known"}[self.verdict]


def worst(runs: Sequence[Mapping[str, Any]], use: str) -> Fate:
    """How a use fared in the run in which it fared worst, by its verdict and then by what was lost; unknown where it was never
    played."""
    order = {"false": 0, "unknown": 1, "true": 2}
    found = [(run, told) for run in runs for told in run["workloads"] if told["name"] == use]
    if not found:
        return Fate("unknown", "", "not measured", False)

    def harm(told: Mapping[str, Any]) -> float:
        return float(sum(told["figures"].get(name, 0) for name in HARMS))

    run, told = min(found, key=lambda one: (order[one[1]["verdict"]], -harm(one[1])))
    return Fate(str(told["verdict"]), str(run["drill"]), str(told["sentence"]), harm(told) > 0)


def small(title: str) -> str:
    """A title inside a sentence."""
    return title[:1].lower() + title[1:]


def page(data: Mapping[str, Any]) -> str:
    """The page of the guide, made from what was measured and from nothing else."""
    runs = data["runs"]
    topologies = list(dict.fromkeys(run["topology"] for run in runs))
    policies = [policy for policy in POLICIES if any(run["policy"] == policy.name for run in runs)]
    days = sorted({run["measured"] for run in runs})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    played = {one: dict.fromkeys(f"`{run['drill']}`" for run in runs if run["topology"] == one) for one in topologies}
    drills = "; ".join(f"{topology}: {', '.join(names)}" for topology, names in played.items())
    lines = [
        "# Which topology and policy for which use?", "",
        f"Made by `make matrix` from [what was measured]({os.path.relpath(RAW, PAGE.parent)}); do not edit. Every careful use of "
        "[applications/](applications.md) was played through drills on a stack of each kind, one run each "
        f"({drills}; {when}, {data['machine']}). A cell is the worst of these drills, against what topology and policy can "
        "promise: under `plain` a failover may lose the writes of its last second, a partition those until the lag limit stops "
        "the old primary. *holds* means within that, *with losses* that users lost something, and the "
        "sentences say how much; *not known* is what "
        "could not be told, for instance because the machine stood still.", "",
        *(f"- **{policy.name}**: {policy.sentence}" for policy in policies), "",
    ]  # fmt: skip
    for topology in topologies:
        lines += [
            f"## {topology}",
            "",
            "| use | " + " | ".join(p.name for p in policies) + " |",
            "|---" * (len(policies) + 1) + "|",
        ]
        own = {p.name: [r for r in runs if r["topology"] == topology and r["policy"] == p.name] for p in policies}
        for use in data["uses"]:
            cells = []
            for policy in policies:
                fate = worst(own[policy.name], use)
                cells.append(fate.words + (f" in {fate.drill}" if fate.words != "holds" and fate.drill else ""))
            lines.append(f"| {use} | " + " | ".join(cells) + " |")
        lines.append("")
        for use in data["uses"]:
            lines.append(f"**{use}**: {small(USES[use].title) if use in USES else use}.")
            for policy in policies:
                fate = worst(own[policy.name], use)
                lines.append(f"- {policy.name} {fate.words}{f', {fate.drill}' if fate.drill else ''}: {fate.sentence}.")
            lines.append("")
    return "\n".join(lines)


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
) -> ExitCode:
    """Measure which topology and policy carries which use of Redis, and write docs/guide/choosing.md."""
    if again:
        kept = read_before()
        if kept is None:
            raise InvalidInput(f"{RAW} is not there; measure first: make matrix")
        data = kept
    else:
        topologies = [word for word in topology.split(",") if word]
        drills = [word for word in drill.split(",") if word]
        unfit = {*topologies} - {*FAST} | {*drills} - {*DRILLS["cluster"]}
        policies = [one for one in POLICIES if one.name in policy.split(",")]
        if unfit or not (topologies and policies and drills):
            raise InvalidInput(
                f"nothing to measure: topologies are {','.join(FAST)}, policies {POLICY_NAMES}, drills {DRILL_NAMES}"
            )
        runs = measure_all(topologies, policies, drills, reports)
        before = read_before()
        data = {
            "machine": f"{os.cpu_count()} processors, {platform.machine()}", "uses": CAREFUL,
            "runs": merged(before["runs"] if before else [], runs),
        }  # fmt: skip
        RAW.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(data), encoding="utf-8")
    if as_json:
        print_json(data)
    else:
        make_console().print(f"written: {PAGE.relative_to(ROOT)}", markup=False)
    return ExitCode.OK if all(len(found["workloads"]) == len(data["uses"]) for found in data["runs"]) else ExitCode.UNKNOWN


if __name__ == "__main__":
    run(main)
