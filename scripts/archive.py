#!/usr/bin/env python3
"""Points in time: archives the append-only files of a stack while it runs, and brings a stack to how another was at a second.

With backup.point_in_time in the spec the stack's agent archives; else `run` does, onto a volume of this machine.

usage: scripts/archive.py run --stack S [--keep 7d]                     archive until interrupted, without an agent
       scripts/archive.py ranges --stack S                             which seconds can be restored
       scripts/archive.py restore --stack S --at TIME [--to T] [--replace]
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from operations.archive.launch import archived, moment, run_archiver
from operations.archive.timeline import ranges, restorable
from operations.backup.reshape import replay_fenced
from operations.errors import UsageError
from operations.inventory import load_access
from scripts._command import JsonOption, StackOption, make_console, print_json, run
from scripts.backup import place_of
from scripts.replay import as_data, show, telling

UNITS = {"h": 3600, "d": 86400}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)


def second_of(text: str) -> int:
    """A moment as Unix seconds, or ISO 8601 (with a zone, or UTC); raises UsageError."""
    if text.isdigit():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at is {text!r}; use Unix seconds or 2026-01-31T12:00:00+01:00 (UTC without a zone)") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def seconds_of(text: str) -> int:
    """A length of time, like 12h or 7d; raises UsageError."""
    if not (match := re.fullmatch(r"(\d+)([hd])", text)):
        raise UsageError(f"--keep is {text!r}; use hours or days, like 12h or 7d")
    return int(match[1]) * UNITS[match[2]]


def told(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"


@app.command("run")
def archive(
    stack: StackOption,
    keep: Annotated[str, typer.Option(help="How far back points in time reach: hours or days.")] = "7d",
    as_json: JsonOption = False,
) -> None:
    """Archive until interrupted. Needs persistence.policy aof and the parameter aof-timestamp-enabled."""
    keep_seconds = seconds_of(keep)
    access = load_access(stack)
    if place_of(stack).settings.point_in_time:
        raise UsageError(f"the backup agent of stack {stack} archives it (backup.point_in_time); scripts/status.py shows how far")
    console = make_console(stderr=True)

    def report(event: dict[str, Any]) -> None:
        if as_json:
            print_json(event)
        elif event["event"] == "problems":
            for line in event["problems"] or ("all nodes are archived",):
                console.print(line, markup=False)

    run_archiver(access, keep_seconds, report)


@app.command("ranges")
def show_ranges(stack: StackOption, as_json: JsonOption = False) -> None:
    """Which seconds can be restored, of each shard and of all together."""
    shards: dict[int, list[Any]] = {}
    known = archived(place_of(stack))
    for one in known:
        shards.setdefault(one.shard, []).append(one)
    found = {shard: ranges(members) for shard, members in sorted(shards.items())}
    together = restorable(known)
    if as_json:
        pairs_of = {str(shard): [list(pair) for pair in pairs] for shard, pairs in found.items()}
        print_json({"shards": pairs_of, "all": [list(pair) for pair in together]})
        return
    console = make_console()
    for name, pairs in [*((f"shard {shard}", pairs) for shard, pairs in found.items()), ("all shards", together)]:
        words = ", ".join(f"{told(low)} to {told(high)}" for low, high in pairs) or "nothing"
        console.print(f"{name}: {words}", markup=False)


@app.command()
def restore(
    stack: StackOption,
    at: Annotated[str, typer.Option(metavar="TIME", help="The second, to its end: Unix seconds or ISO 8601.")],
    to: Annotated[str | None, typer.Option(metavar="STACK", help="The stack that gets the data; default: the same one.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give up what the target holds now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a stack hold what --stack held at the end of a second, whatever the shape of both.

    It is closed to applications until its digest was found the same.
    """
    second = second_of(at)
    target = load_access(to or stack)
    with telling() as (say, watch), moment(place_of(stack), second, lambda event: say(str(event["text"]))) as (plan, contents):
        say(f"{told(second)}: {', '.join(f'shard {node.shard} from {node.node}' for node in plan.nodes)}")
        done = replay_fenced(target, contents, replace, f"archive-{second}", say, watch)
    if as_json:
        sources = {str(node.shard): node.node for node in plan.nodes}
        print_json({"at": second, "skew_seconds": plan.skew_seconds, "sources": sources, **as_data(done)})
    else:
        show(done, to or stack)
        make_console().print(f"the shards' cuts are at most {plan.skew_seconds:.2f} s apart", markup=False)


if __name__ == "__main__":
    run(app)
