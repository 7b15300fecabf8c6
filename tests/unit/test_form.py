"""Forming and repairing a cluster: what is decided from hand-written states, and whole runs against a model."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.errors import CheckFailed, NotOurs
from operations.form import SETTLE, decide_cluster, planned_slots, shard_primary
from operations.inventory import Inventory
from operations.observe import NodeState
from operations.parse import ClusterNode, Slots, slot_total, uncovered
from operations.steps import Decision
from tests.unit.simulated import SimulatedCluster
from tests.unit.states import (
    also_knowing,
    blank_member,
    formed,
    identifier,
    inventory_of,
    observed,
    server,
    silent,
    with_line,
)

CLUSTER = inventory_of("cluster")
ROUNDS = 40


def step(states: dict[str, NodeState], inventory: Inventory = CLUSTER, overdue: frozenset[str] = frozenset()) -> Decision:
    return decide_cluster(observed(inventory, states), inventory, overdue)


def blank_cluster(inventory: Inventory = CLUSTER) -> dict[str, NodeState]:
    return {n.name: blank_member(inventory, n.name) for n in inventory.nodes}


def words(decided: Decision, command: str) -> dict[str, list[tuple[object, ...]]]:
    """The commands of one kind that were decided, by node."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for action in decided.actions:
        for line in action.commands:
            if command in line:
                found.setdefault(action.node, []).append(line)
    return found


def run(model: SimulatedCluster, rounds: int = ROUNDS) -> int:
    """Decide and act until nothing is left; returns the number of rounds."""
    for number in range(rounds):
        decided = decide_cluster(model.observe(), model.inventory)
        if decided.is_done:
            return number
        model.apply(decided.actions)
    raise AssertionError(f"not settled after {rounds} rounds: {decided}")


def formed_model(inventory: Inventory = CLUSTER) -> SimulatedCluster:
    model = SimulatedCluster(inventory)
    run(model)
    for member in model.members.values():
        member.keys = 10
    return model


@pytest.mark.parametrize("shards", [3, 5, 7, 48])
def test_planned_slots_cover_everything_once_and_evenly(shards: int) -> None:
    parts: list[Slots] = [(planned_slots(shard, shards),) for shard in range(1, shards + 1)]
    assert uncovered(parts) == ()
    sizes = [slot_total(part) for part in parts]
    assert sum(sizes) == 16384
    assert max(sizes) - min(sizes) <= 1


# A new cluster


def test_blank_nodes_first_get_slots_and_epochs_of_their_own() -> None:
    decided = step(blank_cluster())
    assert words(decided, "ADDSLOTSRANGE") == {
        "node-1-1": [("CLUSTER", "ADDSLOTSRANGE", 0, 5460)],
        "node-2-1": [("CLUSTER", "ADDSLOTSRANGE", 5461, 10921)],
        "node-3-1": [("CLUSTER", "ADDSLOTSRANGE", 10922, 16383)],
    }
    epochs = [line[2] for lines in words(decided, "SET-CONFIG-EPOCH").values() for line in lines]
    assert len(set(epochs)) == 6
    assert not words(decided, "MEET")


def test_nothing_is_formed_while_a_node_is_missing() -> None:
    decided = step(blank_cluster() | {"node-3-2": silent("node-3-2")})
    assert decided.actions == ()
    assert [wait.key for wait in decided.waits] == ["nodes"]


def test_a_node_that_claims_slots_on_its_own_is_not_made_part_of_a_new_cluster() -> None:
    states = blank_cluster()
    states["node-2-2"] = with_line(states["node-2-2"], identifier("node-2-2"), slots=((0, 99),))
    with pytest.raises(CheckFailed, match=r"node-2-2 claims slots 0-99 .* redis-shop-node-2-2-data holds data from elsewhere"):
        step(states)


@given(st.data())
def test_an_interrupted_forming_ends_formed(data: st.DataObject) -> None:
    """Whatever part of each round's actions was sent, the rest follows; a model that refuses wrong commands watches."""
    model = SimulatedCluster(CLUSTER)
    for _ in range(data.draw(st.integers(0, 6))):
        actions = decide_cluster(model.observe(), CLUSTER).actions
        model.apply(action for action in actions if data.draw(st.booleans()))
    run(model)
    for name, member in model.members.items():
        node = CLUSTER.node(name)
        leads = node.member == 1
        assert member.slots == ((planned_slots(node.shard, 3),) if leads else ())
        assert member.primary_id == (None if leads else identifier(f"node-{node.shard}-1"))


