#!/usr/bin/env python3
"""Measures moving slots next to `redis-cli --cluster reshard`, alternating on the same cluster, data and engine.

usage: bench/reshard.py [spread|dense|large|mixed …] [--repeat N] [--engine valkey --version 9.1] [--out FILE]

Both move the lowest slots of two shards to the first one, which is what redis-cli picks by itself. Where the peer needs
minutes it moves a part of the slots; what is compared is keys per second. A reader and a writer run all the time, in a process
of their own.
"""

import json
import multiprocessing
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.crc import key_slot
from rich.table import Table

from operations.clients import application_client
from operations.connect import Fleet, node_client
from operations.inventory import Access
from operations.parse import SLOT_COUNT
from operations.reshard.live import Live, read_live
from operations.reshard.proposal import propose
from operations.reshard.run import carry_out
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack

SPEC: dict[str, Any] = {
    "topology": "cluster",
    "shards": 3,
    "replicas": 1,
    "memory": {"maxmemory": "768mb"},
    "persistence": {"policy": "aof", "aof": {"fsync": "everysec"}},
}
PIPELINES = (10, 100, 1000)
"""Keys per MIGRATE of redis-cli; 10 is its default."""
BATCH = 500
OBSERVER_PAUSE_SECONDS = 0.001
SECOND, THIRD = (5461, 10922)
"""First slots of the second and the third shard of three."""


@dataclass(frozen=True)
class Case:
    """Data, and how many slots of each source move: by us, and by the peer."""

    keys: int
    value_bytes: int
    slots: tuple[int, ...]
    moved: int
    peer_moved: int
    mixed: bool = False


DENSE = (*range(SECOND, SECOND + 500), *range(THIRD, THIRD + 500))
CASES = {
    "spread": Case(200_000, 100, tuple(range(SLOT_COUNT)), 4096, 600),
    "dense": Case(200_000, 100, DENSE, 500, 250),
    "large": Case(20_000, 10_000, DENSE, 500, 250),
    "mixed": Case(60_000, 100, DENSE, 500, 250, mixed=True),
}


def tags(slots: tuple[int, ...]) -> list[bytes]:
    """A hash tag for each slot."""
    wanted, found, number = set(slots), {}, 0
    while wanted:
        tag = b"%x" % number
        slot = key_slot(tag)
        if slot in wanted:
            wanted.remove(slot)
            found[slot] = tag
        number += 1
    return [found[slot] for slot in slots]


def look(access: Access) -> Live:
    with Fleet(access, access.inventory.data_nodes) as fleet:
        return read_live(fleet, access.inventory)


def fill(access: Access, case: Case) -> None:
    """Only this case's data, straight to the owner of each slot."""
    live = look(access)
    clients = {name: node_client(access, access.inventory.node(name)) for name in live.primaries}
    pipes = {name: client.pipeline(transaction=False) for name, client in clients.items()}
    for client in clients.values():
        client.flushall()
    value, names = b"x" * case.value_bytes, tags(case.slots)
    for number in range(case.keys):
        position = number % len(names)
        pipe, key = pipes[live.owners[case.slots[position]]], b"{%s}:%d" % (names[position], number)
        kind = number % 5 if case.mixed else 0
        if kind == 0:
            pipe.set(key, value, ex=3600 if case.mixed else None)
        elif kind == 1:
            pipe.hset(key, mapping={f"field{i}": value for i in range(5)})
        elif kind == 2:
            pipe.rpush(key, *[value] * 5)
        elif kind == 3:
            pipe.zadd(key, {f"member{i}": i for i in range(10)})
            pipe.expire(key, 3600)
        else:
            pipe.sadd(key, *range(20))
        if number % BATCH == BATCH - 1:
            for each in pipes.values():
                each.execute()
    for each in pipes.values():
        each.execute()


def observe_clients(access: Access, stop: Any, out: Any) -> None:
    """A reader and writer in turns; sends its latencies in seconds at the end."""
    client: Any = application_client(access)
    took = []
    number = 0
    while not stop.is_set():
        number += 1
        key = f"observer:{number % 500}"
        began = time.perf_counter()
        if number % 2:
            client.set(key, number)
        else:
            client.get(key)
        took.append(time.perf_counter() - began)
        time.sleep(OBSERVER_PAUSE_SECONDS)
    out.send(took)


@contextmanager
def observed(access: Access, figures: dict[str, float]) -> Iterator[None]:
    """Adds p99 and the longest wait of a client, in ms, to `figures`."""
    context = multiprocessing.get_context("spawn")
    stop, (receive, send) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=observe_clients, args=(access, stop, send), daemon=True)
    process.start()
    time.sleep(2.0)  # its imports are no part of the measurement
    try:
        yield
    finally:
        stop.set()
        took = sorted(receive.recv()) if receive.poll(10) else [0.0]
        process.join(5)
        figures["p99_ms"] = round(took[int(len(took) * 0.99) - 1] * 1000, 2)
        figures["longest_ms"] = round(took[-1] * 1000, 1)


