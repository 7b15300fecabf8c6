#!/usr/bin/env python3
"""Restores a backup into a running stack, closed to applications until it is verified.

usage: scripts/restore.py --stack NAME [--from ID|latest] [--to NAME] [--replace] [--json]

--stack names whose backups are meant, --to the stack that gets the data (default: the same). It must be empty, unless --replace.
Cut off at any instant, it leaves the stack closed to applications; the same command goes on.
"""

from typing import Annotated, Any

import typer
from rich.console import Console

from operations.backup.fit import OtherShape
from operations.backup.launch import run_job
from operations.backup.manifest import Manifest
from operations.backup.reshape import restore_reshaped
from operations.backup.restore import Restored, restore
from operations.inventory import load_access
from scripts._command import JsonOption, StackOption, make_console, print_json, run
from scripts.backup import Report, megabytes, place_of
from scripts.replay import as_data as replay_as_data
from scripts.replay import show as show_replay


def main(
    stack: StackOption,
    backup: Annotated[str, typer.Option("--from", metavar="ID|latest", help="Which backup.")] = "latest",
    to: Annotated[str | None, typer.Option("--to", metavar="NAME", help="The stack that gets the data.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give up the data that the target holds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the data of a backup into a running stack: by files where its shape is the same, else key by key."""
    place = place_of(stack)
    target = load_access(to) if to else place.access or load_access(stack)
    console = make_console(stderr=True)
    manifest = Manifest.model_validate(run_job(place, "show", backup=backup))
    try:
        done = restore(place, target, manifest, replace, reporter(console))
    except OtherShape:
        console.print("the target has another shape: every key is passed on to the shard where it belongs", markup=False)
        reshaped = restore_reshaped(place, target, manifest, replace, reporter(console))
        if as_json:
            print_json({"backup": manifest.id, "stack": target.inventory.stack, "reshaped": True, **replay_as_data(reshaped)})
        else:
            show_replay(reshaped, target.inventory.stack)
        return
    if as_json:
        print_json(as_data(done))
        return
    steps = {"files in place": done.fetched_seconds, "loaded": done.loaded_seconds, "redundant": done.redundant_seconds}
    told = ", ".join(f"{what} after {seconds:.1f} s" for what, seconds in {**steps, "open": done.open_seconds}.items())
    keys = sum(done.keys.values())
    make_console().print(f"restored backup {done.backup} into stack {done.stack}: {keys:,} keys; {told}", markup=False)


def as_data(done: Restored) -> dict[str, Any]:
    """The outcome for programs; seconds count from the beginning of the restore."""
    return {
        "backup": done.backup,
        "stack": done.stack,
        "shards": {name: shard.shard for name, shard in done.targets.items()},
        "keys": done.keys,
        "seconds": {
            "fetched": round(done.fetched_seconds, 3),
            "loaded": round(done.loaded_seconds, 3),
            "redundant": round(done.redundant_seconds, 3),
            "open": round(done.open_seconds, 3),
        },
    }


def reporter(console: Console) -> Report:
    """Tells the steps of a restore, one line each."""

    def report(event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "phase":
            console.print(event["text"], markup=False)
        elif kind == "progress":
            console.print(f"{event['node']}: {megabytes(event['bytes'])} of {megabytes(event['of'])}", markup=False)
        elif kind == "fetched":
            console.print(f"{event['node']}: {megabytes(event['bytes'])} in {event['seconds']:.1f} s", markup=False)

    return report


if __name__ == "__main__":
    run(main)