def test_forming_takes_few_rounds_also_with_24_nodes() -> None:
    assert run(SimulatedCluster(CLUSTER)) <= 5
    assert run(SimulatedCluster(inventory_of("cluster", shards=12))) <= 5


def test_parts_of_a_cluster_that_is_just_being_formed_are_no_other_cluster() -> None:
    """Seen on a busy machine: introductions arrive in any order, so some nodes know only each other for a moment."""
    model = SimulatedCluster(CLUSTER)
    model.apply(decide_cluster(model.observe(), CLUSTER).actions)
    part = {"node-2-2", "node-3-1"}
    for name, member in model.members.items():
        friends = part if name in part else set(model.members) - part
        member.known = {identifier(other): model.line(other) for other in friends - {name}}
    run(model)
    assert all(len(member.known) == len(model.members) - 1 for member in model.members.values())


# A formed cluster


def test_a_formed_cluster_is_left_alone() -> None:
    assert step(formed(CLUSTER)).is_done


@given(st.sets(st.sampled_from([1, 2, 3])))
def test_promoted_roles_are_left_alone(failed_over: set[int]) -> None:
    assert step(formed(CLUSTER, {shard: f"node-{shard}-2" for shard in failed_over})).is_done


def test_a_missing_node_is_waited_for_and_nothing_is_done_about_it() -> None:
    decided = step(formed(CLUSTER) | {"node-1-1": silent("node-1-1")})
    assert decided.actions == ()
    assert {wait.key for wait in decided.waits} == {"nodes"}


def test_open_slots_and_roles_moved_by_hand_are_not_touched() -> None:
    states = formed(CLUSTER)
    for name, state in states.items():
        states[name] = with_line(state, identifier("node-3-2"), primary_id=identifier("node-1-1"))
    assert step(states).actions == ()


def test_a_changed_node_timeout_is_set_back() -> None:
    states = formed(CLUSTER)
    view = states["node-2-1"].cluster
    assert view is not None
    states["node-2-1"] = replace(states["node-2-1"], cluster=replace(view, node_timeout_ms=500))
    assert words(step(states), "cluster-node-timeout") == {"node-2-1": [("CONFIG", "SET", "cluster-node-timeout", 5000)]}


@pytest.mark.parametrize(("keys", "uptime", "hurried"), [(0, 60, True), (5, 60, False), (0, 1, False)])
def test_the_time_out_is_lowered_only_while_nothing_is_stored_and_the_server_is_up_long_enough(
    keys: int, uptime: int, hurried: bool
) -> None:
    states = formed(CLUSTER, keys=keys)
    for name, state in states.items():
        assert state.cluster is not None
        assert state.info is not None
        view = replace(state.cluster, state_ok=not state.cluster.slots)
        states[name] = replace(state, cluster=view, info=replace(state.info, uptime_seconds=uptime))
    assert not words(step(states), "cluster-node-timeout")
    lowered = words(step(states, overdue=frozenset({SETTLE})), "cluster-node-timeout")
    assert set(lowered) == ({"node-1-1", "node-2-1", "node-3-1"} if hurried else set())


def test_an_outdated_line_is_refreshed_by_a_message_from_the_node_itself() -> None:
    states = formed(CLUSTER)
    states["node-2-2"] = with_line(states["node-2-2"], identifier("node-1-1"), slots=())
    met = words(step(states), "MEET")
    assert met == {"node-1-1": [("CLUSTER", "MEET", CLUSTER.node("node-2-2").address, 6379, 16379)]}


def test_a_node_at_an_old_address_announces_the_new_one() -> None:
    states = formed(CLUSTER)
    for name in ("node-1-1", "node-2-1"):
        states[name] = with_line(states[name], identifier("node-3-2"), address="10.1.1.1", flags=frozenset({"slave", "fail"}))
    decided = step(states)
    assert set(words(decided, "MEET")) == {"node-3-2"}
    assert [a.text for a in decided.actions] == ["node-3-2 announce their new address"]


