"""Queues, rows written behind, sessions, visitors, leaderboards, messages: histories by hand that pass and that fail."""

from drills.checkers.base import Verdict
from tests.unit.uses import broken, event, judged

FAULT = (5.0, 8.0)

# --- queues -----------------------------------------------------------------------------------------------------------------


def test_jobs_that_were_processed_or_are_dead_letters_pass() -> None:
    events = [event("put", "a", 1), event("put", "b", 1, value=1), event("process", "a", 2), event("dead", "b", 19)]
    finding = judged("queue", events)
    assert finding.verdict is Verdict.TRUE
    assert finding.sentence == "0 of 2 acknowledged jobs lost, 0 delivered twice, 1 dead letter"


def test_a_job_that_nobody_processed_is_lost() -> None:
    assert broken(judged("queue", [event("put", "a", 1), event("put", "b", 1), event("process", "a", 2)])) == {"lost"}


def test_a_job_processed_twice_is_counted_and_allowed() -> None:
    finding = judged("queue", [event("put", "a", 1), event("process", "a", 2), event("process", "a", 3)])
    assert (finding.verdict, finding.figures["delivered_twice"]) == (Verdict.TRUE, 1)


def test_a_job_whose_end_nobody_knows_need_not_be_there() -> None:
    events = [event("put", "a", 1, outcome="info"), event("put", "b", 1), event("process", "b", 2)]
    assert judged("queue", events).verdict is Verdict.TRUE


def test_a_queue_that_could_not_be_emptied_proves_nothing() -> None:
    assert judged("queue", [event("put", "a", 1), event("left", "", 19, value=1)]).verdict is Verdict.UNKNOWN


def test_jobs_acknowledged_right_before_a_failover_are_within_the_budget_of_plain_writes() -> None:
    events = [event("put", "a", 4.9), event("put", "b", 1), event("process", "b", 2)]
    assert judged("queue", events, FAULT, lost=1.0).verdict is Verdict.TRUE
    assert broken(judged("queue", events, FAULT, lost=0.0)) == {"lost"}
    assert broken(judged("queue", [event("put", "a", 1.0), *events[1:]], (8.0, 9.0), lost=1.0)) == {"lost"}


# --- written behind ---------------------------------------------------------------------------------------------------------


def test_rows_that_reached_the_database_pass_and_others_are_lost() -> None:
    events = [event("write", "a", 1), event("write", "b", 2), event("final", "a", 19), event("final", "b", 19)]
    assert judged("write-behind", events).verdict is Verdict.TRUE
    assert broken(judged("write-behind", events[:-1])) == {"lost"}


# --- sessions ---------------------------------------------------------------------------------------------------------------


def test_sessions_that_are_there_until_their_logout_pass() -> None:
    events = [
        event("start", "a", 1), event("seen", "a", 2, value=1), event("logout", "a", 3), event("after", "a", 4, value=0),
        event("start", "b", 1), event("seen", "b", 19, value=1),
    ]  # fmt: skip
    assert judged("session", events).verdict is Verdict.TRUE


def test_a_session_that_is_gone_without_a_logout_is_lost() -> None:
    assert broken(judged("session", [event("start", "a", 1), event("seen", "a", 2, value=0)])) == {"lost"}


def test_a_session_missing_while_its_logout_is_under_way_is_not_lost() -> None:
    events = [event("start", "a", 1), event("logout", "a", 2, 3), event("seen", "a", 2.5, value=0)]
    assert judged("session", events).verdict is Verdict.TRUE


def test_a_session_that_comes_back_after_its_logout_is_found() -> None:
    events = [event("start", "a", 1), event("logout", "a", 2), event("after", "a", 3, value=1)]
    assert broken(judged("session", events)) == {"back after logout"}


# --- visitors ---------------------------------------------------------------------------------------------------------------

VISITS = [event("visit", "d", 1 + n / 100, value=n) for n in range(100)]


def test_visitors_that_are_all_counted_once_pass() -> None:
    events = [*VISITS, event("visit", "d", 3, value=7), event("about", "d", 19, value=101), event("exactly", "d", 19, value=100)]
    assert judged("visits", events).verdict is Verdict.TRUE


def test_missing_and_surplus_visitors_and_a_wrong_estimate_are_found() -> None:
    def final(about: int, exactly: int) -> set[str]:
        return broken(judged("visits", [*VISITS, event("about", "d", 19, value=about), event("exactly", "d", 19, value=exactly)]))

    assert final(99, 99) == {"lost"}
    assert final(130, 130) == {"too many"}
    assert final(110, 100) == {"error of HyperLogLog"}


