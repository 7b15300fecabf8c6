"""The loop around the decisions: what is remembered between rounds, how long it goes on, and what it says at the end."""

import pytest

from operations.converge import _Memory, _timed_out, default_seconds, refuse_strangers
from operations.errors import CheckFailed, NotOurs, Unreachable
from operations.steps import Action, Decision, Wait
from tests.unit.states import foreign, formed, inventory_of, observed, replicated

CLUSTER = inventory_of("cluster")
REPLICATION = inventory_of("replication")


def test_a_wait_is_overdue_only_after_its_patience_without_a_break() -> None:
    memory = _Memory()
    wait = Wait("failover", "a replica to take over", patience_seconds=5)
    assert memory.update((wait,), 0, lambda _line: None) == frozenset()
    assert memory.update((wait,), 4.9, lambda _line: None) == frozenset()
    assert memory.update((wait,), 5, lambda _line: None) == {"failover"}
    assert memory.update((), 6, lambda _line: None) == frozenset()
    assert memory.update((wait,), 7, lambda _line: None) == frozenset()


def test_only_longer_waits_are_reported_and_once() -> None:
    memory, lines = _Memory(), list[str]()
    for now in (0.0, 0.5, 1.5, 2.5):
        memory.update((Wait("views", "every node to agree"),), now, lines.append)
    assert lines == ["waiting for every node to agree"]


def test_an_action_that_needs_time_is_not_repeated_before_it() -> None:
    memory = _Memory()
    slow = Action("node-1-2", (("CLUSTER", "FAILOVER", "FORCE"),), "takes over", again_after_seconds=12)
    renamed = Action(slow.node, slow.commands, "takes over from somebody", again_after_seconds=12)
    quick = Action("node-1-1", (("CLUSTER", "MEET", "10.0.0.1", 6379),), None)
    assert memory.due((slow, quick), 0) == (slow, quick)
    assert memory.due((renamed, quick), 11) == (quick,)
    assert memory.due((slow,), 12) == (slow,)


def test_a_stranger_ends_everything_before_anything_is_decided() -> None:
    with pytest.raises(NotOurs, match="in place of node-2 is not ours"):
        refuse_strangers(observed(REPLICATION, replicated(REPLICATION) | {"node-2": foreign("node-2")}))
    refuse_strangers(observed(REPLICATION, replicated(REPLICATION)))


def test_the_time_grows_with_the_declared_time_outs() -> None:
    assert default_seconds(REPLICATION) == 60
    assert default_seconds(inventory_of("cluster", cluster={"node_timeout_seconds": 30})) > default_seconds(CLUSTER) > 60


def test_the_error_at_the_end_names_what_was_awaited_refused_and_last_seen() -> None:
    step = Decision(waits=(Wait("links", "node-3 to copy the data"), Wait("links", "node-3 to copy the data")))
    states = formed(CLUSTER)
    error = _timed_out(observed(CLUSTER, states), CLUSTER, step, ["node-3 refused X: no"], 60.4)
    assert isinstance(error, CheckFailed)
    assert str(error).splitlines() == [
        "stack shop did not reach its declared shape within 60 s; last state: "
        "ok: 3 shards serve all 16384 slots, all 6 nodes agree",
        "  - still waiting for node-3 to copy the data",
        "  - node-3 refused X: no",
    ]
    del states["node-1-1"]
    assert isinstance(_timed_out(observed(CLUSTER, states), CLUSTER, step, [], 60), Unreachable)
