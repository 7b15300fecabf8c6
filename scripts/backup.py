#!/usr/bin/env python3
"""Backups of a stack: made, listed, shown, verified, rehearsed, pruned.

usage: scripts/backup.py create --stack NAME [--json]        snapshot of every shard into the repository
       scripts/backup.py list --stack NAME [--json]          what there is, failed ones too
       scripts/backup.py show [ID|latest] --stack NAME       everything about one backup
       scripts/backup.py verify [ID|latest] --stack NAME     read it back in full and compare; the outcome stands in the catalogue
       scripts/backup.py check --stack NAME [--read-data]    named checks of repository, age, proofs and key
       scripts/backup.py prune --stack NAME [--dry-run]      remove what the retention does not keep
       scripts/backup.py rehearse [ID|latest] --stack NAME   restore into a scratch stack, use it, measure, remove it
       scripts/backup.py rehearse --if-due --stack NAME      the same when backup.rehearsal says so; for cron, a timer, CI
       scripts/backup.py export-key --stack NAME > FILE      what reads the backups without this machine, under a passphrase
       scripts/backup.py import-key FILE --stack NAME        take that over on another machine
       scripts/backup.py secret NAME --stack NAME < FILE     store the repository's password or an object store's key
"""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest
from operations.backup.proof import prove
from operations.backup.schedule import rehearsal_due
from operations.backup.settings import BackupSettings
from operations.errors import ExitCode, Unreachable, UsageError
from operations.inventory import load_access
from operations.parse import format_slots
from scripts import pulumi_cli, stack_files
from scripts._command import JsonOption, make_console, print_json, run
from scripts._rehearse import rehearse
from scripts.reshard import NamedOption, named
from topologies.load import load_spec
from topologies.render import DATA_RULES

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
BackupArgument = Annotated[str, typer.Argument(metavar="ID", help="A backup, the beginning of its name, or latest.")]
DigestOption = Annotated[
    bool, typer.Option("--digest/--no-digest", help="Load the snapshots into scratch servers, which takes as much memory.")
]
Report = Callable[[dict[str, Any]], None]


def place_of(stack: str) -> Place:
    """Where the backups of a stack lie, and how to reach its nodes; of one that is not up, what its spec says."""
    try:
        access = load_access(stack)
    except Unreachable:
        if not (pulumi_cli.ROOT / stack_files.GENERATED / stack_files.file_name(stack)).exists():
            raise
        values = stack_files.settings(stack)
        overrides = {key: value for key, value in values.items() if key != stack_files.SPEC_KEY}
        return Place(stack, load_spec(stack_files.spec_path(stack, values), overrides).backup, users=DATA_RULES)
    settings = BackupSettings.model_validate(access.inventory.spec.get("backup", {}))
    return Place(stack, settings, access, users=DATA_RULES)


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def main(context: typer.Context, stack: NamedOption = None) -> None:
    """Backups of a stack in an encrypted restic repository."""
    context.obj = stack


@app.command("create")
def create_command(
    context: typer.Context, stack: NamedOption = None, digest: DigestOption = True, as_json: JsonOption = False
) -> None:
    """Take a snapshot of every shard and store it with its manifest; then load them elsewhere and note their digest."""
    place = place_of(named(stack or context.obj))
    console = make_console(stderr=True)
    with progress_on(console) as report:
        made = run_job(place, "create", report)
    if digest:
        made |= {"digest": proven(place, made, console)}
    if as_json:
        print_json(made)
        return
    size = sum(shard["bytes"] for shard in made["shards"])
    keys = sum(shard["keys"] for shard in made["shards"])
    cut = (
        f"one cut, writes paused for {made['pause_seconds'] * 1000:.0f} ms"
        if made["consistent"]
        else f"skew {made['skew_seconds']:.2f} s"
    )
    make_console().print(
        f"backup {made['id']}: {counted(len(made['shards']), 'shard')}, about {keys:,} keys, {megabytes(size)} in "
        f"{made['ended'] - made['began']:.1f} s, {cut}",
        markup=False,
    )


@app.command("list")
def list_command(context: typer.Context, stack: NamedOption = None, as_json: JsonOption = False) -> None:
    """Show all backups, the newest last."""
    rows = run_job(place_of(named(stack or context.obj)), "list")
    if as_json:
        print_json(rows)
        return
    if not rows:
        make_console().print("no backup yet", markup=False)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("backup", "left"), ("state", "left"), ("shards", "right"), ("keys", "right"), ("size", "right"),
                          ("skew", "right"), ("engine", "left"), ("verified", "left"), ("", "left")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(str(cell) for cell in cells(row)))
    make_console().print(table)


