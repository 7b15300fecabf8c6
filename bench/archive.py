#!/usr/bin/env python3
"""Measures how far the archive in the repository trails under a write load, and what is lost when all containers die at once.

usage: bench/archive.py [standalone|replication|sentinel|cluster] [--rounds N] [--seconds N] [--out FILE]

In each round applications write while the agent's own figure is read ten times a second; then the nodes and the agent are killed
at the same moment. What would be lost is the time from the last acknowledged write back to the end of the last second that the
repository, asked afterwards by a job of its own, can restore.
"""

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from operations.archive.launch import archived
from operations.archive.timeline import restorable
from operations.backup.launch import Place
from operations.backup.settings import BackupSettings
from operations.inventory import Access
from scripts._command import make_console, run
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import Load
from tests.waiting import wait_until

SPEC: dict[str, Any] = {
    "backup": {"point_in_time": True},
    "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "8mb", "replica_buffer": "16mb"},
}
BEGIN_SECONDS = 60.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Round:
    """Seconds; `lag` as least, median and most of what the agent said."""

    acknowledged: int
    lag: tuple[float, float, float]
    lost: float


def main(
    topology: Annotated[str, typer.Argument()] = "cluster",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=5, help="How long applications write in each round.")] = 25.0,
    out: Annotated[Path | None, typer.Option(help="Figures as JSON.")] = None,
) -> None:
    """Run the rounds on a stack of its own and print what was found."""
    console = make_console()
    with tempfile.TemporaryDirectory() as folder, throw_away_stack("rpo", {**SPEC, "topology": topology}, Path(folder)) as stack:
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, BEGIN_SECONDS)
        found = []
        for number in range(rounds):
            wait_until("an archive", lambda: "" if _lag(stack) < BEGIN_SECONDS else "none yet", BEGIN_SECONDS)
            found.append(_round(stack, access, number, seconds))
            least, median, most = found[-1].lag
            console.print(
                f"{found[-1].acknowledged:,} writes; trails by {least:.1f} / {median:.1f} / {most:.1f} s (min / median / max); "
                f"{found[-1].lost:.1f} s lost when all is killed"
            )
            for container in stack.containers():
                if "carrier" not in str(container.name):
                    container.start()
            stack.wait_healthy(access, 2 * BEGIN_SECONDS)
    if out is not None:
        out.write_text(json.dumps({"topology": topology, "seconds": seconds, "rounds": [asdict(one) for one in found]}, indent=1))


def _round(stack: Stack, access: Access, number: int, seconds: float) -> Round:
    lags = []
    with Load(access, f"round{number}") as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            lags.append(_lag(stack))
        running = [one for one in stack.containers() if one.status == "running"]
        with ThreadPoolExecutor(len(running)) as pool:
            list(pool.map(lambda one: one.kill(), running))
        last = time.time() - (time.monotonic() - load.ledger.last_acknowledged)
    place = Place(stack.name, BackupSettings.model_validate(access.inventory.spec["backup"]), access)
    until = restorable(archived(place))[-1][1] + 1
    return Round(len(load.ledger.acknowledged), (min(lags), statistics.median(lags), max(lags)), last - until)


def _lag(stack: Stack) -> float:
    """As `status` tells it, read on the host: `docker exec` would take longer than what is measured."""
    volume = engine().api.inspect_volume(f"redis-{stack.name}-backup")["Mountpoint"]
    try:
        told = json.loads((Path(volume) / "archive.json").read_text())
    except (OSError, ValueError):
        return float("inf")
    return time.time() - float(told["current_until"])


if __name__ == "__main__":
    run(main)
