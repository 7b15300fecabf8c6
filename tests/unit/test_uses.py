"""Workloads by name, how their events are collected, and what an incomplete record means."""

import pytest

from drills.checkers.base import Verdict
from drills.records import Event, Fault, Phase, Role, RoleWord, Tally
from drills.synthetic import ns
from drills.uses.base import Facts, lost
from drills.uses.catalogue import CAREFUL, CARELESS, USES, chosen, misfit_of
from drills.uses.fold import Uses
from drills.workload.uses.repertoire import REPERTOIRE
from operations.errors import UsageError
from operations.inventory import Engine
from tests.unit.states import inventory_of

STACK = inventory_of("cluster")
SENTINEL = inventory_of("sentinel")
VALKEY = STACK.model_copy(update={"engine": Engine(name="valkey", version="9.1.2", image="i", image_id="i")})


def test_every_workload_can_be_played_and_judged() -> None:
    assert set(REPERTOIRE) == set(USES)


def test_every_careless_workload_is_the_twin_of_a_careful_one() -> None:
    assert {USES[name].twin for name in CARELESS} <= set(CAREFUL)


def test_workloads_are_chosen_by_name_and_by_group_each_once() -> None:
    assert chosen("lock, lock", STACK) == (("lock",), ())
    assert chosen("all", STACK) == (CAREFUL, ())
    assert chosen("lock,all", STACK) == (CAREFUL, ())
    assert chosen("careless", SENTINEL) == (CARELESS, ())


def test_what_a_stack_cannot_carry_is_left_out_of_a_group_and_refused_by_name() -> None:
    names, left_out = chosen("all", VALKEY)
    assert set(CAREFUL) - set(names) == {"near-cache"}
    (sentence,) = left_out
    assert "near-cache was left out: the client-side cache of redis-py works with Redis from 7.4 on" in sentence
    assert misfit_of(names, VALKEY) is None
    assert misfit_of(chosen("near-cache", VALKEY)[0], VALKEY) is not None
    assert misfit_of(CAREFUL, STACK) is None


def test_a_workload_whose_keys_have_no_slot_in_common_is_refused_by_a_cluster_alone() -> None:
    names, left_out = chosen("careless", STACK)
    assert set(CARELESS) - set(names) == {"leaderboard-total"}
    assert "Workload leaderboard-total was left out: a cluster takes several keys in one step only where" in left_out[0]
    refusal = misfit_of(("leaderboard", "leaderboard-total"), STACK)
    assert refusal is not None
    assert "board:{chess} in slot 2170, board:total in slot 11265" in refusal and "give all one {hash tag}" in refusal
    assert misfit_of(CARELESS, SENTINEL) is None


@pytest.mark.parametrize("words", ["", " , ", "lokc", "lock,nothing"])
def test_a_workload_that_does_not_exist_is_refused_with_those_that_do(words: str) -> None:
    with pytest.raises(UsageError, match="there are lock"):
        chosen(words, STACK)


def fold_of(*records: Event | Tally | Fault | Phase | Role, sides: int = 1) -> Uses:
    fold = Uses(["lock"], sides)
    for record in records:
        fold.see(record)
    return fold


HOLD = Event("lock", 1, "hold", "a", 1, 0, ns(1), ns(2), "ok")
OTHER = Event("lock", 2, "hold", "a", 1, 0, ns(1.5), ns(3), "ok")


def test_events_that_are_all_there_are_judged() -> None:
    (finding,) = fold_of(HOLD, Tally(ns(4), "lock", 1), Phase(ns(3), "stop")).findings(0.0, False, ns(1))
    assert (finding.use, finding.verdict) == ("lock", Verdict.TRUE)
    assert finding.drawing["ok"] == [1]
    assert finding.drawing["start"] == 0


@pytest.mark.parametrize("tallies", [[], [2], [1, 0]], ids=["none", "too many", "of another process"])
def test_a_record_that_is_not_complete_never_passes(tallies: list[int]) -> None:
    (finding,) = fold_of(HOLD, *(Tally(ns(4), "lock", count) for count in tallies)).findings(0.0, False, 0)
    assert finding.verdict is Verdict.UNKNOWN
    assert "not complete" in finding.details[0]


