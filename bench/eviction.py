#!/usr/bin/env python3
"""What each eviction policy keeps when a cache does not fit: the hit rate against the best possible one, for a load where few
keys are read much (Zipf), and what `noeviction` refuses.

usage: bench/eviction.py [--requests N] [--keys N] [--exponent S] [--out FILE]

On a throw-away standalone stack with room for about a fifth of the keys. Readers read, and store what is not there, as a cache
does; all entries end in an hour at a random moment, so that the volatile policies have something to choose from. The best
possible hit rate is that of a cache which knows the distribution and holds the most popular keys, as many as this one held.
"""

import itertools
import json
import math
import os
import platform
import random
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
from rich.table import Table

from operations.connect import node_client
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack

POLICIES = (
    "allkeys-lfu", "allkeys-lru", "allkeys-random", "volatile-lfu", "volatile-lru", "volatile-random", "volatile-ttl",
    "noeviction",
)  # fmt: skip
PREFIX = "redis-topologies:bench:eviction"
VALUE = b"x" * 2048
ROOM_BYTES = 8 * 1024**2
BATCH = 100
WARM_SHARE = 0.5
END_SECONDS = 3600


def cumulated(keys: int, exponent: float) -> list[float]:
    """The share of requests for the `n` most popular of `keys`, for each n: Zipf's law."""
    weights = [1 / rank**exponent for rank in range(1, keys + 1)]
    total = math.fsum(weights)
    return [weight / total for weight in itertools.accumulate(weights)]


def best(shares: Sequence[float], held: int) -> float:
    """The hit rate of a cache that holds the most popular keys."""
    return shares[min(held, len(shares)) - 1] if held else 0.0


def play(client: Any, shares: Sequence[float], requests: int, chance: random.Random) -> dict[str, Any]:
    """Read, and store what is not there. Counted is what comes after the cache has filled up."""
    hits = asked = refused = 0
    for begin in range(0, requests, BATCH):
        wanted = [min(bisect_left(shares, chance.random()), len(shares) - 1) for _ in range(BATCH)]
        pipeline = client.pipeline(transaction=False)
        for rank in wanted:
            pipeline.get(f"{PREFIX}:{rank}")
        found = pipeline.execute()
        missing = {rank for rank, value in zip(wanted, found, strict=True) if value is None}
        for rank in missing:
            pipeline.set(f"{PREFIX}:{rank}", VALUE, ex=chance.randint(END_SECONDS // 2, END_SECONDS))
        answers = pipeline.execute(raise_on_error=False)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        others = [error for error in errors if not isinstance(error, redis.exceptions.OutOfMemoryError)]
        if others:
            raise others[0]
        refused += len(errors)
        if begin >= requests * WARM_SHARE:
            asked += BATCH
            hits += BATCH - sum(value is None for value in found)
    return {"hit_rate": hits / asked, "refused": refused}


def measure(client: Any, policy: str, shares: Sequence[float], requests: int) -> dict[str, Any]:
    """One policy on an empty server."""
    client.flushall()
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + ROOM_BYTES)
    client.config_resetstat()
    began = time.monotonic()
    found = play(client, shares, requests, random.Random(policy))  # noqa: S311 - requests that repeat
    held = int(client.dbsize())
    ideal = best(shares, held)
    return {
        **found, "policy": policy, "held": held, "best": ideal, "of_best": found["hit_rate"] / ideal,
        "evicted": int(client.info("stats")["evicted_keys"]), "seconds": time.monotonic() - began,
    }  # fmt: skip


def main(
    requests: Annotated[int, typer.Option(min=1000)] = 200_000,
    keys: Annotated[int, typer.Option(min=100)] = 20_000,
    exponent: Annotated[float, typer.Option(min=0.1)] = 1.0,
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Compare the eviction policies of a server that is too small."""
    shares = cumulated(keys, exponent)
    console = make_console()
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        throw_away_stack("bench-eviction", {"topology": "standalone"}, Path(folder)) as stack,
    ):
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, 60)
        client = node_client(access, access.inventory.data_nodes[0])
        process = client.info("server")["run_id"]
        for policy in POLICIES:
            found.append(measure(client, policy, shares, requests))
            console.print(f"{policy}: {found[-1]['hit_rate']:.1%} of the requests from the cache", markup=False)
        survived = client.info("server")["run_id"] == process
    table = Table("policy", "hits", "best possible", "of that", "evicted", "refused", box=None)
    for one in found:
        shown = (f"{one[name]:.1%}" for name in ("hit_rate", "best", "of_best"))
        words = (*shown, *(f"{one[name]:,}" for name in ("evicted", "refused")))
        table.add_row(one["policy"], *words)
    console.print(table)
    console.print("the server was never killed" if survived else "the server was killed and came back", markup=False)
    if out is not None:
        machine = {"processors": os.cpu_count(), "system": platform.platform()}
        settings = {"requests": requests, "keys": keys, "exponent": exponent, "room_bytes": ROOM_BYTES, "value_bytes": len(VALUE)}
        data = {"machine": machine, "settings": settings, "survived": survived, "policies": found}
        out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
