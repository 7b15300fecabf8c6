"""From a history to journal, JUnit file and page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drills import charts, junit, report
from drills import journal as journals
from drills.bounds import Timing
from drills.charts import Scale, fault_flags, ticks
from drills.checkers.base import SECOND, Verdict
from drills.examine import Repetition, Setup, examine
from drills.history import read_history, write_history
from drills.journal import Context, DrillEntry, Journal, compose
from drills.objectives import Policy, default_objectives
from drills.records import Damage, Fault, Marker, Operation, Phase, Stall
from drills.statistics import MOST_CELLS, Histogram, Series, summarise
from drills.synthetic import Failover, Story, failover
from operations.errors import ExitCode, InvalidInput

POLICY = Policy(Timing("cluster", "redis", 8, 2.0), 1, True, "everysec", None)
NODES = tuple(f"node-{shard}-{member}" for shard in (1, 2, 3) for member in (1, 2))
SETUP = Setup("crash", (1, 2, 3), NODES, NODES, default_objectives(POLICY), POLICY)
CONTEXT = Context(
    drill=DrillEntry(name="crash-primary", title="Crash <of> a primary", description="SIGKILL & held down", kind="crash"),
    stack="cluster", topology="cluster", engine="redis 8.0.2", versions={"redis-topologies": "0.1.0"}, spec={"shards": 3},
    objectives={}, workload={"summary": "12 clients", "seed": 7}, started="2026-01-01T12:00:00Z",
)  # fmt: skip
GOOD = Failover(rate=12)


def stories(*rules: Failover) -> Story:
    story = None
    for number, rule in enumerate(rules, 1):
        story = failover(rule, start=(number - 1) * 18.0, repetition=number, story=story)
    assert story is not None
    return story


def examined(*rules: Failover) -> tuple[Repetition, ...]:
    story = stories(*rules)
    return examine(lambda: story.records, SETUP)


def journal_of(*rules: Failover, **more: Any) -> Journal:
    return compose(CONTEXT, examined(*rules), "2026-01-01T12:01:00Z", **more)


def test_flags_of_moments_that_lie_close_together_never_write_over_each_other() -> None:
    def mark(at: float, stage: str) -> dict[str, Any]:
        return {"what": "fault", "at": at, "stage": stage, "targets": ["node-1"], "fault": "crash", "text": stage}

    stages = ("inject", "evidence", "heal")
    close = fault_flags([mark(0.1 * place, stage) for place, stage in enumerate(stages)], Scale(0.0, 60.0, 0, 1000), 100)
    apart = fault_flags([mark(20.0 * place, stage) for place, stage in enumerate(stages)], Scale(0.0, 60.0, 0, 1000), 100)
    assert [chart.count("</title>") for chart in (close, apart)] == [3, 3]
    assert [chart.count("<text") for chart in (close, apart)] == [2, 3]


# --- examination --------------------------------------------------------------------------------------------------------


def test_a_good_run_is_true_in_every_check_and_objective() -> None:
    (repetition,) = examined(GOOD)
    assert repetition.verdict is Verdict.TRUE
    assert {check.name: check.verdict for check in repetition.checks} == dict.fromkeys(
        ("history", "steady", "window", "lost", "phantom", "split-brain", "one-primary", "views", "stale", "redundancy"),
        Verdict.TRUE,
    )


@pytest.mark.parametrize(
    "rule",
    [
        Failover(rate=12, detection=5.0),
        Failover(rate=12, detection=1.0, split_brain=5.0),
        Failover(rate=12, lost=30, fault_at=4.0, detection=4.9),
    ],
)
def test_a_bad_run_is_false(rule: Failover) -> None:
    assert examined(rule)[0].verdict is Verdict.FALSE


def test_a_backup_that_was_made_under_the_load_is_asked_about_and_drawn(tmp_path: Path) -> None:
    story = stories(Failover(rate=12, lost=5))
    began = next(record for record in story.records if isinstance(record, Fault) and record.stage == "inject")
    for moment, verdict in ((began.at - SECOND // 2, Verdict.TRUE), (began.at + 60 * SECOND, Verdict.FALSE)):
        cut = began._replace(stage="cut", at=moment, until=moment + 1, text="backup 20260101")
        found = examine([*story.records, cut].copy, SETUP)
        assert {check.name: check.verdict for check in found[0].checks}["before-cut"] is verdict
        report.save(compose(CONTEXT, found, "2026-01-01T12:01:00Z"), tmp_path)
        assert "backup 20260101" in (tmp_path / "report.html").read_text()


def test_a_loss_within_the_budget_is_reported_but_does_not_fail() -> None:
    (repetition,) = examined(Failover(rate=12, lost=5))
    assert repetition.measured.lost == 5
    assert next(check for check in repetition.checks if check.name == "lost").verdict is Verdict.FALSE
    assert repetition.verdict is Verdict.TRUE


def test_each_repetition_is_judged_by_itself() -> None:
    found = examined(GOOD, Failover(rate=12, detection=5.0), Failover(rate=12, lost=5))
    assert [repetition.verdict for repetition in found] == [Verdict.TRUE, Verdict.FALSE, Verdict.TRUE]
    assert [repetition.measured.lost for repetition in found] == [0, 0, 5]


def test_a_saved_history_gives_the_same_answers_as_the_live_one(tmp_path: Path) -> None:
    story = stories(GOOD, Failover(rate=12, lost=5))
    path = tmp_path / "history.jsonl"
    write_history(path, story.records)
    assert examine(lambda: read_history(path), SETUP) == examine(lambda: story.records, SETUP)


def test_a_doctored_history_is_caught() -> None:
    """Remove one acknowledged write from the final read's run, as a tool that hides a loss would have to find it there."""
    story = stories(GOOD)
    gone = next(
        number for number, record in enumerate(story.records)
        if isinstance(record, Operation) and record.kind == "write" and record.outcome == "ok"
    )  # fmt: skip
    without = [record for number, record in enumerate(story.records) if number != gone]
    (repetition,) = examine(lambda: without, SETUP)
    assert repetition.verdict is not Verdict.TRUE


