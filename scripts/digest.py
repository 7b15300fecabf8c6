#!/usr/bin/env python3
"""The digest of a running stack's data: equal keys, values, types and expiries give equal digests, whatever the shards.

usage: scripts/digest.py --stack S [--against FILE] [--replicas] [--json]

Reads in calls of about 2 ms, so applications can go on. `--against` compares with what --json printed before, of this stack or
another.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from operations.digest.definition import Comparison, Digest, compare, of_data
from operations.digest.live import StackDigest, digest_stack
from operations.digest.reader import Watch
from operations.errors import ExitCode, UsageError
from operations.inventory import load_access
from scripts._command import JsonOption, StackOption, make_console, print_json, run


def main(
    stack: StackOption,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A digest printed with --json earlier, to compare with.")
    ] = None,
    replicas: Annotated[bool, typer.Option("--replicas", help="Read a replica of each shard instead of its primary.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Read the digest of all data; exit code 10 when it differs from --against, 20 when it differs but data changed meanwhile."""
    other = earlier(against) if against else None
    access = load_access(stack)
    with counting() as watch:
        found = digest_stack(access, other.boundaries_ms if other else None, "replica" if replicas else "primary", watch)
    comparison = compare(other, found.total) if other else None
    if as_json:
        print_json(as_data(found, comparison))
    else:
        show(found, comparison)
    if comparison is None or comparison.equal:
        return ExitCode.OK
    return ExitCode.MISSED if comparison.certain else ExitCode.UNKNOWN


def earlier(path: Path) -> Digest:
    """A digest from the output of --json; raises UsageError when there is none in it."""
    try:
        data = json.loads(path.read_text())
        return of_data(data.get("total", data))
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"--against {path} cannot be read as the output of scripts/digest.py --json: {error}") from None


@contextmanager
def counting() -> Iterator[Watch]:
    """A line on the terminal with the keys read so far."""
    columns = (TextColumn("reading {task.completed:,.0f} keys"), TimeElapsedColumn())
    console = make_console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda keys: bar.advance(task, keys)


def as_data(found: StackDigest, comparison: Comparison | None) -> dict[str, object]:
    data: dict[str, object] = {
        "stack": found.stack,
        "total": found.total.to_data(),
        "nodes": {name: digest.to_data() for name, digest in found.nodes.items()},
        "libraries_differ": found.libraries_differ,
        "seconds": round(found.seconds, 3),
        "longest_call_seconds": round(found.longest_seconds, 4),
        "longest_call_processor_seconds": found.longest_processor_seconds,
    }
    if comparison:
        data["comparison"] = {
            "equal": comparison.equal,
            "certain": comparison.certain,
            "differences": list(comparison.differences),
            "keys_compared": comparison.compared,
            "keys_left_out": comparison.left_out,
        }
    return data


def show(found: StackDigest, comparison: Comparison | None) -> None:
    console = make_console()
    table = Table("node", "keys", "with expiry", "libraries", "changes meanwhile", "digest")
    rows = [*found.nodes.items(), ("total", found.total)] if len(found.nodes) > 1 else list(found.nodes.items())
    for name, digest in rows:
        counts = (f"{value:,}" for value in (digest.all.keys, digest.expiring, len(digest.libraries), digest.changes))
        table.add_row(name, *counts, digest.all.hex)
    console.print(table)
    total = found.total
    rate = f", {total.all.keys / found.seconds:,.0f} keys/s" if found.seconds > 0 else ""
    worked = found.longest_processor_seconds
    processor = "" if worked is None else f", most processor time of the server for one {worked * 1000:.1f} ms"
    longest = f"{found.longest_seconds * 1000:.1f} ms"
    console.print(f"read in {found.seconds:.1f} s{rate}; longest call {longest}{processor}", markup=False)
    if total.changes:
        console.print(f"{total.changes:,} changes meanwhile: this digest belongs to no single moment", markup=False)
    if total.opaque:
        console.print(
            f"{total.opaque:,} keys of types of modules: hashed as DUMP gives them, which depends on the version", markup=False
        )
    if found.libraries_differ:
        console.print("not all shards have the same function libraries", markup=False)
    if comparison is None:
        return
    words = "the same" if comparison.equal else "DIFFERENT" if comparison.certain else "different, but data changed meanwhile"
    left = f"; {comparison.left_out:,} left out because they may have expired" if comparison.left_out else ""
    console.print(f"{words}: {comparison.compared:,} keys compared{left}", markup=False)
    for line in comparison.differences:
        console.print(f"  {line}", markup=False)


if __name__ == "__main__":
    run(main)
