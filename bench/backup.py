#!/usr/bin/env python3
"""Measures backups next to what people do by hand, alternating in one run on one stack: BGSAVE and a copy, `redis-cli --rdb`.

usage: bench/backup.py [large|small] [backups] [latency] [restores] [--repeat N] [--keys N] [--rate SIZE] [--out FILE]

large: values of 1 KB, unique and incompressible; small: 20 bytes. The engine writes without compression. A writer sets keys all
the time while the latencies with and without a backup are taken, with --rate of one more that is held back. A tenth of the keys
is written anew before each backup, so that deduplication helps as it does in life; the first one stores everything and stands
apart. "restic alone" stores a file of the same data in a repository of its own: what nobody who encrypts with it can be faster
than. Processor time is that of the whole machine, so it says something where nobody else works.
"""

import json
import multiprocessing
import os
import platform
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
from rich.table import Table

from bench.processor import Spent, processor_time
from operations.backup.launch import IMAGE, Place, home_volume, repository_volume, run_job
from operations.backup.manifest import Manifest
from operations.backup.proof import prove
from operations.backup.restore import restore
from operations.backup.session import HOME, LOCAL
from operations.backup.settings import BackupSettings
from operations.clients import application_client
from operations.connect import Fleet, Link
from operations.inventory import Access, NodeEntry
from operations.observe import observe
from operations.parse import info_fields, text
from operations.reshard.wire import nearest
from operations.sizes import parse_bytes, write_bytes
from scripts._command import make_console, run
from tests.live.harness import engine, throw_away_stack
from tests.waiting import wait_until

CASES = {"large": (1_000_000, 1000), "small": (3_000_000, 20)}
QUIET_SECONDS = 10.0
WRITES_PER_SECOND = 2000
BATCH = 500
SPEC: dict[str, Any] = {
    "topology": "replication",
    "replicas": 1,
    "persistence": {"policy": "aof"},
    "parameters": {"rdbcompression": "no"},
    "backup": {"retention": {"last": 50}},
}
OUT = "/out"
CHILDREN = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress")


@dataclass(frozen=True)
class Taken:
    """One run: bytes that were stored, seconds that it took, and the processor time of the machine and of the replica for it."""

    way: str
    bytes: int
    seconds: float
    spent: Spent = field(default_factory=Spent)

    @property
    def rate(self) -> float:
        """MB/s of RDB."""
        return self.bytes / self.seconds / 1e6


def write(access: Access, first: int, count: int, size: int) -> None:
    """Set `count` keys from number `first` on to new random values."""
    client: Any = application_client(access)
    for at in range(first, first + count, BATCH):
        pipe = client.pipeline(transaction=False)
        for number in range(at, min(at + BATCH, first + count)):
            pipe.set(f"key:{number:08}", os.urandom(size))
        pipe.execute()
    client.close()


class Writer:
    """A process that sets keys at a fixed rate at the primary's own address, as a client in the network does, and remembers how
    long each took; use as a context."""

    def __init__(self, access: Access, primary: NodeEntry) -> None:
        self.seconds: list[float] = []
        context = multiprocessing.get_context("fork")
        self._stop, self._told = context.Event(), context.SimpleQueue()
        login = (*nearest(primary), "app", access.credentials.password("app"))
        self._process = context.Process(target=_write_steadily, args=(login, self._stop, self._told), daemon=True)

    def __enter__(self) -> "Writer":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.seconds = self._told.get()
        self._process.join()

    @property
    def p99_ms(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98] * 1000


def _write_steadily(login: tuple[str, int, str, str], stop: Any, told: Any) -> None:
    host, port, user, password = login
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started it ends it, and waits for what it has to tell
        signal.signal(number, signal.SIG_IGN)
    client = redis.Redis(host=host, port=port, username=user, password=password)
    client.ping()
    seconds: list[float] = []
    due = time.perf_counter()
    while not stop.is_set():
        due += 1 / WRITES_PER_SECOND
        if (pause := due - time.perf_counter()) > 0:
            time.sleep(pause)
        client.set(f"writer:{len(seconds) % 10_000}", b"x" * 100)
        seconds.append(time.perf_counter() - due)  # from when it was due: a stall is not hidden by the writer's own wait
    told.put(seconds)