def test_a_history_that_stops_in_the_middle_is_unknown() -> None:
    story = stories(GOOD)
    half = story.records[: len(story.records) // 2]
    (repetition,) = examine(lambda: half, SETUP)
    assert repetition.verdict is not Verdict.TRUE
    assert repetition.measured.lost is None


def interrupted_before_the_fault(*extra: Marker) -> Journal:
    """Nobody knows of the writes of all shards between 0.5 and 0.9 s; the fault comes later."""

    def doubt(record: Any) -> Any:
        early = isinstance(record, Operation) and record.kind == "write" and 0.5e9 <= record.start < 0.9e9
        return record._replace(outcome="info") if early else record

    records = [doubt(record) for record in stories(GOOD).records]
    begin = next(number for number, record in enumerate(records) if isinstance(record, Operation))
    records[begin:begin] = extra
    return compose(CONTEXT, examine(lambda: records, SETUP), "now")


def test_a_stall_before_the_fault_is_a_reason_to_try_again() -> None:
    journal = interrupted_before_the_fault(Stall(600_000_000, 800_000_000, "clients"))
    assert journal.result == "unknown"
    assert journal.stalled


def test_refused_writes_before_the_fault_without_a_stall_are_none() -> None:
    journal = interrupted_before_the_fault()
    assert journal.result == "unknown"
    assert not journal.stalled


def refused_at_the_end(stalled: bool) -> Journal:
    """The last half second of writes is not acknowledged; the machine may have stood still for nearly all of it."""
    records = [*stories(GOOD).records]
    ended = next(record.at for record in records if isinstance(record, Phase) and record.name in ("stop", "audit"))
    start = max(record.end for record in records if isinstance(record, Operation)) - 500_000_000

    def refuse(record: Any) -> Any:
        late = isinstance(record, Operation) and record.kind == "write" and record.end >= start
        return record._replace(outcome="info", error="timeout") if late else record

    records = [refuse(record) for record in records]
    begin = next(number for number, record in enumerate(records) if isinstance(record, Operation))
    records[begin:begin] = [Stall(start + 20_000_000, ended, "clients") if stalled else Stall(start, start + 1, "clients")]
    return compose(CONTEXT, examine(lambda: records, SETUP), "now")


def test_writes_that_are_refused_when_the_load_ends_are_a_miss() -> None:
    journal = refused_at_the_end(stalled=False)
    assert (journal.result, journal.stalled) == ("missed", False)


def test_a_machine_that_stood_still_when_the_load_ended_is_a_reason_to_try_again() -> None:
    journal = refused_at_the_end(stalled=True)
    assert (journal.result, journal.stalled) == ("unknown", True)
    assert "still refused writes when the load ended; but the machine stood still" in journal.summary


def test_a_damaged_line_makes_the_run_unknown() -> None:
    records = [*stories(GOOD).records]
    records.insert(2000, Damage(2000, "unknown kind", torn=False))  # type: ignore[arg-type]
    (repetition,) = examine(lambda: records, SETUP)
    assert repetition.verdict is Verdict.UNKNOWN


def test_a_history_without_repetitions_has_none() -> None:
    assert examine(list, SETUP) == ()


# --- journal ------------------------------------------------------------------------------------------------------------


def test_a_journal_reads_back_as_it_was_written(tmp_path: Path) -> None:
    journal = journal_of(GOOD, Failover(rate=12, lost=3))
    journals.save(journal, tmp_path)
    assert journals.load(tmp_path) == journal
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"], "nothing partial is left"


@pytest.mark.parametrize(
    ("rule", "more", "result", "code"),
    [
        (GOOD, {}, "met", ExitCode.OK),
        (Failover(rate=12, detection=5.0), {}, "missed", ExitCode.MISSED),
        (GOOD, {"problems": ["node-1-1 did not start again"]}, "broken", ExitCode.BROKEN),
        (GOOD, {"interrupted": True}, "interrupted", ExitCode.INTERRUPTED),
        (Failover(rate=12, detection=5.0), {"problems": ["x"], "interrupted": True}, "missed", ExitCode.MISSED),
    ],
)
def test_the_result_and_its_exit_code(rule: Failover, more: dict[str, Any], result: str, code: ExitCode) -> None:
    journal = journal_of(rule, **more)
    assert (journal.result, journal.exit_code) == (result, code)


def test_a_drill_without_any_repetition_is_unknown_and_never_met() -> None:
    assert compose(CONTEXT, (), "now").result == "unknown"
    broken = compose(CONTEXT, (), "now", problems=["the engine went away"])
    assert (broken.result, broken.summary) == ("broken", "the engine went away")


def test_figures_have_least_median_and_most_over_all_repetitions() -> None:
    journal = journal_of(*(Failover(rate=12, detection=detection) for detection in (1.5, 2.0, 2.5)))
    refused = next(figure for figure in journal.figures if figure.name == "writes refused")
    assert refused.least < refused.middle < refused.most
    assert len(refused.values) == 3
    assert refused.limit == pytest.approx(5.83)


def test_the_summary_tells_the_worst_first_and_names_the_run() -> None:
    journal = journal_of(GOOD, Failover(rate=12, detection=5.0))
    assert re.match(r"Writes refused for 6\.\d+ s of 5\.83 s .*\(run 2\)\.$", journal.summary)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_what_is_no_journal_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "journal.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"journal\.json"):
        journals.load(tmp_path)


def test_a_directory_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not the journal of a drill"):
        journals.load(tmp_path)


# --- junit --------------------------------------------------------------------------------------------------------------


def parsed(xml: str) -> Xml.Element:
    return Xml.fromstring(xml)  # noqa: S314 - made by this test


def test_junit_counts_failures_and_errors() -> None:
    good = parsed(junit.junit(journal_of(GOOD)))
    assert (good.get("failures"), good.get("errors")) == ("0", "0")
    bad = parsed(junit.junit(journal_of(Failover(rate=12, detection=5.0), problems=["the engine\x00 went away"])))
    assert (bad.get("failures"), bad.get("errors")) == ("1", "1")
    assert [case.get("name") for case in bad.iter("testcase") if case.find("failure") is not None] == ["objective unavailable"]


# --- the page -----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what the page would fetch, and whether every tag is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        if tag in ("script", "link", "iframe", "img"):
            self.fetched.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "journal",
    [
        journal_of(GOOD),
        journal_of(GOOD, Failover(rate=12, detection=5.0), Failover(rate=12, split_brain=4.0)),
        compose(CONTEXT, (), "now", problems=["the engine <went> away"]),
    ],
    ids=["one good", "three mixed", "nothing measured"],
)
def test_the_page_is_well_formed_and_fetches_nothing(journal: Journal) -> None:
    html = report.report(journal)
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert page.fetched == []
    assert not re.search(r"@import|url\(|<of>|<went>", html)
    assert "prefers-color-scheme: dark" in html
    assert journal.summary.split("(")[0].strip() in html or "&lt;" in html


