"""From a history to answers: every check, the figures, the objectives, and what the report draws, per repetition.

Pure: the same history and setup give the same answers, so a saved drill can be examined again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from drills.bounds import FaultKind
from drills.checkers.base import SECOND, Check, Fold, Quality, Verdict, worst
from drills.checkers.ledger import Ledger
from drills.checkers.lost import LostWrites
from drills.checkers.one_primary import OnePrimary
from drills.checkers.phantom import phantom_values
from drills.checkers.redundancy import Redundancy
from drills.checkers.roles_kept import RolesKept
from drills.checkers.split_brain import SplitBrain
from drills.checkers.stale import StaleReads
from drills.checkers.stalls import Stalls
from drills.checkers.views import ViewsAgree
from drills.checkers.window import MAIN, ShardWindow, Windows
from drills.objectives import Measured, Objectives, Outcome, Policy, default_objectives, evaluate
from drills.records import Client, Damage, Fault, Lane, Operation, Phase, Record, Role, Shed, Start
from drills.statistics import Cell, Series
from drills.uses.base import Finding
from drills.uses.fold import Uses

BUDGETED = frozenset({"lost", "split-brain"})
"""Checks whose false answer is not a failure by itself: an objective says how much is allowed."""
STALLED = "stalled_seconds"
"""Figure of a check: for how long the machine stood still in the time that made the check unknown."""
A_FEW_REQUESTS_SECONDS = 0.1
"""Clients that could run for so long at the end of the load, and no longer, have not shown that a shard refuses their writes."""
OF_THE_END = frozenset({"window", "one-primary", "views", "redundancy", "roles-kept"})
"""Checks that ask how things stood at the end, which a repetition that ended early never reached."""


@dataclass(frozen=True)
class Setup:
    """What a drill is judged by. `nodes` hold data; `observers` have a view of the stack (sentinels included)."""

    kind: FaultKind
    shards: tuple[int, ...]
    nodes: tuple[str, ...]
    observers: tuple[str, ...]
    objectives: Objectives
    policy: Policy
    roles_kept: bool = False
    """Whether a `pulumi up` after the last repetition must have kept all roles."""
    uses: tuple[str, ...] = ()
    """Workloads that were played, on so many `sides` of the network."""
    sides: int = 1
    waits: bool = False
    """Whether the applications waited for every replica after each write."""
    slots_move: bool = False
    """Whether slots go from shard to shard during the drill."""


class Drawing:
    """What the report draws: a series per shard and side, and the marks. Times in seconds from the fault.

    A second pass, only after a loss, finds out when the lost writes were acknowledged.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._begin: int | None = None
        self._sides: dict[int, str] = {}
        self._lanes: dict[int, tuple[int, str]] = {}
        self._series: dict[tuple[int, str], Series] = {}
        self._marks: list[Fault | Role | Phase] = []
        self._injected: int | None = None

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            if record.kind == "write":
                self._write(record)
        elif isinstance(record, Shed):
            self._shed(record)
        elif isinstance(record, Client):
            self._sides[record.client] = record.side
        elif isinstance(record, Lane):
            self._lanes[record.lane] = (record.shard or 0, self._sides.get(record.client, MAIN))
        elif isinstance(record, Fault | Role | Phase):
            self._marks.append(record)
            if isinstance(record, Fault) and record.stage == "inject" and self._injected is None:
                self._injected = record.at

    def wants_review(self) -> bool:
        return self._ledger.tally.lost > 0

    def review(self, record: Record) -> None:
        if not (isinstance(record, Operation) and record.kind == "write" and record.outcome == "ok"):
            return
        if self._ledger.is_lost(record.lane, record.value):
            self._cell(record.lane, record.start - record.late).lost += 1

    def _cell(self, lane: int, planned: int) -> Cell:
        place = self._lanes.get(lane, (0, MAIN))
        series = self._series.get(place)
        if series is None:
            if self._begin is None:
                self._begin = planned
            series = self._series[place] = Series(self._begin)
        return series.at(planned)

    def _write(self, op: Operation) -> None:
        cell = self._cell(op.lane, op.start - op.late)
        if op.outcome == "ok":
            cell.ok += 1
            cell.latency.add(op.latency)
        elif op.outcome == "fail":
            cell.fail += 1
        else:
            cell.info += 1

    def _shed(self, shed: Shed) -> None:
        step = (shed.end - shed.start) / max(shed.writes, 1)
        for number in range(shed.writes):
            self._cell(shed.lane, int(shed.start + number * step)).fail += 1

    @property
    def zero(self) -> int:
        """The moment of the fault, or of the first write where there was none."""
        return self._injected if self._injected is not None else self._begin or 0

    def data(self) -> dict[str, Any]:
        """Plain data for the journal."""
        zero = self.zero
        width = max((series.width for series in self._series.values()), default=0)
        lanes = []
        for (shard, side), series in sorted(self._series.items(), key=lambda item: (item[0][0], item[0][1] != MAIN)):
            series.widen(width)
            cells = series.data()
            lanes.append({"shard": shard, "side": side, **cells, "start": (series.start - zero) / SECOND})
        return {"lanes": lanes, "marks": [_mark(mark, zero) for mark in sorted(self._marks, key=lambda mark: mark.at)]}