def ours(place: Place, _: NodeEntry) -> Taken:
    began = time.monotonic()
    made = Manifest.model_validate(run_job(place, "create"))
    return Taken("backup.py create", made.bytes, time.monotonic() - began)


def await_no_child(link: Link) -> None:
    """Wait until a server neither saves nor rewrites its append-only file: it does one of these at a time."""

    def running() -> str:
        fields = info_fields(text(link.ask("INFO", "persistence")))
        return " ".join(name for name in CHILDREN if fields[name] != "0")

    wait_until("the end of what the server does beside", running, 600, poll_seconds=0.02)


def bgsave_and_copy(place: Place, replica: NodeEntry) -> Taken:
    """BGSAVE on the replica, then its file copied onto another volume."""
    assert place.access is not None
    with Fleet(place.access, [replica]) as fleet:
        link = fleet.links[replica.name]
        began = time.monotonic()
        link.ask("BGSAVE")
        await_no_child(link)
    script = f"cp /data/dump.rdb {OUT}/copy.rdb && sync {OUT}/copy.rdb && stat -c %s {OUT}/copy.rdb && rm {OUT}/copy.rdb"
    size = int(client_container(place, script, f"{replica.volume}:/data:ro"))
    return Taken("BGSAVE + copy", size, time.monotonic() - began)


def redis_cli(place: Place, replica: NodeEntry) -> Taken:
    """redis-cli --rdb to a file on another volume."""
    began = time.monotonic()
    script = (
        f"redis-cli --user backup -h {replica.address} -p {replica.port} --rdb {OUT}/copy.rdb >/dev/null 2>&1 && "
        f"sync {OUT}/copy.rdb && stat -c %s {OUT}/copy.rdb && rm {OUT}/copy.rdb"
    )
    return Taken("redis-cli --rdb", int(client_container(place, script)), time.monotonic() - began)


def client_container(place: Place, script: str, *volumes: str) -> str:
    """Run a shell script where a person would, beside the stack; the password comes by the environment."""
    assert place.access is not None
    network = place.access.inventory.network
    words = [word for volume in (f"redis-{place.stack}-repository-peer:{OUT}", *volumes) for word in ("--volume", volume)]
    address = f"{network.subnet.rpartition('.')[0]}.249"
    command = [
        "docker",
        "run",
        "--rm",
        "--user",
        "0:0",
        "--env",
        "REDISCLI_AUTH",
        "--network",
        network.name,
        "--ip",
        address,
        *words,
        IMAGE,
        "sh",
        "-c",
    ]
    environment = {**os.environ, "REDISCLI_AUTH": place.access.credentials.password("backup")}
    return subprocess.run([*command, script], env=environment, check=True, capture_output=True, text=True).stdout.strip()


def restic_store(place: Place, replica: NodeEntry) -> Taken:
    """restic's own time to store a file of the same data, without the start of its container."""
    script = (
        f"redis-cli --user backup -h {replica.address} -p {replica.port} --rdb {OUT}/copy.rdb >/dev/null 2>&1 && sync && "
        f"export RESTIC_PASSWORD=bench RESTIC_REPOSITORY={OUT}/own RESTIC_CACHE_DIR=/tmp/cache && restic init >/dev/null && "
        "began=$(date +%s%N) && restic backup --quiet --stdin --stdin-filename dump.rdb --compression off "
        f"< {OUT}/copy.rdb && echo $(stat -c %s {OUT}/copy.rdb) $(($(date +%s%N) - began)); rm -rf {OUT}/own {OUT}/copy.rdb"
    )
    size, nanoseconds = client_container(place, script).split()
    return Taken("restic alone", int(size), int(nanoseconds) / 1e9)


WAYS: tuple[Callable[[Place, NodeEntry], Taken], ...] = (ours, bgsave_and_copy, redis_cli, restic_store)


def load_seconds(primary: NodeEntry) -> float:
    """How long the server itself says that it loaded its files at its last start."""
    log = engine().containers.get(primary.container).logs(tail=400).decode(errors="replace")
    return float(re.findall(r"DB loaded from .*?: ([0-9.]+) seconds", log)[-1])


