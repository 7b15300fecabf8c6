#!/usr/bin/env python3
"""Restores a backup into a running stack, closed to applications until it is verified.

usage: scripts/restore.py --stack NAME [--from ID|latest] [--to NAME] [--replace | --rebuild] [--shard N] [--open-early] [--json]
       scripts/restore.py --stack NAME --at TIME [--to NAME] [--replace] [--json]    a second of the archive (archive.py)
       scripts/restore.py --stack NAME --to NEW --shards N [--from ID|latest]        a new cluster of N shards with that data

--stack names whose backups are meant, --to the stack that gets the data (default: the same). It must be empty, unless --replace.
With --shards the target must have so many, or is made when there is no stack of that name.
--rebuild first makes nodes anew that are gone with their volumes, closed to applications until their data is back.
Cut off at any instant, it leaves the stack closed to applications; the same command goes on.
"""

import time
from typing import Annotated, Any

import typer
from rich.console import Console

from operations.backup.catalogue import LATEST
from operations.backup.fit import OtherShape
from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest, gaps
from operations.backup.rebuild import rebuild
from operations.backup.reshape import restore_reshaped
from operations.backup.restore import Restored, restore
from operations.errors import CheckFailed, UsageError
from operations.inventory import load_access
from scripts._command import JsonOption, StackOption, make_console, print_json, run
from scripts._shards import bring_up, is_new, require_shards, spec_of
from scripts.archive import restore as restore_moment
from scripts.backup import Report, megabytes, place_of
from scripts.replay import as_data as replay_as_data
from scripts.replay import show as show_replay


def main(
    stack: StackOption,
    backup: Annotated[str, typer.Option("--from", metavar="ID|latest", help="Which backup.")] = LATEST,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="The end of this second, from the archive instead of a backup.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="NAME", help="The stack that gets the data.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give up the data that the target holds.")] = False,
    anew: Annotated[
        bool, typer.Option("--rebuild", help="First make nodes anew that are gone with their data (pulumi up --refresh).")
    ] = False,
    shard: Annotated[
        int | None, typer.Option("--shard", min=1, help="Restore only this shard of a cluster; the others go on as they are.")
    ] = None,
    shards: Annotated[
        int | None, typer.Option("--shards", min=1, help="How many shards the target has; a stack --to that is new is made so.")
    ] = None,
    open_early: Annotated[
        bool, typer.Option("--open-early", help="Let applications in once the files are loaded; no digest is compared then.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the data of a backup into a running stack: by files where its shape is the same, else key by key."""
    if at is not None:
        if backup != LATEST or anew or open_early or shard is not None:
            raise UsageError("--at takes the archive and goes with --to and --replace alone; leave the others out")
        if shards is not None:
            require_shards(load_access(to or stack).inventory, shards)
        restore_moment(stack, at, to, replace, as_json)
        return
    place = place_of(stack)
    console = make_console(stderr=True)
    began = time.monotonic()
    if shards is not None and to is not None and is_new(to):
        if replace or anew or open_early or shard is not None:
            raise UsageError(f"stack {to} is made anew by --shards; leave --replace, --rebuild, --shard and --open-early out")
        _restore_into_new(place, backup, shards, to, as_json)
        return
    target = load_access(to) if to else place.access or load_access(stack)
    if shards is not None:
        require_shards(target.inventory, shards)
    manifest = Manifest.model_validate(run_job(place, "show", backup=backup))
    if anew:
        rebuilt = rebuild(target, manifest)
        console.print(f"{rebuilt or 'all nodes are there'}, after {time.monotonic() - began:.1f} s", markup=False)
    try:
        done = restore(place, target, manifest, replace, reporter(console), open_early, shard)
    except OtherShape:
        if shard is not None:
            raise
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
    names = {"fetched": "files in place", "open": "open to applications"}
    told = ", ".join(f"{names.get(step, step)} after {seconds:.1f} s" for step, seconds in steps(done).items())
    keys = sum(done.keys.values())
    proof = f"digest as in the catalogue, {done.comparison.compared:,} keys" if done.comparison else "no digest was compared"
    make_console().print(f"restored backup {done.backup} into stack {done.stack}: {keys:,} keys, {proof}; {told}", markup=False)


def _restore_into_new(place: Place, backup: str, shards: int, to: str, as_json: bool) -> None:
    began = time.monotonic()
    manifest = Manifest.model_validate(run_job(place, "show", backup=backup))
    if missing := gaps(manifest):
        raise CheckFailed("; ".join(missing) + "; nothing was touched")
    path = bring_up(to, spec_of(manifest, place, shards, to))
    took = time.monotonic() - began
    if as_json:
        told = {"backup": manifest.id, "stack": to, "shards": shards, "spec": str(path), "up_seconds": round(took, 3)}
        print_json(told)
        return
    make_console().print(
        f"stack {to} is up with {shards} shards and the data of backup {manifest.id} after {took:.1f} s; its spec is {path}",
        markup=False,
    )


def steps(done: Restored) -> dict[str, float]:
    """When each step was over, in seconds since the beginning of the restore."""
    found = {
        "fetched": done.fetched_seconds, "loaded": done.loaded_seconds, "redundant": done.redundant_seconds,
        "verified": done.verified_seconds if done.comparison else None, "open": done.open_seconds,
    }  # fmt: skip
    return dict(sorted(((step, round(at, 3)) for step, at in found.items() if at is not None), key=lambda one: one[1]))


def as_data(done: Restored) -> dict[str, Any]:
    """The outcome for programs; seconds count from the beginning of the restore."""
    return {
        "backup": done.backup,
        "stack": done.stack,
        "shards": {name: shard.shard for name, shard in done.targets.items()},
        "keys": done.keys,
        "seconds": steps(done),
        "digest": {"compared_keys": done.comparison.compared, "left_out_keys": done.comparison.left_out}
        if done.comparison
        else None,
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
