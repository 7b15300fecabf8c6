"""Unavailability windows and split-brain, by hand and against brute force."""

import random
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drills.checkers.base import Check, Verdict, run
from drills.checkers.split_brain import SplitBrain
from drills.checkers.stalls import Stalls
from drills.checkers.window import ShardWindow, Windows
from drills.records import Lane, Stall
from drills.synthetic import Failover, Story, failover
from drills.timeline import BUCKET, Line, Outage


def windows_of(story: Story) -> tuple[ShardWindow, ...]:
    fold = Windows()
    run(story.records, [fold])
    return fold.windows()


def steady(story: Story, lane: int, start: float, end: float, node: str = "node-1-1", step: float = 0.01) -> None:
    """Acknowledged writes every `step` seconds."""
    for number in range(round((end - start) / step)):
        story.write(lane, start + number * step, node=node)


def crash(refused_from: float = 2.0, back: float | None = 6.0) -> Story:
    """Fault at 2.0; refused every 0.1 s from `refused_from`; writable again at `back`."""
    story = Story()
    lane = story.lane(1)
    steady(story, lane, 0, 2)
    story.fault(2.0)
    for number in range(round(((back or 8.0) - refused_from) * 10)):
        story.write(lane, refused_from + number / 10, "fail", took=0.05)
    if back is not None:
        steady(story, lane, back, 8, node="node-1-2")
    return story


# --- windows ------------------------------------------------------------------------------------------------------------


def test_the_window_runs_from_the_first_refused_to_the_next_acknowledged_write() -> None:
    (window,) = windows_of(crash(2.0, 6.0))
    assert window.unavailable == pytest.approx(4.001)
    assert window.hit
    assert window.recovered
    assert len(window.outages) == 1
    assert window.longest_gap == pytest.approx(6.001 - 1.991)


def test_a_shard_that_never_accepts_writes_again_has_not_recovered() -> None:
    story = crash(2.0, None)
    fold = Windows()
    run(story.records, [fold])
    (window,) = fold.windows()
    assert not window.recovered
    assert window.unavailable == pytest.approx(5.95, abs=0.11)
    assert fold.check().verdict is Verdict.FALSE
    assert fold.check().summary == "shard 1 still refused writes when the load ended"


def test_a_shard_that_refused_nothing_has_no_window_but_its_longest_gap_is_known() -> None:
    story = Story()
    lane = story.lane(2)
    steady(story, lane, 0, 2)
    story.fault(2.0, shards=[1])
    steady(story, lane, 2.2, 4)
    (window,) = windows_of(story)
    assert not window.hit
    assert window.unavailable == 0
    assert window.longest_gap == pytest.approx(0.21, abs=0.002)


def test_a_refused_write_among_acknowledged_ones_is_no_outage() -> None:
    story = Story()
    one, other = story.lane(1), story.lane(1)
    steady(story, one, 0, 2, step=0.005)
    story.fault(1.0)
    story.write(other, 1.1, "fail", took=0.3)
    (window,) = windows_of(story)
    assert window.unavailable == 0
    assert window.refused == 1


def test_several_outages_add_up() -> None:
    story = Story()
    lane = story.lane(1)
    story.fault(0.5)
    for start, end in ((0, 1), (2, 3), (3.5, 5)):
        steady(story, lane, start, end)
        story.write(lane, end, "fail")
    steady(story, lane, 6, 7)
    (window,) = windows_of(story)
    assert len(window.outages) == 3
    assert window.unavailable == pytest.approx(1.001 + 0.501 + 1.001, abs=0.005)


def test_clients_that_are_cut_off_do_not_hide_the_outage_of_the_others() -> None:
    story = crash()
    inside = story.lane(1, side="cut-off")
    steady(story, inside, 0, 8)
    main, cut_off = sorted(windows_of(story), key=lambda window: window.side == "cut-off")
    assert main.unavailable == pytest.approx(4.001)
    assert cut_off.unavailable == 0


