#!/usr/bin/env python3
"""Measures moving slots next to `redis-cli --cluster reshard`, alternating on the same cluster, data and engine.

usage: python -m bench.reshard [spread|dense|large|mixed …] [--rounds N] [--engine valkey --version 9.1] [--bare] [--seconds S]

Both move the lowest slots of two shards to the first one, which is what redis-cli picks by itself. Where the peer needs
minutes it moves a part of the slots; what is compared is keys per second. A reader and a writer run all the time, in a process
of their own. Each round runs the peer at each of its settings and this toolkit once; ratios are taken within a round. What the
reader and writer wait while nothing moves stands beside them.
"""

import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.crc import key_slot
from rich.table import Table

from bench.observer import observed
from operations.connect import Fleet, Timeouts, node_client
from operations.inventory import Access
from operations.parse import SLOT_COUNT
from operations.reshard.live import Live, read_live
from operations.reshard.pace import Limits
from operations.reshard.proposal import propose
from operations.reshard.run import carry_out
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack

SPEC: dict[str, Any] = {"topology": "cluster", "shards": 3, "memory": {"maxmemory": "768mb"}}
AS_DEFAULT: dict[str, Any] = {"replicas": 1, "persistence": {"policy": "aof", "aof": {"fsync": "everysec"}}}
BARE: dict[str, Any] = {"replicas": 0, "persistence": {"policy": "none"}}
DEFAULT_PIPELINE = 10
RESULTS = Path(__file__).parent / "results"
BATCH = 500
PATIENT = Timeouts(command_seconds=30.0)
HURRIED = Limits(stall_seconds=0.05)
"""For what is not measured: bringing the slots back."""
IDLE_SECONDS = 2.0
SECOND, THIRD = (5461, 10922)
"""First slots of the second and the third shard of three."""
Run = dict[str, float]


@dataclass(frozen=True)
class Case:
    """Data, how many slots of each source move (by us, and by the peer), and pipelines of the peer (keys per MIGRATE).

    The peer is measured at its default and at what was its best setting with that data when 10, 100 and 1000 were compared.
    """

    keys: int
    value_bytes: int
    slots: tuple[int, ...]
    moved: int
    peer_moved: int
    best_pipeline: int = 100
    mixed: bool = False


DENSE = (*range(SECOND, SECOND + 500), *range(THIRD, THIRD + 500))
CASES = {
    "spread": Case(200_000, 100, tuple(range(SLOT_COUNT)), 4096, 400),
    "dense": Case(200_000, 100, DENSE, 500, 250),
    "large": Case(20_000, 10_000, DENSE, 500, 250, best_pipeline=1000),
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
    clients = {name: node_client(access, access.inventory.node(name), timeouts=PATIENT) for name in live.primaries}
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


def keys_on(access: Access, name: str) -> int:
    client = node_client(access, access.inventory.node(name))
    count = int(client.dbsize())
    client.close()
    return count


def ours(access: Access, case: Case, way: str) -> Run:
    target = look(access).primaries[0]
    placement = {slot: target for first in (SECOND, THIRD) for slot in range(first, first + case.moved)}
    figures: Run = {}
    with observed(access, figures):
        began = time.perf_counter()
        proposal = propose(access, placement=placement, way="keys" if way == "keys" else None)
        done = carry_out(access, proposal, report=lambda _: None)
        seconds = time.perf_counter() - began
    return {"keys": done.keys, "seconds": round(seconds, 3), "keys_per_second": round(done.keys / seconds), **figures}


def peer(access: Access, case: Case, pipeline: int) -> Run:
    live = look(access)
    target, *sources = live.primaries
    node = access.inventory.node(target)
    client = f"{access.inventory.engine.name}-cli"
    command = ["docker", "exec", "-e", "REDISCLI_AUTH", node.container, client, "--user", "admin"]
    command += ["--cluster", "reshard", f"{node.address}:{node.port}", "--cluster-from", ",".join(map(live.node_id, sources))]
    command += ["--cluster-to", live.node_id(target), "--cluster-slots", str(2 * case.peer_moved), "--cluster-yes"]
    command += ["--cluster-pipeline", str(pipeline)]
    figures: Run = {}
    environment = {**os.environ, "REDISCLI_AUTH": access.credentials.password("admin")}
    with observed(access, figures):
        before, began = keys_on(access, target), time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=True)
        seconds = time.perf_counter() - began
        keys = keys_on(access, target) - before
    return {"keys": keys, "seconds": round(seconds, 3), "keys_per_second": round(keys / seconds), **figures}