def test_the_page_says_the_verdict_first() -> None:
    html = report.report(journal_of(Failover(rate=12, detection=5.0)))
    assert 0 < html.index("Objective missed") < html.index("Time line") < html.index("Objectives")


def test_the_page_comes_from_the_saved_journal_alone(tmp_path: Path) -> None:
    journal = journal_of(GOOD)
    journals.save(journal, tmp_path)
    assert report.report(journals.load(tmp_path)) == report.report(journal)


# --- statistics ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1_000, 60_000_000_000), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_at_most_four_per_cent_high(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]
    found = histogram.percentile(share)
    assert found is not None
    assert exact <= found <= exact * 1.041 + 1
    assert histogram.largest == max(values)


def test_an_empty_histogram_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_a_series_keeps_every_event_in_a_bounded_number_of_cells(moments: list[int]) -> None:
    series = Series(0)
    for moment in moments:
        series.at(moment).ok += 1
    assert sum(cell.ok for cell in series.cells) == len(moments)
    assert len(series.cells) <= MOST_CELLS
    for moment in moments:
        assert series.cells[moment // series.width].ok > 0


def test_a_summary_leaves_out_what_is_not_known() -> None:
    summary = summarise([3.0, None, 1.0, 2.0])
    assert summary is not None
    assert (summary.count, summary.least, summary.middle, summary.most) == (3, 1.0, 2.0, 3.0)
    assert summarise([None]) is None


@given(st.floats(-1000, 1000), st.floats(0.01, 1000))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert len(found) <= 12
    assert all(low - 1e-6 <= tick <= low + span + 1e-6 for tick in found)


def test_a_journal_is_plain_json(tmp_path: Path) -> None:
    path = journals.save(journal_of(GOOD), tmp_path)
    data = json.loads(path.read_text())
    assert data["result"] == "met"
    assert data["repetitions"][0]["drawing"]["lanes"][0]["shard"] == 1


@pytest.mark.parametrize(
    ("verdict", "there", "not_there"),
    [
        (Verdict.FALSE, "a promise was broken", "within what is allowed"),
        (Verdict.TRUE, "within what is allowed", "a promise was broken"),
        (Verdict.UNKNOWN, "lock", "2.000 s"),
    ],
)
def test_a_loss_that_is_allowed_is_not_drawn_as_a_broken_promise(verdict: Verdict, there: str, not_there: str) -> None:
    lane = {"ok": [3, 1], "fail": [0, 0], "info": [0, 1], "start": 0.0, "width": 1.0, "bad": [2.0]}
    use: Any = SimpleNamespace(name="lock", drawing=lane, verdict=verdict)
    repetition: Any = SimpleNamespace(uses=[use], drawing={}, number=1)
    drawn = charts.use_lines(repetition)
    assert there in drawn and not_there not in drawn


def test_of_repetitions_that_all_hold_the_one_is_told_in_which_most_was_lost() -> None:
    def repetition(number: int, verdict: Verdict, **figures: float) -> Any:
        use = SimpleNamespace(name="queue", verdict=verdict, figures=figures)
        return SimpleNamespace(number=number, uses=[use])

    calm, lossy, busy = (
        repetition(1, Verdict.TRUE, lost=0), repetition(2, Verdict.TRUE, lost=3), repetition(3, Verdict.TRUE, delivered_twice=9),
    )  # fmt: skip
    doubtful, broken = repetition(4, Verdict.UNKNOWN), repetition(5, Verdict.FALSE)
    for repetitions, worst in (((calm, lossy, busy), 2), ((calm, busy), 3), ((lossy, doubtful), 4), ((doubtful, broken), 5)):
        journal: Any = SimpleNamespace(repetitions=repetitions)
        assert [number for _, number in journals.worst_uses(journal)] == [worst]
