"""The runner of the tiers: not run is never passed, and what was left out is named."""

import sys
from pathlib import Path

import pytest

from operations.errors import ExitCode, UsageError
from scripts.test import Outcome, Tier, chosen, count, ended, run_tier, summarised, tiers

OK = Outcome("unit", 10, passed=3)
SKIPPED_TIER = Tier("live", 10, quick=False)


def test_all_passed_is_a_success() -> None:
    assert ended([OK], []) == ExitCode.OK


def test_a_failure_anywhere_is_a_failure() -> None:
    assert ended([OK, Outcome("live", 10, passed=5, failed=1)], []) == ExitCode.MISSED


def test_a_tier_that_could_not_run_is_no_success() -> None:
    assert ended([OK, Outcome("live", 10, could_not_run="no Docker engine answers")], []) == ExitCode.UNKNOWN


def test_a_run_that_ended_early_is_no_success() -> None:
    assert ended([OK], [SKIPPED_TIER]) == ExitCode.UNKNOWN


def test_a_run_without_a_single_test_is_no_success() -> None:
    assert ended([Outcome("unit", 10)], []) == ExitCode.UNKNOWN


def test_a_report_is_counted_and_a_skipped_test_is_named_as_not_run(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="good"/><testcase classname="a" name="bad"><failure/></testcase>'
        '<testcase classname="a" name="broken"><error/></testcase><testcase classname="a" name="left"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    outcome = Outcome("unit", 10)
    count(outcome, report)
    assert (outcome.passed, outcome.failed, outcome.left_out) == (1, 2, ["a::left (skipped)"])


def test_without_a_report_nothing_is_counted(tmp_path: Path) -> None:
    outcome = Outcome("unit", 10)
    count(outcome, tmp_path / "none.xml")
    assert (outcome.passed, outcome.failed) == (0, 0)


def test_tests_that_were_left_out_are_named_by_class() -> None:
    names = ["tests/live/test_x.py::TestA::test_1", "tests/live/test_x.py::TestA::test_2", "tests/live/test_y.py::test_3"]
    assert summarised(names) == [
        "tests/live/test_x.py::TestA (2 tests, part of make test-full)",
        "tests/live/test_y.py (1 tests, part of make test-full)",
    ]


def test_an_obstacle_fails_a_tier_unless_it_is_optional() -> None:
    needed = run_tier(Tier("live", 10, False, tests=("x",), obstacle=lambda: "no engine"), full=False, keep_failed=False)
    assert needed.could_not_run == "no engine"
    spared = run_tier(
        Tier("live", 10, False, tests=("x",), obstacle=lambda: "in use", optional=True), full=False, keep_failed=False
    )
    assert (spared.could_not_run, spared.left_out) == ("", ["in use"])


@pytest.mark.parametrize(("code", "counts"), [("", (1, 0)), ("raise SystemExit(3)", (0, 1))])
def test_a_command_counts_one_by_its_exit_code(code: str, counts: tuple[int, int]) -> None:
    outcome = run_tier(Tier("lint", 10, True, commands=((sys.executable, "-c", code),)), full=False, keep_failed=False)
    assert (outcome.passed, outcome.failed) == counts


def test_a_command_that_hangs_is_interrupted_and_counts_as_failed() -> None:
    hangs = (sys.executable, "-c", "import time; time.sleep(60)")
    outcome = run_tier(Tier("lint", 0, True, commands=(hangs,)), full=False, keep_failed=False)
    assert outcome.failed == 1
    assert outcome.seconds < 30


def test_pytest_finding_no_test_is_no_success() -> None:
    outcome = run_tier(
        Tier("unit", 20, True, tests=("tests/unit/test_test_runner.py", "-q", "-k", "nothing_of_this_name")),
        full=False,
        keep_failed=False,
    )
    assert outcome.could_not_run == "no test was found"


def test_tiers_can_be_chosen_by_name_and_keep_their_order() -> None:
    everything = tiers(workers=2)
    assert [tier.name for tier in chosen(everything, ["unit", "lint"])] == ["lint", "unit"]
    with pytest.raises(UsageError, match="there is no tier speed; use lint, unit"):
        chosen(everything, ["speed"])


def test_quick_tiers_come_before_slow_ones() -> None:
    order = [tier.quick for tier in tiers(workers=2)]
    assert order == sorted(order, reverse=True)
