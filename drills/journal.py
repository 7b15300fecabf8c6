"""The journal: one JSON file that says what was done, what was found, and what it was judged by.

`met` and `missed` are findings about the stack; `unknown` means that the drill could not tell; `broken` that the drill itself
failed. Only data stands here, so that a report can be made again from the journal alone.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from drills.checkers.base import Verdict, worst
from drills.checkers.window import MAIN, ShardWindow
from drills.examine import BUDGETED, STALLED, Repetition
from drills.objectives import Outcome
from drills.statistics import summarise
from drills.uses.base import badness
from operations.errors import ExitCode, InvalidInput

SCHEMA_VERSION = 1
Result = Literal["met", "missed", "unknown", "broken", "interrupted"]
EXIT_CODES: dict[str, ExitCode] = {
    "met": ExitCode.OK,
    "missed": ExitCode.MISSED,
    "unknown": ExitCode.UNKNOWN,
    "broken": ExitCode.BROKEN,
    "interrupted": ExitCode.INTERRUPTED,
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CheckEntry(_Frozen):
    name: str
    verdict: Verdict
    summary: str
    figures: dict[str, Any] = {}
    details: tuple[str, ...] = ()


class OutcomeEntry(_Frozen):
    """One objective: `limit` in words, `limit_seconds` and `measured` as numbers (a count where nothing may be lost)."""

    name: str
    limit: str
    limit_seconds: float | None
    measured: float | None
    verdict: Verdict
    text: str
    stalled: float = 0.0


class WindowEntry(_Frozen):
    """Times in seconds; see `drills.checkers.window.ShardWindow`."""

    shard: int
    side: str
    hit: bool
    outages: tuple[tuple[float, float | None], ...]
    unavailable: float
    longest_gap: float
    slowest_client: float
    recovered: bool
    acknowledged: int
    refused: int
    unknown: int
    shed: int
    detection: float | None
    election: float | None
    client_recovery: float | None


class UseEntry(_Frozen):
    """What a drill did to one use of Redis; `sentence` is the result in the user's terms, `drawing` its time line."""

    name: str
    title: str
    verdict: Verdict
    sentence: str
    outcomes: tuple[OutcomeEntry, ...]
    figures: dict[str, Any] = {}
    details: tuple[str, ...] = ()
    drawing: dict[str, Any] = {}


class RepetitionEntry(_Frozen):
    number: int
    verdict: Verdict
    checks: tuple[CheckEntry, ...]
    outcomes: tuple[OutcomeEntry, ...]
    windows: tuple[WindowEntry, ...]
    drawing: dict[str, Any]
    stalled_share: float | None = None
    """From the fault to the end of the load: the share of the time in which processes of the drill could not run, 0 to 1."""
    uses: tuple[UseEntry, ...] = ()

    def check(self, name: str) -> CheckEntry | None:
        return next((check for check in self.checks if check.name == name), None)

    @property
    def hit(self) -> tuple[WindowEntry, ...]:
        """What clients on the main side saw of the shards that were hit."""
        return tuple(window for window in self.windows if window.hit and window.side == MAIN)


class FigureEntry(_Frozen):
    """A figure over all repetitions. `limit` is the objective it is compared with, where there is one."""

    name: str
    unit: str
    limit: float | None
    least: float
    middle: float
    most: float
    values: tuple[float, ...]


class DrillEntry(_Frozen):
    """The plan of the drill, as it was run."""

    name: str
    title: str
    description: str
    kind: str
    plan: dict[str, Any] = {}


