"""Caches, rate limits and flags: histories by hand that pass and that fail."""

import pytest

from drills.checkers.base import Verdict
from drills.records import Event
from drills.synthetic import ns
from tests.unit.uses import broken, event, judged

FAULT = (5.0, 8.0)

# --- caches -----------------------------------------------------------------------------------------------------------------

WRITES = [event("write", "row", 1, value=1), event("write", "row", 4, value=2)]
FINAL = event("final", "row", 19, value=2, other=2)


def test_reads_within_the_bound_pass() -> None:
    events = [
        *WRITES,
        event("read", "row", 2, value=1),
        event("read", "row", 6, value=1),
        event("read", "row", 8, value=2),
        FINAL,
    ]
    finding = judged("cache-aside", events)
    assert finding.verdict is Verdict.TRUE
    assert finding.figures["oldest_seconds"] == pytest.approx(2.0, abs=0.01)


def test_a_read_of_a_version_that_was_replaced_long_ago_is_stale() -> None:
    assert broken(judged("cache-aside", [*WRITES, event("read", "row", 8, value=1), FINAL])) == {"stale"}


def test_what_is_late_while_the_machine_stands_still_is_excused_and_what_is_wrong_is_not() -> None:
    stall = ((ns(6), ns(7.5)),)
    assert judged("cache-aside", [*WRITES, event("read", "row", 8, value=1), FINAL], stalls=stall).verdict is Verdict.TRUE
    assert broken(judged("cache-aside", [*WRITES, event("read", "row", 11, value=1), FINAL], stalls=stall)) == {"stale"}
    assert judged("flags", [*SET, use(7, 1)], stalls=stall).verdict is Verdict.TRUE
    assert broken(judged("flags", [*SET, use(7, 0)], stalls=stall)) == {"unset"}


def test_the_age_counts_from_the_first_newer_version() -> None:
    events = [*WRITES, event("write", "row", 7, value=3), event("read", "row", 8, value=1), FINAL._replace(value=3, other=3)]
    assert broken(judged("cache-aside", events)) == {"stale"}


def test_cache_and_origin_have_to_agree_in_the_end() -> None:
    events = [*WRITES, event("read", "row", 5, value=2)]
    assert broken(judged("cache-aside", [*events, event("final", "row", 19, value=1, other=2)])) == {"agrees"}
    assert judged("cache-aside", events).verdict is Verdict.UNKNOWN


def test_one_load_after_the_other_passes_and_two_at_once_are_a_stampede() -> None:
    read = event("read", "row", 2, value=1)
    apart = [event("load", "row", 1, 1.1), event("load", "row", 1.1, 1.2)]
    assert judged("cache-aside", [*WRITES[:1], *apart, read, FINAL]).verdict is Verdict.TRUE
    together = [event("load", "row", 1, 1.1), event("load", "row", 1.05, 1.2)]
    assert broken(judged("cache-aside", [*WRITES[:1], *together, read, FINAL])) == {"loads at once"}
    assert judged("cache-aside", [*WRITES[:1], *together, read, FINAL], (0.5, 4)).verdict is Verdict.TRUE


def test_asking_again_and_again_for_what_is_not_there_is_found() -> None:
    read = event("read", "row", 2, value=1)
    seldom = [event("load", "ghost", 2 + n, 2.01 + n) for n in range(5)]
    assert judged("cache-aside", [*WRITES[:1], read, FINAL, *seldom]).verdict is Verdict.TRUE
    often = [event("load", "ghost", 2 + n / 10, 2.01 + n / 10) for n in range(5)]
    assert broken(judged("cache-aside", [*WRITES[:1], read, FINAL, *often])) == {"loads of what is not there"}


def test_loads_are_told_before_during_and_after() -> None:
    loads = [event("load", "row", at, at + 0.01) for at in (1.2, 2.2, 5.1, 5.4, 5.7, 6.1, 6.4, 10)]
    finding = judged("cache-aside", [*WRITES, *loads, event("read", "row", 19, value=2), FINAL], FAULT)
    assert finding.sentence.startswith("origin loads per key and second: 0.5 before, 1.67 during, 0.08 after")


# --- rate limits ------------------------------------------------------------------------------------------------------------