def test_writes_that_could_not_even_be_sent_count_as_refused() -> None:
    story = Story()
    lane = story.lane(1)
    steady(story, lane, 0, 1)
    story.fault(1.0)
    story.shed(lane, 200, 1.2, 3.0)
    steady(story, lane, 3.0, 4)
    (window,) = windows_of(story)
    assert window.shed == 200
    assert window.unavailable == pytest.approx(1.801)


def test_the_slowest_client_is_reported_besides_the_first_that_got_through() -> None:
    story = crash(2.0, 6.0)
    late = story.lane(1)
    story.write(late, 2.5, "info", took=0.5)
    story.write(late, 7.0)
    (window,) = windows_of(story)
    assert window.unavailable == pytest.approx(4.001)
    assert window.slowest_client == pytest.approx(4.501)


def test_the_window_is_split_by_the_role_changes() -> None:
    story = crash(2.0, 6.0)
    story.role(4.5, "node-1-1", "failed", seen_by="node-2-1")
    story.role(4.6, "node-1-1", "failed", seen_by="node-3-1")
    story.role(5.5, "node-1-2", "primary")
    (window,) = windows_of(story)
    split = window.split
    assert split.detection == pytest.approx(2.5)
    assert split.election == pytest.approx(1.0)
    assert split.client_recovery == pytest.approx(0.501)


def test_a_promotion_that_was_polled_after_the_first_write_costs_the_clients_nothing() -> None:
    story = crash(2.0, 6.0)
    story.role(4.5, "node-1-1", "failed", seen_by="node-2-1")
    story.role(6.03, "node-1-2", "primary")
    (window,) = windows_of(story)
    assert window.split.client_recovery == 0
    assert window.split.election == pytest.approx(1.501)


def test_without_role_changes_the_split_is_unknown() -> None:
    (window,) = windows_of(crash())
    assert window.split.detection is window.split.election is window.split.client_recovery is None


def test_an_outage_before_the_fault_means_that_the_state_was_not_steady() -> None:
    story = Story()
    lane = story.lane(1)
    steady(story, lane, 0, 1)
    story.write(lane, 1.0, "fail", took=0.4)
    steady(story, lane, 1.5, 2)
    story.fault(2.0)
    fold = Windows()
    run(story.records, [fold])
    check = fold.check_steady()
    assert check.verdict is Verdict.UNKNOWN
    assert check.summary.startswith("shard 1 refused writes for 0.501 s before the fault")


def test_a_steady_state_before_the_fault_is_confirmed() -> None:
    fold = Windows()
    run(crash().records, [fold])
    assert fold.check_steady().verdict is Verdict.TRUE


@pytest.mark.parametrize("outcome", ["fail", "info"])
def test_no_acknowledged_write_at_all_means_that_no_window_can_be_measured(outcome: str) -> None:
    story = Story()
    lane = story.lane(1)
    story.fault(0.5)
    story.write(lane, 1, outcome)  # type: ignore[arg-type]
    fold = Windows()
    run(story.records, [fold])
    assert fold.check().verdict is Verdict.UNKNOWN


def test_a_made_up_failover_is_measured_as_it_was_made() -> None:
    rule = Failover(rate=50, clients_per_shard=8, detection=2.0, election=0.8, recovery=0.2)
    windows = windows_of(failover(rule))
    hit = next(window for window in windows if window.hit)
    assert hit.unavailable == pytest.approx(3.0, abs=0.1)
    assert hit.split.detection == pytest.approx(2.0, abs=0.05)
    assert hit.split.election == pytest.approx(0.8, abs=0.01)
    assert all(window.unavailable == 0 for window in windows if not window.hit)


