"""The plan of slot moves: never more than the lower bound, every slot owned once, destinations final; and what a plan costs."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.errors import InvalidInput
from operations.parse import SLOT_COUNT
from operations.reshard.plan import (
    BY_KEYS,
    TOLERANCE,
    Headroom,
    Move,
    Size,
    estimated_seconds,
    fewest_moves,
    memory_problems,
    moves_to,
    plan_moves,
    ranges_of,
    slots_in,
    total,
)

EQUAL = ((0, 5460), (5461, 10921), (10922, 16383))


def owners_of(*ranges: tuple[int, int]) -> dict[int, str]:
    return {slot: f"n{i}" for i, (first, last) in enumerate(ranges) for slot in range(first, last + 1)}


def after(owners: dict[int, str], moves: tuple[Move, ...]) -> dict[int, str]:
    """The placement after the moves; each slot moves at most once, and from the one who has it."""
    moved = [slot for move in moves for slot in move.slots]
    assert len(moved) == len(set(moved)), "a slot moves twice"
    for move in moves:
        assert move.source != move.target
        assert all(owners[slot] == move.source for slot in move.slots)
    return owners | {slot: move.target for move in moves for slot in move.slots}


def counts(owners: dict[int, str]) -> dict[str, int]:
    return {name: list(owners.values()).count(name) for name in set(owners.values())}


def fewest_by_search(have: list[int], weights: list[float]) -> int:
    """The lower bound again, by trying every way of rounding."""
    whole = sum(weights)
    shares = [SLOT_COUNT * w / whole for w in weights]
    best = SLOT_COUNT
    for mask in range(1 << len(have)):
        wanted = [int(s) + (mask >> i & 1) for i, s in enumerate(shares)]
        legal = all(wanted[i] == int(s) or s != int(s) for i, s in enumerate(shares))
        if legal and sum(wanted) == SLOT_COUNT:
            best = min(best, sum(max(0, h - w) for h, w in zip(have, wanted, strict=True)))
    return best


@st.composite
def clusters(draw: st.DrawFn) -> tuple[dict[int, str], dict[str, float]]:
    """Any placement in runs over up to six shards, and whole weights of which one at least is above 0."""
    names = [f"n{i}" for i in range(draw(st.integers(1, 6)))]
    cuts = sorted(draw(st.lists(st.integers(1, SLOT_COUNT - 1), max_size=40, unique=True)))
    bounds = [0, *cuts, SLOT_COUNT]
    owners = {
        slot: owner for first, end in pairwise(bounds) for owner in [draw(st.sampled_from(names))] for slot in range(first, end)
    }
    weights = {name: float(draw(st.integers(0, 8))) for name in names}
    if not any(weights.values()):
        weights[names[0]] = 1.0
    return owners, weights


@settings(max_examples=150, deadline=None)
@given(clusters())
def test_a_plan_never_moves_more_slots_than_the_lower_bound_and_serves_every_slot_once(
    case: tuple[dict[int, str], dict[str, float]],
) -> None:
    owners, weights = case
    moves = plan_moves(owners, weights)
    placed = after(owners, moves)
    assert set(placed) == set(range(SLOT_COUNT))
    have, whole = counts(placed), sum(weights.values())
    for name, weight in weights.items():
        assert abs(have.get(name, 0) - SLOT_COUNT * weight / whole) < 1
    moved = sum(len(move.slots) for move in moves)
    assert moved == fewest_moves(owners, weights)
    assert moved == fewest_by_search([counts(owners).get(name, 0) for name in weights], list(weights.values()))
    assert plan_moves(placed, weights) == (), "a plan that was carried out leaves nothing to move"


@settings(max_examples=50, deadline=None)
@given(clusters(), st.integers(0, 2**32))
def test_a_rebalance_by_bytes_moves_no_slot_twice_and_empties_whoever_has_no_weight(
    case: tuple[dict[int, str], dict[str, float]], seed: int
) -> None:
    owners, weights = case
    dice = random.Random(seed)  # noqa: S311
    sizes = {slot: Size(1, dice.randint(0, 1000)) for slot in owners}
    placed = after(owners, plan_moves(owners, weights, "bytes", sizes))
    assert set(placed) == set(range(SLOT_COUNT))
    assert all(weights[name] > 0 for name in set(placed.values()))


def test_three_shards_become_five_with_the_fewest_moves_and_three_again() -> None:
    owners = owners_of(*EQUAL)
    five = dict.fromkeys(("n0", "n1", "n2", "n3", "n4"), 1.0)
    moves = plan_moves(owners, five)
    placed = after(owners, moves)
    assert sorted(counts(placed).values()) == [3276, 3277, 3277, 3277, 3277]
    assert {move.target for move in moves} == {"n3", "n4"}
    assert sum(len(move.slots) for move in moves) == 2 * 3277 - 1 == fewest_moves(owners, five)
    again = after(placed, plan_moves(placed, five | {"n3": 0.0, "n4": 0.0}))
    assert set(again.values()) == {"n0", "n1", "n2"}


def test_what_is_already_shared_out_moves_nothing() -> None:
    assert plan_moves(owners_of(*EQUAL), dict.fromkeys(("n0", "n1", "n2"), 1.0)) == ()


def test_a_rebalance_by_bytes_takes_few_heavy_slots_instead_of_many_light_ones() -> None:
    owners = owners_of((0, 8191), (8192, 16383))
    sizes = {slot: Size(1, 10) for slot in owners} | {slot: Size(1, 50_000) for slot in range(10)}
    moves = plan_moves(owners, {"n0": 1.0, "n1": 1.0}, "bytes", sizes)
    assert [(m.source, m.target, len(m.slots)) for m in moves] == [("n0", "n1", 5)]
    placed = after(owners, moves)
    load = {name: sum(sizes[s].bytes for s, at in placed.items() if at == name) for name in ("n0", "n1")}
    assert abs(load["n0"] - load["n1"]) <= 2 * TOLERANCE * sum(load.values()) / 2


def test_a_rebalance_by_keys_leaves_balanced_shards_alone() -> None:
    owners = owners_of(*EQUAL)
    sizes = {slot: Size(3, 100) for slot in owners}
    assert plan_moves(owners, dict.fromkeys(("n0", "n1", "n2"), 1.0), "keys", sizes) == ()


@pytest.mark.parametrize(
    ("owners", "weights", "says"),
    [
        (owners_of((0, 100)), {"n0": 1.0}, "have no owner"),
        (owners_of((0, 16383)), {"n1": 1.0}, "n0 own slots but have no weight"),
        (owners_of((0, 16383)), {"n0": 0.0}, "all weights are 0"),
        (owners_of((0, 16383)), {"n0": -1.0}, "n0=-1"),
    ],
)
def test_a_goal_that_cannot_be_reached_is_refused_in_words(owners: dict[int, str], weights: dict[str, float], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        plan_moves(owners, weights)


def test_a_placement_is_reached_by_moving_only_what_is_elsewhere() -> None:
    owners = owners_of((0, 8191), (8192, 16383))
    assert moves_to(owners, {1: "n1", 2: "n0", 9000: "n0"}) == (Move("n0", "n1", (1,)), Move("n1", "n0", (9000,)))


def test_a_target_without_room_is_a_problem_that_says_how_much_is_missing() -> None:
    moves = [Move("n0", "n1", (1, 2))]
    sizes = {1: Size(1, 60_000_000), 2: Size(1, 40_000_000)}
    assert memory_problems(moves, sizes, {"n1": Headroom(100_000_000, 300_000_000)}) == ()
    assert memory_problems(moves, sizes, {"n1": Headroom(10**9, 0)}) == ()
    (problem,) = memory_problems(moves, sizes, {"n1": Headroom(100_000_000, 205_000_000)})
    assert "n1 would hold 200.0 MB of 205.0 MB" in problem


def test_the_busiest_node_decides_how_long_a_move_is_thought_to_take() -> None:
    sizes = {slot: Size(1000, 1000) for slot in range(4)}
    apart = [Move("n0", "n1", (0,)), Move("n2", "n3", (1,))]
    together = [Move("n0", "n1", (0,)), Move("n2", "n1", (1,))]
    assert estimated_seconds(together, sizes, BY_KEYS) == pytest.approx(2 * estimated_seconds(apart, sizes, BY_KEYS))
    assert estimated_seconds([], sizes, BY_KEYS) == 0
    assert total(apart, sizes) == Size(2000, 2000)


def test_ranges_and_single_slots_are_the_same_thing_written_twice() -> None:
    assert ranges_of((5, 7, 6, 9)) == ((5, 7), (9, 9))
    assert slots_in([[9, 9], [5, 7]]) == (5, 6, 7, 9)
