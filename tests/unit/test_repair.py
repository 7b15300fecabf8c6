"""What is found wrong in hand-written states of a cluster, and what would be done about it, in which order."""

from dataclasses import replace

import pytest

from operations.observe import ClusterView, NodeState, Observation
from operations.parse import SLOT_COUNT, OpenSlot
from operations.repair.diagnose import Picture, diagnose
from operations.repair.findings import Finding
from operations.repair.propose import Plan, propose
from operations.reshard.journal import Entry, Found
from operations.reshard.live import live_of
from operations.reshard.plan import Move, slots_in
from tests.unit.states import also_knowing, formed, identifier, inventory_of, observed, silent, with_line

INVENTORY = inventory_of("cluster", shards=3, replicas=1)
ONE, TWO, THREE = "node-1-1", "node-2-1", "node-3-1"
FIRST, SECOND, THIRD = (0, 5460), (5461, 10921), (10922, SLOT_COUNT - 1)
STRANGER = "f" * 40


def picture(states: dict[str, NodeState], held: dict[str, dict[int, int]] | None = None, journal: Found | None = None) -> Picture:
    observation: Observation = observed(INVENTORY, states)
    return Picture(live_of(observation, INVENTORY), held or {}, journal)


def found(seen: Picture) -> list[str]:
    return [type(finding).__name__ for finding in diagnose(seen)]


def plan(seen: Picture, accept_loss: bool = False) -> Plan:
    ids = {name: view.my_id for name, view in seen.views.items()}
    return propose(diagnose(seen), INVENTORY, ids, accept_loss)


def stages(proposed: Plan) -> list[str]:
    return [step.stage for step in proposed.steps]


def commands(proposed: Plan) -> list[tuple[str, str]]:
    """(node, command) of all steps, in order."""
    return [
        (action.node, " ".join(map(str, command)))
        for step in proposed.steps
        for action in step.actions
        for command in action.commands
    ]


def view_of(state: NodeState) -> ClusterView:
    assert state.cluster is not None
    return state.cluster


def claiming(states: dict[str, NodeState], name: str, *ranges: tuple[int, int], epoch: int | None = None) -> None:
    """`name` says of itself that it owns these slots; what others believe of it stays."""
    me = view_of(states[name]).me
    states[name] = with_line(states[name], me.node_id, slots=ranges, config_epoch=me.config_epoch if epoch is None else epoch)


def believed(states: dict[str, NodeState], name: str, *ranges: tuple[int, int]) -> None:
    """All others believe that `name` owns these slots."""
    for other, state in states.items():
        if other != name:
            states[other] = with_line(state, identifier(name), slots=ranges)


def marked(states: dict[str, NodeState], name: str, *marks: OpenSlot) -> None:
    states[name] = with_line(states[name], identifier(name), open_slots=marks)


def down(states: dict[str, NodeState], *names: str, seen: str = "fail") -> None:
    """These nodes are gone, and the others have noticed."""
    for name in names:
        states[name] = silent(name)
    for other, state in states.items():
        for name in names:
            if state.cluster is not None:
                line = view_of(states[other]).knows(identifier(name))
                assert line is not None
                changed = with_line(states[other], identifier(name), flags=line.flags | {seen}, connected=False)
                states[other] = changed


def test_nothing_is_found_in_a_whole_cluster() -> None:
    held = {ONE: {0: 3, 5460: 1}, TWO: {5461: 2}, THREE: {SLOT_COUNT - 1: 9}}
    seen = picture(formed(INVENTORY), held, Found(None, (), None))
    assert diagnose(seen) == ()
    assert plan(seen) == Plan((), ())


def test_a_slot_in_mid_move_is_moved_to_its_end_and_its_keys_on_the_target_are_no_orphans() -> None:
    states = formed(INVENTORY)
    marked(states, ONE, OpenSlot(7, "migrating", identifier(TWO)))
    marked(states, TWO, OpenSlot(7, "importing", identifier(ONE)))
    seen = picture(states, {ONE: {7: 5}, TWO: {7: 4}})
    assert found(seen) == ["Open"]
    assert stages(plan(seen)) == ["finish"]


def test_a_slot_that_only_the_journal_knows_to_be_half_moved_is_not_taken_for_stray_keys() -> None:
    entry = Entry("me", "now", "equal shares", {7: TWO}, {7: ONE})
    journal = Found(entry, (Move(ONE, TWO, (7,)),), None)
    seen = picture(formed(INVENTORY), {TWO: {7: 4}}, journal)
    assert found(seen) == ["Open", "Interrupted"]
    assert stages(plan(seen)) == ["finish"]
    assert "equal shares" in plan(seen).steps[0].text
    assert found(picture(formed(INVENTORY), {TWO: {7: 4}})) == ["Orphans"], "without the journal nobody can tell"