def cells(row: dict[str, Any]) -> Iterator[str]:
    """One backup for the table."""
    yield row["id"]
    yield row["state"]
    yield str(row["shards"] or "")
    yield f"{row['keys']:,}" if row["keys"] is not None else ""
    yield megabytes(row["bytes"]) if row["bytes"] is not None else ""
    yield "none" if row["consistent"] else f"{row['skew_seconds']:.2f} s" if row["skew_seconds"] is not None else ""
    yield row["engine"] or ""
    yield str(row["verified"] or "no")[:19]
    yield "" if row["state"] == "complete" else str(row["reason"] or "")


@app.command("show")
def show_command(
    context: typer.Context, backup: BackupArgument = "latest", stack: NamedOption = None, as_json: JsonOption = False
) -> None:
    """Show one backup with its shards."""
    made = run_job(place_of(named(stack or context.obj)), "show", backup=backup)
    if as_json:
        print_json(made)
        return
    console = make_console()
    console.print(
        f"backup {made['id']} of stack {made['stack']}: {made['topology']}, {made['engine']} {made['version']}", markup=False
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("shard", "slots", "read from", "offset", "cut", "keys", "size", "sha256"):
        table.add_column(name, justify="right" if name in ("offset", "keys", "size") else "left")
    for shard in made["shards"]:
        slots = format_slots(tuple((low, high) for low, high in shard["slots"])) or "all"
        cut = datetime.fromtimestamp(shard["cut"]).astimezone().isoformat(timespec="milliseconds")
        words = (slots, f"{shard['source']} ({shard['source_role']})", str(shard["offset"]), cut, f"{shard['keys']:,}")
        table.add_row(str(shard["shard"]), *words, megabytes(shard["bytes"]), shard["sha256"][:16])
    console.print(table)
    proof = made["digest"]
    told = f"digest {proof['digest']} of {proof['keys']:,} keys" if proof else "no digest yet: scripts/backup.py verify reads it"
    console.print(told, markup=False)


@app.command("secret")
def secret_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="password, AWS_SECRET_ACCESS_KEY, RESTIC_REST_PASSWORD, …")],
    stack: NamedOption = None,
) -> None:
    """Store a secret that the repository needs; its value is read from standard input."""
    place = place_of(named(stack or context.obj))
    run_job(place, "secret", name=name, value=sys.stdin.read())
    make_console().print(f"stored {name} for the backups of stack {place.stack}", markup=False)


