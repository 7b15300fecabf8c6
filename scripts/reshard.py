#!/usr/bin/env python3
"""Moves slots between the shards of a running cluster, online: shows the plan first, then progress.

usage: scripts/reshard.py --stack NAME [--plan] [--weights NODE=WEIGHT,…] [--by slots|keys|bytes] [--json]
       scripts/reshard.py resume --stack NAME        goes on with an interrupted move
       scripts/reshard.py abort --stack NAME [--back]  ends it in order; with --back slots return to where they were
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from operations.errors import CheckFailed, UsageError
from operations.inventory import load_access
from operations.reshard.mover import Progress
from operations.reshard.pace import Limits
from operations.reshard.plan import Measure, megabytes, total
from operations.reshard.proposal import Proposal, propose
from operations.reshard.run import Done, abort, carry_out, resume
from operations.reshard.words import headline, memory_lines, slots_of
from scripts._command import JsonOption, make_console, print_json, run

PLAIN_SECONDS = 2.0
"""Between two lines of progress where no terminal shows a bar."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, invoke_without_command=True)
NamedOption = Annotated[str | None, typer.Option("--stack", metavar="NAME", help="The stack; before or after the command.")]
StallOption = Annotated[
    float, typer.Option("--stall-ms", min=1, max=100, help="Longest time, in ms, that a node serves nobody while it moves keys.")
]

RateOption = Annotated[
    float | None, typer.Option("--rate-mb", min=0.1, help="Most megabytes a second that one node gives; default: no limit.")
]


