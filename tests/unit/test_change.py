"""Who may leave a running stack, who takes a leaver's place, and what is said to those that stay; hand-written states."""

from dataclasses import replace

import pytest

from operations.change import (
    Departure,
    decide_departure,
    departure,
    is_apart,
    quorum_problems,
    widened,
    without_slots,
)
from operations.inventory import Inventory, NodeEntry
from operations.observe import ClusterView, NodeState, Observation
from operations.steps import Decision
from tests.unit.states import (
    blank,
    blank_member,
    formed,
    identifier,
    inventory_of,
    observed,
    replicated,
    silent,
    watched,
    with_line,
)

FIVE, THREE = inventory_of("cluster", shards=5), inventory_of("cluster", shards=3)
CLUSTER_1, CLUSTER_2 = inventory_of("cluster", replicas=1), inventory_of("cluster", replicas=2)


def leavers(before: Inventory, after: Inventory) -> tuple[NodeEntry, ...]:
    stay = {node.name for node in after.nodes}
    return tuple(node for node in before.nodes if node.name not in stay)


def found(before: Inventory, after: Inventory, states: dict[str, NodeState]) -> Departure:
    data = [node for node in leavers(before, after) if not node.is_sentinel]
    return departure(observed(before, states), after, data)


def step(states: dict[str, NodeState], before: Inventory = FIVE, after: Inventory = THREE) -> Decision:
    return decide_departure(observed(before, states), after, leavers(before, after))


def replica_without_link(state: NodeState) -> NodeState:
    assert state.info is not None
    return replace(state, info=replace(state.info, replication=replace(state.info.replication, link_up=False)))


# Clusters


def test_nothing_has_to_be_done_when_nobody_leaves() -> None:
    assert found(THREE, FIVE, formed(THREE)) == Departure()


def test_shards_that_go_are_drained_whoever_serves_them_now() -> None:
    assert found(FIVE, THREE, formed(FIVE, {5: "node-5-2"})) == Departure(drained=("node-4-1", "node-5-2"))


def test_a_shard_that_goes_is_drained_also_when_one_that_stays_serves_no_slots() -> None:
    """As `scripts/reshard.py --weights 2=0` leaves it: only four groups serve slots, and three shards are to stay."""
    states = formed(FIVE)
    everything = view_of(states["node-1-1"]).slots + view_of(states["node-2-1"]).slots
    states = {name: with_line(state, identifier("node-2-1"), slots=()) for name, state in states.items()}
    states = {name: with_line(state, identifier("node-1-1"), slots=everything) for name, state in states.items()}
    assert found(FIVE, THREE, states) == Departure(drained=("node-4-1", "node-5-1"))


def test_a_replica_that_leaves_needs_nothing() -> None:
    assert found(CLUSTER_2, CLUSTER_1, formed(CLUSTER_2)) == Departure()


def test_a_primary_that_leaves_its_shard_hands_over_to_a_replica_that_stays() -> None:
    states = formed(CLUSTER_2, {2: "node-2-3"})
    (switch,) = found(CLUSTER_2, CLUSTER_1, states).switches.items()
    assert switch[0] == "node-2-3"
    assert switch[1] in ("node-2-1", "node-2-2")


def test_a_primary_without_a_synced_successor_may_not_leave() -> None:
    states = formed(CLUSTER_2, {2: "node-2-3"})
    for name in ("node-2-1", "node-2-2"):
        states[name] = replica_without_link(states[name])
    told = found(CLUSTER_2, CLUSTER_1, states)
    assert told.switches == {}
    assert told.problems == (
        "node-2-3 is primary and would leave without a synced successor: node-2-1, node-2-2 have no connection to it",
    )
    assert set(told.unsynced) == {"node-2-3"}


def test_a_shard_that_is_declared_is_never_drained_because_its_replicas_are_away() -> None:
    states = formed(CLUSTER_2, {2: "node-2-3"}) | {name: silent(name) for name in ("node-2-1", "node-2-2")}
    told = found(CLUSTER_2, CLUSTER_1, states)
    assert told.drained == ()
    assert told.problems == ("node-2-3 is primary and would leave without a synced successor: no node that stays follows it",)


