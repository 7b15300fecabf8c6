#!/usr/bin/env python3
"""What the drill harness itself costs, on a running stack.

usage: python -m bench.harness cost --stack S      clients with and without recording, alternating, as fast as answers come
       python -m bench.harness soak --stack S      a drill of ten minutes: rate reached, memory of clients and drill over time
"""

import json
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import docker
import redis
import typer
from docker.errors import DockerException
from rich.table import Table

from drills import stack_view
from drills.crew import place
from drills.definition import find
from drills.examine import Setup, examine
from drills.history import HistoryFile, read_history
from drills.objectives import objectives_of, policy_of
from drills.runner import HISTORY, Order, Runner
from drills.workload.launcher import start_process
from drills.workload.plan import MAIN_OCTET, Load, settings
from operations.inventory import Access, load_access
from scripts._command import make_console, run

COST_LIMIT = 1.10
WARM_SECONDS = 1.0
SAMPLE_SECONDS = 10.0
RESULTS = Path(__file__).parent / "results"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
StackOption = Annotated[str, typer.Option("--stack", help="A running stack.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="File for the raw figures, as JSON; default: bench/results.")]


def conditions(access: Access) -> dict[str, Any]:
    """Where and with what the figures were measured."""
    engine = access.inventory.engine
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "redis-py": redis.__version__,
        "engine": f"{engine.name} {engine.version}",
        "topology": access.inventory.topology,
    }


def keep(data: dict[str, Any], out: Path | None, name: str) -> Path:
    """Write raw figures."""
    path = out or RESULTS / f"{data['date']}-{name}-{data['topology']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


def rate_of(access: Access, load: Load, number: int, seconds: float, folder: Path) -> dict[str, float]:
    """Requests per second, and processor seconds of the clients per 1,000 requests, over `seconds` after a warm-up."""
    inventory = access.inventory
    slots = stack_view.slots_of(stack_view.require_steady(access), inventory)
    told = settings(access, load, f"bench-{os.getpid():x}-{number}", slots)
    history = HistoryFile(folder / f"{number}.jsonl")
    with history, start_process(told.to_data(), history.append, place(inventory, "load", MAIN_OCTET)) as process:
        process.ask("start", origin=process.ask("clock")["now"])
        time.sleep(WARM_SECONDS)
        before, began = process.ask("count"), time.monotonic()
        time.sleep(seconds)
        after, ended = process.ask("count"), time.monotonic()
        process.ask("stop")
        process.ask("tidy", within=60)
    history.path.unlink()
    done = after["operations"] - before["operations"]
    cpu = after["cpu_seconds"] - before["cpu_seconds"]
    return {"per_second": done / (ended - began), "cpu_ms_per_1000": cpu / done * 1e6}


@app.command()
def cost(
    stack: StackOption,
    repeat: Annotated[int, typer.Option(min=1, help="Pairs.")] = 10,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 5,
    clients: Annotated[int, typer.Option(min=1, help="Concurrent clients.")] = 12,
    out: OutOption = None,
) -> None:
    """The same clients with and without recording, in turn; the order changes from pair to pair."""
    access, progress = load_access(stack), make_console(stderr=True)
    load = Load(clients=clients, rate=0)
    pairs: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(repeat):
            pair = {}
            for recorded in (True, False) if number % 2 == 0 else (False, True):
                found = rate_of(access, replace(load, record=recorded), 2 * number + recorded, seconds, Path(name))
                pair["recorded" if recorded else "bare"] = found
            pairs.append(pair)
            ratio = pair["bare"]["per_second"] / pair["recorded"]["per_second"]
            rates = [f"{pair[side]['per_second']:,.0f}" for side in ("bare", "recorded")]
            progress.print(f"{number + 1}/{repeat}: {rates[0]} requests/s bare, {rates[1]} recorded, ratio {ratio:.3f}")
    ratios = [pair["bare"]["per_second"] / pair["recorded"]["per_second"] for pair in pairs]
    data = {**conditions(access), "clients": clients, "seconds": seconds, "pairs": pairs, "ratios": ratios}
    table = Table("side", "min", "median", "max")
    for side in ("bare", "recorded"):
        rates = [f"{v:,.0f}" for v in spread([pair[side]["per_second"] for pair in pairs])]
        table.add_row(f"{side}, requests/s", *rates)
    table.add_row(f"bare to recorded, at most {COST_LIMIT} wanted", *(f"{value:.3f}" for value in spread(ratios)))
    make_console().print(table)
    progress.print(f"raw figures: {keep(data, out, 'harness-cost').name}")


def spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def own_megabytes() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def agent_megabytes(engine: docker.DockerClient, container: str) -> float | None:
    """Resident memory of the client process in its container, by `docker top`; None while there is none."""
    try:
        top = engine.containers.get(container).top(ps_args="-eo pid,rss,comm")
    except DockerException:  # also while the container is just going
        return None
    return max((int(row[1]) / 1024 for row in top["Processes"] if row[2].startswith("python")), default=None)


@contextmanager
def sampled(container: str, samples: list[dict[str, Any]]) -> Iterator[None]:
    """Note the memory of both processes every SAMPLE_SECONDS."""
    ended, began, engine = threading.Event(), time.monotonic(), docker.from_env()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            agent = agent_megabytes(engine, container)
            samples.append(
                {
                    "at": round(time.monotonic() - began, 1),
                    "drill_mb": round(own_megabytes(), 1),
                    "agent_mb": None if agent is None else round(agent, 1),
                }
            )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@app.command()
def soak(
    stack: StackOption,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Length of the steady part.")] = 600,
    rate: Annotated[float, typer.Option(min=1, help="Requests per second in all.")] = 1800,
    clients: Annotated[int, typer.Option(min=1, help="Concurrent clients.")] = 24,
    drill: Annotated[str, typer.Option(help="What is broken at the end.")] = "crash-replica",
    out: OutOption = None,
) -> None:
    """A long drill at a constant rate, then its examination once more by itself."""
    access, progress = load_access(stack), make_console(stderr=True)
    inventory = access.inventory
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        long = find(drill).model_copy(update={"steady_seconds": seconds})
        order = Order(
            long, Path(name), Load(clients=clients, rate=rate), seed=random.SystemRandom().randrange(2**31), apply=False
        )
        with sampled(place(inventory, "load", MAIN_OCTET).name, samples):
            journal = Runner(access, order, lambda line: progress.print(line, markup=False)).run()
        history = Path(name) / HISTORY
        before = own_megabytes()
        with history.open("rb") as lines:
            operations = sum(line.startswith(b"[") for line in lines)
        setup = Setup("replica", inventory.shards, tuple(n.name for n in inventory.data_nodes),
                      tuple(n.name for n in inventory.nodes), objectives_of(inventory), policy_of(inventory))  # fmt: skip
        peak: list[dict[str, Any]] = []
        with sampled("", peak):
            began = time.monotonic()
            examine(lambda: read_history(history), setup)
            took = time.monotonic() - began
        after = own_megabytes()
        size = history.stat().st_size
    figures = {name: figure.model_dump(mode="json") for name, figure in ((f.name, f) for f in journal.figures)}
    data = {
        **conditions(access), "seconds": seconds, "asked_per_second": rate, "clients": clients, "operations": operations,
        "reached_per_second": operations / seconds, "history_mb": size / 2**20, "result": journal.result, "memory": samples,
        "examination": {"seconds": took, "before_mb": before, "after_mb": after, "samples": peak}, "figures": figures,
    }  # fmt: skip
    table = Table("figure", "value")
    table.add_row("operations", f"{operations:,}")
    table.add_row("examination", f"{took:.1f} s, {operations / took:,.0f} operations/s, {before:.0f} to {after:.0f} MB")
    for who in ("agent_mb", "drill_mb"):
        known = [sample[who] for sample in samples if sample[who] is not None]
        if known:
            chosen = (known[min(2, len(known) - 1)], known[len(known) // 2], known[-1], max(known))
            table.add_row(f"{who} after 30 s, half, end, most", ", ".join(f"{value:.0f}" for value in chosen))
    table.add_row("result", f"{journal.result}: {journal.summary}")
    make_console().print(table)
    progress.print(f"raw figures: {keep(data, out, 'harness-soak').name}")


if __name__ == "__main__":
    run(app)