def limits(stall_ms: float, rate_mb: float | None) -> Limits:
    """The options as limits of a move."""
    return Limits(stall_ms / 1000, rate_mb * 1e6 if rate_mb else None)


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def main(
    context: typer.Context,
    stack: NamedOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the plan and change nothing.")] = False,
    weights: Annotated[
        str,
        typer.Option(metavar="NODE=WEIGHT,…", help="Shares by node or number of a shard; 1 where not named, 0 gives all away."),
    ] = "",
    by: Annotated[str, typer.Option(metavar="slots|keys|bytes", help="What is shared out.")] = "slots",
    way: Annotated[str, typer.Option(metavar="auto|keys", help="keys: never the engine's own migration of slots.")] = "auto",
    stall_ms: StallOption = 5.0,
    rate_mb: RateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give each shard of a cluster its share of slots, keys or bytes, moving as few slots as possible."""
    context.obj = stack
    if context.invoked_subcommand is not None:
        return
    if by not in ("slots", "keys", "bytes") or way not in ("auto", "keys"):
        raise UsageError(f"--by is slots, keys or bytes, --way is auto or keys; got {by} and {way}")
    measure: Measure = by  # type: ignore[assignment]  # checked above
    access = load_access(named(stack))
    proposal = propose(access, parse_weights(weights), measure, way="keys" if way == "keys" else None)
    if as_json and plan:
        print_json(plan_json(proposal))
    elif not as_json:
        show_plan(make_console(), proposal)
    if proposal.problems:
        raise CheckFailed("\n".join(("this plan cannot be carried out:", *(f"  - {line}" for line in proposal.problems))))
    if plan or not proposal.moves:
        if as_json and not plan:
            print_json({"plan": plan_json(proposal), "done": None})
        return
    with progress_on(make_console(stderr=True)) as (report, watch):
        done = carry_out(access, proposal, limits(stall_ms, rate_mb), report, watch)
    tell(done, as_json, proposal)


@app.command("resume")
def resume_command(
    context: typer.Context,
    stack: NamedOption = None,
    stall_ms: StallOption = 5.0,
    rate_mb: RateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a move that was interrupted, on this or on another machine."""
    access = load_access(named(stack or context.obj))
    with progress_on(make_console(stderr=True)) as (report, watch):
        done = resume(access, limits(stall_ms, rate_mb), report, watch)
    tell(done, as_json)


@app.command("abort")
def abort_command(
    context: typer.Context,
    stack: NamedOption = None,
    back: Annotated[bool, typer.Option("--back", help="Move slots back to where they were before.")] = False,
    stall_ms: StallOption = 5.0,
    rate_mb: RateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a move in order: slots that stand open are ended, the others stay where they are."""
    access = load_access(named(stack or context.obj))
    with progress_on(make_console(stderr=True)) as (report, watch):
        done = abort(access, back, limits(stall_ms, rate_mb), report, watch)
    tell(done, as_json)


def named(stack: str | None) -> str:
    """The stack's name; raises UsageError when none was given."""
    if stack is None:
        raise UsageError("--stack is missing; name the stack, for example --stack cluster")
    return stack


def parse_weights(words: str) -> dict[str, float]:
    """`node-1-1=2,3=0` as a mapping; raises UsageError for anything else."""
    weights = {}
    for word in filter(None, words.split(",")):
        name, separator, value = word.strip().partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            separator = ""
        if not separator or not name:
            raise UsageError(f"--weights has {word!r}; write NODE=WEIGHT, for example --weights node-1-1=2,node-3-1=0")
    return weights


def plan_json(proposal: Proposal) -> dict[str, Any]:
    """The plan for programs; sizes are estimates in bytes, ranges of slots with both ends."""
    return {
        "goal": proposal.goal,
        "way": proposal.way,
        "slots": proposal.slots,
        "keys": proposal.total.keys,
        "bytes": proposal.total.bytes,
        "estimated_seconds": round(proposal.seconds, 1),
        "moves": [
            {"from": m.source, "to": m.target, "slots": m.ranges, "keys": s.keys, "bytes": s.bytes}
            for m in proposal.moves
            for s in [total([m], proposal.sizes)]
        ],
        "emptied": proposal.emptied,
        "problems": proposal.problems,
    }


def show_plan(console: Console, proposal: Proposal) -> None:
    """The plan in plain words."""
    if not proposal.moves:
        console.print(f"nothing to move: {proposal.goal} already", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("from", "to", "slots", "", "keys", "about"):
        table.add_column(name, justify="right" if name in ("slots", "keys", "about") else "left")
    for move in proposal.moves:
        size = total([move], proposal.sizes)
        words = (str(len(move.slots)), slots_of(move), f"{size.keys:,}", megabytes(size.bytes))
        table.add_row(move.source, move.target, *words)
    console.print(table)
    console.print(headline(proposal), markup=False)
    for line in (*memory_lines(proposal), *(f"{name} gives all of its slots away and stays, empty" for name in proposal.emptied)):
        console.print(line, markup=False)


@contextmanager
def progress_on(console: Console) -> Iterator[tuple[Callable[[str], None], Callable[[Progress], None]]]:
    """Where a move reports to: a bar on a terminal, else a line now and then."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("moving slots", total=None, told="")
        last = [time.monotonic()]

        def watch(progress: Progress) -> None:
            told = f"{progress.slots:,} of {progress.total_slots:,} slots, {progress.keys:,} keys, {megabytes(progress.bytes)}"
            bar.update(task, total=progress.total_slots, completed=progress.slots, told=told)
            if not console.is_terminal and time.monotonic() - last[0] > PLAIN_SECONDS:
                last[0] = time.monotonic()
                console.print(told, markup=False)

        yield lambda line: bar.console.print(line, markup=False), watch


def tell(done: Done, as_json: bool, proposal: Proposal | None = None) -> None:
    """What was done."""
    if as_json:
        figures = {"slots": done.slots, "keys": done.keys, "bytes": done.bytes, "seconds": round(done.seconds, 3)}
        print_json({"plan": plan_json(proposal), "done": figures} if proposal else {"done": figures})
        return
    rate = f", {done.keys / done.seconds:,.0f} keys/s" if done.seconds > 0 and done.keys else ""
    make_console().print(
        f"moved {done.slots:,} slots with {done.keys:,} keys, about {megabytes(done.bytes)}, in {done.seconds:.1f} s{rate}; all "
        "slots are served, none is open",
        markup=False,
    )


if __name__ == "__main__":
    run(app)
