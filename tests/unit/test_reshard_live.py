"""What a look at the cluster says about slots, what the journal remembers, and how moves are cut into parts."""

import json
import os
import socket
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from operations.errors import CheckFailed, InvalidInput, Unreachable, UsageError
from operations.observe import Observation
from operations.parse import SLOT_COUNT, OpenSlot
from operations.reshard import atomic
from operations.reshard.calls import GROUP_KEYS
from operations.reshard.claims import moved_by_others
from operations.reshard.journal import Entry, Journal, _is_dead, _started
from operations.reshard.live import Live, live_of, require_whole
from operations.reshard.mover import GROUP_BYTES, GROUP_SLOTS, groups_of, in_turns
from operations.reshard.plan import Move, Size
from operations.reshard.proposal import weights_for
from scripts.reshard import parse_weights
from tests.unit.simulated import SimulatedCluster
from tests.unit.states import inventory_of, silent


def formed() -> SimulatedCluster:
    """Three shards with a replica each, all known to each other."""
    cluster = SimulatedCluster(inventory_of("cluster", shards=3, replicas=1))
    primaries = {1: (0, 5460), 2: (5461, 10921), 3: (10922, SLOT_COUNT - 1)}
    for epoch, (name, member) in enumerate(cluster.members.items(), start=1):
        entry = cluster.inventory.node(name)
        member.epoch = epoch
        if entry.member == 1:
            member.slots = (primaries[entry.shard],)
        else:
            member.primary_id = cluster.members[f"node-{entry.shard}-1"].node_id
    refresh(cluster)
    return cluster


def refresh(cluster: SimulatedCluster) -> None:
    for name, member in cluster.members.items():
        member.known = {other.node_id: cluster.line(n) for n, other in cluster.members.items() if n != name}


def seen(cluster: SimulatedCluster, marks: dict[str, tuple[OpenSlot, ...]] | None = None) -> Live:
    observation = cluster.observe()
    nodes = []
    for node in observation.nodes:
        view = node.cluster
        if view is not None and marks and node.name in marks:
            lines = tuple(replace(n, open_slots=marks[node.name]) if n.node_id == view.my_id else n for n in view.nodes)
            node = replace(node, cluster=replace(view, nodes=lines))  # noqa: PLW2901
        nodes.append(node)
    return live_of(Observation(observation.stack, observation.topology, 0.0, 0.0, tuple(nodes)), cluster.inventory)


def test_a_formed_cluster_has_one_owner_for_each_slot_and_nothing_open() -> None:
    live = seen(formed())
    require_whole(live)
    assert len(live.owners) == SLOT_COUNT
    assert live.owners[0] == "node-1-1"
    assert live.owners[SLOT_COUNT - 1] == "node-3-1"
    assert live.opened == ()
    assert live.marks == ()
    assert live.replicas_of("node-2-1") == ("node-2-2",)


def test_a_slot_in_mid_move_is_seen_with_both_ends_from_either_side() -> None:
    cluster = formed()
    one, two = cluster.members["node-1-1"].node_id, cluster.members["node-2-1"].node_id
    both = seen(cluster, {"node-1-1": (OpenSlot(7, "migrating", two),), "node-2-1": (OpenSlot(7, "importing", one),)})
    only_target = seen(cluster, {"node-2-1": (OpenSlot(7, "importing", one),)})
    only_source = seen(cluster, {"node-1-1": (OpenSlot(7, "migrating", two),)})
    for live in (both, only_target, only_source):
        assert [(o.slot, o.source, o.target) for o in live.opened] == [(7, "node-1-1", "node-2-1")]


def test_a_mark_at_the_owner_that_leads_nowhere_is_no_move() -> None:
    cluster = formed()
    live = seen(cluster, {"node-1-1": (OpenSlot(7, "importing", cluster.members["node-2-1"].node_id),)})
    assert live.opened == ()
    assert live.marks == (("node-1-1", 7),)


def test_of_two_claims_the_one_with_the_higher_epoch_counts_and_nothing_is_moved_meanwhile() -> None:
    cluster = formed()
    cluster.members["node-2-1"].slots = ((5400, 10921),)
    cluster.members["node-2-1"].epoch = 9
    live = seen(cluster)
    assert live.owners[5460] == "node-2-1"
    with pytest.raises(CheckFailed, match="5400-5460"):
        require_whole(live)