def test_a_mark_that_leads_nowhere_is_taken_away() -> None:
    states = formed(INVENTORY)
    marked(states, ONE, OpenSlot(7, "importing", identifier(TWO)))
    assert "leading nowhere" in diagnose(picture(states))[0].text
    assert stages(plan(picture(states))) == ["finish"]


def test_of_two_owners_the_one_with_the_lower_epoch_stops_serving_before_the_two_can_meet() -> None:
    states = formed(INVENTORY)
    claiming(states, TWO, (5451, 10921), epoch=9)
    states[ONE] = replace(states[ONE], cluster=replace(view_of(states[ONE]), nodes=view_of(states[ONE]).nodes[:1]))
    seen = picture(states, {ONE: {5455: 3}, TWO: {5455: 2}})
    proposed = plan(seen)
    assert stages(proposed)[:2] == ["yield", "meet"]
    assert commands(proposed)[0] == (ONE, "CLUSTER DELSLOTSRANGE 5451 5460")
    assert "home" not in stages(proposed), "its keys are stray only once it does not serve them"


def test_keys_that_a_node_holds_of_a_foreign_slot_go_home() -> None:
    seen = picture(formed(INVENTORY), {ONE: {0: 5, 6000: 2, 6001: 1}, TWO: {6000: 7}})
    (step,) = plan(seen).steps
    assert step.stage == "home"
    assert step.home is not None
    assert (step.home.node, step.home.owner, step.home.slots, step.home.keys) == (ONE, TWO, (6000, 6001), 3)


def test_a_slot_without_an_owner_goes_to_whoever_holds_most_of_its_keys() -> None:
    states = formed(INVENTORY)
    claiming(states, TWO, (5461, 5999), (6002, 10921))
    seen = picture(states, {ONE: {6000: 2}, TWO: {6000: 7}})
    proposed = plan(seen)
    assert commands(proposed) == [
        (TWO, f"CLUSTER SETSLOT 6000 NODE {identifier(TWO)}"),
        (TWO, f"CLUSTER SETSLOT 6001 NODE {identifier(TWO)}"),
        (TWO, "CLUSTER BUMPEPOCH"),
    ]
    assert "Orphans" not in found(seen), "whose keys are stray is known only when the slot has an owner"


def test_an_empty_slot_without_an_owner_that_nobody_remembers_goes_to_its_neighbour() -> None:
    states = formed(INVENTORY)
    claiming(states, THREE, (10923, SLOT_COUNT - 1))
    believed(states, THREE, (10923, SLOT_COUNT - 1))
    (finding,) = diagnose(picture(states))
    assert finding.text == "slots 10922 have no owner: no node holds a key of them"
    assert commands(plan(picture(states)))[0] == (TWO, f"CLUSTER SETSLOT 10922 NODE {identifier(TWO)}")


def test_slots_of_a_silent_node_are_never_given_away() -> None:
    states = formed(INVENTORY)
    states[THREE] = silent(THREE)  # nobody else has noticed: the cluster reaches it, we do not
    assert found(picture(states)) == ["Silent"]
    assert plan(picture(states)).steps == ()
    assert "make up STACK=shop" in plan(picture(states)).held_back[0]


def test_slots_whose_last_copy_is_gone_are_given_away_only_with_consent() -> None:
    states = formed(INVENTORY)
    gone = view_of(states[ONE]).knows(identifier(THREE))
    assert gone is not None
    ghost = replace(gone, node_id=STRANGER, flags=frozenset({"master", "fail", "noaddr"}), connected=False, address="", port=0)
    for name, state in states.items():
        cleared = state if name in (THREE, "node-3-2") else with_line(state, identifier(THREE), slots=())
        states[name] = also_knowing(cleared, ghost)
    claiming(states, THREE)
    seen = picture(states, {ONE: {0: 1}, TWO: {6000: 1}})
    assert "Unowned" in found(seen)
    assert "assign" not in stages(plan(seen))
    assert any("--accept-loss" in reason for reason in plan(seen).held_back)
    assert "assign" in stages(plan(seen, accept_loss=True))


@pytest.mark.parametrize(("victims", "how"), [((ONE, TWO), "TAKEOVER"), ((THREE,), "FORCE")])
def test_a_takeover_needs_consent_and_goes_to_the_most_advanced_replica(victims: tuple[str, ...], how: str) -> None:
    states = formed(INVENTORY)
    down(states, *victims, seen="fail?" if how == "TAKEOVER" else "fail")
    seen = picture(states)
    assert found(seen) == ["Silent"] * len(victims) + ["Leaderless"] * len(victims)
    held = plan(seen)
    assert held.steps == ()
    assert all("--accept-loss" in reason for reason in held.held_back if "served by nobody" in reason)
    proposed = plan(seen, accept_loss=True)
    assert commands(proposed) == [(f"node-{victim[5]}-2", f"CLUSTER FAILOVER {how}") for victim in victims]


