#!/usr/bin/env python3
"""Breaks a running stack while clients write to it, and reports what was lost and for how long writes were refused."""

import random
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from applications.origin import postgres_at
from drills import journal as journals
from drills.checkers.base import Verdict
from drills.definition import catalogue, find
from drills.faults.base import Engine
from drills.faults.heal import heal_stack
from drills.journal import Journal, worst_uses
from drills.runner import STEADY_SECONDS, Order, Runner
from drills.uses.catalogue import USES, chosen
from drills.workload.plan import Load, confirmations
from operations.errors import ExitCode, InvalidInput
from operations.inventory import Access, load_access
from scripts._command import JsonOption, StackOption, make_console, print_json, run

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)  # fmt: skip

REPORTS = Path("reports")
STALLED_TRIES = 4
"""So often a drill is run that could not tell, only because the machine stood still."""
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", help="Where the report goes; default: reports/STACK-NAME.")
]
RepeatOption = Annotated[int, typer.Option(min=1, max=1000, help="How often.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Repeats the random choices of an earlier run.")]
RateOption = Annotated[float, typer.Option(min=0, help="Requests per second in all; 0: as fast as answers come.")]
ClientsOption = Annotated[int, typer.Option(min=1, max=500, help="Concurrent clients.")]
ModeOption = Annotated[Literal["plain", "wait", "waitaof"], typer.Option(help="What a client does after each write.")]
AcksOption = Annotated[
    int | None,
    typer.Option(min=0, max=8, help="Replicas that must confirm; default: all with --mode wait, none with waitaof."),
]
FromOption = Annotated[
    Literal["network", "host"], typer.Option("--from", help="Clients in the stack's network, or through published ports.")
]
WorkloadOption = Annotated[
    str | None,
    typer.Option(metavar="W,...", help="Uses of Redis to play: names that `workloads` shows, or all, or careless."),
]
OriginOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file with the URL of a PostgreSQL database behind the caches, instead of SQLite."),
]
UpOption = Annotated[
    bool, typer.Option("--up/--no-up", help="Whether another `pulumi up` after the last repetition must keep all roles.")
]


@app.command("list")
def list_drills(as_json: JsonOption = False) -> None:
    """Show the drills that there are."""
    drills = catalogue()
    if as_json:
        print_json([drill.model_dump(mode="json") for drill in drills.values()])
        return
    table = Table("drill", "for", "what is done", box=None, pad_edge=False, header_style="bold")
    for drill in drills.values():
        table.add_row(drill.name, ", ".join(drill.topologies), drill.description)
    make_console().print(table)


@app.command("workloads")
def list_workloads(as_json: JsonOption = False) -> None:
    """Show the uses of Redis that a drill can play, and the careless twin of each."""
    if as_json:
        print_json([{"name": use.name, "title": use.title, "twin": use.twin} for use in USES.values()])
        return
    table = Table("workload", "what it is", "careless version of", box=None, pad_edge=False, header_style="bold")
    for use in USES.values():
        table.add_row(use.name, use.title, use.twin or "")
    make_console().print(table)


@app.command("run")
def run_drill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `list`.", show_default=False)],
    stack: StackOption,
    report: ReportOption = None,
    repeat: RepeatOption = 1,
    seed: SeedOption = None,
    rate: RateOption = 600,
    clients: ClientsOption = 12,
    mode: ModeOption = "plain",
    acks: AcksOption = None,
    place: FromOption = "network",
    workload: WorkloadOption = None,
    origin: OriginOption = None,
    apply: UpOption = True,
    as_json: JsonOption = False,
) -> ExitCode:
    """Run one drill and write its report."""
    drill = find(name)
    origin_url = read_origin(origin) if origin else ""
    access = load_access(stack)
    uses, left_out = chosen(workload, access.inventory) if workload is not None else ((), ())
    order = Order(
        drill=drill,
        directory=report or REPORTS / f"{stack}-{name}",
        load=Load(clients=clients, rate=rate, mode=mode, acks=confirmations(mode, acks, access.inventory.replicas)),
        repetitions=repeat,
        seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
        inside=place == "network",
        apply=apply,
        uses=uses,
        left_out=left_out,
        origin_url=origin_url,
    )
    journal = carry_out(access, order)
    if as_json:
        print_json(brief(journal, order.directory))
    else:
        show_table(journal, order.directory)
    return journal.exit_code


def read_origin(file: Path) -> str:
    """The URL in a file, which keeps its password out of the arguments. Raises InvalidInput."""
    try:
        url = file.read_text(encoding="utf-8").strip()
        postgres_at(url)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"--origin {file} cannot be used: {error}") from None
    return url