# Lost volumes


@given(st.sets(st.sampled_from([n.name for n in CLUSTER.nodes]), min_size=1, max_size=3))
def test_wiped_nodes_come_back_as_replicas_and_no_slot_changes_to_an_empty_node(wiped: set[str]) -> None:
    """As long as each shard keeps one copy and the primaries keep a majority."""
    shards = [CLUSTER.node(name).shard for name in wiped]
    leaders = [name for name in wiped if CLUSTER.node(name).member == 1]
    if len(set(shards)) < len(shards) or len(leaders) > 1:
        return
    model = formed_model()
    for name in wiped:
        model.wipe(name)
    run(model)
    for name, member in model.members.items():
        assert bool(member.slots) != bool(member.primary_id)
        assert member.keys == 10, f"{name} lost its data"
        if name in wiped:
            assert member.primary_id is not None
        assert len(member.known) == len(model.members) - 1, f"{name} still lists a former node"


def test_a_shard_without_a_copy_is_reported_and_not_given_away() -> None:
    model = formed_model()
    model.wipe("node-2-1")
    model.wipe("node-2-2")
    with pytest.raises(CheckFailed, match=r"slots 5461-10921 .* have no copy left; node-2-1, node-2-2 came back empty"):
        run(model)
    assert not model.members["node-2-1"].slots
    assert not model.members["node-2-2"].slots


def test_slots_that_were_taken_from_their_owner_by_hand_are_left_to_the_repair() -> None:
    """Their keys are still there, so nothing has to be given up."""
    gone = [with_line(state, identifier("node-3-1"), slots=((10922, 16382),)) for state in formed(CLUSTER).values()]
    with pytest.raises(CheckFailed, match=r"slots 16383 .* have no owner.* `scripts/repair\.py --stack shop --dry-run`"):
        step({state.name: state for state in gone})


def test_lost_slots_are_no_conclusion_while_a_node_is_missing() -> None:
    model = formed_model()
    model.wipe("node-2-1")
    model.members["node-2-2"].up = False
    for _ in range(5):
        decided = decide_cluster(model.observe(), CLUSTER)
        assert not words(decided, "ADDSLOTSRANGE")
        model.apply(decided.actions)
    assert "nodes" in {wait.key for wait in decided.waits}


def test_a_takeover_without_a_majority_is_left_to_the_user() -> None:
    model = formed_model()
    model.wipe("node-1-1")
    model.wipe("node-2-1")
    for _ in range(3):
        decided = decide_cluster(model.observe(), CLUSTER)
        model.apply(decided.actions)
    overdue = frozenset(wait.key for wait in decided.waits if wait.patience_seconds)
    with pytest.raises(CheckFailed, match="more than half of the primaries must agree"):
        decide_cluster(model.observe(), CLUSTER, overdue)


def test_no_failover_is_forced_while_a_node_is_missing() -> None:
    """The missing one may be the old primary's other replica, with newer data."""
    model = formed_model()
    model.wipe("node-1-1")
    model.members["node-3-2"].up = False
    assert not words(decide_cluster(model.observe(), CLUSTER), "FAILOVER")
    model.members["node-3-2"].up = True
    assert words(decide_cluster(model.observe(), CLUSTER), "FAILOVER")


def test_a_former_node_is_remembered_as_long_as_its_slots_have_no_other_owner() -> None:
    model = formed_model()
    former = model.members["node-2-1"].node_id
    for name in ("node-2-1", "node-2-2"):
        model.wipe(name)
    decided = decide_cluster(model.observe(), CLUSTER)
    assert words(decided, "FORGET")
    assert not any(former in line for lines in words(decided, "FORGET").values() for line in lines)


def test_a_forced_failover_is_not_repeated_at_once() -> None:
    model = formed_model()
    model.wipe("node-1-1")
    (action,) = [a for a in decide_cluster(model.observe(), CLUSTER).actions if "FAILOVER" in a.commands[0]]
    assert (action.node, action.commands) == ("node-1-2", (("CLUSTER", "FAILOVER", "FORCE"),))
    assert action.again_after_seconds > 2 * 5


