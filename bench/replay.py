#!/usr/bin/env python3
"""Measures the digest of a live cluster, and the replay of snapshots next to a pipelined DUMP / RESTORE loop over one connection.

usage: python -m bench.replay [digest] [replay] [--repeat N] [--keys N] [--value-bytes N] [--hashes] [--engine E --version V]
       [--out F]

Replay and loop alternate, from the same scratch server into the same cluster of three shards; what is compared is keys per second
of passing keys on, while replicas and append-only files take part. With --hashes a value is a hash of four fields, else a string.
The digest's longest call is the servers' own measure, of primaries that are otherwise idle: by the clock (SLOWLOG), which goes on
while a server waits for a processor, and by the processor time that the call took.
"""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from operations.clients import application_client
from operations.connect import node_client
from operations.digest.live import digest_stack
from operations.inventory import Access
from operations.replay.run import replay
from operations.scratch import Scratch, scratch_server, snapshot_file
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack
from tests.live.snapshots import fetch

SPEC: dict[str, Any] = {
    "topology": "cluster",
    "shards": 3,
    "replicas": 1,
    "memory": {"maxmemory": "1gb"},
    "persistence": {"policy": "aof", "aof": {"fsync": "everysec"}},
}
BATCH = 500
FIELDS = 4
LOOP_BATCH = 100
SLOW_MICROSECONDS = 1000
LONGEST = ("longest_call_ms", "most_processor_ms")
LARGE_ELEMENTS = 200_000