def test_visitors_that_could_not_be_counted_prove_nothing() -> None:
    assert judged("visits", VISITS).verdict is Verdict.UNKNOWN


# --- leaderboards -----------------------------------------------------------------------------------------------------------

POINTS = [
    event("add", "b/p", 1, value=1, other=1), event("add", "b/p", 2, value=1, other=2),
    event("again", "b/p", 3, value=1, other=2),
]  # fmt: skip


def test_points_that_are_counted_once_pass() -> None:
    assert judged("leaderboard", [*POINTS, event("final", "b/p", 19, value=2)]).verdict is Verdict.TRUE


def test_points_counted_twice_and_points_lost_are_found() -> None:
    assert broken(judged("leaderboard", [*POINTS, event("final", "b/p", 19, value=3)])) == {"counted twice"}
    assert broken(judged("leaderboard", [*POINTS, event("final", "b/p", 19, value=1)])) == {"lost"}


def test_an_operation_whose_end_nobody_knows_may_count_or_not() -> None:
    unknown = event("add", "b/p", 4, value=1, other=3, outcome="info")
    for points in (2, 3):
        assert judged("leaderboard", [*POINTS, unknown, event("final", "b/p", 19, value=points)]).verdict is Verdict.TRUE


# --- messages ---------------------------------------------------------------------------------------------------------------


def test_messages_that_everybody_heard_pass() -> None:
    events = [event("publish", "c", 3, value=1), event("publish", "c", 4, value=2)]
    heard = [event("receive", "c", at, actor=who, value=number) for who in (1, 2) for number, at in ((1, 3.1), (2, 5))]
    finding = judged("broadcast", [*events, *heard])
    assert (finding.verdict, finding.figures["missed"]) == (Verdict.TRUE, 0)
    assert finding.sentence.startswith("0 of 4 deliveries missed (2 messages to 2 subscribers)")


def test_a_message_that_one_subscriber_missed_is_found() -> None:
    events = [event("publish", "c", 3, value=1), event("receive", "c", 3.1, actor=1, value=1), event("publish", "c", 6, value=2)]
    events += [event("receive", "c", 3.1, actor=2, value=1), event("receive", "c", 6.1, actor=2, value=2)]
    assert broken(judged("broadcast", events)) == {"missed"}
    assert broken(judged("broadcast-careless", events)) == {"missed"}


def test_who_cannot_read_on_need_not_hear_what_was_said_before_it_joined_or_at_the_very_end() -> None:
    events = [event("publish", "c", 1, value=1), event("publish", "c", 3, value=2), event("publish", "c", 19.5, value=3)]
    events += [event("receive", "c", 3.1, actor=1, value=2)]
    assert judged("broadcast-careless", events).verdict is Verdict.TRUE
    assert judged("broadcast", events).verdict is Verdict.FALSE


def test_a_subscriber_that_never_hears_anything_misses_everything_of_its_channels_and_of_no_other() -> None:
    events = [event("publish", "c", 3, value=1), event("publish", "d", 3, value=2), event("receive", "c", 3.1, actor=1, value=1)]
    assert judged("broadcast", [*events, event("join", "c", 1, actor=1)]).verdict is Verdict.TRUE
    for use in ("broadcast", "broadcast-careless"):
        finding = judged(use, [*events, event("join", "c", 1, actor=2)])
        assert (broken(finding), finding.figures["missed"]) == ({"missed"}, 1)


def test_what_is_read_on_after_the_load_is_heard_and_says_nothing_about_a_silence() -> None:
    events = [event("publish", "c", at, value=at) for at in (3, 4, 19)]
    events += [event("receive", "c", at, actor=1, value=value) for at, value in ((3.1, 3), (4.1, 4), (60, 19))]
    finding = judged("broadcast", events)
    assert (finding.verdict, finding.figures["silence_seconds"]) == (Verdict.TRUE, 1.0)


def test_nothing_heard_or_acknowledged_is_unknown() -> None:
    for use in (
        "queue",
        "write-behind",
        "session",
        "visits",
        "leaderboard",
        "broadcast",
        "flags",
        "cache-aside",
        "limiter-fixed",
    ):
        assert judged(use, []).verdict is Verdict.UNKNOWN