def test_what_an_incomplete_record_shows_to_be_broken_is_broken() -> None:
    (finding,) = fold_of(HOLD, OTHER).findings(0.0, False, 0)
    assert finding.verdict is Verdict.FALSE


def test_what_was_not_read_back_is_not_lost() -> None:
    put = Event("queue", 1, "put", "job", 0, 0, ns(1), ns(2), "ok")
    for tallies, verdict in (((Tally(ns(4), "queue", 1),), Verdict.FALSE), ((), Verdict.UNKNOWN)):
        fold = Uses(["queue"])
        for record in (put, *tallies):
            fold.see(record)
        (finding,) = fold.findings(0.0, False, 0)
        assert finding.verdict is verdict


def test_events_of_both_sides_are_judged_together() -> None:
    fold = fold_of(HOLD, OTHER, Tally(0, "lock", 1), Tally(0, "lock", 1), sides=2)
    assert fold.findings(0.0, False, 0)[0].figures["overlaps"] == 1


def test_a_fault_lasts_from_its_begin_to_the_end_of_its_healing() -> None:
    inject = Fault(ns(0.5), ns(0.6), "kill", "crash", "inject", ("node",), (1,))
    fold = fold_of(HOLD, OTHER, Tally(0, "lock", 2), inject, inject._replace(at=ns(4), until=ns(5), stage="healed"))
    assert fold.findings(0.0, False, 0)[0].verdict is Verdict.TRUE


def role(at: float, node: str, word: RoleWord, by: str | None = None) -> Role:
    return Role(ns(at), node, 1, word, by or node)


INJECT = Fault(ns(0.2), ns(0.3), "cut", "isolate", "inject", ("old",), (1,))
HEALED = INJECT._replace(at=ns(0.5), until=ns(0.6), stage="healed")


@pytest.mark.parametrize(
    ("roles", "verdict"),
    [
        ([role(0.1, "old", "primary"), role(0.4, "new", "primary"), role(9, "old", "replica")], "true"),
        ([role(0.1, "old", "primary"), role(0.4, "new", "primary")], "true"),
        ([role(0.1, "old", "primary"), role(0.4, "new", "primary"), role(0.9, "old", "replica")], "false"),
        ([role(0.1, "old", "primary"), role(0.4, "old", "replica"), role(0.5, "new", "primary")], "false"),
        ([role(0.1, "old", "primary"), role(0.4, "new", "primary", by="sentinel")], "false"),
        ([role(0.1, "old", "primary"), role(0.9, "new", "primary"), role(9, "old", "replica")], "false"),
    ],
    ids=["two until 9 s", "two to the end", "two until 0.9 s", "one after the other", "told by another", "after the healing"],
)
def test_a_fault_lasts_as_long_as_two_nodes_of_a_shard_say_that_they_are_primary(roles: list[Role], verdict: str) -> None:
    held = (HOLD._replace(start=ns(8), end=ns(9)), OTHER._replace(start=ns(8.5), end=ns(10)))
    fold = fold_of(*held, Tally(0, "lock", 2), INJECT, HEALED, *roles)
    assert fold.findings(0.0, False, 0)[0].verdict == verdict


FAULT = ((ns(5), ns(8)),)


@pytest.mark.parametrize(
    ("budget", "moments", "verdict"),
    [
        (0.0, [], "true"), (0.0, [6.0], "false"), (1.0, [4.5, 5.2], "true"), (1.0, [4.5, 6.0], "false"), (1.0, [2.0], "false"),
        (1.0, [12.0], "false"), ("any", [2.0, 12.0], "true"),
    ],
)  # fmt: skip
def test_acknowledged_things_may_be_lost_within_the_budget_and_around_a_fault_alone(
    budget: float, moments: list[float], verdict: str
) -> None:
    facts = Facts((), FAULT, budget)
    assert lost(facts, "use", "lost", [ns(moment) for moment in moments], "some lost").verdict == verdict