def test_the_most_advanced_of_several_replicas_takes_over() -> None:
    inventory = inventory_of("cluster", shards=3, replicas=2)
    states = formed(inventory)
    ahead = states["node-1-3"]
    assert ahead.info is not None
    ahead_info = replace(ahead.info, replication=replace(ahead.info.replication, offset=500))
    states["node-1-3"] = replace(ahead, info=ahead_info)
    down(states, ONE, TWO)
    seen = Picture(live_of(observed(inventory, states), inventory), {}, None)
    ids = {name: view.my_id for name, view in seen.views.items()}
    assert commands(propose(diagnose(seen), inventory, ids, accept_loss=True))[0] == ("node-1-3", "CLUSTER FAILOVER TAKEOVER")


def test_nothing_but_takeovers_is_done_while_slots_have_no_primary() -> None:
    states = formed(INVENTORY)
    down(states, ONE, TWO)
    seen = picture(states, {THREE: {0: 4}})
    assert set(stages(plan(seen, accept_loss=True))) == {"takeover"}


def test_a_shard_that_is_gone_with_all_of_its_nodes_is_only_named() -> None:
    states = formed(INVENTORY)
    down(states, ONE, "node-1-2")
    proposed = plan(picture(states), accept_loss=True)
    assert proposed.steps == ()
    assert any("no replica of it answers" in reason for reason in proposed.held_back)


def test_a_forgotten_node_is_met_again() -> None:
    states = formed(INVENTORY)
    view = view_of(states[ONE])
    states[ONE] = replace(states[ONE], cluster=replace(view, nodes=tuple(n for n in view.nodes if n.node_id != identifier(TWO))))
    node = INVENTORY.node(TWO)
    assert [text for name, text in commands(plan(picture(states))) if name == ONE] == [
        f"CLUSTER MEET {node.address} {node.port} {node.bus_port}"
    ]


def test_an_id_that_is_gone_is_forgotten_and_a_living_stranger_stops_everything() -> None:
    states = formed(INVENTORY)
    line = view_of(states[ONE]).knows(identifier(TWO))
    assert line is not None
    ghost = replace(line, node_id=STRANGER, address="10.9.9.9", slots=(), flags=frozenset({"master", "fail"}), connected=False)
    gone = {name: also_knowing(state, ghost) for name, state in states.items()}
    assert stages(plan(picture(gone))) == ["forget"]
    assert len(commands(plan(picture(gone)))) == len(INVENTORY.data_nodes)
    alive = replace(ghost, flags=frozenset({"master"}), connected=True)
    met = {name: also_knowing(state, alive) for name, state in states.items()}
    proposed = plan(picture(met, {ONE: {6000: 2}}))
    assert proposed.steps == ()
    assert any(f"CLUSTER FORGET {STRANGER}" in reason for reason in proposed.held_back)


def test_an_owner_whom_the_others_do_not_believe_takes_a_new_epoch() -> None:
    states = formed(INVENTORY)
    claiming(states, ONE, (0, 5400))
    claiming(states, TWO, (5401, 10921))
    (finding,) = diagnose(picture(states))
    assert type(finding).__name__ == "Disbelieved"
    assert (TWO, "CLUSTER BUMPEPOCH") in commands(plan(picture(states)))


def test_every_finding_says_what_it_is_about() -> None:
    states = formed(INVENTORY)
    marked(states, ONE, OpenSlot(7, "migrating", identifier(TWO)))
    seen = picture(states, {ONE: {6000: 2}})
    texts: list[Finding] = list(diagnose(seen))
    assert [finding.text for finding in texts] == [
        "node-1-1 holds 2 keys of slots 6000, which node-2-1 owns: no client finds them",
        "slots 7 stand open from node-1-1 to node-2-1",
    ]
    assert slots_in([(7, 7)]) == (7,)


def test_a_server_that_hangs_is_started_again_first_and_without_consent() -> None:
    states = formed(INVENTORY)
    down(states, "node-1-2", TWO)
    seen = replace(picture(states), hung=frozenset({"node-1-2"}))
    proposed = plan(seen)
    assert [(step.stage, step.restart) for step in proposed.steps] == [("restart", "node-1-2")]
    assert "it hangs" in diagnose(seen)[0].text
    assert not any("node-1-2" in reason for reason in proposed.held_back)
    assert any("make up STACK=shop" in reason for reason in proposed.held_back), "the other silent node is the user's to start"
