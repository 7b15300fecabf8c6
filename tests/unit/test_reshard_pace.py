"""How bursts are cut, how a source rests, and how both follow what was measured."""

import pytest

from operations.reshard.pace import LEAST_SHARE, WINDOW, Gate, Limits, Pace

LIMITS = Limits(stall_seconds=0.005)


def test_bursts_follow_slow_ones_at_once_and_quick_ones_slowly() -> None:
    gate = Gate(LIMITS)
    assert gate.admits(0.005)
    assert not gate.admits(0.0051)
    gate.learn(0.005, 0.02)
    assert not gate.admits(0.0025), "the last burst took four times what was estimated"
    for _ in range(20):
        gate.learn(0.002, 0.002)
    assert gate.admits(0.003)
    assert not gate.admits(0.005), "one quick burst after the other has not made up for it yet"


def test_a_source_rests_for_its_share_and_for_its_rate() -> None:
    assert Gate(LIMITS).rest(0.004, 1_000_000, 1.0) == 0
    assert Gate(LIMITS).rest(0.004, 1_000_000, 0.5) == pytest.approx(0.004)
    limited = Gate(Limits(bytes_per_second=10_000_000))
    assert limited.rest(0.004, 1_000_000, 1.0) == pytest.approx(0.096)
    assert limited.rest(0.004, 1_000, 0.5) == pytest.approx(0.004), "the rate is kept already"


def test_moving_takes_less_of_the_time_while_clients_wait_and_all_of_it_when_they_do_not() -> None:
    pace = Pace(LIMITS)
    for _ in range(WINDOW):
        pace.saw(0.001)
    assert pace.share == 1.0
    for _ in range(WINDOW):
        pace.saw(0.02)
    assert pace.share < 0.75
    for _ in range(100 * WINDOW):
        pace.saw(0.02)
    assert pace.share == LEAST_SHARE, "a busy machine makes moves slow, it does not stop them"
    for _ in range(100 * WINDOW):
        pace.saw(0.001)
    assert pace.share == 1.0


def test_waits_that_are_usual_on_that_machine_are_no_reason_to_slow_down() -> None:
    pace = Pace(LIMITS)
    pace.expect(0.02)
    for _ in range(10 * WINDOW):
        pace.saw(0.03)
    assert pace.share == 1.0
    for _ in range(WINDOW):
        pace.saw(0.05)
    assert pace.share < 1.0


def test_a_few_long_waits_are_no_reason_to_slow_down() -> None:
    pace = Pace(LIMITS)
    for number in range(20 * WINDOW):
        pace.saw(0.05 if number % 20 == 0 else 0.001)
    assert pace.share == 1.0
