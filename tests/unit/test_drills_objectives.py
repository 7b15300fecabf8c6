"""Bounds, defaults and the comparison of objectives with measurements."""

from typing import Any

import pytest

from drills.bounds import SLACK, Timing, election_retry, failover_bound, writable_when_cut_off
from drills.checkers.base import Verdict
from drills.objectives import Measured, Objectives, Outcome, Policy, default_objectives, evaluate, objectives_of
from drills.workload.plan import Load
from operations.errors import InvalidInput
from operations.inventory import Inventory

CLUSTER = Timing("cluster", "redis", 8, node_timeout=2.0)
SENTINEL = Timing("sentinel", "redis", 8, down_after=1.0)


def policy(
    timing: Timing = CLUSTER, replicas: int = 1, aof: bool = True, fsync: Any = "everysec", lag: float | None = None
) -> Policy:
    return Policy(timing, replicas, aof, fsync, lag)


def measured(**changes: Any) -> Measured:
    values: dict[str, Any] = {
        "kind": "crash", "unavailable": 3.9, "recovered": True, "others": 2, "others_gap": 0.05, "lost": 0, "lost_span": 0.0,
        "two_primaries": 0.0, "redundancy": 5.0,
    }  # fmt: skip
    return Measured(**{**values, **changes})


def judge(objectives: Objectives, found: Measured, by: Policy | None = None) -> dict[str, Outcome]:
    by = by or policy()
    return {outcome.name: outcome for outcome in evaluate(objectives.over(default_objectives(by)), by, found)}


# The measured extremes of redis-facts, section 1.
@pytest.mark.parametrize(
    ("timing", "kind", "least", "most"),
    [
        (Timing("cluster", node_timeout=1.0), "crash", 2.07, 2.47),
        (Timing("cluster", node_timeout=2.0), "crash", 3.79, 4.24),
        (Timing("cluster", node_timeout=5.0), "crash", 7.07, 8.69),
        (Timing("cluster", node_timeout=2.0), "hang", 3.06, 4.48),
        (Timing("cluster", "valkey", 9, node_timeout=2.0), "crash", 2.67, 3.14),
        (Timing("sentinel", down_after=1.0), "crash", 2.23, 2.31),
        (Timing("sentinel", down_after=5.0), "crash", 5.42, 5.61),
        (Timing("sentinel", down_after=1.0), "hang", 2.78, 2.80),
    ],
)
def test_every_published_measurement_lies_within_its_bound(timing: Timing, kind: Any, least: float, most: float) -> None:
    bound = failover_bound(timing, kind)
    assert bound is not None
    assert bound.low <= least
    assert most <= bound.with_slack


def test_the_bound_of_a_kill_at_node_timeout_2_is_5_3_seconds_before_slack() -> None:
    bound = failover_bound(CLUSTER, "crash")
    assert bound is not None
    assert bound.low == 2.5
    assert bound.high == pytest.approx(5.3)
    assert bound.with_slack == pytest.approx(5.3 * (1 + SLACK))
    assert bound.formula == "2 × node timeout + 1.3 s"


def test_sentinels_notice_a_crash_sooner_than_a_hang_and_a_cluster_does_not() -> None:
    crash, hang = failover_bound(SENTINEL, "crash"), failover_bound(SENTINEL, "hang")
    assert crash is not None
    assert hang is not None
    assert crash.high < hang.high
    assert failover_bound(CLUSTER, "crash") == failover_bound(CLUSTER, "hang")


def test_valkey_9_waits_less_before_it_asks_for_votes_but_valkey_8_does_not() -> None:
    nine = failover_bound(Timing("cluster", "valkey", 9, 2.0), "crash")
    eight = failover_bound(Timing("cluster", "valkey", 8, 2.0), "crash")
    assert nine is not None
    assert eight == failover_bound(CLUSTER, "crash")
    assert eight is not None
    assert nine.high < eight.high - 0.8


@pytest.mark.parametrize("topology", ["standalone", "replication"])
def test_where_nothing_takes_over_there_is_no_bound(topology: Any) -> None:
    assert failover_bound(Timing(topology), "crash") is None


def test_a_planned_switchover_has_no_failover_bound() -> None:
    assert failover_bound(CLUSTER, "switchover") is None


def test_a_failed_election_is_tried_again_after_twice_the_auth_timeout() -> None:
    assert election_retry(CLUSTER) == 8.0
    assert election_retry(Timing("cluster", node_timeout=0.5)) == 4.0
    assert election_retry(SENTINEL) is None


