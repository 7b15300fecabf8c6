"""Local tiers, Bloom filters, time series: histories by hand that pass and that fail, and what their modules decide alone."""

import math
from typing import Any

import pytest
import redis
from redis.cache import CacheEntry, CacheEntryStatus, CacheKey

from applications.bloom import Bloom
from applications.careless.near import EndlessNear
from applications.near import Near, NearRows
from drills.checkers.base import Verdict
from drills.records import Event
from drills.workload.uses.near import ASKED, LOCAL
from tests.unit.uses import broken, event, judged

FAULT = (5.0, 8.0)

# --- local tiers ------------------------------------------------------------------------------------------------------------


def near(*reads: Event) -> list[Event]:
    """One change at 1 s and one at 10 s, and these reads."""
    return [event("set", "a", 1, value=1), event("set", "a", 10, value=2), *reads]


def read(start: float, value: int, source: int = LOCAL) -> Event:
    return event("read", "a", start, value=value, other=source)


def test_answers_from_memory_that_nothing_has_changed_since_pass() -> None:
    finding = judged("near-cache", near(read(2, 1, ASKED), read(9, 1), read(10.1, 1), read(10.2, 2, ASKED)))
    assert finding.verdict is Verdict.TRUE
    assert finding.sentence.startswith("50% of 4 reads without a request; a change seen after at most 0.10 s")


def test_an_answer_from_memory_long_after_a_change_is_too_late_in_a_fault_and_without() -> None:
    assert broken(judged("near-cache", near(read(9, 1, ASKED), read(11.3, 1)))) == {"late", "unseen"}
    assert broken(judged("near-cache", near(read(9, 1, ASKED), read(11.3, 1)), (9.5, 11.5))) == {"late"}


def test_in_a_fault_the_declared_end_counts_and_without_one_a_change_is_told() -> None:
    events = near(read(9, 1, ASKED), read(10.9, 1))
    assert judged("near-cache", events, (9.5, 11.0)).verdict is Verdict.TRUE
    assert broken(judged("near-cache", events)) == {"unseen"}


def test_what_the_server_itself_had_forgotten_is_not_held_against_the_memory() -> None:
    assert judged("near-cache", near(read(14, 1, ASKED), read(14.3, 1)), FAULT).verdict is Verdict.TRUE


def test_a_tier_that_spares_nothing_is_found() -> None:
    assert broken(judged("near-cache", near(*(read(2 + n / 10, 1, ASKED) for n in range(20))))) == {"requests"}


def test_an_answer_of_another_instance_renews_nothing() -> None:
    other = event("read", "a", 11.4, value=1, other=ASKED, actor=2)
    assert "late" in broken(judged("near-cache", near(read(9, 1, ASKED), other, read(11.5, 1))))


def test_a_tier_that_nobody_could_read_proves_nothing() -> None:
    assert judged("near-cache", near()).verdict is Verdict.UNKNOWN


KEY = CacheKey(command="GET", redis_keys=("a",), redis_args=("GET", "a"))


def remember(tier: Near) -> None:
    """As redis-py does it: once before it asks, once with the answer."""
    for status in (CacheEntryStatus.IN_PROGRESS, CacheEntryStatus.VALID):
        tier.set(CacheEntry(cache_key=KEY, cache_value=b"1", status=status, connection_ref=None))