def restic_alone(place: Place, manifest: Manifest) -> float:
    """Seconds of `restic restore` of the same snapshot onto another volume, without the start of its container."""
    script = (
        f"rm -rf {OUT}/alone; began=$(date +%s%N); "
        f"restic --repo {LOCAL} --password-file {HOME}/password --cache-dir {HOME}/cache "
        f"restore --no-lock {manifest.shards[0].snapshot} --target {OUT}/alone >/dev/null && echo $(($(date +%s%N) - began)); "
        f"rm -rf {OUT}/alone"
    )
    volumes = (f"{home_volume(place.stack)}:{HOME}", f"{repository_volume(place.stack)}:{LOCAL}:ro")
    return int(client_container(place, script, *volumes)) / 1e9


def restored(place: Place, primary: NodeEntry, manifest: Manifest, early: bool) -> dict[str, float]:
    """A restore, when each step was over in seconds from the beginning, beside the peers that it is made of: `restic restore` and
    the server's load, each alone. With `early` applications are let in before the digest is compared."""
    assert place.access is not None
    alone = restic_alone(place, manifest)
    done = restore(place, place.access, manifest, replace=True, open_early=early)
    load = load_seconds(primary)
    steps = {
        "fetched": done.fetched_seconds, "loaded": done.loaded_seconds, "redundant": done.redundant_seconds,
        "open": done.open_seconds, "restic_alone": alone, "load_alone": load,
    }  # fmt: skip
    return steps | ({"ratio": done.open_seconds / (alone + load)} if early else {"verified": done.verified_seconds})


def primary_and_replica(access: Access) -> tuple[NodeEntry, NodeEntry]:
    seen = observe(access)
    first, second = access.inventory.data_nodes
    return (first, second) if seen.of(first.name).is_primary else (second, first)


def main(
    case: Annotated[str, typer.Argument(metavar="large|small")] = "large",
    parts: Annotated[list[str] | None, typer.Argument(metavar="[backups] [latency] [restores]")] = None,
    repeat: Annotated[int, typer.Option(min=1)] = 3,
    keys: Annotated[int, typer.Option(help="Keys instead of the case's own number.")] = 0,
    rate: Annotated[
        int | None, typer.Option(parser=parse_bytes, metavar="SIZE", help="For one more backup, with this backup.rate_limit.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the raw figures.")] = None,
) -> None:
    """Compare throughput, latency of clients, and a restore."""
    count, size = keys or CASES[case][0], CASES[case][1]
    console = make_console()
    memory = f"{max(64, count * (size + 120) * 2 // 1024**2)}mb"
    spec = {**SPEC, "memory": {"maxmemory": memory}, "replication": {"backlog": "16mb"}}
    with tempfile.TemporaryDirectory() as folder, throw_away_stack("bench-backup", spec, Path(folder)) as stack:
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, 60)
        place = Place(stack.name, BackupSettings.model_validate(spec["backup"]), access)
        primary, replica = primary_and_replica(access)
        console.print(f"{count:,} keys of {size} bytes", markup=False)
        facts = {"date": time.strftime("%Y-%m-%d"), "machine": platform.platform(), "cores": os.cpu_count(), "case": case}
        raw: dict[str, Any] = {**facts, "keys": count, "value_bytes": size}
        try:
            write(access, 0, count, size)
            for part in parts or PARTS:
                raw[part] = PARTS[part](Stand(place, access, primary, replica, count, size, rate), repeat)
                if out:
                    out.write_text(json.dumps(raw, indent=1) + "\n")
        finally:
            remove_volume(f"redis-{stack.name}-repository-peer")


