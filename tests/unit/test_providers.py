"""When the convergence of a stack has something to do, and what it takes a change of topology to be."""

from typing import Any

import pytest

from tests.unit.states import inventory_of
from topologies.providers import ConvergenceProvider, change_of


def props(shards: int = 3, standing: dict[str, Any] | None = None, topology: str = "cluster") -> dict[str, Any]:
    fields = {"shards": shards} if topology == "cluster" else {}
    inventory = inventory_of(topology, **fields).model_dump(mode="json")
    found = {"standing": standing} if standing is not None else {}
    return {"inventory": inventory, "credentials": {"admin": "x"}, "revisions": {"containers": ["a"]}, **found}


def changes(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    return bool(ConvergenceProvider().diff("id", olds, news).changes)


NODE = inventory_of("cluster", shards=4).node("node-4-1").model_dump()


def test_nothing_to_do_for_a_stack_as_it_was_made() -> None:
    assert not changes(props(standing={"leaving": [], "shards": None}), props(standing={"leaving": [], "shards": 3}))


def test_a_state_of_the_release_that_knew_no_change_of_topology_shows_nothing_to_do() -> None:
    assert not changes(props(), props(standing={"leaving": [], "shards": 3}))


@pytest.mark.parametrize("standing", [{"leaving": [NODE], "shards": 3}, {"leaving": [], "shards": 5}])
def test_what_an_interrupted_change_left_is_something_to_do(standing: dict[str, Any]) -> None:
    assert changes(props(), props(standing=standing))


def test_another_number_of_shards_moves_slots_and_a_first_up_does_not() -> None:
    assert change_of(props(3), props(5)).rebalance
    assert change_of(props(5), props(3)).rebalance
    assert not change_of({}, props(3)).rebalance
    assert not change_of(props(3), props(3, standing={"leaving": [], "shards": 3})).rebalance


def test_a_change_taken_back_after_an_interruption_moves_slots_back() -> None:
    assert change_of(props(5), props(5, standing={"leaving": [], "shards": 3})).rebalance


def test_slots_are_no_matter_where_there_are_none() -> None:
    assert not change_of(props(topology="standalone"), props(topology="replication", standing={"leaving": [], "shards": None}))


def test_nodes_that_leave_are_taken_as_the_program_found_them() -> None:
    change = change_of(props(4), props(3, standing={"leaving": [NODE], "shards": 4}))
    assert [node.name for node in change.leaving] == ["node-4-1"]
    assert not change.accept_loss