def _mark(mark: Fault | Role | Phase, zero: int) -> dict[str, Any]:
    at = round((mark.at - zero) / SECOND, 4)
    if isinstance(mark, Fault):
        until = round((mark.until - zero) / SECOND, 4)
        return {"what": "fault", "at": at, "until": until, "fault": mark.fault, "stage": mark.stage, "text": mark.text,
                "targets": list(mark.targets), "shards": list(mark.shards)}  # fmt: skip
    if isinstance(mark, Role):
        return {"what": "role", "at": at, "node": mark.node, "shard": mark.shard, "role": mark.role, "by": mark.seen_by}
    return {"what": "phase", "at": at, "name": mark.name}


@dataclass(frozen=True)
class Repetition:
    """Everything found out about one repetition. `zero` is the moment of the fault, from which the drawing counts, and
    `stalled_share` the share of the time from there to the end of the load in which processes of the drill could not run."""

    number: int
    verdict: Verdict
    checks: tuple[Check, ...]
    outcomes: tuple[Outcome, ...]
    windows: tuple[ShardWindow, ...]
    measured: Measured
    drawing: dict[str, Any]
    zero: int
    stalled_share: float | None = None
    uses: tuple[Finding, ...] = ()


class Examination:
    """All folds over one repetition."""

    def __init__(self, setup: Setup, number: int) -> None:
        self._setup = setup
        self.number = number
        self._quality = Quality()
        self._ledger = Ledger()
        self._lost = LostWrites(self._ledger, self._quality)
        self._windows = Windows()
        self._stale = StaleReads()
        self._split_brain = SplitBrain(slots_move=setup.slots_move)
        self._one_primary = OnePrimary(setup.shards, setup.nodes)
        self._views = ViewsAgree(setup.observers)
        self._redundancy = Redundancy(setup.shards)
        self._roles = RolesKept()
        self._stalls = Stalls()
        self._drawing = Drawing(self._ledger)
        self._uses = Uses(setup.uses, setup.sides)

        folds: tuple[Fold, ...] = (
            self._quality, self._ledger, self._lost, self._windows, self._stale, self._split_brain, self._one_primary,
            self._views, self._redundancy, self._roles, self._stalls, self._drawing, self._uses,
        )  # fmt: skip
        self._folds = folds
        self._see_all = tuple(fold.see for fold in folds)
        interested = (self._quality, self._ledger, self._windows, self._stale, self._split_brain, self._drawing)
        self._see_operation = tuple(fold.see for fold in interested)  # operations are millions

    def see(self, record: Record) -> None:
        """First pass."""
        for see in self._see_operation if type(record) is Operation else self._see_all:
            see(record)

    def reviewers(self) -> tuple[Fold, ...]:
        """Those that ask for a second pass; to be called after the first."""
        return tuple(fold for fold in self._folds if fold.wants_review())

    def result(self, last: bool = True) -> Repetition:
        """The answers; both passes must be over. `last`: it is the last repetition."""
        setup = self._setup
        checks = [
            self._quality.check(), self._check_steady(), self._windows.check(), self._lost.check(),
            phantom_values(self._ledger, self._quality), self._split_brain.check(), self._one_primary.check(),
            self._views.check(),
        ]  # fmt: skip
        if (before_cut := self._lost.check_cut()) is not None:
            checks.append(before_cut)
        stale = self._stale.check()
        if self._stale.reads:
            checks.append(stale)
        if setup.policy.replicas:
            checks.append(self._redundancy.check())
        if setup.roles_kept and last:
            checks.append(self._roles.check())
        if not self._quality.ended:
            checks = [_too_early(check) if check.name in OF_THE_END else check for check in checks]
        windows = self._windows.windows()
        measured = self._measure(windows)
        if stalled := measured.stalled["recovers"]:
            checks = [_not_known(check, stalled) if check.name == "window" else check for check in checks]
        outcomes = evaluate(setup.objectives, setup.policy, measured)
        hard = [check.verdict for check in checks if check.name not in BUDGETED]
        drawing = self._drawing
        uses = self._judge_uses(drawing.zero)
        verdict = worst([*hard, *(outcome.verdict for outcome in outcomes), *(use.verdict for use in uses)])
        return Repetition(
            self.number, verdict, tuple(checks), outcomes, windows, measured, drawing.data(), drawing.zero,
            self._stalls.share(drawing.zero, self._windows.load_ended), uses,
        )  # fmt: skip

    def _judge_uses(self, zero: int) -> tuple[Finding, ...]:
        """An application that waits for every replica is promised what such an application can be promised."""
        setup = self._setup
        promised = setup.objectives
        if setup.waits and setup.policy.writes == "plain":
            promised = default_objectives(replace(setup.policy, writes="wait-all"))
        return self._uses.findings(promised.lost.get(setup.kind, 0.0), setup.waits, zero)

    def _measure(self, windows: tuple[ShardWindow, ...]) -> Measured:
        main = [window for window in windows if window.side == MAIN and window.acknowledged]
        hit = [window for window in main if window.hit] or ([] if any(w.hit for w in windows) else main)
        others = [window for window in main if window not in hit]
        lost, split = self._lost.check(), self._split_brain.check()
        known_loss = lost.verdict is not Verdict.UNKNOWN
        return Measured(
            kind=self._setup.kind,
            unavailable=max((window.unavailable for window in hit), default=None) if self._quality.ended else None,
            recovered=not self._quality.ended or all(window.recovered for window in main),
            others=len(others),
            others_gap=max((window.longest_gap for window in others), default=None),
            lost=self._ledger.tally.lost if known_loss else None,
            lost_span=self._lost.span_seconds if known_loss else None,
            two_primaries=self._split_brain.seconds if split.verdict is not Verdict.UNKNOWN else None,
            redundancy=self._redundancy.seconds,
            stalled={**self._stalled_by_objective(hit, others), "recovers": self._stalled_at_the_end(windows)},
        )

    def _check_steady(self) -> Check:
        """Was every write accepted before the fault, and if not: for how long did the machine stand still in that time?"""
        check = self._windows.check_steady()
        outages = [outage for _, outage in self._windows.steady_outages() if outage.end is not None]
        stalled = sum(self._stalls.seconds(outage.start, outage.end or outage.start) for outage in outages)
        return replace(check, figures={**check.figures, STALLED: round(stalled, 3)})

    def _stalled_at_the_end(self, windows: Sequence[ShardWindow]) -> float:
        """How long the machine stood still while the load ended, when that is all that is known of shards that seem to refuse
        writes at the end; 0 when clients could run and were refused."""
        ended = self._windows.load_ended
        still_open = [outage for window in windows if window.side == MAIN for outage in window.outages if outage.end is None]
        if ended is None or not still_open:
            return 0.0
        start = min(outage.start for outage in still_open)
        stalled = self._stalls.seconds(start, ended)
        return stalled if (ended - start) / SECOND - stalled < A_FEW_REQUESTS_SECONDS else 0.0

    def _stalled_by_objective(self, hit: Sequence[ShardWindow], others: Sequence[ShardWindow]) -> dict[str, float]:
        """For how much of what was measured the machine stood still, by the names that `evaluate` gives the objectives."""

        def total(stretches: Iterable[tuple[int, int]]) -> float:
            return sum(self._stalls.seconds(start, end) for start, end in stretches)

        outages = max(hit, key=lambda window: window.unavailable).outages if hit else ()
        overlaps = self._split_brain.overlaps()
        return {
            "unavailable": total((outage.start, outage.end) for outage in outages if outage.end is not None),
            "others-unavailable": total([max(others, key=lambda window: window.longest_gap).gap] if others else []),
            "two-primaries": total((one.start, one.end) for one in sorted(overlaps, key=lambda one: one.seconds)[-1:]),
            "redundancy": total([stretch] if (stretch := self._redundancy.stretch) else []),
        }