@dataclass(frozen=True)
class Stand:
    """Where the measurements are made: a stack with `count` keys of `size` bytes."""

    place: Place
    access: Access
    primary: NodeEntry
    replica: NodeEntry
    count: int
    size: int
    rate: int | None

    def renew(self, number: int) -> None:
        """Write a tenth of the keys anew, and wait for the end of what the servers do about that in the background."""
        write(self.access, self.count // 10 * (number % 10), self.count // 10, self.size)
        with Fleet(self.access, [self.primary, self.replica]) as fleet:
            for link in fleet.links.values():
                await_no_child(link)


def backups(stand: Stand, repeat: int) -> dict[str, Any]:
    """All ways in turns."""
    first = ours(stand.place, stand.replica)
    make_console().print(f"first backup, everything new: {first.rate:.0f} MB/s")
    runs: list[Taken] = []
    for number in range(repeat):
        for way in WAYS:
            stand.renew(number)
            with processor_time(stand.replica.container) as spent:
                run = way(stand.place, stand.replica)
            runs.append(replace(run, spent=spent))
            make_console().print(f"{run.way}: {run.rate:.0f} MB/s", markup=False)
    show(runs)
    return {"first_mb_s": first.rate, "runs": [asdict(run) for run in runs]}


NOTHING = "nothing"
MEANWHILE: dict[str, Callable[[Place, NodeEntry], object]] = {
    NOTHING: lambda *_: time.sleep(QUIET_SECONDS),
    "backup.py create": ours,
    "BGSAVE + copy": bgsave_and_copy,
    "redis-cli --rdb": redis_cli,
}


def latency(stand: Stand, repeat: int) -> dict[str, Any]:
    """p99 of a client's writes, in ms, while each of `MEANWHILE` goes on, and a backup at the rate of the stand."""
    found: dict[str, list[float]] = {}
    meanwhile = dict(MEANWHILE)
    if stand.rate:
        limited = replace(stand.place, settings=stand.place.settings.model_copy(update={"rate_limit": stand.rate}))
        meanwhile[f"backup.py create, rate_limit {write_bytes(stand.rate)}"] = lambda _, replica: ours(limited, replica)
    for number in range(repeat):
        for name, during in meanwhile.items():
            stand.renew(number)
            with Writer(stand.access, stand.primary) as writer:
                during(stand.place, stand.replica)
            found.setdefault(name, []).append(writer.p99_ms)
    quiet = statistics.median(found[NOTHING])
    for name, values in found.items():
        ratio = statistics.median(values) / quiet
        make_console().print(f"p99 of writes, {name}, ms: {spread(values)}, {ratio:.2f} of that without", markup=False)
    return {"p99_ms": found}


def restores(stand: Stand, repeat: int) -> dict[str, Any]:
    """Restores of the newest backup, let in early `repeat` times, and once until the digest was compared."""
    place, image = stand.place, stand.access.inventory.engine.image
    ours(place, stand.replica)
    prove(place, image, Manifest.model_validate(run_job(place, "show", backup="latest")), lambda _: None)
    manifest = Manifest.model_validate(run_job(place, "show", backup="latest"))
    back = [restored(place, stand.primary, manifest, early=True) for _ in range(repeat)]
    for name in back[0]:
        make_console().print(f"restore, {name}: {spread([one[name] for one in back])}")
    whole = restored(place, stand.primary, manifest, early=False)
    make_console().print("restore, digest compared: " + ", ".join(f"{name} {value:.2f}" for name, value in whole.items()))
    return {"early": back, "with_digest": whole}


PARTS: dict[str, Callable[[Stand, int], dict[str, Any]]] = {"backups": backups, "latency": latency, "restores": restores}


def remove_volume(name: str) -> None:
    subprocess.run(["docker", "volume", "rm", "--force", name], check=False, capture_output=True)


def show(runs: Sequence[Taken]) -> None:
    """min / median / max of every way, and the ratio of the medians."""
    table = Table(title="backup, MB/s of RDB")
    for name in ("way", "min", "median", "max", "ours / this", "processor s/GB", "of the replica"):
        table.add_column(name, justify="left" if name == "way" else "right")
    ways: dict[str, list[Taken]] = {}
    for one in runs:
        ways.setdefault(one.way, []).append(one)
    mine = statistics.median(one.rate for one in ways["backup.py create"])
    for way, found in ways.items():
        rates = [one.rate for one in found]
        middle = statistics.median(rates)
        machine = statistics.median(one.spent.machine / one.bytes * 1e9 for one in found)
        replica = statistics.median(one.spent.container / one.bytes * 1e9 for one in found)
        cells = (min(rates), middle, max(rates))
        table.add_row(way, *(f"{cell:.0f}" for cell in cells), f"{mine / middle:.2f}", f"{machine:.1f}", f"{replica:.1f}")
    make_console().print(table)


def spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in (min(values), statistics.median(values), max(values)))


if __name__ == "__main__":
    run(main)
