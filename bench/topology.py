#!/usr/bin/env python3
"""Measures `pulumi up` from 3 to 5 shards and back, next to the sum of its parts.

usage: python -m bench.topology [--keys N] [--value-bytes N] [--rounds N] [--out FILE]

The parts are the same `up` on the empty stack (plan, new nodes, joining, moving empty slots, or leaving) and moving the same
slots with their keys by `operations.reshard` alone. A ratio near 1 says that the change costs nothing beyond them. Needs a quiet
machine.
"""

import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.crc import key_slot
from rich.table import Table

from operations.connect import Fleet, node_client
from operations.errors import CheckFailed
from operations.inventory import Access
from operations.parse import SLOT_COUNT
from operations.reshard.live import Live, read_live
from operations.reshard.proposal import propose
from operations.reshard.run import carry_out
from scripts._command import make_console, run
from tests.live.harness import Stack, throw_away_stack

SPEC: dict[str, Any] = {"topology": "cluster", "shards": 3, "replicas": 1, "memory": {"maxmemory": "1gb"}}
FEW, MANY = 3, 5
UP_SECONDS = 1800
EMPTIED = {str(shard): 0.0 for shard in range(FEW + 1, MANY + 1)}
Run = dict[str, float]


def look(access: Access) -> Live:
    with Fleet(access, access.inventory.data_nodes) as fleet:
        return read_live(fleet, access.inventory)


FILL = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', KEYS[1] .. ':' .. i, ARGV[2]) end"
"""Keys of one slot, made by its server itself: filling takes seconds."""


def fill(access: Access, keys: int, value_bytes: int) -> None:
    """Keys spread evenly over all slots."""
    live = look(access)
    tags: dict[int, str] = {}
    for number in itertools.count():
        tags.setdefault(key_slot(b"%x" % number), f"{{{number:x}}}")
        if len(tags) == SLOT_COUNT:
            break
    clients = {name: node_client(access, access.inventory.node(name)) for name in live.primaries}
    for slot, tag in tags.items():
        clients[live.owners[slot]].eval(FILL, 1, tag, -(-keys // SLOT_COUNT), "x" * value_bytes)
    for client in clients.values():
        client.close()


def up(stack: Stack, shards: int) -> float:
    stack.configure(shards=str(shards))
    return stack.up("--suppress-outputs", seconds=UP_SECONDS).ok().seconds


def moved(access: Access, weights: dict[str, float]) -> float:
    began = time.perf_counter()
    done = carry_out(access, propose(access, weights), report=lambda _line: None)
    if not done.slots:
        raise CheckFailed("nothing was moved")
    return time.perf_counter() - began


def measure(folder: Path, keys: int, value_bytes: int) -> Run:
    """One round on one stack: empty first, then with keys."""
    with throw_away_stack("bench", SPEC, folder) as stack:
        stack.up("--suppress-outputs").ok()
        figures: Run = {"out_empty": up(stack, MANY), "in_empty": up(stack, FEW)}
        fill(stack.access(), keys, value_bytes)
        figures["out"] = up(stack, MANY)
        access = stack.access()
        figures["in_move"] = moved(access, EMPTIED)
        figures["out_move"] = moved(access, {})
        figures["in"] = up(stack, FEW)
    for way in ("out", "in"):
        figures[f"{way}_ratio"] = figures[way] / (figures[f"{way}_empty"] + figures[f"{way}_move"])
    return figures


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def main(
    keys: Annotated[int, typer.Option(min=1, help="Number of keys.")] = 1_000_000,
    value_bytes: Annotated[int, typer.Option(min=1)] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each on a stack of its own.")] = 3,
    out: Annotated[Path | None, typer.Option(help="File for the raw figures, as JSON.")] = None,
) -> None:
    """Measure, print, and keep the raw figures."""
    progress = make_console(stderr=True)
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(1, rounds + 1):
            for key, value in measure(Path(name), keys, value_bytes).items():
                figures.setdefault(key, []).append(value)
                progress.print(f"round {number}/{rounds}: {key} {value:.2f}")
    if out:
        raw = {
            "machine": platform.platform(),
            "cores": os.cpu_count(),
            "keys": keys,
            "value_bytes": value_bytes,
            "results": figures,
        }
        out.write_text(json.dumps(raw, indent=2) + "\n")
    table = Table("3 to 5 shards (out), 5 to 3 (in)", "min / median / max", title=f"{keys:,} keys of {value_bytes} B")
    for key, values in figures.items():
        table.add_row(key, spread(values))
    make_console().print(table)


if __name__ == "__main__":
    run(main)