def _too_early(check: Check) -> Check:
    if check.verdict is not Verdict.FALSE:
        return check
    return replace(check, verdict=Verdict.UNKNOWN, summary=f"{check.summary}, when the repetition ended early")


def _not_known(check: Check, stalled: float) -> Check:
    summary = f"{check.summary}; but the machine stood still then for {stalled:.3f} s, so nobody knows"
    return replace(check, verdict=Verdict.UNKNOWN, summary=summary, figures={**check.figures, STALLED: round(stalled, 3)})


History = Callable[[], Iterable[Record]]
"""Starts the history from its beginning; called a second time only when a check asks for a second pass."""


def examine(history: History, setup: Setup) -> tuple[Repetition, ...]:
    """Judge every repetition in a history. Repetitions begin with the phase `begin`; one that is not there is not invented."""
    examinations: dict[int, Examination] = {}
    damaged_start: list[Damage] = []
    for number, record in _numbered(history()):
        if number is None:
            if isinstance(record, Damage):
                damaged_start.append(record)
            continue
        examination = examinations.get(number)
        if examination is None:
            examination = examinations[number] = Examination(setup, number)
            for earlier in damaged_start:
                examination.see(earlier)
        examination.see(record)
    wanted = {number: reviewers for number, found in examinations.items() if (reviewers := found.reviewers())}
    if wanted:
        for number, record in _numbered(history()):
            for fold in wanted.get(number or 0, ()):
                fold.review(record)
    final = max(examinations, default=0)
    return tuple(examination.result(last=number == final) for number, examination in examinations.items())


def _numbered(records: Iterable[Record]) -> Iterator[tuple[int | None, Record]]:
    """Records with the repetition they belong to; None before the first."""
    number: int | None = None
    for record in records:
        if isinstance(record, Phase) and record.name == "begin":
            number = record.repetition
        if not isinstance(record, Start):
            yield number, record