def fill(to: Any, keys: int, value_bytes: int, hashes: bool = False) -> None:
    """Unique, incompressible values; every third key expires in a day."""
    pipe = to.pipeline(transaction=False)
    for number in range(keys):
        key = f"key:{number}"
        if hashes:
            pipe.hset(key, mapping={f"field {n}": os.urandom(value_bytes // FIELDS) for n in range(FIELDS)})
        else:
            pipe.set(key, os.urandom(value_bytes))
        if number % 3 == 0:
            pipe.expire(key, 86400)
        if number % BATCH == BATCH - 1:
            pipe.execute()
    pipe.execute()


def fill_large(access: Access) -> None:
    """A large key of every type: 50 MB in one string, 200,000 elements in the others, half of these pending in the stream."""
    client: Any = application_client(access, user="admin")
    client.set("large:string", os.urandom(50_000_000))
    client.xgroup_create("large:stream", "readers", mkstream=True)
    for start in range(0, LARGE_ELEMENTS, 1000):
        numbers = range(start, start + 1000)
        pipe = client.pipeline()
        pipe.rpush("large:list", *(f"element {n}" for n in numbers))
        pipe.sadd("large:set", *(f"member {n}" for n in numbers))
        pipe.hset("large:hash", mapping={f"field {n}": f"value {n}" for n in numbers})
        pipe.zadd("large:zset", {f"member {n}": n / 7 for n in numbers})
        for n in numbers:
            pipe.xadd("large:stream", {"number": n})
        pipe.execute()
    client.xreadgroup("readers", "one", {"large:stream": ">"}, count=LARGE_ELEMENTS // 2)
    client.close()


def clear(access: Access) -> None:
    client: Any = application_client(access, user="admin")
    client.flushall()
    client.close()


def loop(source: Scratch, access: Access) -> dict[str, float]:
    """What anybody would write first: DUMP and PEXPIRETIME in a pipeline, RESTORE in a pipeline."""
    client, to = source.client(), application_client(access, user="admin")
    began, keys = time.perf_counter(), 0
    batch: list[bytes] = []

    def copy() -> None:
        nonlocal keys
        pipe: Any = client.pipeline(transaction=False)
        for key in batch:
            pipe.dump(key)
            pipe.pexpiretime(key)
        found = pipe.execute()
        into: Any = to.pipeline()
        for key, value, expiry in zip(batch, found[::2], found[1::2], strict=True):
            into.restore(key, max(0, expiry), value, replace=True, absttl=expiry > 0)
        into.execute()
        keys += len(batch)
        batch.clear()

    for key in client.scan_iter(count=1000):
        batch.append(key)
        if len(batch) == LOOP_BATCH:
            copy()
    copy()
    seconds = time.perf_counter() - began
    client.close()
    to.close()
    return {"keys": keys, "seconds": round(seconds, 3), "keys_per_second": round(keys / seconds)}


def ours(rdb: Path, access: Access) -> dict[str, float]:
    done = replay(access, [snapshot_file(rdb, "1")], replace=True)
    seconds = done.streamed_seconds - done.loaded_seconds
    return {
        "keys": done.keys,
        "seconds": round(seconds, 3),
        "keys_per_second": round(done.keys / seconds),
        "redundant_seconds": round(done.redundant_seconds - done.loaded_seconds, 3),
        "whole_seconds": round(done.verified_seconds, 3),
    }


def digest(access: Access) -> dict[str, float]:
    """One digest, and the longest call by the servers' account."""
    clients: list[Any] = [node_client(access, node) for node in access.inventory.data_nodes]
    for client in clients:
        client.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS)
        client.config_set("slowlog-max-len", 10_000)
        client.slowlog_reset()
    found = digest_stack(access)
    longest = 0
    for client in clients:
        calls = [entry["duration"] for entry in client.slowlog_get(10_000) if b"EVAL" in entry["command"]]
        longest = max([longest, *calls])
        client.close()
    keys = found.total.all.keys
    return {
        "keys": keys,
        "seconds": round(found.seconds, 3),
        "keys_per_second": round(keys / found.seconds),
        "longest_call_ms": longest / 1000,
        "most_processor_ms": round((found.longest_processor_seconds or 0) * 1000, 2),
        "longest_seen_ms": round(found.longest_seconds * 1000, 2),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main(
    cases: Annotated[list[str] | None, typer.Argument(metavar="[digest] [replay]")] = None,
    repeat: Annotated[int, typer.Option(min=1)] = 5,
    keys: Annotated[int, typer.Option(min=1000)] = 300_000,
    value_bytes: Annotated[int, typer.Option(min=1)] = 100,
    hashes: bool = False,
    engine: str = "redis",
    version: str = "8.0",
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Digests, and replay against loop in turns."""
    console = make_console()
    found: dict[str, Any] = {"keys": keys, "value_bytes": value_bytes, "hashes": hashes}
    chosen = cases or ["digest", "replay"]
    spec = SPEC | {"engine": {"name": engine, "version": version}}
    with tempfile.TemporaryDirectory() as folder, throw_away_stack("bench", spec, Path(folder)) as stack:
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, 60)
        with scratch_server(stack.name, "source", access.inventory.engine.image) as source:
            fill(source.client(), keys, value_bytes, hashes)
            rdb = fetch(source, Path(folder) / "dump.rdb")
            ours(rdb, access)  # so that the digest has something to read, and everything is warm
            if "digest" in chosen:
                runs = [digest(access) for _ in range(repeat)]
                figures = {name: spread([one[name] for one in runs]) for name in ("keys_per_second", *LONGEST)}
                fill_large(access)
                large = [digest(access) for _ in range(repeat)]
                figures |= {f"{name}_with_large_keys": spread([one[name] for one in large]) for name in LONGEST}
                found["digest"] = {"runs": runs, "with_large_keys": large, **figures}
                for name, figure in figures.items():
                    console.print("digest", name, figure)
            if "replay" in chosen:
                pairs = []
                for number in range(repeat):
                    pair: dict[str, Any] = {}
                    for who in ("loop", "ours") if number % 2 else ("ours", "loop"):
                        clear(access)
                        pair[who] = loop(source, access) if who == "loop" else ours(rdb, access)
                    pairs.append(pair)
                ratios = [round(pair["ours"]["keys_per_second"] / pair["loop"]["keys_per_second"], 2) for pair in pairs]
                found["replay"] = {"pairs": pairs, "ratios": spread(ratios)}
                rates = {who: spread([pair[who]["keys_per_second"] for pair in pairs]) for who in ("ours", "loop")}
                console.print("replay", rates, "ratios", found["replay"]["ratios"])
    found["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    console.print("peak memory of this process", found["peak_memory_mb"], "MB")
    result = {
        "machine": {"cores": multiprocessing.cpu_count(), "system": platform.platform()},
        "engine": {"name": engine, "version": version},
        "at": time.strftime("%Y-%m-%d"),
        **found,
    }
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