class Journal(_Frozen):
    schema_version: int = SCHEMA_VERSION
    drill: DrillEntry
    stack: str
    topology: str
    engine: str
    versions: dict[str, str]
    spec: dict[str, Any]
    objectives: dict[str, Any]
    workload: dict[str, Any]
    started: str
    finished: str
    result: Result
    summary: str
    repetitions: tuple[RepetitionEntry, ...]
    figures: tuple[FigureEntry, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODES[self.result]

    @property
    def stalled(self) -> bool:
        """Unknown only because the machine stood still: on a quieter one the same drill can tell."""
        unsure = [o for r in self.repetitions for o in r.outcomes if o.verdict is Verdict.UNKNOWN]
        checks = [c for r in self.repetitions for c in r.checks if c.verdict is Verdict.UNKNOWN and c.name not in BUDGETED]
        excuses = [*(outcome.stalled for outcome in unsure), *(float(check.figures.get(STALLED, 0)) for check in checks)]
        return self.result == "unknown" and bool(excuses) and all(excuses)


def result_of(verdicts: Sequence[Verdict], problems: Sequence[str] = (), interrupted: bool = False) -> Result:
    """A missed objective stays a finding even if the drill broke later; a broken drill never counts as met."""
    verdict = worst(verdicts)
    if verdict is Verdict.FALSE:
        return "missed"
    if interrupted:
        return "interrupted"
    if problems:
        return "broken"
    return "met" if verdict is Verdict.TRUE else "unknown"


def entry_of(repetition: Repetition) -> RepetitionEntry:
    """A repetition as plain data; outages are told in seconds from the fault."""
    return RepetitionEntry(
        number=repetition.number,
        verdict=repetition.verdict,
        checks=tuple(
            CheckEntry(name=c.name, verdict=c.verdict, summary=c.summary, figures=dict(c.figures), details=c.details)
            for c in repetition.checks
        ),
        outcomes=_outcomes(repetition.outcomes),
        windows=tuple(_window(window, repetition.zero) for window in repetition.windows),
        drawing=repetition.drawing,
        stalled_share=repetition.stalled_share,
        uses=tuple(
            UseEntry(name=u.use, title=u.title, verdict=u.verdict, sentence=u.sentence, outcomes=_outcomes(u.outcomes),
                     figures=dict(u.figures), details=u.details, drawing=dict(u.drawing))
            for u in repetition.uses
        ),
    )  # fmt: skip


def _outcomes(outcomes: Sequence[Outcome]) -> tuple[OutcomeEntry, ...]:
    return tuple(
        OutcomeEntry(
            name=o.name,
            limit=o.limit,
            limit_seconds=o.limit_seconds,
            measured=o.measured,
            verdict=o.verdict,
            text=o.text,
            stalled=o.stalled,
        )
        for o in outcomes
    )


def _window(window: ShardWindow, zero: int) -> WindowEntry:
    def since(moment: int | None) -> float | None:
        return None if moment is None else round((moment - zero) / 1e9, 4)

    return WindowEntry(
        shard=window.shard,
        side=window.side,
        hit=window.hit,
        outages=tuple(((outage.start - zero) / 1e9, since(outage.end)) for outage in window.outages),
        unavailable=round(window.unavailable, 4),
        longest_gap=round(window.longest_gap, 4),
        slowest_client=round(window.slowest_client, 4),
        recovered=window.recovered,
        acknowledged=window.acknowledged,
        refused=window.refused,
        unknown=window.unknown,
        shed=window.shed,
        detection=window.split.detection,
        election=window.split.election,
        client_recovery=window.split.client_recovery,
    )


def figures_of(repetitions: Sequence[RepetitionEntry]) -> tuple[FigureEntry, ...]:
    """The figures over all repetitions, for tables and for the distribution."""

    def worst_hit(rep: RepetitionEntry, name: str) -> float | None:
        values = [value for window in rep.hit if (value := getattr(window, name)) is not None]
        return max(values, default=None)

    def objective(rep: RepetitionEntry, name: str) -> OutcomeEntry | None:
        return next((outcome for outcome in rep.outcomes if outcome.name == name), None)

    def check_figure(rep: RepetitionEntry, name: str, figure: str) -> float | None:
        check = rep.check(name)
        value = check.figures.get(figure) if check else None
        return float(value) if isinstance(value, int | float) else None

    def measured(rep: RepetitionEntry, name: str) -> float | None:
        found = objective(rep, name)
        return found.measured if found else None

    def limit(name: str) -> float | None:
        found = (objective(rep, name) for rep in repetitions)
        return next((outcome.limit_seconds for outcome in found if outcome), None)

    rows: list[tuple[str, str, float | None, list[float | None]]] = [
        ("writes refused", "s", limit("unavailable"), [worst_hit(r, "unavailable") for r in repetitions]),
        ("detection", "s", None, [worst_hit(r, "detection") for r in repetitions]),
        ("election", "s", None, [worst_hit(r, "election") for r in repetitions]),
        ("client recovery", "s", None, [worst_hit(r, "client_recovery") for r in repetitions]),
        ("slowest client", "s", None, [worst_hit(r, "slowest_client") for r in repetitions]),
        ("gap on other shards", "s", limit("others-unavailable"), [measured(r, "others-unavailable") for r in repetitions]),
        ("two primaries", "s", limit("two-primaries"), [check_figure(r, "split-brain", "seconds") for r in repetitions]),
        ("time to redundancy", "s", limit("redundancy"), [check_figure(r, "redundancy", "seconds") for r in repetitions]),
        ("acknowledged", "writes", None, [check_figure(r, "lost", "acknowledged") for r in repetitions]),
        ("refused", "writes", None, [check_figure(r, "lost", "refused") for r in repetitions]),
        ("not sent", "writes", None, [float(sum(window.shed for window in r.windows)) for r in repetitions]),
        ("unknown", "writes", None, [check_figure(r, "lost", "unknown") for r in repetitions]),
        ("machine stood still", "%", None, [None if r.stalled_share is None else 100 * r.stalled_share for r in repetitions]),
        ("lost", "writes", 0.0 if limit("lost") == 0 else None, [check_figure(r, "lost", "lost") for r in repetitions]),
    ]
    figures = []
    for name, unit, most, values in rows:
        summary = summarise(values)
        if summary is not None:
            figures.append(
                FigureEntry(name=name, unit=unit, limit=most, least=summary.least, middle=summary.middle,
                            most=summary.most, values=summary.values)
            )  # fmt: skip
    return tuple(figures)


def summary_of(result: Result, repetitions: Sequence[RepetitionEntry], problems: Sequence[str] = ()) -> str:
    """One or two sentences that say what happened, the worst first."""
    if result in ("broken", "interrupted") and not repetitions:
        return problems[0] if problems else "The drill ended before it could measure anything."
    failed = _failures(repetitions)
    unknown = [outcome.text for rep in repetitions for outcome in rep.outcomes if outcome.verdict is Verdict.UNKNOWN]
    unknown += [f"{use.name}: {use.sentence}" for rep in repetitions for use in rep.uses if use.verdict is Verdict.UNKNOWN]
    unknown += [check.summary for rep in repetitions for check in rep.checks if check.verdict is Verdict.UNKNOWN]
    if result == "missed":
        return " ".join(f"{_sentence(reason)}." for reason in failed[:3]) or "An objective was missed."
    if result != "met":
        return f"{_sentence((*problems, *unknown, 'no reason was recorded')[0])}."
    acknowledged = sum(int(check.figures.get("acknowledged", 0)) for rep in repetitions if (check := rep.check("lost")))
    lost = sum(int(check.figures.get("lost", 0)) for rep in repetitions if (check := rep.check("lost")))
    window = max((window.unavailable for rep in repetitions for window in rep.hit), default=0.0)
    writes = (
        f"all {acknowledged:,} acknowledged writes survived"
        if not lost
        else f"{lost:,} of {acknowledged:,} acknowledged writes were lost, no more than allowed"
    )
    return f"Every objective was met: {writes}, and writes were refused for at most {window:.2f} s."


def worst_uses(journal: "Journal") -> list[tuple[UseEntry, int]]:
    """Every workload as it was in its worst repetition, with the number of that one."""
    found: dict[str, tuple[UseEntry, int]] = {}
    for rep in journal.repetitions:
        for use in rep.uses:
            before = found.get(use.name)
            if before is None or badness(use.verdict, use.figures) > badness(before[0].verdict, before[0].figures):
                found[use.name] = (use, rep.number)
    return list(found.values())


def _failures(repetitions: Sequence[RepetitionEntry]) -> list[str]:
    """What failed, each objective and check once, told by the repetition in which it was worst."""
    worst_of: dict[str, tuple[float, int, str]] = {}
    for rep in repetitions:
        found = [(o.name, o.measured or 0.0, o.text) for o in rep.outcomes if o.verdict is Verdict.FALSE]
        found += [(o.name, o.measured or 0.0, o.text) for u in rep.uses for o in u.outcomes if o.verdict is Verdict.FALSE]
        found += [(c.name, 0.0, c.summary) for c in rep.checks if c.verdict is Verdict.FALSE and c.name not in BUDGETED]
        for name, measured, text in found:
            if name not in worst_of or measured > worst_of[name][0]:
                worst_of[name] = (measured, rep.number, text)
    many = len(repetitions) > 1
    return [f"{text} (run {number})" if many else text for _, number, text in worst_of.values()]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


class Context(_Frozen):
    """What a journal says about the circumstances; see `Journal`."""

    drill: DrillEntry
    stack: str
    topology: str
    engine: str
    versions: dict[str, str]
    spec: dict[str, Any]
    objectives: dict[str, Any]
    workload: dict[str, Any]
    started: str


def compose(
    context: Context,
    repetitions: Sequence[Repetition],
    finished: str,
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
    interrupted: bool = False,
) -> Journal:
    """Everything found out, as a journal. Without any repetition the result is at best unknown."""
    entries = tuple(entry_of(repetition) for repetition in repetitions)
    result = result_of([entry.verdict for entry in entries], problems, interrupted)
    return Journal(
        **dict(context),
        finished=finished,
        result=result,
        summary=summary_of(result, entries, problems),
        repetitions=entries,
        figures=figures_of(entries),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def save(journal: Journal, directory: Path) -> Path:
    """Write `journal.json`, whole or not at all; raises OSError."""
    path = directory / "journal.json"
    partial = path.with_suffix(".partial")
    partial.write_text(journal.model_dump_json(indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def load(directory: Path) -> Journal:
    """Read the journal of a drill; raises InvalidInput when there is none that this release understands."""
    path = directory / "journal.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not the journal of a drill: {error}") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise InvalidInput(f"{path} has schema version {version}, this release reads {SCHEMA_VERSION}; run the drill again")
    try:
        return Journal.model_validate(data)
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
        raise InvalidInput(f"{path} is not the journal of a drill", problems) from None
