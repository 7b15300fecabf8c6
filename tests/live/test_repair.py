"""A cluster is broken by hand in each way that `scripts/repair.py` knows, and repaired; no acknowledged write may be lost.

Before each repair the dry run has to say the same and change nothing.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis.crc import key_slot

from operations.connect import Fleet
from operations.inventory import Access
from operations.parse import cluster_nodes, text
from operations.reshard.live import Live
from tests.live.faults import hang, kill_servers
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Ledger, fill, lost
from tests.live.movers import assert_whole, kill_in_the_middle, look, stored
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

SPEC = {
    "topology": "cluster",
    "shards": 3,
    "replicas": 1,
    "cluster": {"node_timeout_seconds": 2},
    "memory": {"maxmemory": "128mb"},
    "replication": {"backlog": "8mb"},
}
KEYS = 6000
ONE, TWO, THREE = "node-1-1", "node-2-1", "node-3-1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with throw_away_stack("repair", SPEC, tmp_path_factory.mktemp("repair"), pytestconfig) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    found = stack.access()
    stack.wait_healthy(found, 30)
    return found


@pytest.fixture(scope="module")
def ledger(access: Access) -> Ledger:
    return fill(access, "kept", KEYS)


@pytest.fixture
def fleet(access: Access) -> Iterator[Fleet]:
    with Fleet(access, access.inventory.data_nodes) as found:
        yield found


def slots_with_keys(live: Live, owner: str, count: int) -> list[int]:
    """Slots of `owner` of which the ledger has keys; an own part of them for each test, since slots change hands."""
    filled = {key_slot(f"kept:{number}".encode()) for number in range(KEYS)}
    return sorted(filled & set(live.slots_of(owner)))[:count]


def order(fleet: Fleet, node: str, *command: str | int) -> None:
    assert fleet.links[node].ask(*command) is not None


def migrate(access: Access, fleet: Fleet, source: str, target: str, slot: int, count: int) -> int:
    """Move up to `count` keys of a slot, as a hand that moves slots does."""
    keys: Any = fleet.links[source].ask("CLUSTER", "GETKEYSINSLOT", slot, count)
    if keys:
        entry = access.inventory.node(target)
        login = ("AUTH2", "admin", access.credentials.password("admin"))
        order(fleet, source, "MIGRATE", entry.address, entry.port, "", 0, 1000, *login, "KEYS", *keys)
    return len(keys)


def open_slot(fleet: Fleet, live: Live, source: str, target: str, slot: int) -> None:
    order(fleet, target, "CLUSTER", "SETSLOT", slot, "IMPORTING", live.node_id(source))
    order(fleet, source, "CLUSTER", "SETSLOT", slot, "MIGRATING", live.node_id(target))


def repaired(stack: Stack, *kinds: str, at_rest: bool = True) -> dict[str, Any]:
    """The dry run says that something is wrong, of each of `kinds`; then the repair, which ends with nothing left.

    `at_rest`: the servers change nothing by themselves meanwhile, so both have to find the same.
    """
    told = json.loads(stack.script("repair", "--dry-run", "--json").failed(10).output)
    assert set(kinds) <= {finding["kind"] for finding in told["findings"]}, told
    done: dict[str, Any] = json.loads(stack.script("repair", "--json").ok().output)
    assert done["left"] == []
    if at_rest:
        assert done["found"] == told["findings"]
    return done


def test_a_whole_cluster_needs_no_repair(stack: Stack, access: Access, ledger: Ledger) -> None:
    stack.script("repair", "--dry-run").ok().says("nothing is wrong")
    stack.script("repair").ok().says("nothing is wrong")
    assert lost(access, ledger) == []


def test_slots_left_half_moved_by_hand_are_moved_to_their_end(stack: Stack, access: Access, ledger: Ledger, fleet: Fleet) -> None:
    live = look(access)
    both, only_target, only_source = slots_with_keys(live, ONE, 3)
    open_slot(fleet, live, ONE, TWO, both)
    migrate(access, fleet, ONE, TWO, both, 1)
    order(fleet, TWO, "CLUSTER", "SETSLOT", only_target, "IMPORTING", live.node_id(ONE))
    order(fleet, ONE, "CLUSTER", "SETSLOT", only_source, "MIGRATING", live.node_id(TWO))
    repaired(stack, "open")
    after = assert_whole(access)
    assert {after.owners[slot] for slot in (both, only_target, only_source)} == {TWO}
    assert lost(access, ledger) == []


def test_a_move_whose_mover_was_killed_goes_on(stack: Stack, access: Access, ledger: Ledger) -> None:
    kill_in_the_middle(access, {"3": 0.0})
    repaired(stack, "interrupted")
    assert assert_whole(access).slots_of(THREE) == []
    assert lost(access, ledger) == []
    stack.script("reshard").ok()


def test_stray_keys_go_home_and_second_copies_do_not_replace_what_the_owner_has(
    stack: Stack, access: Access, ledger: Ledger, fleet: Fleet
) -> None:
    live = look(access)
    slots = slots_with_keys(live, TWO, 40)
    for slot in slots:
        open_slot(fleet, live, TWO, THREE, slot)
        migrate(access, fleet, TWO, THREE, slot, 100)
        for node in (TWO, THREE):
            order(fleet, node, "CLUSTER", "SETSLOT", slot, "STABLE")
    gone = [key for key in ledger.acknowledged if key_slot(key.encode()) in slots]
    assert set(lost(access, ledger)) == set(gone), "the owner does not find them any more"
    written_since = gone[0]
    order(fleet, TWO, "SET", written_since, "newer")
    done = repaired(stack, "orphans")
    assert any(f"{len(gone) - 1:,} keys went from {THREE} home to {TWO}, 1 second copies" in line for line in done["did"])
    assert_whole(access)
    assert fleet.links[TWO].ask("GET", written_since) == "newer"
    order(fleet, TWO, "SET", written_since, ledger.acknowledged[written_since])
    assert lost(access, ledger) == []


def test_a_slot_that_nobody_owns_goes_to_whoever_has_its_keys(stack: Stack, access: Access, ledger: Ledger, fleet: Fleet) -> None:
    live = look(access)
    untold, dropped = slots_with_keys(live, ONE, 2)
    # A hand moved all keys and told the source, but died before it told the target.
    open_slot(fleet, live, ONE, THREE, untold)
    while migrate(access, fleet, ONE, THREE, untold, 100):
        pass
    order(fleet, ONE, "CLUSTER", "SETSLOT", untold, "NODE", live.node_id(THREE))
    order(fleet, THREE, "CLUSTER", "SETSLOT", untold, "STABLE")
    order(fleet, ONE, "CLUSTER", "DELSLOTS", dropped)
    repaired(stack, "unowned")
    after = assert_whole(access)
    assert (after.owners[untold], after.owners[dropped]) == (THREE, ONE)
    assert lost(access, ledger) == []


@pytest.mark.parametrize("was", ["replica", "primary"])
def test_a_server_that_hangs_is_started_again(was: str, stack: Stack, access: Access, ledger: Ledger) -> None:
    live = look(access)
    node = next(name for name in live.primaries if live.slots_of(name))
    victim = node if was == "primary" else live.replicas_of(node)[0]
    hang(access, victim)
    done = repaired(stack, "silent")
    assert done["did"] == [f"{victim} was started again and answers"]
    stack.wait_healthy(access, 30)
    if was == "primary":
        stack.script("switchover", "--to", victim).ok()  # as the tests after this one expect it
    assert lost(access, ledger) == []


@pytest.mark.full  # nodes keep a ban of a minute on what they were told to forget
def test_two_owners_that_do_not_know_each_other_become_one_and_no_key_of_either_is_lost(
    stack: Stack, access: Access, ledger: Ledger, fleet: Fleet
) -> None:
    live = look(access)
    slots = slots_with_keys(live, ONE, 20)
    order(fleet, ONE, "CLUSTER", "FORGET", live.node_id(TWO))
    order(fleet, TWO, "CLUSTER", "FORGET", live.node_id(ONE))
    order(fleet, TWO, "CLUSTER", "BUMPEPOCH")
    for slot in slots:
        order(fleet, TWO, "CLUSTER", "SETSLOT", slot, "NODE", live.node_id(TWO))
    names = [key for key in ledger.acknowledged if key_slot(key.encode()) in slots]
    order(fleet, TWO, "SET", names[0], ledger.acknowledged[names[0]])
    done = repaired(stack, "doubled", "forgotten", at_rest=False)
    assert any("home" in line for line in done["did"])
    after = assert_whole(access)
    assert {after.owners[slot] for slot in slots} == {TWO}
    stack.wait_healthy(access, 20)
    assert lost(access, ledger) == []


@pytest.mark.full  # nodes keep a ban of a minute on what they were told to forget
def test_a_node_that_was_forgotten_is_met_again(stack: Stack, access: Access, ledger: Ledger, fleet: Fleet) -> None:
    live = look(access)
    for name in (ONE, TWO):
        order(fleet, name, "CLUSTER", "FORGET", live.node_id("node-3-2"))
    repaired(stack, "forgotten", at_rest=False)
    for name in (ONE, TWO):
        listed = {node.node_id for node in cluster_nodes(text(fleet.links[name].ask("CLUSTER", "NODES")))}
        assert live.node_id("node-3-2") in listed
    stack.wait_healthy(access, 20)
    assert lost(access, ledger) == []


def test_after_the_loss_of_most_primaries_replicas_take_over_when_they_are_told_to(
    stack: Stack, access: Access, ledger: Ledger
) -> None:
    stack.wait_healthy(access, 20)
    assert lost(access, ledger) == []
    live = look(access)
    victims = [name for name in live.primaries if live.slots_of(name)][:2]
    heirs = {name: live.replicas_of(name)[0] for name in victims}
    kill_servers(stack, [access.inventory.node(name) for name in victims])
    for name in victims:
        stack.container(name).kill()
    refused = json.loads(stack.script("repair", "--json").failed(10).output)
    assert refused["did"] == []
    assert any("--accept-loss" in reason for reason in refused["held_back"])
    stack.script("repair", "--accept-loss").failed(10).says("takes over slots", "does not answer")
    after = look(access)
    assert {after.heir(name) for name in victims} == set(heirs.values())
    assert lost(access, ledger) == []
    for name in victims:
        stack.container(name).start()
    stack.wait_healthy(access, 60)
    stack.script("repair").ok().says("nothing is wrong")
    assert len(set(stored(access, assert_whole(access)))) >= KEYS
    assert lost(access, ledger) == []
    wait_until("one primary per shard", lambda: "" if len(look(access).primaries) == 3 else "not yet", 10)