@app.command("run-all")
def run_all(
    stack: StackOption, report: ReportOption = None, repeat: RepeatOption = 1, workload: WorkloadOption = None,
    apply: UpOption = True, as_json: JsonOption = False,
) -> ExitCode:  # fmt: skip
    """Run every drill that fits the stack, one after the other; the worst result counts."""
    access = load_access(stack)
    uses, left_out = chosen(workload, access.inventory) if workload is not None else ((), ())
    console = make_console(stderr=True)
    found: list[dict[str, Any]] = []
    worst = ExitCode.OK
    fitting = [drill for drill in catalogue().values() if drill.fits(access.inventory) is None]
    began = time.monotonic()
    for number, drill in enumerate(fitting, 1):
        console.print(f"drill {number} of {len(fitting)}: {drill.name} ({time.monotonic() - began:.0f} s so far)", markup=False)
        directory = (report or REPORTS / f"{stack}-all") / drill.name
        seed = random.SystemRandom().randrange(2**31)
        order = Order(
            drill, directory, repetitions=repeat, seed=seed, patience_seconds=STEADY_SECONDS, apply=apply,
            uses=uses, left_out=left_out,
        )  # fmt: skip
        journal = carry_out(access, order)
        worst = max(worst, journal.exit_code)
        found.append(brief(journal, directory))
        if not as_json:
            show_table(journal, directory)
        if journal.result == "interrupted":
            break
    if as_json:
        print_json(found)
    return worst


@app.command()
def show(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the report of a drill is.")]) -> ExitCode:
    """Show the result of an earlier drill."""
    journal = journals.load(directory)
    show_table(journal, directory)
    return journal.exit_code


@app.command()
def heal(stack: StackOption) -> None:
    """Undo whatever a drill left behind: after Ctrl-C, after kill -9, from another machine."""
    console = make_console()
    for line in heal_stack(Engine(load_access(stack).inventory)) or [f"nothing of a drill was left in stack {stack}"]:
        console.print(line, markup=False)


def carry_out(access: Access, order: Order) -> Journal:
    """Run a drill; again when it could not tell only because the machine stood still meanwhile, which is said."""
    console = make_console(stderr=True)
    for tries_left in reversed(range(STALLED_TRIES)):
        journal = Runner(access, order, lambda line: console.print(line, markup=False)).run()
        if not (journal.stalled and tries_left):
            break
        console.print(f"{order.drill.name} is run again, the machine stood still too long: {journal.summary}", markup=False)
    return journal


def brief(journal: Journal, directory: Path) -> dict[str, Any]:
    """What programs want to know."""
    figures = {figure.name: figure.model_dump(mode="json") for figure in journal.figures}
    workloads = [use.model_dump(mode="json", exclude={"drawing"}) for use, _ in worst_uses(journal)]
    return {
        "drill": journal.drill.name, "stack": journal.stack, "result": journal.result, "summary": journal.summary,
        "figures": figures, "workloads": workloads, "problems": journal.problems, "report": str(directory / "report.html"),
    }  # fmt: skip


def show_table(journal: Journal, directory: Path) -> None:
    """The table at the end of a drill."""
    console = make_console()
    table = Table(title=f"{journal.drill.title} on {journal.stack}", title_justify="left", box=None, pad_edge=False)
    for name in ("figure", "min", "median", "max", "", "allowed"):
        table.add_column(name, justify="left" if name in ("figure", "") else "right")
    for figure in journal.figures:
        digits = 3 if figure.unit == "s" else 0
        numbers = [f"{value:,.{digits}f}" for value in (figure.least, figure.middle, figure.most)]
        limit = "" if figure.limit is None else f"{figure.limit:,.{digits}f}"
        table.add_row(figure.name, *numbers, figure.unit, limit)
    console.print(table)
    show_uses(journal)
    for problem in journal.problems:
        console.print(f"problem: {problem}", markup=False)
    console.print(f"{journal.result}: {journal.summary}", markup=False)
    console.print(f"report: {directory / 'report.html'}", markup=False)


def show_uses(journal: Journal) -> None:
    """What it meant for each workload, in the words of its users; of several repetitions the worst."""
    rows = worst_uses(journal)
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("workload", "", "what happened"):
        table.add_column(name, overflow="fold")
    words = {Verdict.TRUE: "holds", Verdict.FALSE: "BROKEN", Verdict.UNKNOWN: "unknown"}
    for use, number in rows:
        where = f" (run {number})" if len(journal.repetitions) > 1 else ""
        table.add_row(use.name, words[use.verdict], use.sentence + where)
    console = make_console()
    console.print(table)


if __name__ == "__main__":
    run(app)