def test_the_last_synced_replica_of_a_shard_may_not_leave() -> None:
    states = formed(CLUSTER_2)
    states["node-1-2"] = replica_without_link(states["node-1-2"])
    (problem,) = found(CLUSTER_2, CLUSTER_1, states).problems
    assert problem == "node-1-3 would leave node-1-1 without any synced replica: its data would exist once only"


def test_replicas_may_all_leave_when_none_are_declared() -> None:
    assert found(CLUSTER_1, inventory_of("cluster", replicas=0), formed(CLUSTER_1)) == Departure()


def test_nobody_may_leave_while_slots_are_served_by_nobody_that_answers() -> None:
    states = formed(FIVE) | {"node-4-1": silent("node-4-1")}
    assert found(FIVE, THREE, states).obstacles == ("slots 9830-13106 are served by nobody that answers",)


def view_of(state: NodeState) -> ClusterView:
    assert state.cluster is not None
    return state.cluster


def follow(states: dict[str, NodeState], follower: str, primary: str) -> None:
    """A move of a replica by hand, which everybody sees."""
    for name, state in states.items():
        states[name] = with_line(state, identifier(follower), primary_id=identifier(primary))


def test_as_many_shards_stay_as_are_declared_and_those_led_by_nodes_that_stay_come_first() -> None:
    states = formed(FIVE)
    follow(states, "node-1-2", "node-4-1")
    follow(states, "node-4-2", "node-1-1")
    assert found(FIVE, THREE, states) == Departure(drained=("node-4-1", "node-5-1"))


def test_a_replica_that_stays_in_a_drained_shard_follows_the_primary_whose_own_leaves_once_it_is_free() -> None:
    states = formed(FIVE)
    follow(states, "node-1-2", "node-4-1")
    follow(states, "node-4-2", "node-1-1")
    assert found(FIVE, THREE, states).lent == {}, "node-4-1 needs it while it serves slots"
    slots = view_of(states["node-2-1"]).slots + view_of(states["node-4-1"]).slots + view_of(states["node-5-1"]).slots
    states = {name: with_line(state, identifier("node-2-1"), slots=slots) for name, state in drained(states).items()}
    assert found(FIVE, THREE, states) == Departure(lent={"node-1-2": "node-1-1"})
    follow(states, "node-1-2", "node-2-1")  # as the servers may do themselves when a primary gave its last slot away
    assert found(FIVE, THREE, states) == Departure(lent={"node-1-2": "node-1-1"})
    follow(states, "node-1-2", "node-1-1")
    assert found(FIVE, THREE, states) == Departure()


def test_without_a_replica_to_spare_the_last_one_may_not_leave() -> None:
    states = formed(FIVE)
    follow(states, "node-4-2", "node-1-1")
    states["node-1-2"] = silent("node-1-2")
    assert found(FIVE, THREE, states).problems == (
        "node-4-2 would leave node-1-1 without any synced replica: its data would exist once only",
    )
    states["node-1-2"] = replica_without_link(formed(FIVE)["node-1-2"])
    assert found(FIVE, THREE, states).problems, "its own that stays still copies"


def test_a_shard_led_by_a_node_that_leaves_stays_when_its_replica_does() -> None:
    states = formed(FIVE, {1: "node-1-2"})
    follow(states, "node-1-1", "node-5-1")
    follow(states, "node-5-2", "node-1-2")
    one_less = inventory_of("cluster", shards=4)
    assert found(FIVE, one_less, states).drained == ("node-5-1",)


def test_a_primary_that_was_emptied_and_leaves_gets_no_slots_again() -> None:
    states = formed(FIVE)
    states["node-4-1"] = with_line(states["node-4-1"], identifier("node-4-1"), slots=())
    everything = observed(FIVE, states)
    assert without_slots(everything, Departure(drained=("node-5-1",)), leavers(FIVE, THREE)) == ("node-5-1", "node-4-1")


def drained(states: dict[str, NodeState]) -> dict[str, NodeState]:
    """Everybody sees that shards 4 and 5 own nothing."""
    for leader in ("node-4-1", "node-5-1"):
        states = {name: with_line(state, identifier(leader), slots=()) for name, state in states.items()}
    return states


def test_those_that_stay_forget_those_that_leave() -> None:
    decided = step(drained(formed(FIVE)))
    forgotten = {identifier(name) for name in ("node-4-1", "node-4-2", "node-5-1", "node-5-2")}
    assert {action.node for action in decided.actions} == {node.name for node in THREE.nodes}
    for node in THREE.nodes:
        assert {command[2] for a in decided.actions if a.node == node.name for command in a.commands} == forgotten


