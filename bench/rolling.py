#!/usr/bin/env python3
"""Rolling restart and rolling replacement of a cluster that holds data, under writes without retries: gap of each shard, losses.

usage: bench/rolling.py [restart|replace …] [--megabytes 1024] [--shards 3] [--repeat N] [--out FILE]

`restart` changes a boot parameter, `replace` the image (one of the same content with another label), each by `pulumi up`. The
clients run in the stack's network. The gap of a shard is the longest time between two acknowledged writes of it, from the
start of `pulumi up` on.
"""

import heapq
import itertools
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import docker
import typer
from rich.table import Table

from bench.harness import conditions
from drills import stack_view
from drills.checkers.base import SECOND, Quality
from drills.checkers.base import run as read_through
from drills.checkers.ledger import Ledger
from drills.crew import place
from drills.history import HistoryFile, read_history
from drills.records import Operation
from drills.workload.launcher import start_process
from drills.workload.plan import MAIN_OCTET, Load, settings
from operations.clients import application_client
from operations.inventory import Access
from scripts._command import make_console, run
from tests.live.harness import Stack, throw_away_stack

BASE = "redis-topologies/node:redis-8.0"
OTHER = "t-rolling:{}"
WANTED_SECONDS = 0.150
VALUE_BYTES = 1000
BATCH = 500
SETTLE_SECONDS = 2.0
UP_SECONDS = 1800
AUDIT_SECONDS = 120.0
KEPT_GAPS = 4
SWITCHED = re.compile(r"took over shard \d+ from \S+ in ([\d.]+) s")


def spec_of(shards: int, megabytes: int) -> dict[str, Any]:
    """The default cluster with room for the data."""
    return {
        "topology": "cluster",
        "shards": shards,
        "replicas": 1,
        "engine": {"name": "redis", "version": "8.0", "image": OTHER.format(0)},
        "memory": {"maxmemory": f"{max(128, 2 * megabytes // shards)}mb"},
        "parameters": {"tcp-backlog": 511},
    }


def fill(access: Access, megabytes: int) -> None:
    """Values that do not compress."""
    client: Any = application_client(access)
    count = megabytes * 2**20 // VALUE_BYTES
    for start in range(0, count, BATCH):
        pipe = client.pipeline()
        for number in range(start, min(count, start + BATCH)):
            pipe.set(f"data:{number}", os.urandom(VALUE_BYTES))
        pipe.execute()
    client.close()


