"""The rate at which snapshots are read: even, shared by all shards, and never made good for in a burst."""

import pytest

from operations.backup.pace import CATCH_UP_SECONDS, LEAST_BYTES, PORTION_SECONDS, Pace
from operations.sizes import MIB


class Clock:
    """A clock that only moves when somebody sleeps, or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pace(clock: Clock, rate: int = 40 * MIB) -> Pace:
    return Pace(rate, clock.read, clock.sleep)


def test_a_reader_takes_as_long_as_the_rate_says(clock: Clock) -> None:
    kept = pace(clock)
    for _ in range(1000):
        kept.took(kept.portion_bytes)
    seconds = 1000 * kept.portion_bytes / kept.bytes_per_second
    assert clock.now - 100 == pytest.approx(seconds, abs=CATCH_UP_SECONDS + PORTION_SECONDS)


def test_a_portion_lasts_some_milliseconds_and_is_no_smaller_than_what_a_server_hands_on(clock: Clock) -> None:
    assert pace(clock).portion_bytes == int(40 * MIB * PORTION_SECONDS)
    assert pace(clock, MIB).portion_bytes == LEAST_BYTES


def test_work_between_the_portions_is_part_of_the_time(clock: Clock) -> None:
    kept = pace(clock)
    for _ in range(1000):
        kept.took(kept.portion_bytes)
        clock.now += PORTION_SECONDS / 2
    assert clock.now - 100 == pytest.approx(1000 * PORTION_SECONDS, rel=0.02)


def test_a_reader_who_stood_still_does_not_make_good_for_all_of_it(clock: Clock) -> None:
    kept = pace(clock)
    kept.took(kept.portion_bytes)
    clock.now += 60
    began, portions = clock.now, 0
    while clock.now == began:
        kept.took(kept.portion_bytes)
        portions += 1
    assert portions <= CATCH_UP_SECONDS / PORTION_SECONDS + 1


def test_two_readers_share_one_rate(clock: Clock) -> None:
    kept = pace(clock)
    for _ in range(500):
        kept.took(kept.portion_bytes)  # one shard
        kept.took(kept.portion_bytes)  # another
    assert clock.now - 100 == pytest.approx(1000 * PORTION_SECONDS, rel=0.02)
