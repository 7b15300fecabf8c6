#!/usr/bin/env python3
"""Makes a replica the primary of its shard, planned and without loss; --takeover when the primary is gone."""

from typing import Annotated

import typer

from operations.inventory import load_access
from operations.switchover import switchover
from scripts._command import JsonOption, StackOption, make_console, print_json, run


def main(
    stack: StackOption,
    shard: Annotated[int | None, typer.Option(help="The shard, counted from 1; default: the shard of --to, else 1.")] = None,
    to: Annotated[str | None, typer.Option(metavar="NODE", help="The replica to promote; default: the most advanced.")] = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Promote without the old primary; writes that the replica lacks are lost.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a replica the primary of its shard and wait until ROLE on both sides confirms it."""
    console = make_console(stderr=True)
    done = switchover(load_access(stack), shard, to, takeover, report=lambda line: console.print(line, markup=False))
    if as_json:
        print_json({"shard": done.shard, "old": done.old, "new": done.new, "took_seconds": round(done.took_seconds, 3)})
    else:
        make_console().print(f"{done.new} is primary of shard {done.shard} after {done.took_seconds:.3f} s", markup=False)


if __name__ == "__main__":
    run(main)
