"""Who becomes primary and who follows, with and without Sentinel: hand-written states, and runs against a model."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.converge import decide
from operations.errors import CheckFailed
from operations.inventory import Inventory
from operations.observe import PLACEHOLDER, NodeState
from operations.replicate import decide_replication, watched_primary
from operations.steps import Decision
from tests.unit.simulated import Server, SimulatedReplication
from tests.unit.states import (
    blank,
    inventory_of,
    observed,
    primary,
    replica,
    replicated,
    sentinel,
    silent,
    watched,
)

REPLICATION = inventory_of("replication")
SENTINEL = inventory_of("sentinel")
NAMES = ("node-1", "node-2", "node-3")
ADDRESS = {name: REPLICATION.node(name).address for name in NAMES}


def step(inventory: Inventory, states: dict[str, NodeState], overdue: frozenset[str] = frozenset()) -> Decision:
    return decide_replication(observed(inventory, states), inventory, overdue)


def sent(decided: Decision) -> dict[str, str]:
    """The first command for each node, as text."""
    return {action.node: " ".join(str(word) for word in action.commands[0]) for action in decided.actions}


def run(model: SimulatedReplication) -> None:
    for _ in range(10):
        decided = decide_replication(model.observe(), model.inventory)
        if decided.is_done:
            return
        model.apply(decided.actions)
    raise AssertionError(f"not settled: {decided}")


@pytest.mark.parametrize("inventory", [inventory_of("standalone"), REPLICATION], ids=["standalone", "replication"])
def test_blank_nodes_get_the_first_as_primary(inventory: Inventory) -> None:
    model = SimulatedReplication(inventory)
    run(model)
    leaders = [name for name, one in model.servers.items() if one.follows is None]
    assert leaders == ["node-1"]


def test_every_role_is_written_to_the_servers_own_file() -> None:
    decided = step(REPLICATION, replicated(REPLICATION) | {"node-3": blank("node-3")})
    assert [action.commands for action in decided.actions] == [(("REPLICAOF", ADDRESS["node-1"], 6379), ("CONFIG", "REWRITE"))]


@pytest.mark.parametrize("leader", NAMES)
def test_a_working_stack_is_left_alone_whoever_is_primary(leader: str) -> None:
    assert step(REPLICATION, replicated(REPLICATION, leader)).is_done


def test_a_chain_made_by_hand_is_left_alone() -> None:
    chained = replicated(REPLICATION) | {"node-3": replica("node-3", ADDRESS["node-2"], 10, 100)}
    assert not step(REPLICATION, chained).actions


def test_an_empty_primary_is_replaced_by_the_replica_with_the_newest_data() -> None:
    states = {
        "node-1": blank("node-1"),
        "node-2": replica("node-2", ADDRESS["node-1"], keys=9, offset=90, up=False),
        "node-3": replica("node-3", ADDRESS["node-1"], keys=9, offset=95, up=False),
    }
    decided = step(REPLICATION, states)
    assert sent(decided) == {"node-3": "REPLICAOF NO ONE"}
    assert decided.actions[0].text == (
        "node-3 becomes primary: node-1 came back empty, and node-3 holds the newest data (offset 95, 9 keys; node-2 90)"
    )


def test_nobody_is_promoted_while_a_node_is_missing() -> None:
    states = {
        "node-1": silent("node-1"),
        "node-2": replica("node-2", ADDRESS["node-1"], 9, 90, up=False),
        "node-3": blank("node-3"),
    }
    decided = step(REPLICATION, states)
    assert decided.actions == ()
    assert "nothing listens for node-1" in decided.waits[0].text


def test_a_blank_node_never_becomes_primary_while_another_holds_data() -> None:
    decided = step(REPLICATION, {"node-1": blank("node-1"), "node-2": primary("node-2", 5, 50), "node-3": blank("node-3")})
    target = f"REPLICAOF {ADDRESS['node-2']} 6379"
    assert sent(decided) == {"node-1": target, "node-3": target}


def test_two_primaries_with_data_are_refused_with_both_named() -> None:
    states = replicated(REPLICATION) | {"node-2": primary("node-2", 7, 70)}
    with pytest.raises(CheckFailed) as caught:
        step(REPLICATION, states)
    message = str(caught.value)
    assert "node-1 (10 keys, offset 100, 2 replicas); node-2 (7 keys, offset 70, 0 replicas)" in message
    assert "nothing was changed" in message


def came_back(state: NodeState) -> NodeState:
    """As a primary that takes no writes yet."""
    return replace(state, unconfirmed=True)


def test_a_primary_that_came_back_is_waited_for_before_anything_is_set() -> None:
    states = replicated(REPLICATION)
    decided = step(REPLICATION, states | {"node-1": came_back(states["node-1"])})
    assert (decided.actions, [wait.key for wait in decided.waits]) == ((), ["confirmed"])


def test_two_primaries_that_came_back_are_waited_for_then_refused() -> None:
    """A peer that starts at last may settle it."""
    states = {name: came_back(primary(name, 5, 50)) for name in ("node-1", "node-2")} | {"node-3": silent("node-3")}
    assert "confirmed" in [wait.key for wait in step(REPLICATION, states).waits]
    with pytest.raises(CheckFailed, match="2 primaries that hold data"):
        step(REPLICATION, states, frozenset({"confirmed"}))


def test_a_primary_that_came_back_takes_no_replica_from_one_that_is_silent() -> None:
    states = {
        "node-1": came_back(primary("node-1", 5, 50)),
        "node-2": silent("node-2"),
        "node-3": replica("node-3", ADDRESS["node-2"], 9, 90, up=False),
    }
    decided = step(REPLICATION, states)
    assert (decided.actions, [wait.key for wait in decided.waits]) == ((), ["nodes", "confirmed"])
    with pytest.raises(CheckFailed) as caught:
        step(REPLICATION, states, frozenset({"confirmed"}))
    message = str(caught.value)
    assert "node-1 came back as primary" in message and "node-3 follows node-2" in message and "nothing was changed" in message
    assert "--to node-3 --takeover" in message and f"REPLICAOF {ADDRESS['node-1']} 6379" in message


def test_a_second_primary_without_data_follows_the_first() -> None:
    states = replicated(REPLICATION) | {"node-2": primary("node-2", 0, 0)}
    assert sent(step(REPLICATION, states)) == {"node-2": f"REPLICAOF {ADDRESS['node-1']} 6379"}


def test_a_replica_at_a_strangers_address_is_pointed_to_the_primary() -> None:
    states = replicated(REPLICATION) | {"node-3": replica("node-3", "10.9.9.9", 9, 90, up=False)}
    assert sent(step(REPLICATION, states)) == {"node-3": f"REPLICAOF {ADDRESS['node-1']} 6379"}


@given(
    st.tuples(
        *[
            st.builds(
                Server,
                keys=st.sampled_from([0, 0, 5, 9]),
                offset=st.integers(0, 5),
                follows=st.sampled_from([PLACEHOLDER, None, *[(a, 6379) for a in ADDRESS.values()], ("10.9.9.9", 6379)]),
            )
            for _ in NAMES
        ]
    )
)
def test_the_end_is_one_primary_that_had_data_if_anybody_had(servers: tuple[Server, ...]) -> None:
    """Or a refusal, when two primaries hold data. A blank node never replaces data."""
    model = SimulatedReplication(REPLICATION)
    for name, one in zip(NAMES, servers, strict=True):
        if one.follows == (ADDRESS[name], 6379):
            one.follows = PLACEHOLDER
        if one.follows == PLACEHOLDER:
            one.keys, one.offset = 0, 0
        model.servers[name] = one
    leaders = [one for one in servers if one.follows is None]
    had = max(one.keys for one in servers)
    single = leaders[0].keys if len(leaders) == 1 else None
    try:
        run(model)
    except CheckFailed:
        assert len([one for one in leaders if one.keys]) > 1
        return
    after = [name for name, one in model.servers.items() if one.follows is None]
    assert len(after) == 1
    kept = model.servers[after[0]].keys
    assert kept == (single if single is not None else kept)
    if not leaders:
        assert bool(kept) == bool(had) or max(servers, key=lambda one: (one.offset, one.keys)).keys == kept


# Sentinel


def test_a_healthy_sentinel_stack_is_left_alone_whoever_is_primary() -> None:
    for leader in NAMES:
        assert decide(observed(SENTINEL, watched(SENTINEL, leader)), SENTINEL).is_done


def test_two_primaries_are_left_to_the_sentinels_first() -> None:
    states = watched(SENTINEL, "node-2") | {"node-1": primary("node-1", 9, 90)}
    decided = step(SENTINEL, states)
    assert decided.actions == ()
    assert [wait.key for wait in decided.waits] == ["sentinels demote"]
    with pytest.raises(CheckFailed, match="2 primaries that hold data"):
        step(SENTINEL, states, frozenset({"sentinels demote"}))


def emptied() -> dict[str, NodeState]:
    """node-1 came back empty; its replicas hold the data, and the sentinels still watch it."""
    address = SENTINEL.node("node-1").address
    lost = {name: replica(name, address, 9, 90, up=False) for name in ("node-2", "node-3")}
    return watched(SENTINEL) | {"node-1": blank("node-1")} | lost


def test_an_empty_primary_is_left_to_the_sentinels_then_one_is_asked_once() -> None:
    first = step(SENTINEL, emptied())
    assert (first.actions, [wait.key for wait in first.waits]) == ((), ["sentinels promote"])
    second = step(SENTINEL, emptied(), frozenset({"sentinels promote"}))
    assert sent(second) == {"sentinel-1": "SENTINEL FAILOVER main"}
    assert second.actions[0].again_after_seconds >= 60


def test_sentinels_that_cannot_promote_stop_watching_before_somebody_else_does_it() -> None:
    overdue = frozenset({"sentinels promote", "sentinels asked"})
    third = step(SENTINEL, emptied(), overdue)
    assert set(sent(third).values()) == {"SENTINEL REMOVE main"}
    assert set(sent(third)) == {"sentinel-1", "sentinel-2", "sentinel-3"}
    unwatched = emptied() | {n.name: sentinel(SENTINEL, n.name, leader=None) for n in SENTINEL.sentinels}
    assert sent(step(SENTINEL, unwatched, overdue)) == {"node-2": "REPLICAOF NO ONE"}


def test_without_any_data_the_watched_node_becomes_primary_again() -> None:
    states = watched(SENTINEL, "node-3") | {name: blank(name) for name in NAMES}
    assert watched_primary(observed(SENTINEL, states), SENTINEL) == "node-3"
    assert sent(step(SENTINEL, states)) == {"node-3": "REPLICAOF NO ONE"}


def test_a_replica_that_the_sentinels_leave_behind_is_pointed_to_the_primary_after_their_time() -> None:
    chained = watched(SENTINEL) | {"node-3": replica("node-3", SENTINEL.node("node-2").address, 10, 100)}
    decided = step(SENTINEL, chained)
    assert (decided.actions, [wait.key for wait in decided.waits]) == ((), ["node-3 repointed"])
    target = f"REPLICAOF {SENTINEL.node('node-1').address} 6379"
    assert sent(step(SENTINEL, chained, frozenset({"node-3 repointed"}))) == {"node-3": target}


def test_a_blank_node_joins_at_once_under_sentinel() -> None:
    states = watched(SENTINEL, "node-2") | {"node-3": blank("node-3")}
    assert sent(step(SENTINEL, states)) == {"node-3": f"REPLICAOF {SENTINEL.node('node-2').address} 6379"}


def test_sentinels_are_told_only_once_the_replicas_are_connected() -> None:
    fresh = {n.name: sentinel(SENTINEL, n.name, leader=None) for n in SENTINEL.sentinels}
    copying = replica("node-3", SENTINEL.node("node-1").address, up=False)
    early = decide(observed(SENTINEL, replicated(SENTINEL) | fresh | {"node-3": copying}), SENTINEL)
    assert early.actions == ()
    ready = decide(observed(SENTINEL, replicated(SENTINEL) | fresh), SENTINEL)
    assert set(sent(ready)) == {"sentinel-1", "sentinel-2", "sentinel-3"}


def test_a_primary_that_came_back_is_left_to_the_sentinels_until_they_have_seen_it() -> None:
    """Else its parameters would be set, also the one that keeps it from taking writes while a failover may be under way."""
    states = watched(SENTINEL)
    states["node-1"] = came_back(states["node-1"])
    decided = step(SENTINEL, states)
    assert (decided.actions, [wait.key for wait in decided.waits]) == ((), ["confirmed"])
    assert step(SENTINEL, states, frozenset({"confirmed"})).is_done, "its time is over"
