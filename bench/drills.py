#!/usr/bin/env python3
"""Runs drills many times over on throw-away stacks with quick failovers, and compares them with what this project promises.

usage: python -m bench.drills --stack-kind cluster|cluster-lag1|sentinel|sentinel-lag1 … [--only CASE …] [--repeat N] [--again]
       python -m bench.drills --table                    the table of all results that are there
       python -m bench.drills --stack-kind cluster --collect DIR    take over what `drill.py run-all --report DIR` measured

Each case leaves its raw figures in bench/results; one that is there with enough repetitions is not run again.
"""

import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from drills import journal as journals
from drills.definition import find
from drills.journal import Journal, RepetitionEntry
from drills.runner import STEADY_SECONDS, Order, Runner
from drills.workload.plan import Load
from operations.errors import UsageError
from operations.inventory import Access
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack

RESULTS = Path(__file__).parent / "results"
UP_SECONDS = 60
TABLE_WIDTH = 150
SMALL: dict[str, Any] = {"memory": {"maxmemory": "128mb"}, "replication": {"backlog": "16mb"}}
LAG1 = {**SMALL, "replication": {"backlog": "16mb", "min_replicas_to_write": 1, "max_lag_seconds": 1}}
CLUSTER: dict[str, Any] = {"topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 2}}
SENTINEL: dict[str, Any] = {"topology": "sentinel", "replicas": 2, "sentinel": {"down_after_seconds": 1}}
KINDS: dict[str, dict[str, Any]] = {
    "cluster": CLUSTER | SMALL,
    "cluster-lag1": CLUSTER | LAG1,
    "sentinel": SENTINEL | SMALL | {"replication": {"backlog": "16mb", "min_replicas_to_write": 1, "max_lag_seconds": 2}},
    "sentinel-lag1": SENTINEL | LAG1,
}


@dataclass(frozen=True)
class Limit:
    """What a figure may be at most over all repetitions: its median, its largest; in `unit`."""

    figure: str
    most: float | None = None
    middle: float | None = None


NONE_LOST = Limit("lost", most=0)
OTHERS = Limit("others_gap", most=0.3, middle=0.1)


@dataclass(frozen=True)
class Case:
    """A drill with its load and its limits; `bounded`: the window stays within the formula for this kind of fault."""

    drill: str
    limits: tuple[Limit, ...]
    load: Mapping[str, Any] = field(default_factory=dict)
    bounded: bool = False


WAIT_ALL = {"mode": "wait"}
_LOSES_NOTHING = {
    "crash-primary": Case("crash-primary", (NONE_LOST, OTHERS), bounded=True),
    "hang-primary": Case("hang-primary", (NONE_LOST, OTHERS), bounded=True),
    "crash-replica": Case("crash-replica", (NONE_LOST, OTHERS)),
    "isolate-primary-wait": Case("isolate-primary", (NONE_LOST, OTHERS), WAIT_ALL),
}
_LAG1 = {"isolate-primary-lag1": Case("isolate-primary", (Limit("lost_span", most=3.0),))}
CASES: dict[str, dict[str, Case]] = {
    "cluster": {
        "switchover": Case("switchover", (NONE_LOST, Limit("gap", middle=0.05))),
        "stop-primary": Case("stop-primary", (NONE_LOST, OTHERS, Limit("gap", most=0.1))),
        **_LOSES_NOTHING,
    },
    "cluster-lag1": _LAG1,
    "sentinel": {
        "switchover": Case("switchover", (NONE_LOST, Limit("gap", most=1.0))),
        "stop-primary": Case("stop-primary", (NONE_LOST, Limit("gap", most=1.5))),
        **_LOSES_NOTHING,
        "split-replicas-wait": Case("split-replicas", (NONE_LOST,), WAIT_ALL),
    },
    "sentinel-lag1": _LAG1,
}

KindOption = Annotated[list[str] | None, typer.Option("--stack-kind", help=f"Of {', '.join(KINDS)}; default: all.")]


def figures(rep: RepetitionEntry) -> dict[str, Any]:
    """What is kept of one repetition; seconds, unless it is a count. `gap`: the longest time without an acknowledged write on the
    shards that were hit, also where none was refused; `window`: from the first refused to the next acknowledged write."""

    def of(check: str, name: str) -> Any:
        found = rep.check(check)
        return None if found is None else found.figures.get(name)

    def longest(name: str) -> float | None:
        return max((value for window in rep.hit if (value := getattr(window, name)) is not None), default=None)

    main = [window for window in rep.windows if window.side == "main"]
    others = [window for window in main if not window.hit]
    redundancy = next((outcome.measured for outcome in rep.outcomes if "redundancy" in outcome.name), None)
    return {
        "verdict": str(rep.verdict),
        "window": longest("unavailable"),
        "gap": longest("longest_gap"),
        "detection": longest("detection"),
        "election": longest("election"),
        "client_recovery": longest("client_recovery"),
        "others_gap": max((window.longest_gap for window in others), default=None),
        "lost": of("lost", "lost"),
        "lost_span": of("lost", "lost_span_seconds"),
        "acknowledged": of("lost", "acknowledged"),
        "refused": of("lost", "refused"),
        "unknown": of("lost", "unknown"),
        "phantom": (found.verdict != "true" and found.summary) if (found := rep.check("phantom")) else None,
        "two_primaries": of("split-brain", "seconds"),
        "redundancy": redundancy if redundancy is not None else of("redundancy", "seconds"),
        "outcomes": {o.name: [o.measured, o.limit_seconds, str(o.verdict)] for o in rep.outcomes},
        "bad_checks": [check.summary for check in rep.checks if check.verdict != "true"],
    }


def bound_of(journal: Journal) -> dict[str, Any] | None:
    """The formula that the window was judged by, where the objective was one."""
    judged_by = (outcome for rep in journal.repetitions for outcome in rep.outcomes if outcome.name == "unavailable")
    found = next((outcome for outcome in judged_by if outcome.limit_seconds is not None and "plus" in outcome.limit), None)
    return None if found is None else {"seconds": found.limit_seconds, "formula": found.limit}


def raw(journal: Journal, kind: str, name: str) -> dict[str, Any]:
    """The raw figures of one case."""
    return {
        "case": name,
        "kind": kind,
        "drill": journal.drill.name,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "engine": journal.engine,
        "versions": journal.versions,
        "workload": {key: journal.workload[key] for key in ("summary", "seed", "mode", "acks", "clients", "rate")},
        "spec": journal.spec,
        "bound": bound_of(journal),
        "result": journal.result,
        "problems": list(journal.problems),
        "repetitions": [figures(rep) for rep in journal.repetitions],
    }


def result_file(kind: str, name: str) -> Path | None:
    """The newest results of a case."""
    return max(RESULTS.glob(f"*-drill-{kind}-{name}.json"), default=None)


def done(kind: str, name: str, repeat: int) -> bool:
    path = result_file(kind, name)
    return path is not None and len(json.loads(path.read_text())["repetitions"]) >= repeat


def known(repetitions: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(rep[name]) for rep in repetitions if rep.get(name) is not None]


def judged(data: Mapping[str, Any]) -> Iterator[tuple[str, list[float], str, str]]:
    """Figure, its values, what is allowed, and whether that holds."""
    case = CASES[data["kind"]][data["case"]]
    limits = list(case.limits)
    if case.bounded and data["bound"]:
        limits.insert(0, Limit("window", most=data["bound"]["seconds"]))
    seen = {limit.figure for limit in limits}
    repetitions = data["repetitions"]
    for limit in [*limits, *(Limit(name) for name in ("gap", "window", "redundancy") if name not in seen)]:
        values = known(repetitions, limit.figure)
        if not values:
            if limit.figure in seen and limit is not OTHERS:
                yield limit.figure, [], "", "unknown"
            continue
        words, holds = [], len(values) == len(repetitions)
        for word, allowed, measured in (("most", limit.most, max(values)), ("median", limit.middle, statistics.median(values))):
            if allowed is not None:
                words.append(f"{word} {allowed:g}")
                holds = holds and measured <= allowed
        yield limit.figure, values, ", ".join(words), ("yes" if holds else "NO") if words else ""
    found = [outcome for rep in repetitions if (outcome := rep["outcomes"].get("two-primaries"))]
    if found:
        holds = all(verdict == "true" for _, _, verdict in found)
        values = [measured for measured, _, _ in found if measured is not None]
        yield "two primaries, bound", values, f"most {found[0][1]}", "yes" if holds else "NO"


def table_of(paths: Sequence[Path]) -> Table:
    table = Table("stack", "case", "runs", "figure", "min", "median", "max", "allowed", "holds")
    for path in paths:
        data = json.loads(path.read_text())
        count = f"{len(data['repetitions'])} {data['result']}"
        for name, values, allowed, holds in judged(data):
            digits = 0 if name == "lost" else 3
            numbers = [f"{f(values):,.{digits}f}" for f in (min, statistics.median, max)] if values else ["", "", ""]
            table.add_row(data["kind"], data["case"], count, name, *numbers, allowed, holds)
        table.add_section()
    return table


def run_case(access: Access, kind: str, name: str, repeat: int, folder: Path, tell: Callable[[str], None]) -> None:
    """Run one case and keep its figures; a run that broke is kept as well, and run again next time."""
    case = CASES[kind][name]
    load = Load(**{**case.load, **({"acks": access.inventory.replicas} if case.load else {})})
    order = Order(find(case.drill), folder / name, load, repeat, random.SystemRandom().randrange(2**31),
                  patience_seconds=STEADY_SECONDS, apply=False)  # fmt: skip
    keep(Runner(access, order, tell).run(), kind, name)


def keep(journal: Journal, kind: str, name: str) -> None:
    """Write the raw figures of a case, instead of those that are there."""
    data = raw(journal, kind, name)
    for old in RESULTS.glob(f"*-drill-{kind}-{name}.json"):
        old.unlink()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{data['date']}-drill-{kind}-{name}.json"
    lines = ",\n".join("  " + json.dumps(rep) for rep in data.pop("repetitions"))
    path.write_text(json.dumps(data, indent=1).removesuffix("\n}") + f',\n "repetitions": [\n{lines}\n ]\n}}\n')


def main(
    kinds: KindOption = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Cases; default: all of the kind.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Repetitions of each case.")] = 10,
    again: Annotated[bool, typer.Option(help="Also what is there already.")] = False,
    table: Annotated[bool, typer.Option(help="Only show what is there.")] = False,
    collect: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take the figures from the reports of a `drill.py run-all` on such a stack."),
    ] = None,
) -> None:
    """Run what is missing, then show everything."""
    progress = make_console(stderr=True)
    chosen = kinds or list(KINDS)
    if collect is not None:
        if len(chosen) != 1:
            raise UsageError("--collect needs one --stack-kind: that of the stack which the reports are about")
        for name, wanted in CASES[chosen[0]].items():
            as_run = not wanted.load or find(wanted.drill).load is not None  # else it needs a load that run-all does not make
            if as_run and (collect / wanted.drill / "journal.json").exists():
                keep(journals.load(collect / wanted.drill), chosen[0], name)
        table = True
    for kind in () if table else chosen:
        missing = [n for n in CASES[kind] if (not only or n in only) and (again or not done(kind, n, repeat))]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as name, throw_away_stack(f"bench-{kind}", KINDS[kind], Path(name)) as stack:
            stack.up("--suppress-outputs").ok()
            access = stack.access()
            stack.wait_healthy(access, UP_SECONDS)
            for case in missing:
                progress.print(f"{kind}: {case}")
                run_case(access, kind, case, repeat, Path(name), lambda line: progress.print(line, markup=False))
    paths = [path for kind in chosen for n in CASES[kind] if (path := result_file(kind, n)) and (not only or n in only)]
    console = make_console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(table_of(paths))


if __name__ == "__main__":
    run(main)