def admitted(times: int, second: float, name: str = "n") -> list[Event]:
    """So many at that second of the server's clock, which is also that of the history."""
    return [event("admit", name, second, value=int(second * 1e6) + n) for n in range(times)]


def test_a_window_that_is_full_passes_and_one_more_is_too_many() -> None:
    assert judged("limiter-fixed", [*admitted(10, 2.9), *admitted(10, 3.1)]).verdict is Verdict.TRUE
    assert broken(judged("limiter-fixed", admitted(11, 2.5))) == {"admitted"}


def test_a_sliding_window_does_not_begin_anew_with_the_second() -> None:
    assert broken(judged("limiter-sliding", [*admitted(10, 2.9), *admitted(10, 3.1)])) == {"admitted"}
    assert judged("limiter-sliding", [*admitted(10, 2.9), *admitted(10, 3.9)]).verdict is Verdict.TRUE


def test_a_bucket_may_be_emptied_while_it_fills_again() -> None:
    assert judged("limiter-bucket", [*admitted(10, 2.0), *admitted(10, 2.99)]).verdict is Verdict.TRUE
    assert broken(judged("limiter-bucket", admitted(21, 2.0))) == {"admitted"}


def test_where_the_moment_on_the_server_is_not_told_only_what_surely_lay_in_one_window_counts() -> None:
    def asked(times: int, start: float, end: float) -> list[Event]:
        return [event("admit", "n", start, end) for _ in range(times)]

    assert judged("limiter-limits", [*asked(10, 2.9, 2.95), *asked(10, 3.0, 3.05)]).verdict is Verdict.TRUE
    assert broken(judged("limiter-limits", [*asked(10, 2.9, 2.95), *asked(11, 3.0, 3.05)])) == {"admitted"}
    assert judged("limiter-limits", [*asked(11, 1.9, 2.95), *asked(10, 3.0, 3.05)]).verdict is Verdict.TRUE
    assert judged("limiter-limits", [*asked(11, 2.9, 3.95), *asked(10, 3.0, 3.05)]).verdict is Verdict.TRUE


def test_names_are_limited_each_by_itself() -> None:
    assert judged("limiter-fixed", [*admitted(10, 2, "a"), *admitted(10, 2, "b")]).verdict is Verdict.TRUE


@pytest.mark.parametrize(("count", "lost", "passes"), [(20, 1.0, True), (21, 1.0, False), (11, 0.0, False), (50, "any", True)])
def test_in_a_fault_one_more_limit_may_pass_where_writes_may_be_lost(count: int, lost: float, passes: bool) -> None:
    finding = judged("limiter-fixed", [*admitted(5, 2), *admitted(count, 6)], FAULT, lost=lost)
    assert (finding.verdict is Verdict.TRUE) is passes


def test_a_name_that_is_only_refused_any_more_is_shut_out() -> None:
    refused = [event("refuse", "n", 10 + n) for n in range(10)]
    assert broken(judged("limiter-fixed", [*admitted(5, 2), *refused])) == {"shut out"}
    assert judged("limiter-fixed", [*admitted(5, 2), *refused, *admitted(1, 18)]).verdict is Verdict.TRUE


# --- flags ------------------------------------------------------------------------------------------------------------------

SET = [event("set", "f", 1, value=1), event("set", "f", 4, value=2)]


def use(at: float, version: int) -> Event:
    return event("use", "f", at, value=version)


def test_changes_that_are_seen_in_time_pass() -> None:
    finding = judged("flags", [*SET, use(2, 1), use(5, 1), use(6, 2)])
    assert finding.verdict is Verdict.TRUE
    assert finding.figures["latest_seconds"] == pytest.approx(1.0, abs=0.01)


def test_a_change_seen_too_late_is_found_but_only_measured_in_a_fault() -> None:
    assert broken(judged("flags", [*SET, use(7, 1)])) == {"late"}
    assert judged("flags", [*SET, use(7, 1)], FAULT).verdict is Verdict.TRUE


def test_an_unset_flag_is_found_in_a_fault_too() -> None:
    assert broken(judged("flags", [*SET, use(6, 0)], FAULT)) == {"unset"}