def test_a_cut_off_primary_stops_after_the_lag_limit_or_the_node_timeout_whichever_is_sooner() -> None:
    assert writable_when_cut_off(1.0, SENTINEL) == 3.0
    assert writable_when_cut_off(None, SENTINEL) is None
    assert writable_when_cut_off(10.0, CLUSTER) == 3.5
    assert writable_when_cut_off(1.0, CLUSTER) == 3.0


# --- objectives ---------------------------------------------------------------------------------------------------------


def test_a_good_failover_meets_the_defaults() -> None:
    outcomes = judge(Objectives(), measured())
    assert {name: outcome.verdict for name, outcome in outcomes.items()} == dict.fromkeys(
        ("unavailable", "others-unavailable", "lost", "two-primaries", "redundancy"), Verdict.TRUE
    )
    assert outcomes["unavailable"].limit == "5.83 s (2 × node timeout + 1.3 s, plus 10 %)"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unavailable", {"unavailable": 5.84}),
        ("unavailable", {"recovered": False}),
        ("others-unavailable", {"others_gap": 0.31}),
        ("lost", {"lost": 5, "lost_span": 1.2}),
        ("two-primaries", {"two_primaries": 3.6}),
        ("redundancy", {"redundancy": 61.0}),
    ],
)
def test_what_is_over_its_limit_is_missed(name: str, changes: dict[str, Any]) -> None:
    outcomes = judge(Objectives(), measured(**changes))
    assert [key for key, outcome in outcomes.items() if outcome.verdict is not Verdict.TRUE] == [name]
    assert outcomes[name].verdict is Verdict.FALSE


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unavailable", {"unavailable": None}),
        ("others-unavailable", {"others_gap": None}),
        ("lost", {"lost": None}),
        ("two-primaries", {"two_primaries": None}),
        ("redundancy", {"redundancy": None}),
    ],
)
def test_what_could_not_be_measured_is_unknown(name: str, changes: dict[str, Any]) -> None:
    assert judge(Objectives(), measured(**changes))[name].verdict is Verdict.UNKNOWN


def test_a_single_shard_has_no_others_to_judge() -> None:
    assert "others-unavailable" not in judge(Objectives(), measured(others=0, others_gap=None))


def test_a_number_replaces_the_bound() -> None:
    outcomes = judge(Objectives(unavailable={"crash": 3.0}), measured(unavailable=3.5))
    assert (outcomes["unavailable"].verdict, outcomes["unavailable"].limit) == (Verdict.FALSE, "3 s")


def test_a_budget_of_zero_means_not_a_single_write() -> None:
    outcome = judge(Objectives(lost={"crash": 0}), measured(lost=1, lost_span=0.0))["lost"]
    assert (outcome.verdict, outcome.limit) == (Verdict.FALSE, "none")


def test_measuring_only_never_misses_but_a_shard_that_does_not_recover_does() -> None:
    objectives = Objectives(unavailable={"crash": "any"}, lost={"crash": "any"})
    assert judge(objectives, measured(unavailable=500.0, lost=9999))["unavailable"].verdict is Verdict.TRUE
    assert judge(objectives, measured(lost=9999))["lost"].verdict is Verdict.TRUE
    assert judge(objectives, measured(recovered=False))["unavailable"].verdict is Verdict.FALSE


def test_a_bound_that_does_not_exist_cannot_be_met() -> None:
    plain = policy(Timing("replication"))
    assert judge(Objectives(unavailable={"crash": "bound"}), measured(), plain)["unavailable"].verdict is Verdict.UNKNOWN


def test_planned_changes_lose_nothing_by_default_on_every_topology() -> None:
    for timing in (CLUSTER, SENTINEL, Timing("replication")):
        defaults = default_objectives(policy(timing))
        assert defaults.lost["switchover"] == defaults.lost["stop"] == 0


def test_a_restart_may_cost_what_waited_for_a_sync_that_was_running() -> None:
    alone = Timing("standalone")
    assert default_objectives(policy(alone, 0, fsync="everysec")).lost["restart"] == 2
    assert default_objectives(policy(alone, 0, fsync="always")).lost["restart"] == 0
    assert default_objectives(policy(alone, 0, fsync="no")).lost["restart"] == 0
    assert default_objectives(policy(alone, 0, aof=False)).lost["restart"] == "any"