def idle(access: Access) -> Run:
    """What clients wait while nothing moves: what the machine itself adds."""
    figures: Run = {}
    with observed(access, figures):
        time.sleep(IDLE_SECONDS)
    return {"keys": 0, "seconds": IDLE_SECONDS, "keys_per_second": 0, **figures}


def restore(access: Access, home: dict[int, str]) -> None:
    carry_out(access, propose(access, placement=home), HURRIED, report=lambda _: None)


def rounds_of(access: Access, case: Case, rounds: int, way: str, home: dict[int, str], deadline: float) -> list[dict[str, Run]]:
    """Whole rounds, each a run of every competitor, until there are enough or the time is over."""
    found: list[dict[str, Run]] = []
    pipelines = sorted({DEFAULT_PIPELINE, case.best_pipeline})
    while len(found) < rounds:
        began = time.monotonic()
        one = {"idle": idle(access)}
        for pipeline in pipelines:
            one[f"peer {pipeline}"] = peer(access, case, pipeline)
            restore(access, home)
            if pipeline == DEFAULT_PIPELINE:
                one["ours"] = ours(access, case, way)
                restore(access, home)
        found.append(one)
        if time.monotonic() + (time.monotonic() - began) > deadline:
            break
    return found


def main(
    cases: Annotated[list[str] | None, typer.Argument(metavar="[CASE]…")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    engine: str = "redis",
    version: str = "8.0",
    way: Annotated[str, typer.Option(metavar="auto|keys")] = "auto",
    bare: Annotated[bool, typer.Option("--bare", help="No replicas, no persistence.")] = False,
    seconds: Annotated[float, typer.Option(help="Begin no further round that would end later than this.")] = 3600.0,
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Move slots by this toolkit and by redis-cli in turns, and compare keys per second."""
    console = make_console()
    found: dict[str, Any] = {}
    started = time.monotonic()
    setting = "bare" if bare else "replicas-aof"
    result = {
        "machine": {"cores": multiprocessing.cpu_count(), "system": platform.platform()},
        "engine": {"name": engine, "version": version, "way": way, "setting": setting},
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "load_average": os.getloadavg(),
        "cases": found,
    }
    names = cases or list(CASES)
    path = out or RESULTS / f"{time.strftime('%Y-%m-%d')}-reshard-{engine}-{version}-{setting}-{'-'.join(names)}.json"
    spec = {**SPEC, **(BARE if bare else AS_DEFAULT), "engine": {"name": engine, "version": version}}
    with tempfile.TemporaryDirectory() as folder, throw_away_stack("bench", spec, Path(folder)) as stack:
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, 60)
        home = dict(look(access).owners)
        for number, name in enumerate(names, start=1):
            fill(access, CASES[name])
            deadline = started + seconds * number / len(names)
            found[name] = summary(rounds_of(access, CASES[name], rounds, way, home, deadline))
            path.write_text(json.dumps(result, indent=1) + "\n")  # after each case: removing the stack may be interrupted
            console.print(table_of(name, found[name]))
    console.print(f"raw figures: {path}", markup=False)


def summary(rounds: list[dict[str, Run]]) -> dict[str, Any]:
    """Ratios of keys per second, taken within each round, and all runs."""
    peers = [who for who in rounds[0] if who.startswith("peer")]
    ratios = {who: spread_of([r["ours"]["keys_per_second"] / r[who]["keys_per_second"] for r in rounds]) for who in peers}
    return {"rounds": len(rounds), "ratio_to": ratios, "runs": rounds}


def spread_of(values: Iterable[float]) -> list[float]:
    """Minimum, median and maximum."""
    numbers = sorted(values)
    return [round(numbers[0], 2), round(statistics.median(numbers), 2), round(numbers[-1], 2)]


def table_of(name: str, case: dict[str, Any]) -> Table:
    figures = ("keys_per_second", "p99_ms", "longest_ms", "longest_straight_ms")
    table = Table("who", "ratio", "keys/s", "p99 ms", "longest ms", "not redirected", title=f"{name}: min / median / max")
    for who in case["runs"][0]:
        columns = [
            " / ".join(f"{value:,g}" for value in spread_of(run[who][figure] for run in case["runs"])) for figure in figures
        ]
        table.add_row(who, " / ".join(map(str, case["ratio_to"].get(who, ["-"]))), *columns)
    return table


if __name__ == "__main__":
    run(main)
