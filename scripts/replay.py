#!/usr/bin/env python3
"""Makes a running stack hold what RDB files hold together, whatever shape they came from; the files of any Redis will do.

usage: scripts/replay.py --stack S FILE.rdb... [--replace] [--json]
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from operations.errors import UsageError
from operations.inventory import load_access
from operations.replay.run import Replayed, Say, replay
from operations.replay.stream import Watch
from operations.scratch import snapshot_file
from scripts._command import JsonOption, StackOption, make_console, print_json, run

PLAIN_SECONDS = 5.0


def main(
    stack: StackOption,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="RDB files, one for each shard of the source.")],
    replace: Annotated[bool, typer.Option("--replace", help="Give up what the stack holds now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Load the files into scratch servers, pass every key on to the shard where it belongs, and compare digests."""
    if len({path.resolve() for path in files}) < len(files):
        raise UsageError("a file is named twice")
    snapshots = [snapshot_file(path, str(number)) for number, path in enumerate(files, start=1)]
    access = load_access(stack)
    with telling() as (say, watch):
        done = replay(access, snapshots, replace, watch, say)
    if as_json:
        print_json(as_data(done))
    else:
        show(done, stack)


@contextmanager
def telling() -> Iterator[tuple[Say, Watch]]:
    """Lines for phases, and how many keys were passed on: a line that changes on a terminal, else one now and then."""
    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    keys = size = 0
    last = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def watch(more_keys: int, more_bytes: int) -> None:
            nonlocal keys, size, last
            keys, size = keys + more_keys, size + more_bytes
            told = f"{keys:,} keys, {size / 1e6:,.0f} MB"
            bar.update(task, description=told)
            if keys and not console.is_terminal and time.monotonic() - last > PLAIN_SECONDS:
                last = time.monotonic()
                console.print(told, markup=False)

        yield lambda line: bar.console.print(line, markup=False), watch


def as_data(done: Replayed) -> dict[str, object]:
    return {
        "keys": done.keys,
        "bytes": done.bytes,
        "loaded_seconds": round(done.loaded_seconds, 3),
        "streamed_seconds": round(done.streamed_seconds, 3),
        "redundant_seconds": round(done.redundant_seconds, 3),
        "verified_seconds": round(done.verified_seconds, 3),
        "keys_compared": done.comparison.compared,
        "keys_left_out": done.comparison.left_out,
        "resumed": done.resumed,
    }


def show(done: Replayed, stack: str) -> None:
    console = make_console()
    seconds = done.streamed_seconds - done.loaded_seconds
    rate = f", {done.keys / seconds:,.0f} keys/s" if seconds > 0 else ""
    left = f" ({done.comparison.left_out:,} left out because they may have expired)" if done.comparison.left_out else ""
    console.print(
        f"stack {stack} holds {done.keys:,} keys, {done.bytes / 1e6:,.0f} MB: loaded after {done.loaded_seconds:.1f} s, "
        f"passed on after {done.streamed_seconds:.1f} s{rate}, replicas in sync after {done.redundant_seconds:.1f} s; after "
        f"{done.verified_seconds:.1f} s the digest of {done.comparison.compared:,} keys was found the same{left}",
        markup=False,
    )


if __name__ == "__main__":
    run(main)