def test_slots_without_an_owner_stop_a_move() -> None:
    cluster = formed()
    cluster.members["node-3-1"].up = False
    with pytest.raises(Unreachable, match="10922-16383"):
        require_whole(seen(cluster))


def test_the_heir_of_a_primary_is_whoever_took_over() -> None:
    cluster = formed()
    old, new = cluster.members["node-1-1"], cluster.members["node-1-2"]
    assert seen(cluster).heir("node-1-1") == "node-1-1"
    assert seen(cluster).heir("node-1-2") == "node-1-1"
    new.slots, new.primary_id = old.slots, None
    old.slots, old.primary_id = (), new.node_id
    refresh(cluster)
    assert seen(cluster).heir("node-1-1") == "node-1-2", "it came back as a replica"
    old.up = False
    assert seen(cluster).heir("node-1-1") == "node-1-2", "it is still down"
    new.up = False
    with pytest.raises(Unreachable, match="in the place of node-1-1"):
        seen(cluster).heir("node-1-1")


def test_the_heir_is_a_node_of_another_shard_where_that_one_followed() -> None:
    """Replicas move to other shards, by a server's own decision or by hand; the mate may be primary of something else then."""
    cluster = formed()
    first, second, third = (cluster.members[f"node-{shard}-1"] for shard in (1, 2, 3))
    mate, stranger = cluster.members["node-1-2"], cluster.members["node-3-2"]
    stranger.primary_id, mate.primary_id = first.node_id, third.node_id
    refresh(cluster)
    before = seen(cluster).following()
    assert before == {"node-3-2": "node-1-1", "node-2-2": "node-2-1", "node-1-2": "node-3-1"}
    stranger.slots, stranger.primary_id = first.slots, None
    mate.slots, mate.primary_id = third.slots, None
    first.up = third.up = False
    refresh(cluster)
    live = replace(seen(cluster), followed=before)
    assert (live.heir("node-1-1"), live.heir("node-3-1")) == ("node-3-2", "node-1-2")
    second.up = False
    with pytest.raises(Unreachable, match="in the place of node-2-1"):
        replace(seen(cluster), followed=before).heir("node-2-1")


def test_weights_are_given_by_node_or_by_shard_and_are_1_otherwise() -> None:
    live = seen(formed())
    assert weights_for(live, {"3": 0.0, "node-1-2": 2.0}) == {"node-1-1": 2.0, "node-2-1": 1.0, "node-3-1": 0.0}
    with pytest.raises(InvalidInput, match="shard 4"):
        weights_for(live, {"4": 1.0})
    with pytest.raises(UsageError, match="node-9-9"):
        weights_for(live, {"node-9-9": 1.0})
    assert parse_weights("node-1-1=2, 3=0") == {"node-1-1": 2.0, "3": 0.0}
    with pytest.raises(UsageError, match="node-1-1"):
        parse_weights("node-1-1")


def test_the_journal_gives_back_what_was_written() -> None:
    entry = Entry("me", "now", "equal shares", {1: "a", 2: "a", 9: "b"}, {1: "b", 2: "b", 9: "a"}, (("n", "p", "yes"),))
    assert Entry.load(entry.dump()) == entry
    with pytest.raises(InvalidInput, match="version 99"):
        Entry.load(entry.dump().replace('"version": 1', '"version": 99'))


def test_a_list_of_open_slots_is_never_overwritten_by_an_older_one_of_another_thread() -> None:
    written: list[list[Any]] = []

    def ask_all(commands: list[tuple[Any, ...]]) -> list[str]:
        time.sleep(0.002 * (len(written) % 3))
        written.append(json.loads(commands[0][-1]))
        return ["written"]

    link = SimpleNamespace(ensure_ours=lambda: None, ask_all=ask_all)
    cluster = inventory_of("cluster", shards=3, replicas=0)
    fleet: Any = SimpleNamespace(links={node.name: link for node in cluster.data_nodes})
    journal = Journal(fleet, cluster)
    moves = [Move("a", "b", (slot,)) for slot in range(8)]
    threads = [threading.Thread(target=journal.opening, args=(move,)) for move in moves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(opened) for opened in written] == sorted(len(opened) for opened in written)
    assert len(written[-1]) == len(moves)


