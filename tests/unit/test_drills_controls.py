"""The pure parts of the negative controls: what counts as caught, and how histories are doctored."""

from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from drills.bounds import Timing
from drills.checkers.base import Verdict
from drills.definition import find
from drills.examine import Repetition, Setup, examine
from drills.objectives import Objectives, Policy, default_objectives
from drills.records import Record
from drills.synthetic import Failover, failover
from operations.errors import ExitCode
from scripts.controls import Found, ended, read
from tests.drills.doctor import DOCTORED, Doctored
from tests.drills.rows import PROPERTY, Row, judge
from tests.drills.seeded import CONTROLS, Control, Refused, drills_of, of_topology

LOST = next(control for control in CONTROLS if control.name == "persistence-off")
REFUSED = next(control for control in CONTROLS if isinstance(control.expected, Refused))
TOLD = f"stack t is not in its steady state, so a drill would prove nothing: degraded: node-2 {REFUSED.expected.reason}. See x"  # type: ignore[union-attr]
CAUGHT = Row("cluster", "lag limit off", "isolate-primary", "9 s of 7 s", True, 20.0)
NOT_CAUGHT = Row("cluster", "lag limit off", "isolate-primary", "every objective was met", False, 20.0)


# ---- what counts as caught ----------------------------------------------------------------------------------------------


def test_a_fault_is_caught_when_the_stated_objective_is_missed_and_the_figure_is_told() -> None:
    assert judge(LOST, 10, "", {"lost": (Verdict.FALSE, "9 lost")}) == (True, "lost: 9 lost")


@pytest.mark.parametrize(
    ("code", "answers"),
    [
        (0, {"lost": (Verdict.TRUE, "all there")}),
        (10, {"lost": (Verdict.TRUE, "all there"), "unavailable": (Verdict.FALSE, "9 s of 4 s")}),
        (10, {"lost": (Verdict.UNKNOWN, "could not be read"), "unavailable": (Verdict.FALSE, "9 s of 4 s")}),
        (20, {"lost": (Verdict.UNKNOWN, "could not be read")}),
        (30, {"lost": (Verdict.FALSE, "9 lost")}),
        (10, {}),
        (10, None),
        (69, None),
    ],
    ids=["met", "another missed", "not known, another missed", "unknown", "broken", "not judged", "no journal", "not up"],
)
def test_a_drill_that_fails_for_another_reason_caught_nothing(code: int, answers: dict[str, tuple[Verdict, str]] | None) -> None:
    assert judge(LOST, code, "whatever it said", answers)[0] is False


def test_a_refusal_counts_when_the_steady_state_is_its_reason_and_nothing_was_run() -> None:
    caught, by = judge(REFUSED, 10, TOLD, None)
    assert caught and by.startswith("refused before: degraded: node-2")


@pytest.mark.parametrize(
    ("code", "told", "answers"),
    [(10, TOLD, {}), (69, TOLD, None), (10, "the engine does not answer", None), (0, "", {})],
    ids=["run all the same", "another code", "another reason", "passed"],
)
def test_another_end_is_no_refusal(code: int, told: str, answers: dict[str, tuple[Verdict, str]] | None) -> None:
    assert judge(REFUSED, code, told, answers)[0] is False


def test_every_control_names_a_drill_that_fits_its_topology_and_has_a_name_of_its_own() -> None:
    assert len({control.name for control in CONTROLS}) == len(CONTROLS)
    for control in CONTROLS:
        assert control.topology in find(control.drill).topologies, control.name


def test_every_drill_that_has_to_miss_something_also_runs_on_the_whole_stack() -> None:
    one: Control = LOST
    assert one.drill in drills_of(one.topology) and one in of_topology(one.topology)
    assert REFUSED.drill not in drills_of("sentinel", [REFUSED])


# ---- the table ------------------------------------------------------------------------------------------------------------


def case(row: Row | None, inner: str = "") -> str:
    told = f"<properties><property name={quoteattr(PROPERTY)} value={quoteattr(row.text())}/></properties>" if row else ""
    return f'<testcase classname="a" name="t">{told}{inner}</testcase>'


def report(folder: Path, *cases: str) -> Found:
    path = folder / "report.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return read(path)


def test_rows_come_back_from_a_report(tmp_path: Path) -> None:
    found = report(tmp_path, case(CAUGHT))
    assert found == Found((CAUGHT,), ()) and ended(found) == ExitCode.OK


def test_one_fault_that_is_not_caught_decides(tmp_path: Path) -> None:
    found = report(tmp_path, case(CAUGHT), case(NOT_CAUGHT, '<failure message="no"/>'), case(None, '<error message="no stack"/>'))
    assert ended(found) == ExitCode.MISSED


@pytest.mark.parametrize("inner", ['<error message="no stack"/>', '<failure message="no"/>', '<skipped message="no"/>'])
def test_a_control_that_could_not_be_run_is_never_a_success(tmp_path: Path, inner: str) -> None:
    found = report(tmp_path, case(CAUGHT), case(None, inner))
    assert len(found.unfinished) == 1 and ended(found) == ExitCode.UNKNOWN


def test_a_stack_that_could_not_be_put_back_is_told(tmp_path: Path) -> None:
    assert report(tmp_path, case(CAUGHT, '<error message="not whole again"/>')).unfinished == ("t: not whole again",)


def test_without_a_report_nothing_was_proven(tmp_path: Path) -> None:
    assert ended(read(tmp_path / "none.xml")) == ExitCode.UNKNOWN
    assert ended(report(tmp_path)) == ExitCode.UNKNOWN


# ---- doctored histories ----------------------------------------------------------------------------------------------------


POLICY = Policy(Timing("cluster", node_timeout=2), replicas=1, aof=True, fsync="everysec", lag=None)
MEASURED = Objectives(unavailable={"switchover": "any"})
TRUE_HISTORY: list[Record] = list(failover(Failover(rate=20)).records)


def judged(history: list[Record]) -> Repetition:
    nodes = tuple(f"node-{shard}-{member}" for shard in (1, 2, 3) for member in (1, 2))
    setup = Setup("switchover", (1, 2, 3), nodes, nodes, MEASURED.over(default_objectives(POLICY)), POLICY)
    return examine(lambda: history, setup)[0]


def test_the_true_history_passes() -> None:
    assert judged(TRUE_HISTORY).verdict is Verdict.TRUE


@pytest.mark.parametrize("doctored", DOCTORED, ids=lambda one: one.name)
def test_each_doctored_history_is_noticed_by_the_check_that_is_named(doctored: Doctored) -> None:
    found = judged(doctored.change(TRUE_HISTORY))
    (check,) = [check for check in found.checks if check.name == doctored.check]
    assert check.verdict is doctored.verdict, check.summary
    assert found.verdict is doctored.verdict


@pytest.mark.parametrize("doctored", DOCTORED, ids=lambda one: one.name)
def test_a_history_that_gives_no_occasion_is_refused_instead_of_left_as_it_is(doctored: Doctored) -> None:
    with pytest.raises(ValueError):
        doctored.change(TRUE_HISTORY[:1])