def test_nobody_is_forgotten_while_it_is_seen_to_serve_slots() -> None:
    states = drained(formed(FIVE))
    states["node-1-1"] = with_line(states["node-1-1"], identifier("node-4-1"), slots=((1, 1),))
    decided = step(states)
    assert "node-1-1" not in {action.node for action in decided.actions}
    assert [wait.key for wait in decided.waits] == ["views"]


def test_a_replica_that_follows_somebody_who_leaves_goes_to_a_primary_that_stays_first() -> None:
    states = drained(formed(FIVE))
    states["node-3-2"] = with_line(states["node-3-2"], identifier("node-3-2"), primary_id=identifier("node-4-1"))
    decided = step(states)
    (action,) = [a for a in decided.actions if a.node == "node-3-2"]
    assert action.commands == (("CLUSTER", "REPLICATE", identifier("node-3-1")),)
    assert not decided.is_done


def test_it_is_done_when_nobody_lists_them_any_more() -> None:
    assert decide_departure(observed(THREE, formed(THREE)), THREE, leavers(FIVE, THREE)).is_done


# Primary and replicas


@pytest.mark.parametrize("topology", ["replication", "sentinel"])
def test_the_primary_hands_over_before_it_leaves_and_replicas_just_leave(topology: str) -> None:
    before, after = inventory_of(topology, replicas=2), inventory_of(topology, replicas=1)
    make = watched if topology == "sentinel" else replicated
    assert found(before, after, make(before, "node-1")) == Departure()
    told = found(before, after, make(before, "node-3"))
    assert set(told.switches) == {"node-3"}
    assert set(told.switches.values()) <= {"node-1", "node-2"}


def test_a_single_node_stays_only_with_all_the_data() -> None:
    before, after = inventory_of("replication", replicas=1), inventory_of("standalone")
    assert found(before, after, replicated(before, "node-2")).switches == {"node-2": "node-1"}
    states = replicated(before, "node-2")
    states["node-1"] = replica_without_link(states["node-1"])
    assert "without a synced successor" in found(before, after, states).problems[0]


def test_nobody_leaves_a_stack_without_a_primary_or_with_two() -> None:
    before, after = inventory_of("replication", replicas=2), inventory_of("replication", replicas=1)
    none = {name: replica_without_link(state) for name, state in replicated(before).items()}
    none["node-1"] = silent("node-1")
    assert "there is none that answers" in found(before, after, none).obstacles[0]
    two = replicated(before) | {"node-2": replace(replicated(before)["node-1"], name="node-2")}
    assert "there is node-1, node-2" in found(before, after, two).obstacles[0]


def test_a_stack_of_one_node_with_others_beside_it_counts_as_replication() -> None:
    before, after = inventory_of("replication", replicas=1), inventory_of("standalone")
    assert widened(after, leavers(before, after)).topology == "replication"
    assert widened(after, ()).topology == "standalone"


def test_who_takes_no_part_is_apart() -> None:
    assert is_apart(silent("node-1"))
    assert is_apart(blank("node-1"))
    assert is_apart(blank_member(THREE, "node-1-1"))
    assert not is_apart(formed(THREE)["node-1-2"])


# Quorum


def seen(inventory: Inventory, away: tuple[str, ...] = ()) -> Observation:
    return observed(inventory, watched(inventory) | {name: silent(name) for name in away})


def test_sentinels_may_leave_when_a_majority_of_those_that_stay_answers() -> None:
    before, after = inventory_of("sentinel", sentinel={"count": 5}), inventory_of("sentinel", sentinel={"count": 3})
    away = leavers(before, after)
    assert quorum_problems(seen(before), after, away, 0) == ()
    assert quorum_problems(seen(before, ("sentinel-1",)), after, away, 0) == ()
    (problem,) = quorum_problems(seen(before, ("sentinel-1", "sentinel-2")), after, away, 0)
    assert problem == "only 1 of the 3 sentinels that stay answer; a failover would need 2"


def test_sentinels_may_all_leave_with_their_topology() -> None:
    before, after = inventory_of("sentinel"), inventory_of("replication")
    assert quorum_problems(seen(before), after, leavers(before, after), 0) == ()