def keys_on(access: Access, name: str) -> int:
    client = node_client(access, access.inventory.node(name))
    count = int(client.dbsize())
    client.close()
    return count


def ours(access: Access, case: Case, way: str) -> dict[str, float]:
    target = look(access).primaries[0]
    placement = {slot: target for first in (SECOND, THIRD) for slot in range(first, first + case.moved)}
    figures: dict[str, float] = {}
    with observed(access, figures):
        began = time.perf_counter()
        done = carry_out(
            access, propose(access, placement=placement, way="keys" if way == "keys" else None), report=lambda _: None
        )
        seconds = time.perf_counter() - began
    return {"keys": done.keys, "seconds": round(seconds, 3), "keys_per_second": round(done.keys / seconds), **figures}


def peer(access: Access, case: Case, pipeline: int) -> dict[str, float]:
    live = look(access)
    target, *sources = live.primaries
    node = access.inventory.node(target)
    client = f"{access.inventory.engine.name}-cli"
    command = ["docker", "exec", "-e", "REDISCLI_AUTH", node.container, client, "--user", "admin"]
    command += ["--cluster", "reshard", f"{node.address}:{node.port}", "--cluster-from", ",".join(map(live.node_id, sources))]
    command += ["--cluster-to", live.node_id(target), "--cluster-slots", str(2 * case.peer_moved), "--cluster-yes"]
    command += ["--cluster-pipeline", str(pipeline)]
    figures: dict[str, float] = {}
    with observed(access, figures):
        before, began = keys_on(access, target), time.perf_counter()
        environment = {"REDISCLI_AUTH": access.credentials.password("admin"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        subprocess.run(command, env=environment, capture_output=True, check=True)
        seconds = time.perf_counter() - began
        keys = keys_on(access, target) - before
    return {"keys": keys, "seconds": round(seconds, 3), "keys_per_second": round(keys / seconds), **figures}


def restore(access: Access, home: dict[int, str]) -> None:
    carry_out(access, propose(access, placement=home), report=lambda _: None)


def main(
    cases: Annotated[list[str] | None, typer.Argument(metavar="[CASE]…")] = None,
    repeat: Annotated[int, typer.Option(min=1)] = 1,
    engine: str = "redis",
    version: str = "8.0",
    way: Annotated[str, typer.Option(metavar="auto|keys")] = "auto",
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Move slots by this toolkit and by redis-cli in turns, and compare keys per second."""
    console = make_console()
    found: dict[str, Any] = {}
    spec = SPEC | {"engine": {"name": engine, "version": version}}
    with tempfile.TemporaryDirectory() as folder, throw_away_stack("bench", spec, Path(folder)) as stack:
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, 60)
        home = dict(look(access).owners)
        for name in cases or list(CASES):
            case = CASES[name]
            fill(access, case)
            rows: dict[str, list[dict[str, float]]] = {}
            for _ in range(repeat):
                for pipeline in PIPELINES:
                    rows.setdefault(f"peer {pipeline}", []).append(peer(access, case, pipeline))
                    restore(access, home)
                    rows.setdefault("ours", []).append(ours(access, case, way))
                    restore(access, home)
            found[name] = summary(rows)
            console.print(table_of(name, found[name]))
    result = {
        "machine": {"cores": multiprocessing.cpu_count(), "system": platform.platform()},
        "engine": {"name": engine, "version": version, "way": way},
        "at": time.strftime("%Y-%m-%d"),
        "cases": found,
    }
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")


def summary(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and the ratios to the peer's default and to its best setting."""
    middle = {who: statistics.median(run["keys_per_second"] for run in runs) for who, runs in rows.items()}
    best = max(rate for who, rate in middle.items() if who != "ours")
    ratios = {"default": round(middle["ours"] / middle["peer 10"], 2), "best": round(middle["ours"] / best, 2)}
    return {"ratios": ratios, "median_keys_per_second": middle, "runs": rows}


def table_of(name: str, case: dict[str, Any]) -> Table:
    table = Table("who", "keys/s", "p99 ms", "longest ms", title=f"{name}: {case['ratios']}")
    for who, runs in case["runs"].items():
        waits = [str(max(run[figure] for run in runs)) for figure in ("p99_ms", "longest_ms")]
        table.add_row(who, f"{case['median_keys_per_second'][who]:,.0f}", *waits)
    return table


if __name__ == "__main__":
    run(main)