def test_power_loss_may_cost_what_the_fsync_policy_allows() -> None:
    alone = Timing("standalone")
    assert default_objectives(policy(alone, 0, fsync="always")).lost["power-loss"] == 0
    assert default_objectives(policy(alone, 0, fsync="everysec")).lost["power-loss"] == 2
    assert default_objectives(policy(alone, 0, fsync="no")).lost["power-loss"] == "any"
    assert default_objectives(policy(alone, 0, aof=False)).lost["power-loss"] == "any"


def test_a_partition_under_sentinel_is_limited_by_the_lag_limit_alone() -> None:
    assert default_objectives(policy(SENTINEL, 2)).lost["partition"] == "any"
    assert default_objectives(policy(SENTINEL, 2, lag=1.0)).lost["partition"] == 3.0


def inventory(objectives: Any) -> Inventory:
    return Inventory.model_validate(
        {
            "schema_version": 1, "topology": "cluster", "stack": "c", "owner": "o", "tls": False, "nodes": [], "replicas": 1,
            "engine": {"name": "redis", "version": "8.0.2", "image": "i", "image_id": "i"},
            "network": {"name": "n", "subnet": "10.0.0.0/24"}, "parameters": {},
            "cluster": {"node_timeout_ms": 2000, "shards": 3, "full_coverage": False},
            "spec": {"persistence": {"policy": "aof"}, "objectives": objectives},
        }
    )  # fmt: skip


def test_objectives_come_from_the_spec_and_the_rest_from_the_defaults() -> None:
    found = objectives_of(inventory({"unavailable": {"crash": 2.5}, "redundancy": 10}))
    assert found.unavailable["crash"] == 2.5
    assert found.unavailable["hang"] == "bound"
    assert found.redundancy == 10


def test_a_spec_without_objectives_has_the_defaults() -> None:
    assert objectives_of(inventory(None)).unavailable["crash"] == "bound"


@pytest.mark.parametrize("wrong", [{"unavailable": {"earthquake": 1}}, {"lost": {"crash": -1}}, {"colour": 1}, [1]])
def test_objectives_that_cannot_be_read_are_refused_with_their_place(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="objectives"):
        objectives_of(inventory(wrong))


def test_clients_that_wait_for_every_replica_are_promised_more_safety_and_fewer_writes() -> None:
    plain, waiting = objectives_of(inventory(None)), objectives_of(inventory(None), waits=True)
    assert (plain.lost["partition"], waiting.lost["partition"]) == (3.5, 0.0)
    assert (plain.unavailable["crash"], waiting.unavailable["crash"]) == ("bound", "any")


@pytest.mark.parametrize(
    ("load", "waits"),
    [
        (Load(), False),
        (Load(mode="wait", acks=1), False),
        (Load(mode="wait", acks=2), True),
        (Load(mode="waitaof", acks=2), True),
    ],
)
def test_only_a_wait_for_every_replica_is_one(load: Load, waits: bool) -> None:
    assert load.waits_for(2) is waits
    assert not load.waits_for(0)


# --- a machine that stands still ----------------------------------------------------------------------------------------


def test_a_limit_missed_while_the_machine_stood_still_is_unknown_and_says_why() -> None:
    outcome = judge(Objectives(), measured(unavailable=6.0, stalled={"unavailable": 0.6}))["unavailable"]
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.stalled == 0.6
    assert "for 0.600 s of it the machine stood still" in outcome.text


def test_a_limit_missed_by_more_than_the_machine_stood_still_stays_missed() -> None:
    outcome = judge(Objectives(), measured(unavailable=6.5, stalled={"unavailable": 0.6}))["unavailable"]
    assert outcome.verdict is Verdict.FALSE


def test_a_stall_excuses_neither_another_objective_nor_a_lost_write() -> None:
    found = judge(Objectives(), measured(others_gap=0.5, lost=3, lost_span=1.5, stalled={"unavailable": 9.0, "lost": 9.0}))
    assert found["others-unavailable"].verdict is Verdict.FALSE
    assert judge(Objectives(lost={"crash": 0}), measured(lost=1, stalled={"lost": 9.0}))["lost"].verdict is Verdict.FALSE


def test_what_was_met_is_met_on_a_busy_machine_too() -> None:
    outcome = judge(Objectives(), measured(stalled={"unavailable": 9.0}))["unavailable"]
    assert outcome.verdict is Verdict.TRUE
    assert outcome.stalled == 0.0
