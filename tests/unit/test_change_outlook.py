"""What the preview of a change of topology says and refuses, from hand-written states."""

from dataclasses import replace

from operations.observe import NodeState, Observation
from tests.unit.states import formed, inventory_of, observed, replicated, silent, watched
from tests.unit.test_guard import engine_with, plan_of, standing
from topologies.change import Outlook, foreseen, moves_slots
from topologies.plan import Plan
from topologies.standing import Shape, shape_of


def shape(before: Plan, after: Plan) -> Shape:
    return shape_of(after, engine_with(after, containers=standing(before)))


def cluster_seen(shards: int) -> Observation:
    inventory = inventory_of("cluster", shards=shards)
    return observed(inventory, formed(inventory))


def test_new_shards_are_named_and_move_slots() -> None:
    before, after = plan_of(shards=3), plan_of(shards=4)
    found = foreseen(after, shape(before, after), cluster_seen(3))
    assert found == Outlook(("node-4-1, node-4-2 join",))
    assert moves_slots(after, shape(before, after), cluster_seen(3))


def test_one_replica_more_tells_what_it_copies_and_moves_no_slot() -> None:
    before, after = plan_of("replication", replicas=1), plan_of("replication", replicas=2)
    inventory = inventory_of("replication", replicas=1)
    seen = observed(inventory, replicated(inventory))
    assert foreseen(after, shape(before, after), seen).lines == (
        "node-3 joins",
        "node-3 copies its primary's data, at most 1.0 MB",
    )
    assert not moves_slots(after, shape(before, after), seen)


def test_a_primary_that_leaves_is_named_with_its_successor() -> None:
    before, after = plan_of("sentinel", replicas=2), plan_of("sentinel", replicas=1)
    inventory = inventory_of("sentinel", replicas=2)
    found = foreseen(after, shape(before, after), observed(inventory, watched(inventory, "node-3")))
    assert found.lines[0] == "node-3 leaves"
    assert found.lines[1].endswith("takes over from node-3, which leaves")
    assert found.losses == ()


def test_what_could_be_lost_is_told_apart_from_what_cannot_be_done() -> None:
    before, after = plan_of("replication", replicas=2), plan_of("replication", replicas=1)
    inventory = inventory_of("replication", replicas=2)
    states = replicated(inventory, "node-3")
    states |= {name: cut_off(states[name]) for name in ("node-1", "node-2")}
    found = foreseen(after, shape(before, after), observed(inventory, states))
    assert found.problems == ()
    assert found.losses == (
        "node-3 is primary and would leave without a synced successor: node-1, node-2 have no connection to it",
    )


def cut_off(state: NodeState) -> NodeState:
    assert state.info is not None
    return replace(state, info=replace(state.info, replication=replace(state.info.replication, link_up=False)))


def test_when_no_server_answers_growth_is_decided_later_and_leaving_is_refused() -> None:
    three, four = plan_of(shards=3), plan_of(shards=4)
    inventory = inventory_of("cluster", shards=3)
    nobody = observed(inventory, {name: silent(name) for name in (node.name for node in inventory.nodes)})
    grows = foreseen(four, shape(three, four), nobody)
    assert grows.problems == ()
    assert grows.lines[1].startswith("what moves cannot be told yet, because no server answers (nothing listens for node-1-1)")
    (problem,) = foreseen(three, shape(four, three), nobody).problems
    assert "whether nodes can leave cannot be told" in problem
