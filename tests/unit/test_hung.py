"""When a silent server of a cluster is taken for one that hangs, and what is done then. No engine is asked."""

from typing import Any, cast

import pytest

from operations.containers import Containers, share_of
from operations.errors import Unreachable
from operations.hung import SILENT_SECONDS, Revival, given_up
from operations.inventory import Inventory, NodeEntry
from operations.observe import NodeState
from tests.unit.states import foreign, formed, identifier, inventory_of, observed, replicated, silent, with_line

CLUSTER = inventory_of("cluster", shards=3, replicas=1)
REPLICA, PRIMARY = "node-1-2", "node-1-1"


def failed(name: str, states: dict[str, NodeState], flags: frozenset[str], **changes: object) -> dict[str, NodeState]:
    """`name` answers nobody; the others have these flags on it."""
    seen = {other: with_line(state, identifier(name), flags=flags, **changes) for other, state in states.items() if other != name}
    return seen | {name: silent(name)}


DEAD_REPLICA = failed(REPLICA, formed(CLUSTER), frozenset({"slave", "fail"}))


def test_a_silent_replica_that_all_primaries_hold_for_failed_is_given_up() -> None:
    assert given_up(observed(CLUSTER, DEAD_REPLICA), CLUSTER) == (REPLICA,)


def test_a_primary_is_given_up_once_its_replica_has_its_slots() -> None:
    states = failed(PRIMARY, formed(CLUSTER), frozenset({"master", "fail"}))
    assert given_up(observed(CLUSTER, states), CLUSTER) == (), "its slots are still its own: nobody took over"
    states = failed(PRIMARY, formed(CLUSTER, {1: REPLICA}), frozenset({"master", "fail"}), slots=())
    assert given_up(observed(CLUSTER, states), CLUSTER) == (PRIMARY,)


@pytest.mark.parametrize("flags", [frozenset({"slave"}), frozenset({"slave", "fail?"})])
def test_a_node_that_is_silent_to_us_alone_or_to_some_is_not_given_up(flags: frozenset[str]) -> None:
    assert given_up(observed(CLUSTER, failed(REPLICA, formed(CLUSTER), flags)), CLUSTER) == ()


def test_one_primary_that_still_reaches_it_is_enough_to_leave_it_alone() -> None:
    states = dict(DEAD_REPLICA)
    states["node-2-1"] = with_line(states["node-2-1"], identifier(REPLICA), flags=frozenset({"slave"}))
    assert given_up(observed(CLUSTER, states), CLUSTER) == ()


def test_without_a_primary_that_answers_or_with_a_stranger_in_its_place_nothing_is_given_up() -> None:
    alone = {name: silent(name) for name in DEAD_REPLICA}
    assert given_up(observed(CLUSTER, alone), CLUSTER) == ()
    assert given_up(observed(CLUSTER, DEAD_REPLICA | {REPLICA: foreign(REPLICA)}), CLUSTER) == ()
    replication = inventory_of("replication")
    assert given_up(observed(replication, replicated(replication) | {"node-2": silent("node-2")}), replication) == ()


class Engine:
    """An engine on which every node takes `share` of a processor."""

    def __init__(self, share: float | None, inventory: Inventory = CLUSTER) -> None:
        self.share, self.inventory = share, inventory
        self.restarted: list[tuple[str, int | None]] = []

    def processor_share(self, node: NodeEntry) -> float | None:
        assert node.name in {one.name for one in self.inventory.data_nodes}
        return self.share

    def restart(self, node: NodeEntry, patience_seconds: int | None = None) -> None:
        self.restarted.append((node.name, patience_seconds))


class Loop:
    """A loop that looks every second."""

    def __init__(self, share: float | None) -> None:
        self.engine = Engine(share)
        self.time = 0.0
        self.told: list[str] = []
        self.revival = Revival(CLUSTER, self.told.append, lambda: self.time)

    def look(self, states: dict[str, NodeState], seconds: float) -> "Loop":
        for _ in range(int(seconds) + 1):
            self.revival.consider(observed(CLUSTER, states), lambda _: cast(Containers, self.engine))
            self.time += 1
        return self


def test_what_hangs_is_ended_at_once_and_started_again_and_that_is_told() -> None:
    loop = Loop(share=0.6).look(DEAD_REPLICA, SILENT_SECONDS)
    assert loop.engine.restarted == [(REPLICA, 0)]
    assert loop.told[0].startswith("node-1-2 hung: it answered nobody while its process worked")


@pytest.mark.parametrize("share", [0.003, None])
def test_what_is_frozen_or_does_not_run_is_left_alone(share: float | None) -> None:
    loop = Loop(share).look(DEAD_REPLICA, 3 * SILENT_SECONDS)
    assert loop.engine.restarted == [] and loop.told == []


def test_the_patience_begins_anew_when_the_node_was_there_in_between_and_no_node_is_started_twice() -> None:
    loop = Loop(share=1.0).look(DEAD_REPLICA, SILENT_SECONDS - 2).look(formed(CLUSTER), 0).look(DEAD_REPLICA, SILENT_SECONDS - 2)
    assert loop.engine.restarted == []
    again = Loop(share=1.0).look(DEAD_REPLICA, 4 * SILENT_SECONDS)
    assert len(again.engine.restarted) == 1


def test_an_engine_that_does_not_answer_is_told_and_ends_no_wait() -> None:
    told: list[str] = []
    clock = iter((0.0, SILENT_SECONDS))
    revival = Revival(CLUSTER, told.append, lambda: next(clock))

    def refuses(_: Inventory) -> Containers:
        raise Unreachable("the Docker engine does not answer")

    revival.consider(observed(CLUSTER, DEAD_REPLICA), refuses)
    revival.consider(observed(CLUSTER, DEAD_REPLICA), refuses)
    assert told == ["node-1-2: whether the process hangs cannot be told: the Docker engine does not answer"]


def sample(used_seconds: float, before: str = "2026-01-01T10:00:00.000000789Z") -> dict[str, Any]:
    return {
        "read": "2026-01-01T10:00:02.000000000Z",
        "preread": before,
        "cpu_stats": {"cpu_usage": {"total_usage": int((7 + used_seconds) * 1e9)}},
        "precpu_stats": {"cpu_usage": {"total_usage": 7 * 10**9}},
    }


def test_the_share_of_a_processor_is_what_was_used_between_two_readings() -> None:
    assert share_of(sample(1.0)) == pytest.approx(0.5)
    assert share_of(sample(1.0, before="0001-01-01T00:00:00Z")) is None, "there was no reading before"
    assert share_of({"read": "2026-01-01T10:00:02Z", "cpu_stats": {}, "precpu_stats": {}}) is None