@pytest.mark.parametrize(("tier", "kept"), [(Near(1.0), False), (EndlessNear(), True)], ids=["careful", "endless"])
def test_what_is_too_old_is_forgotten(tier: Near, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("applications.near.time.monotonic", lambda: now[0])
    remember(tier)
    now[0] += 0.9
    tier.let_go()
    assert tier.get(KEY) is not None
    now[0] += 0.2
    tier.let_go()
    assert (tier.get(KEY) is not None) == kept
    assert tier.asked == 1


class Answers:
    """A client that counts what it is asked."""

    def __init__(self) -> None:
        self.gets = 0

    def get(self, _key: str) -> int:
        self.gets += 1
        return self.gets

    def set(self, _key: str, _value: object) -> None:
        pass


def test_what_was_looked_up_a_moment_ago_is_not_looked_up_again_unless_it_was_changed_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("applications.near.time.monotonic", lambda: now[0])
    rows = NearRows(Answers(), Near(1.0))
    assert [rows.get("a"), rows.get("a")] == [1, 1]
    now[0] += 0.021
    assert rows.get("a") == 2
    rows.set("a", 7)
    assert rows.get("a") == 3


# --- Bloom filters ----------------------------------------------------------------------------------------------------------

ROWS = [event("row", "a", 1), event("row", "b", 2)]
END = [event("final", "a", 19), event("final", "b", 19)]


def test_rows_that_are_let_through_pass() -> None:
    assert judged("bloom", [*ROWS, event("denied", "a", 3), *END]).verdict is Verdict.TRUE


def test_a_row_that_exists_and_is_denied_is_found() -> None:
    events = [*ROWS, event("denied", "a", 9, value=1), *END]
    assert broken(judged("bloom", events)) == {"denied"}
    assert judged("bloom", events, FAULT).verdict is Verdict.TRUE
    assert broken(judged("bloom", events, FAULT, waits=True)) == {"denied"}


def test_a_row_that_is_not_there_yet_may_be_denied() -> None:
    assert broken(judged("bloom", [*ROWS, event("denied", "a", 0.5, value=1), event("denied", "b", 3), *END])) == set()


def test_a_row_that_is_denied_for_ever_is_found() -> None:
    assert broken(judged("bloom", [*ROWS, event("denied", "a", 3), END[0], event("final", "b", 19, value=1)])) == {
        "denied in the end"
    }


def test_a_filter_that_keeps_nothing_away_is_found() -> None:
    others = [event("other", f"x{n}", 3 + n / 100, value=int(n >= 10)) for n in range(200)]
    assert broken(judged("bloom", [*ROWS, event("denied", "a", 3), *others, *END])) == {"let through"}


def test_what_got_through_because_redis_did_not_answer_is_not_the_error_of_the_filter() -> None:
    others = [event("other", f"x{n}", 3 + n / 100, outcome="info") for n in range(200)]
    assert judged("bloom", [*ROWS, event("denied", "a", 3), *others, *END]).verdict is Verdict.TRUE


def test_a_filter_that_was_not_asked_proves_nothing() -> None:
    assert judged("bloom", ROWS).verdict is Verdict.UNKNOWN


class Bits:
    """A server with one bitmap, or one that does not answer."""

    def __init__(self, answers: bool = True) -> None:
        self.bits: set[int] = set()
        self.answers = answers

    def execute_command(self, word: str, _key: str, *rest: Any) -> list[int]:
        if not self.answers:
            raise redis.ConnectionError
        step = 4 if word == "BITFIELD" else 3
        places = [rest[at + 2] for at in range(0, len(rest), step) if rest[at] != "INCRBY"]
        if word == "BITFIELD":
            self.bits.update(places)
        return [int(place in self.bits) for place in places]


def test_what_was_added_is_never_denied_and_few_others_are_let_through() -> None:
    bloom = Bloom(Bits(), "f", expected=1000, error=0.01)
    bloom.rebuild(f"row-{n}" for n in range(1000))
    assert all(bloom.may_have(f"row-{n}") for n in range(1000))
    assert sum(bloom.may_have(f"never-{n}") for n in range(10_000)) / 10_000 < 0.02


def test_what_is_added_again_writes_all_the_same() -> None:
    class Server(Bits):
        def execute_command(self, word: str, _key: str, *rest: Any) -> list[int]:
            assert rest[-4:] == ("INCRBY", "u32", bloom.bits, 1)
            return super().execute_command(word, _key, *rest)

    bloom = Bloom(Server(), "f", expected=100)
    bloom.add("member")


def test_without_an_answer_everything_may_exist() -> None:
    assert Bloom(Bits(answers=False), "f", expected=10).may_have("a")


@pytest.mark.parametrize(("expected", "error"), [(0, 0.01), (10, 0.0), (10, 1.0), (10**10, 0.01)])
def test_a_filter_that_cannot_be_is_refused(expected: int, error: float) -> None:
    with pytest.raises(ValueError, match="filter"):
        Bloom(None, "f", expected, error)


def test_the_size_of_a_filter_is_that_of_the_formula() -> None:
    bloom = Bloom(None, "f", expected=1000, error=0.01)
    assert bloom.bits == math.ceil(9585.06)
    assert bloom.hashes == 7


# --- time series ------------------------------------------------------------------------------------------------------------

ADDED = [event("add", "s", 1, value=10), event("add", "s", 2, value=20), event("add", "s", 3, value=20)]


def points(*values: int) -> list[Event]:
    return [event("point", "s", 19, value=value) for value in values]


def test_measurements_that_are_there_once_pass() -> None:
    finding = judged("time-series", [*ADDED, *points(10, 20)])
    assert (finding.verdict, finding.sentence) == (Verdict.TRUE, "0 of 2 acknowledged measurements lost, 0 there twice")


def test_measurements_that_are_lost_twice_there_or_strange_are_found() -> None:
    assert broken(judged("time-series", [*ADDED, *points(10)])) == {"lost"}
    assert broken(judged("time-series", [*ADDED, *points(10, 20, 20)])) == {"twice"}
    assert broken(judged("time-series", [*ADDED, *points(10, 20, 30)])) == {"strange"}


def test_a_measurement_whose_end_nobody_knows_may_be_there_or_not() -> None:
    unknown = event("add", "s", 4, value=30, outcome="info")
    for found in (points(10, 20), points(10, 20, 30)):
        assert judged("time-series", [*ADDED, unknown, *found]).verdict is Verdict.TRUE


def test_measurements_that_could_not_be_read_prove_nothing() -> None:
    assert judged("time-series", ADDED).verdict is Verdict.UNKNOWN