def test_the_journal_is_looked_for_where_it_was_while_no_primary_answers() -> None:
    """As in a moment in which the machine stands still: the next look finds them again."""
    asked: list[str] = []

    def link(name: str) -> Any:
        def ask_all(_: object) -> list[Any]:
            asked.append(name)
            return [[]]

        return SimpleNamespace(ensure_ours=lambda: None, ask_all=ask_all)

    cluster = inventory_of("cluster", shards=3, replicas=0)
    fleet: Any = SimpleNamespace(links={node.name: link(node.name) for node in cluster.data_nodes})
    journal = Journal(fleet, cluster)
    journal.find(("node-2-1", "node-3-1"))
    journal.find(())
    assert journal.read().entry is None
    assert asked == ["node-2-1"]


def test_the_lock_of_a_living_process_or_of_another_machine_counts_as_held() -> None:
    pid = os.getpid()
    assert not _is_dead(f"{socket.gethostname()}:{pid}:{_started(pid)}:ab")
    assert not _is_dead("elsewhere:1:1:ab")
    assert _is_dead(f"{socket.gethostname()}:{pid}:1:ab"), "another process has that number now"


def test_slots_that_somebody_else_moves_meanwhile_are_told_from_those_of_the_move() -> None:
    cluster = formed()
    entry = Entry("me", "now", "goal", dict.fromkeys((0, 1, 2), "node-2-1"), dict.fromkeys((0, 1, 2), "node-1-1"))
    assert moved_by_others(seen(cluster), entry, ()) == set(), "they are where they were"
    cluster.members["node-1-1"].slots = ((2, 5460),)
    cluster.members["node-2-1"].slots = ((0, 0), (5461, 10921))
    cluster.members["node-3-1"].slots = ((1, 1), (10922, SLOT_COUNT - 1))
    refresh(cluster)
    assert moved_by_others(seen(cluster), entry, ()) == {1}, "0 is where it goes, 1 is elsewhere"
    marks: dict[str, tuple[OpenSlot, ...]] = {"node-1-1": (OpenSlot(2, "migrating", cluster.members["node-2-1"].node_id),)}
    assert moved_by_others(seen(cluster, marks), entry, (2,)) == {1}, "the mover noted that it opened 2"
    assert moved_by_others(seen(cluster, marks), entry, ()) == {1, 2}


def test_groups_are_bounded_by_slots_keys_and_bytes_and_keep_every_slot() -> None:
    light = Move("a", "b", tuple(range(1000)))
    assert [len(g.slots) for g in groups_of([light], {})] == [GROUP_SLOTS] * 7 + [1000 - 7 * GROUP_SLOTS]
    many = {slot: Size(GROUP_KEYS // 2, 1) for slot in range(10)}
    assert [len(g.slots) for g in groups_of([Move("a", "b", tuple(range(10)))], many)] == [2] * 5
    heavy = {slot: Size(1, GROUP_BYTES + 1) for slot in range(3)}
    assert [g.slots for g in groups_of([Move("a", "b", (0, 1, 2))], heavy)] == [(0,), (1,), (2,)]


def test_the_targets_of_a_source_take_turns() -> None:
    groups = [Move("a", "b", (1,)), Move("a", "b", (2,)), Move("a", "c", (3,)), Move("a", "b", (4,))]
    assert [g.target for g in in_turns(groups)] == ["b", "c", "b", "b"]


def test_an_engine_that_moves_slots_itself_is_told_so_in_its_own_words() -> None:
    live = seen(formed())
    moves = [Move("node-1-1", "node-2-1", (1, 2, 5)), Move("node-1-1", "node-3-1", (7,)), Move("node-2-1", "node-3-1", (6000,))]
    two, three = live.node_id("node-2-1"), live.node_id("node-3-1")
    assert atomic.start_commands("valkey", live, moves) == [
        (
            "node-1-1",
            ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 1, 2, 5, 5, "NODE", two, "SLOTSRANGE", 7, 7, "NODE", three],
        ),
        ("node-2-1", ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 6000, 6000, "NODE", three]),
    ]
    assert atomic.start_commands("redis", live, moves)[0] == ("node-2-1", ["CLUSTER", "MIGRATION", "IMPORT", 1, 2, 5, 5])


def test_a_silent_node_has_no_id() -> None:
    cluster = formed()
    observation = cluster.observe()
    nodes = tuple(silent(n.name) if n.name == "node-1-2" else n for n in observation.nodes)
    live = live_of(replace(observation, nodes=nodes), cluster.inventory)
    with pytest.raises(Unreachable, match="node-1-2"):
        live.node_id("node-1-2")
