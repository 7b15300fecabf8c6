"""How bursts are cut, how a source rests, and how both follow what was measured."""

import pytest

from operations.reshard.pace import IN_FLIGHT, LEAST_SHARE, WINDOW, Gate, Limits, Pace

LIMITS = Limits(stall_seconds=0.005)


def burst(gate: Gate, began: float, ended: float, moved_bytes: int = 1000, share: float = 1.0) -> float:
    return gate.learn(0.002, began, ended, moved_bytes, share)


def test_bursts_follow_slow_ones_at_once_and_quick_ones_slowly() -> None:
    gate, most = Gate(LIMITS), LIMITS.stall_seconds / IN_FLIGHT
    assert gate.admits(most)
    assert not gate.admits(1.02 * most)
    burst(gate, 0.0, 0.008)
    assert not gate.admits(most / 2), "the last burst took four times what was estimated"
    for number in range(1, 21):
        burst(gate, number, number + 0.002)
    assert gate.admits(most * 0.6)
    assert not gate.admits(most), "one quick burst after the other has not made up for it yet"


def test_a_burst_counts_from_the_end_of_the_one_before_it() -> None:
    gate = Gate(LIMITS)
    assert burst(gate, 0.000, 0.002) == pytest.approx(0.002)
    assert burst(gate, 0.001, 0.004) == pytest.approx(0.002), "the source was busy with the first until 0.002"
    assert burst(gate, 0.010, 0.013) == pytest.approx(0.003), "it was idle before"


def test_a_source_rests_for_its_share_and_for_its_rate() -> None:
    free, half, limited = Gate(LIMITS), Gate(LIMITS), Gate(Limits(bytes_per_second=10_000_000))
    burst(free, 0.0, 0.004)
    assert free.wait(0.004) == 0.0
    burst(half, 0.0, 0.004, share=0.5)
    assert half.wait(0.004) == pytest.approx(0.004)
    burst(half, 0.002, 0.008, share=0.5)
    assert half.wait(0.008) == pytest.approx(0.008), "the one that was under way meanwhile has to be paid too"
    assert half.wait(1.0) == 0.0
    burst(limited, 0.0, 0.004, moved_bytes=1_000_000, share=0.5)
    assert limited.wait(0.004) == pytest.approx(0.096)
    burst(limited, 0.1, 0.104, moved_bytes=1000, share=0.5)
    assert limited.wait(0.104) == pytest.approx(0.004), "the rate is kept already"


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