@app.command("verify")
def verify_command(
    context: typer.Context, backup: BackupArgument = "latest", stack: NamedOption = None, digest: DigestOption = True,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Read a backup back in full, compare every byte with what was stored, load it elsewhere and compare its digest."""
    place = place_of(named(stack or context.obj))
    console = make_console(stderr=True)
    with progress_on(console) as report:
        done = run_job(place, "verify", report, backup=backup)
    if digest and place.access is None:
        console.print(f"stack {place.stack} is not up, so its digest is not read: only the bytes were compared", markup=False)
    elif digest:
        done |= {"digest": proven(place, run_job(place, "show", backup=done["id"]), console)}
    if as_json:
        print_json(done)
        return
    loaded = f"; {done['digest']['keys']:,} keys loaded, their digest is in the catalogue" if "digest" in done else ""
    make_console().print(
        f"backup {done['id']} is whole: {megabytes(done['bytes'])} read in {done['seconds']:.1f} s{loaded}", markup=False
    )


def proven(place: Place, made: dict[str, Any], console: Console) -> dict[str, Any]:
    """The digest of a backup of a running stack, compared with what the catalogue has or noted there."""
    assert place.access is not None  # noqa: S101 - callers ask first
    image = place.access.inventory.engine.image
    return prove(place, image, Manifest.model_validate(made), lambda event: tell_phase(console, event)).to_data()


@app.command("check")
def check_command(
    context: typer.Context,
    stack: NamedOption = None,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read every object of the repository.")] = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """Ask the named questions about the backups of a stack; 10 when one is not answered well."""
    with progress_on(make_console(stderr=True)) as report:
        found = run_job(place_of(named(stack or context.obj)), "check", report, read_data=read_data)
    if as_json:
        print_json(found)
    for one in () if as_json else found:
        hint = "" if one["ok"] or not one["hint"] else f" -> {one['hint']}"
        make_console().print(f"{'ok ' if one['ok'] else 'BAD'} {one['name']}: {one['text']}{hint}", markup=False)
    return ExitCode.OK if all(one["ok"] for one in found) else ExitCode.MISSED


@app.command("prune")
def prune_command(
    context: typer.Context,
    stack: NamedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the backups that the retention does not keep; the same report with and without --dry-run."""
    with progress_on(make_console(stderr=True)) as report:
        judged = run_job(place_of(named(stack or context.obj)), "prune", report, dry_run=dry_run)
    if as_json:
        print_json(judged)
        return
    gone = "would go" if dry_run else "gone"
    for one in judged:
        make_console().print(f"{one['id']}  {'kept' if one['keep'] else gone}: {', '.join(one['reasons'])}", markup=False)


@app.command("rehearse")
def rehearse_command(
    context: typer.Context,
    backup: BackupArgument = "latest",
    stack: NamedOption = None,
    if_due: Annotated[bool, typer.Option("--if-due", help="Only when backup.rehearsal says that it is time.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a backup into a scratch stack, use it, measure, remove it, and note the outcome in the catalogue."""
    name = named(stack or context.obj)
    access = load_access(name)
    place = place_of(name)
    console = make_console(stderr=True)
    if if_due and (next_time := not_due(place, datetime.now(UTC))):
        if as_json:
            print_json({"due": False, "next": next_time.isoformat()})
        else:
            make_console().print(f"no rehearsal is due before {next_time.isoformat(timespec='minutes')}", markup=False)
        return
    done = rehearse(place, access, backup, lambda event: tell_phase(console, event))
    if as_json:
        print_json(done)
        return
    make_console().print(
        f"backup {done['id']} was rehearsed: {done['keys']:,} keys; a new stack stood after {done['up_seconds']:.1f} s and was "
        f"open to applications after {done['rto_seconds']:.1f} s",
        markup=False,
    )


def not_due(place: Place, now: datetime) -> datetime | None:
    """When the next rehearsal will be due; None when it is time. Raises UsageError for a stack without a schedule for them."""
    settings = place.settings
    if settings.rehearsal is None:
        raise UsageError(f"stack {place.stack} has no schedule for rehearsals; set backup.rehearsal, or leave --if-due out")
    last = run_job(place, "status").get("last_rehearsal")
    due = rehearsal_due(settings.rehearsal, settings.zone, last["at"] if last else None, now)
    return due if due is not None and due > now else None


def tell_phase(console: Console, event: dict[str, Any]) -> None:
    if event.get("event") == "phase":
        console.print(event["text"], markup=False)


@app.command("export-key")
def export_key_command(context: typer.Context, stack: NamedOption = None) -> None:
    """Write the repository's password and secrets to standard output, readable with a passphrase."""
    place = place_of(named(stack or context.obj))
    done = run_job(place, "export", passphrase=passphrase(twice=True))
    sys.stdout.write(done["key"])
    make_console(stderr=True).print("keep this text and the passphrase apart from this machine and from each other", markup=False)


@app.command("import-key")
def import_key_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What export-key wrote.", exists=True, dir_okay=False)],
    stack: NamedOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give up the password that this stack has.")] = False,
) -> None:
    """Take over an exported key, so that this stack reads the repository of another machine."""
    place = place_of(named(stack or context.obj))
    done = run_job(place, "import", key=file.read_text(), passphrase=passphrase(twice=False), replace=replace)
    make_console().print(
        f"stack {place.stack} has the key of the backups of stack {done['stack']} (repository {done['repository']})", markup=False
    )


def passphrase(twice: bool) -> str:
    """From the terminal without an echo, or one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    given = getpass.getpass("passphrase: ")
    if twice and getpass.getpass("again: ") != given:
        raise UsageError("the two passphrases differ; nothing was exported")
    return given


@contextmanager
def progress_on(console: Console) -> Iterator[Report]:
    """Where a job reports to: a bar per shard on a terminal, else a line now and then."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[int, Any] = {}

        def report(event: dict[str, Any]) -> None:
            kind, shard = event.get("event"), int(event.get("shard", 0))
            if kind == "progress":
                if shard not in tasks:
                    tasks[shard] = bars.add_task(f"shard {shard}", total=event.get("of"))
                bars.update(tasks[shard], completed=event["bytes"])
                if not console.is_terminal:
                    console.print(f"shard {shard}: {megabytes(event['bytes'])}", markup=False)
            elif kind == "shard":
                console.print(
                    f"shard {shard}: {megabytes(event['bytes'])} in {event['seconds']:.1f} s from {event['source']}", markup=False
                )
            elif kind == "verified":
                console.print(f"shard {shard}: {megabytes(event['bytes'])} are as they were stored", markup=False)
            elif kind == "again":
                console.print(f"{event['reason']}; the backup is made again, from whoever is there", markup=False)
            elif kind in ("not swept", "not unlocked"):
                console.print(f"{kind}: {event['reason']}", markup=False)
            elif kind == "unlocked":
                console.print(f"took away {counted(event['locks'], 'lock')} of a job that was killed", markup=False)
            elif kind == "swept":
                console.print(f"removed {event['snapshots']} snapshots of runs that were cut off", markup=False)

        yield report


def megabytes(size: float) -> str:
    """A size for people: 1500000 -> '1.5 MB'."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


if __name__ == "__main__":
    run(app)