@contextmanager
def images(count: int) -> Iterator[None]:
    """Images of the same content that differ in a label, so that going from one to the next replaces every node."""
    engine, names = docker.from_env(timeout=120), [OTHER.format(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            (Path(folder) / "Dockerfile").write_text(f"FROM {BASE}\nLABEL rolling={number}\n")
            engine.images.build(path=folder, tag=name, rm=True, network_mode="none")
    try:
        yield
    finally:
        for name in names:
            engine.images.remove(name, force=True)


@dataclass(frozen=True)
class Gap:
    """The longest time between two acknowledged writes of a shard, when it began, and who acknowledged before and after it.

    With one node on both sides it is a stall of that node; with two the shard changed its primary in it.
    """

    seconds: float
    began_seconds: float
    before: str | None
    after: str | None


def gaps(history: Path, shard_of: dict[int, int], since: int) -> dict[int, list[Gap]]:
    """The longest gaps of each shard from the moment `since` of the history on, the longest first."""
    ends: dict[int, list[tuple[int, str | None]]] = {}
    for record in read_history(history):
        if isinstance(record, Operation) and record.kind == "write" and record.outcome == "ok" and record.end >= since:
            ends.setdefault(shard_of[record.lane], []).append((record.end, record.node))
    found = {}
    for shard, writes in ends.items():
        writes.sort(key=lambda write: write[0])
        every = [
            Gap(round((after - before) / SECOND, 4), round(before / SECOND, 2), node, other)
            for (before, node), (after, other) in itertools.pairwise(writes)
        ]
        found[shard] = heapq.nlargest(KEPT_GAPS, every, key=lambda gap: gap.seconds)
    return found


def measure(stack: Stack, access: Access, change: dict[str, str], load: Load, folder: Path, number: int) -> dict[str, Any]:
    """One `pulumi up` under load."""
    inventory = access.inventory
    told = settings(access, load, f"rolling-{number}", stack_view.slots_of(stack_view.require_steady(access), inventory))
    history = HistoryFile(folder / f"{number}.jsonl")
    with history, start_process(told.to_data(), history.append, place(inventory, "load", MAIN_OCTET)) as process:
        origin = process.ask("clock")["now"]
        process.ask("start", origin=origin)
        time.sleep(SETTLE_SECONDS)
        since = int(process.ask("clock")["now"] - origin)
        stack.configure(**change)
        done = stack.up(seconds=UP_SECONDS).ok()
        time.sleep(SETTLE_SECONDS)
        process.ask("stop", within=30)
        process.ask("audit", within=AUDIT_SECONDS * 10, seconds=AUDIT_SECONDS)
        process.ask("tidy", within=AUDIT_SECONDS)
    ledger, quality = Ledger(), Quality()
    read_through(read_history(history.path), [ledger, quality])
    tally = ledger.tally
    found = gaps(history.path, {lane.lane: lane.shard or 1 for lane in told.lanes}, since)
    history.path.unlink()
    return {
        "up_seconds": round(done.seconds, 2),
        "gaps_seconds": {str(shard): longest[0].seconds for shard, longest in sorted(found.items())},
        "longest_gaps": {str(shard): [asdict(gap) for gap in longest] for shard, longest in sorted(found.items())},
        # Pulumi tells each line while it works, and again at the end.
        "switchover_seconds": [float(text) for text in SWITCHED.findall(done.text.rpartition("Diagnostics:")[2])],
        "acknowledged": tally.acknowledged,
        "lost": tally.lost,
        "unread": tally.unread,
        "unknown": tally.unknown,
    }


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def main(
    ways: Annotated[list[str] | None, typer.Argument(help="restart, replace; both without any.")] = None,
    megabytes: Annotated[int, typer.Option(min=1, help="Data in all.")] = 1024,
    shards: Annotated[int, typer.Option(min=3, help="Shards, with one replica each.")] = 3,
    repeat: Annotated[int, typer.Option(min=1, help="Measurements of each way, alternating.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Writes per second in all.")] = 1200,
    clients: Annotated[int, typer.Option(min=3, help="Concurrent clients.")] = 12,
    out: Annotated[Path | None, typer.Option("--out", help="File for the raw figures, as JSON.")] = None,
) -> None:
    """Measure and print min, median and max of the longest gap of any shard."""
    chosen, progress = ways or ["restart", "replace"], make_console(stderr=True)
    load = Load(clients=clients, rate=rate, read_every=0)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in chosen}
    with (
        images(repeat + 1),
        tempfile.TemporaryDirectory() as name,
        throw_away_stack("rolling", spec_of(shards, megabytes), Path(name) / "stack") as stack,
    ):
        stack.up(seconds=UP_SECONDS).ok()
        access = stack.access()
        stack.wait_healthy(access, 120)
        fill(access, megabytes)
        for number in range(1, repeat + 1):
            for way in chosen:
                change = (
                    {"parameters.tcp-backlog": str(511 + number)} if way == "restart" else {"engine.image": OTHER.format(number)}
                )
                stack.wait_healthy(access, 300)
                found = measure(stack, access, change, load, Path(name), len(runs[way]))
                runs[way].append(found)
                progress.print(f"{way} {number}/{repeat}: {found}", markup=False)
        data = {**conditions(access), "megabytes": megabytes, "shards": shards, "rate": rate, "clients": clients, "runs": runs}
    table = Table("way", "up, s", f"longest gap of a shard, s (wanted: {WANTED_SECONDS})", "acknowledged", "lost")
    for way, done in runs.items():
        worst = [max(one["gaps_seconds"].values()) for one in done]
        table.add_row(
            way, spread([one["up_seconds"] for one in done]), spread(worst),
            f"{sum(one['acknowledged'] for one in done):,}", str(sum(one["lost"] + one["unread"] for one in done)),
        )  # fmt: skip
    make_console().print(table)
    if out is not None:
        out.write_text(json.dumps(data, indent=1) + "\n")


def spread(values: list[float]) -> str:
    return f"{min(values):.3f} / {statistics.median(values):.3f} / {max(values):.3f}"


if __name__ == "__main__":
    run(app)