times = st.integers(0, 200).map(lambda tenth: tenth * BUCKET // 3)
"""A third of a bucket apart, so that edges of buckets are hit."""


def brute_force(acknowledged: list[int], refused: list[tuple[int, int]]) -> list[tuple[int, int | None]]:
    """Outages as the definition says them, over sorted lists."""
    if not refused:
        return []
    ends = sorted(set(acknowledged))
    first = min(start for start, _ in refused)
    latest = max([*ends, *(end for _, end in refused)])
    if not ends:
        return [(first, None)] if latest - first >= BUCKET else []
    gaps: list[tuple[int, int]] = [(low, high) for low, high in pairwise(ends) if high - low >= BUCKET]
    if first < ends[0]:
        gaps.insert(0, (first, ends[0]))
    gaps.append((ends[-1], latest + 1))
    starts: dict[tuple[int, int], list[int]] = {}
    for start, end in refused:
        touched = [gap for gap in gaps if start < gap[1] and end > gap[0]]
        if touched:
            starts.setdefault(max(touched, key=lambda gap: gap[1] - gap[0]), []).append(start)
    found: list[tuple[int, int | None]] = []
    for gap in sorted(starts):
        begun = max(gap[0], min(starts[gap]))
        if gap != gaps[-1]:
            found.append((begun, gap[1]))
        elif latest - begun >= BUCKET:
            found.append((begun, None))
    return found


@given(st.lists(times, max_size=25), st.lists(st.tuples(times, st.integers(1, 5)), max_size=8), st.randoms())
def test_outages_are_those_of_the_definition_whatever_the_order_of_arrival(
    acknowledged: list[int], tries: list[tuple[int, int]], shuffle: random.Random
) -> None:
    refused = [(start, start + length * BUCKET // 2) for start, length in tries]
    line = Line()
    for end in sorted(acknowledged, key=lambda _: shuffle.random()):
        line.acknowledge(end)
    for start, end in refused:
        line.refuse(start, end)
    assert [(outage.start, outage.end) for outage in line.outages()] == brute_force(acknowledged, refused)
    assert sum(outage.refused for outage in line.outages()) <= len(refused)


@given(st.lists(times, min_size=1, max_size=40))
def test_every_gap_of_ten_milliseconds_is_known_exactly(acknowledged: list[int]) -> None:
    line = Line()
    for end in acknowledged:
        line.acknowledge(end)
    ends = sorted(set(acknowledged))
    assert list(line.gaps()) == [(low, high) for low, high in pairwise(ends) if high - low >= BUCKET]
    assert line.span() == (ends[0], ends[-1])


def test_memory_for_acknowledgements_grows_with_time_and_not_with_their_number() -> None:
    line = Line()
    for number in range(200_000):
        line.acknowledge(number * 1000)
    assert line.acknowledged == 200_000
    assert sys.getsizeof(line._first) < 70_000


def test_an_outage_that_never_ended_lasts_until_the_observation_did() -> None:
    assert Outage(1_000_000_000, None, 1).seconds(3_000_000_000) == pytest.approx(2.0)
    assert Outage(1_000_000_000, 1_500_000_000, 1).seconds(3_000_000_000) == pytest.approx(0.5)


# --- split-brain --------------------------------------------------------------------------------------------------------


def split_brain(story: Story, slots_move: bool = False) -> tuple[Check, SplitBrain]:
    fold = SplitBrain(slots_move=slots_move)
    run(story.records, [fold])
    return fold.check(), fold


def test_a_failover_without_overlap_is_no_split_brain() -> None:
    assert split_brain(crash())[0].verdict is Verdict.TRUE


def test_a_switchover_there_and_back_is_no_split_brain() -> None:
    story = Story()
    lane = story.lane(1)
    steady(story, lane, 0, 2, "node-1-1")
    steady(story, lane, 2.02, 5, "node-1-2")
    steady(story, lane, 5.02, 7, "node-1-1")
    assert split_brain(story)[0].verdict is Verdict.TRUE


def test_while_slots_move_two_nodes_may_serve_a_shard_but_not_a_slot() -> None:
    story = Story()
    moved, stayed = story.lane(1), story.lane(1)
    story.records[:] = [r._replace(slot=r.lane + 100) if isinstance(r, Lane) else r for r in story.records]
    steady(story, moved, 0, 2, "node-1-1")
    steady(story, moved, 2.1, 6, "node-2-1")
    steady(story, stayed, 0, 6, "node-1-1")
    assert split_brain(story)[0].verdict is Verdict.FALSE
    assert split_brain(story, slots_move=True)[0].verdict is Verdict.TRUE
    steady(story, moved, 3, 4, "node-1-1")
    check, _ = split_brain(story, slots_move=True)
    assert (check.verdict, check.summary.partition(" for ")[0]) == (
        Verdict.FALSE,
        f"node-1-1 and node-2-1 both acknowledged writes of slot {moved + 100}",
    )


def test_two_nodes_that_acknowledge_at_the_same_time_are_found_with_interval_and_writes() -> None:
    story = Story()
    main, cut_off = story.lane(1), story.lane(1, side="cut-off")
    steady(story, main, 0, 2, "node-1-1")
    steady(story, cut_off, 0.05, 6, "node-1-1", step=0.1)
    steady(story, main, 4, 8, "node-1-2")
    check, fold = split_brain(story)
    assert check.verdict is Verdict.FALSE
    assert fold.seconds == pytest.approx(1.95)
    assert fold.writes == {"node-1-1": 20, "node-1-2": 196}
    assert check.summary == "node-1-1 and node-1-2 both acknowledged writes of shard 1 for 1.950 s"


def test_two_primaries_of_different_shards_are_as_it_should_be() -> None:
    story = Story()
    one, two = story.lane(1), story.lane(2)
    steady(story, one, 0, 2, "node-1-1")
    steady(story, two, 0, 2, "node-2-1")
    assert split_brain(story)[0].verdict is Verdict.TRUE


def test_refused_writes_to_the_old_primary_are_no_split_brain() -> None:
    story = crash()
    inside = story.lane(1, side="cut-off")
    for number in range(40):
        story.write(inside, 6 + number * 0.01, "fail", "node-1-1", error="noreplicas")
    assert split_brain(story)[0].verdict is Verdict.TRUE


def test_one_late_acknowledgement_by_the_old_primary_is_split_brain() -> None:
    story = Story()
    lane, other = story.lane(1), story.lane(1)
    steady(story, lane, 0, 2, "node-1-1")
    story.write(other, 2.5, node="node-1-1")
    steady(story, lane, 2.1, 4, "node-1-2")
    check, fold = split_brain(story)
    assert check.verdict is Verdict.FALSE
    assert fold.writes["node-1-1"] >= 1


def test_without_the_names_of_nodes_split_brain_is_unknown() -> None:
    story = Story()
    story.write(story.lane(1), 1, node=None)
    assert split_brain(story)[0].verdict is Verdict.UNKNOWN


def test_a_made_up_split_brain_is_measured_as_it_was_made() -> None:
    rule = Failover(rate=50, detection=1.0, election=0.5, recovery=0.1, split_brain=5.0)
    _, fold = split_brain(failover(rule))
    assert fold.seconds == pytest.approx(3.4, abs=0.1)


# --- a machine that stands still -----------------------------------------------------------------------------------------


def test_stalls_of_several_processes_are_counted_once() -> None:
    fold = Stalls()
    run([Stall(100, 300, "watcher"), Stall(900, 1000, "clients"), Stall(200, 400, "clients")], [fold])
    assert fold.seconds(0, 2000) * 1e9 == pytest.approx(400)
    assert fold.seconds(250, 950) * 1e9 == pytest.approx(200)
    assert fold.seconds(400, 900) == 0.0
    assert fold.share(0, 1000) == pytest.approx(0.4)


def test_without_stalls_there_is_no_excuse() -> None:
    assert Stalls().seconds(0, 1_000_000_000) == 0.0
    assert Stalls().share(5, None) is None