# More nodes


def test_new_replicas_of_a_grown_stack_join_the_primaries_that_serve_now() -> None:
    grown = inventory_of("cluster", replicas=2)
    states = formed(CLUSTER, {2: "node-2-2"}) | {f"node-{s}-3": blank_member(grown, f"node-{s}-3") for s in (1, 2, 3)}
    seen = observed(grown, states)
    assert [shard_primary(seen, grown, grown.node(f"node-{s}-3")) for s in (1, 2, 3)] == ["node-1-1", "node-2-2", "node-3-1"]
    model = SimulatedCluster(grown)
    old = formed_model()
    model.members |= old.members
    run(model)
    assert all(model.members[f"node-{s}-3"].primary_id == identifier(f"node-{s}-1") for s in (1, 2, 3))


@pytest.mark.parametrize("replicas", [0, 1, 2])
def test_new_shards_join_with_a_primary_without_slots_and_its_replicas(replicas: int) -> None:
    small, grown = inventory_of("cluster", replicas=replicas), inventory_of("cluster", shards=5, replicas=replicas)
    old, model = SimulatedCluster(small), SimulatedCluster(grown)
    run(old)
    model.members |= old.members
    run(model)
    for name, member in model.members.items():
        node = grown.node(name)
        assert bool(member.slots) == (node.shard <= 3 and node.member == 1)
        assert member.primary_id == (None if node.member == 1 else identifier(f"node-{node.shard}-1"))
        assert len(member.known) == len(model.members) - 1


def test_a_shard_that_was_emptied_keeps_its_primary_and_its_replicas() -> None:
    model = formed_model()
    model.members["node-1-1"].slots = ((0, 10921),)
    model.members["node-2-1"].slots = ()
    for member in model.members.values():
        for name in ("node-1-1", "node-2-1"):
            if identifier(name) in member.known:
                member.known[identifier(name)] = model.line(name)
    assert decide_cluster(model.observe(), CLUSTER).is_done


def test_a_replica_that_left_the_stack_is_forgotten_once_it_is_seen_as_gone() -> None:
    gone = ClusterNode("f" * 40, "10.213.7.200", 6379, frozenset({"slave"}), identifier("node-1-1"), 1, True, ())
    live = {name: also_knowing(state, gone) for name, state in formed(CLUSTER).items()}
    decided = step(live)
    assert decided.actions == ()
    assert [wait.text for wait in decided.waits] == ["ffffffff at 10.213.7.200:6379, which left the stack, to be noticed as gone"]
    failed = replace(gone, flags=frozenset({"slave", "fail"}))
    dead = {name: also_knowing(state, failed) for name, state in formed(CLUSTER).items()}
    assert set(words(step(dead), "FORGET")) == {n.name for n in CLUSTER.nodes}


# Other clusters


def test_a_live_node_of_another_cluster_is_refused_at_once() -> None:
    stranger = ClusterNode("e" * 40, "10.9.9.9", 6379, frozenset({"master"}), None, 1, True, ())
    states = formed(CLUSTER)
    states["node-1-1"] = also_knowing(states["node-1-1"], stranger)
    with pytest.raises(NotOurs, match=r"not its own: eeeeeeee at 10\.9\.9\.9:6379"):
        step(states)


def test_a_node_with_another_clusters_state_is_never_met() -> None:
    other = ClusterNode("d" * 40, "10.9.9.9", 6379, frozenset({"master", "fail"}), None, 1, False, ((0, 5460),))
    stray = also_knowing(blank_member(CLUSTER, "node-3-2", "c" * 40), other)
    stray = with_line(stray, "c" * 40, slots=((5461, 10921),))
    with pytest.raises(NotOurs, match=r"node-3-2 of stack shop hold the state of another cluster"):
        step(formed(CLUSTER) | {"node-3-2": stray})


def test_a_lone_node_whose_slots_are_served_already_is_never_met() -> None:
    stray = with_line(blank_member(CLUSTER, "node-3-2", "c" * 40), "c" * 40, slots=((0, 16383),))
    stray = replace(stray, info=server(keys=7))
    with pytest.raises(NotOurs, match="node-3-2"):
        step(formed(CLUSTER) | {"node-3-2": stray})
