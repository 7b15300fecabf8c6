#!/usr/bin/env python3
"""Measures this toolkit against plain docker and redis-cli, alternating in one run; prints ratios as min / median / max.

usage: bench/run.py [provision|form|unchanged …] [--repeat N] [--out FILE]
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench.bare import Bare, configured, plain_commands, removed
from operations.converge import converge
from operations.errors import CheckFailed
from operations.inventory import Access
from operations.observe import observe
from operations.verdict import State, verdict
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack
from topologies.addresses import addressing
from topologies.plan import Plan, make_plan
from topologies.spec import Spec

SPEC = {"topology": "cluster", "shards": 3, "replicas": 1, "memory": {"maxmemory": "64mb"}, "replication": {"backlog": "8mb"}}
BENCH_INDEX = 63
TARGETS = {"provision": 2.0, "form": 0.4}
SIZES = {6: 3, 12: 6, 24: 12}
VIEW_SECONDS = 60


def plan_of(stack: str) -> Plan:
    return make_plan(Spec.model_validate(SPEC), stack, addressing(BENCH_INDEX), "bench")


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def await_equal_views(access: Access) -> None:
    """Until every node's own view agrees, judged by the same code for both sides."""
    deadline = time.monotonic() + VIEW_SECONDS
    while (found := verdict(observe(access), access.inventory)).state is not State.OK:
        if time.monotonic() > deadline:
            raise CheckFailed(f"views do not agree after {VIEW_SECONDS} s: {found.line}")
        time.sleep(0.02)


def provision_ours(folder: Path) -> dict[str, float]:
    with throw_away_stack("bench", SPEC, folder) as stack:
        return {"ours": stack.up("--suppress-outputs").ok().seconds}


def provision_with_preview(folder: Path) -> dict[str, float]:
    with throw_away_stack("bench", SPEC, folder) as stack:
        whole = stack.pulumi("up", "--yes", "--suppress-outputs", "--non-interactive", "--stack", stack.name)
        return {"ours_with_preview": whole.ok().seconds}


def provision_peer(_folder: Path) -> dict[str, float]:
    with removed(plan_of("bench-peer")) as bare:

        def peer() -> None:
            bare.network()
            bare.run_all([], plain_commands(bare.plan))
            bare.await_ping()
            bare.create_cluster()
            bare.await_ok()

        return {"peer": timed(peer)}


def form_ours(_folder: Path) -> dict[str, float]:
    with configured(plan_of("bench-form")) as (_, access):
        ready(access)
        return {"ours": timed(lambda: form_and_agree(access))}


def form_peer(_folder: Path) -> dict[str, float]:
    with configured(plan_of("bench-form")) as (bare, access):
        ready(access)
        return {"peer": timed(lambda: create_and_agree(bare, access))}


def form_and_agree(access: Access) -> None:
    converge(access, report=lambda _line: None)
    await_equal_views(access)


def create_and_agree(bare: Bare, access: Access) -> None:
    bare.create_cluster("--user", "admin", "--no-auth-warning", password=access.credentials.password("admin"))
    await_equal_views(access)


def ready(access: Access) -> None:
    """Every node answers and is past the 2 s after its start in which a primary accepts nobody: the same for both sides."""
    deadline = time.monotonic() + VIEW_SECONDS
    while True:
        seen = observe(access)
        if all(node.reachable and node.info and node.info.uptime_seconds >= 3 for node in seen.nodes):
            return
        if time.monotonic() > deadline:
            raise CheckFailed("nodes do not answer: " + "; ".join(node.problem or "" for node in seen.nodes if node.problem))
        time.sleep(0.1)


def unchanged(folder: Path, repeat: int) -> dict[str, list[float]]:
    """`pulumi up` without changes, by number of nodes."""
    seconds: dict[str, list[float]] = {}
    for nodes, shards in SIZES.items():
        with throw_away_stack(f"bench-{nodes}", {**SPEC, "shards": shards}, folder) as stack:
            seconds[f"first_{nodes}"] = [stack.up("--suppress-outputs", seconds=600).ok().seconds]
            seconds[f"nodes_{nodes}"] = [
                stack.up("--suppress-outputs", "--expect-no-changes").ok().seconds for _ in range(repeat)
            ]
    return seconds


PAIRS: dict[str, tuple[Callable[[Path], dict[str, float]], ...]] = {
    "provision": (provision_peer, provision_ours, provision_with_preview),
    "form": (form_peer, form_ours),
}


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def main(
    what: Annotated[list[str] | None, typer.Argument(help="provision, form, unchanged; default: all")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Repetitions of each side, alternating.")] = 5,
    out: Annotated[Path | None, typer.Option(help="File for the raw figures, as JSON.")] = None,
) -> None:
    """Measure, print, and keep the raw figures."""
    console = make_console()
    progress = make_console(stderr=True)
    chosen = what or [*PAIRS, "unchanged"]
    raw: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count(), "results": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for topic in chosen:
            if topic == "unchanged":
                raw["results"][topic] = unchanged(folder, repeat)
                continue
            figures: dict[str, list[float]] = {}
            for round_number in range(1, repeat + 1):
                for side in PAIRS[topic]:
                    for key, value in side(folder).items():
                        figures.setdefault(key, []).append(value)
                        progress.print(f"{topic} {round_number}/{repeat}: {key} {value:.2f} s")
            raw["results"][topic] = figures
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(raw, indent=2) + "\n")
    table = Table("measured", "side", "seconds, min / median / max", "ratio to the peer", "target")
    for topic, figures in raw["results"].items():
        peer = figures.get("peer")
        for key, values in figures.items():
            ratios = [a / b for a, b in zip(values, peer, strict=True)] if peer and key != "peer" else None
            target = f"at most {TARGETS[topic]}" if ratios and key == "ours" else ""
            table.add_row(topic, key, spread(values), spread(ratios) if ratios else "", target)
    console.print(table)


if __name__ == "__main__":
    run(main)
