"""Changes of topology that are interrupted, taken back, hindered by others, or that must not be; with the write ledger."""

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from operations.clients import application_client
from operations.connect import Fleet, Link, Refused
from operations.inventory import Access
from operations.parse import text
from operations.reshard.journal import KEY, Journal
from tests.conftest import FIGURE
from tests.live.faults import roles
from tests.live.harness import Stack
from tests.live.ledger import BATCH, Ledger, Load, fill, lost
from tests.live.movers import assert_whole, look
from tests.live.shapes import (
    CLUSTER,
    SMALL,
    assert_kept,
    data_containers,
    dynamic_providers,
    kill_after,
    reshape,
    start_up,
    told_by_up,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

KEYS = 20_000
SEED = 5
ORPHAN_SECONDS = 10
WRITERS = 2
UP_SECONDS = 900
PATIENCE_SECONDS = 90
JOURNAL_SECONDS = 180
"""New nodes have to start and join before slots move, which took over a minute on two busy cores."""
UNSENT_WRITES = 10

Make = Callable[[dict[str, Any]], Stack]
Record = Callable[[str, object], None]


def test_pulumi_killed_at_random_instants_is_continued_by_the_next_up(
    make: Make, record_property: Record, pytestconfig: pytest.Config
) -> None:
    """The number of shards is another one each time, and half of the time it changes again before the next `up`."""
    kills: int = pytestconfig.getoption("--kills")
    rng = random.Random(SEED)  # noqa: S311 - to repeat a run
    stack = make(CLUSTER)
    ledger = fill(stack.access(), "killed", KEYS)
    kept = {name: found for name, found in data_containers(stack).items() if int(name.split("-")[-2]) <= 3}
    longest, shards, killed_in_all, in_a_move = 12.0, 3, 0, 0
    for kill in range(kills):
        goal = rng.choice([number for number in (3, 4, 5) if number != shards])
        stack.configure(shards=str(goal))
        process = start_up(stack)
        if kill_after(process, rng.uniform(0.3, longest)):
            killed_in_all += 1
            stack.script("recover").ok()
            wait_until("the end of the orphaned provider", partial(dynamic_providers, process.pid), ORPHAN_SECONDS)
            if rng.random() < 0.5:
                goal = rng.choice((3, 4, 5))
                stack.configure(shards=str(goal))
        again = stack.up(seconds=UP_SECONDS).ok()
        in_a_move += "what stands open is ended first" in again.text
        longest = min(longest, max(4.0, again.seconds))
        shards = goal
        access = stack.access()
        live = assert_whole(access)
        sizes = sorted(len(live.slots_of(name)) for name in live.primaries)
        assert len(sizes) == shards
        assert sizes[-1] - sizes[0] <= 1, f"after kill {kill}: {sizes}"
        assert_kept(kept, data_containers(stack))
        assert len(data_containers(stack)) == 2 * shards
        assert lost(access, ledger) == [], f"after kill {kill}"
    stack.preview("--expect-no-changes").ok()
    record_property(FIGURE, f"{stack.name}: {killed_in_all} of {kills} times killed, {in_a_move} times in a move of slots")


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def await_journal(access: Access, ended: Callable[[], bool], told: Callable[[], str] = str) -> None:
    """Wait until slots move; `told` gives what the mover printed, for when it ends before."""
    client: Any = application_client(access)

    def missing() -> str:
        begun = client.hexists(KEY, "journal")
        assert begun or not ended(), f"`pulumi up` ended before a move of slots was seen:\n{told()}"
        return "" if begun else "no journal yet"

    wait_until("a move of slots", missing, JOURNAL_SECONDS, poll_seconds=0.005)
    client.close()


@pytest.mark.parametrize("shrinking", ["source", "target"])
def test_a_primary_that_dies_in_the_middle_only_delays_the_change(make: Make, shrinking: str) -> None:
    """3 to 5 to 3 shards under load; on the way up a primary that gives slots dies, then one that gives or takes them."""
    stack = make({**CLUSTER, "cluster": {"node_timeout_seconds": 3}})
    before = fill(stack.access(), "before", KEYS)
    ledgers = []
    for goal in (5, 3):
        access = stack.access()
        prefix = "node-1-" if goal == 5 else "node-5-" if shrinking == "source" else "node-2-"
        victim = next(name for name in look(access).primaries if name.startswith(prefix))
        stack.configure(shards=str(goal))
        with Load(access, f"to {goal}", WRITERS) as load:
            process = start_up(stack)
            await_journal(access, partial(has_ended, process), partial(told_by_up, stack))
            stack.container(victim).kill()
            stack.wait_promoted(access, victim, PATIENCE_SECONDS)
            stack.container(victim).start()
            process.wait(timeout=UP_SECONDS)
        stack.up(seconds=UP_SECONDS).ok()  # nothing to do, unless slots were served by nobody for longer than the mover waits
        ledgers.append(load.ledger)
        access = stack.access()
        stack.wait_healthy(access, PATIENCE_SECONDS)
        assert len(assert_whole(access).primaries) == goal
        assert lost(access, before) == []
        missing = [key for part in ledgers for key in lost(access, part)]
        # Replication is asynchronous: what a killed primary had not yet sent may be gone, and nothing else.
        assert len(missing) <= UNSENT_WRITES * len(ledgers), f"acknowledged writes are lost: {missing[:5]}"


def test_replicas_come_and_go_also_when_a_later_one_has_become_primary(make: Make) -> None:
    stack = make(CLUSTER)
    ledger = fill(stack.access(), "before", KEYS)
    before = data_containers(stack)
    with Load(stack.access(), "more", WRITERS) as more:
        reshape(stack, **{**CLUSTER, "replicas": 2}).says("node-1-3 copies its primary's data", "node-1-3 becomes a replica of")
    access = stack.access()
    stack.wait_healthy(access, 5)
    for name in ("node-1-3", "node-3-3"):
        stack.script("switchover", "--to", name).ok()
    with Load(access, "fewer", WRITERS) as fewer:
        reshape(stack, **CLUSTER).says("takes over from node-1-3, which leaves", "takes over from node-3-3, which leaves")
    access = stack.access()
    stack.wait_healthy(access, 5)
    assert_whole(access)
    assert data_containers(stack) == before
    for part in (ledger, more.ledger, fewer.ledger):
        assert lost(access, part) == []
    stack.preview("--expect-no-changes").ok()


def test_shards_that_hold_more_than_fits_into_the_others_stay(make: Make) -> None:
    stack = make({**CLUSTER, "shards": 5, "memory": {"maxmemory": "16mb"}, "replication": {"backlog": "1mb"}})
    access = stack.access()
    ledger = fill_large(access, 8_000, 5_000)
    stack.configure(shards="3")
    stack.preview().failed().says("would hold", "and must keep 5% free")
    stack.up().failed().says("was not touched, because")
    stack.configure(shards="5")
    stack.preview("--expect-no-changes").ok()
    assert lost(access, ledger) == []


def fill_large(access: Access, count: int, size: int) -> Ledger:
    client: Any = application_client(access, decode_responses=True)
    ledger = Ledger()
    for start in range(0, count, BATCH):
        part = {f"large:{number}": "x" * size for number in range(start, start + BATCH)}
        pipe = client.pipeline()
        for key, value in part.items():
            pipe.set(key, value)
        assert all(pipe.execute())
        ledger.acknowledged |= part
    client.close()
    return ledger


@contextmanager
def another_mover(access: Access) -> Iterator[None]:
    """Somebody else holds the lock on slots, and is alive."""
    stop = threading.Event()
    with Fleet(access, access.inventory.data_nodes) as fleet:
        journal = Journal(fleet, access.inventory)
        journal.find(look(access).primaries)
        journal.take()

        def renew() -> None:
            while not stop.wait(1.0):
                journal.renew()

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            journal.end(entirely=True)


def test_while_somebody_else_moves_slots_the_change_waits_for_the_next_up(make: Make) -> None:
    stack = make(CLUSTER)
    access = stack.access()
    ledger = fill(access, "before", KEYS)
    stack.configure(shards="4")
    with another_mover(access):
        stack.up().failed().says("are being moved by")
    stack.up().ok().says("moved 4,096 slots")
    assert_whole(stack.access())
    assert lost(stack.access(), ledger) == []


def open_by_hand(access: Access) -> int:
    """Begin to move one of the slots that a move has still to come to, to another node than the move does."""
    with Fleet(access, access.inventory.data_nodes) as fleet:
        primaries = tuple(name for name, role in roles(access).items() if role == "primary")
        journal = Journal(fleet, access.inventory)
        journal.find(primaries)
        entry = journal.read().entry
        assert entry is not None
        ids = {name: text(fleet.links[name].ask("CLUSTER", "MYID")) for name in primaries}
        for slot in sorted(entry.origin, reverse=True):
            source = entry.origin[slot]
            other = next(name for name in primaries if name != source)
            fleet.links[other].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
            try:
                fleet.links[source].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[other])
            except Refused:  # it has gone already
                fleet.links[other].ask("CLUSTER", "SETSLOT", slot, "STABLE")
                continue
            return slot
    raise AssertionError("all slots were moved before a hand could take one")


def test_a_slot_that_an_operator_moves_meanwhile_is_named_and_the_next_up_puts_it_in_its_place(make: Make) -> None:
    stack = make(CLUSTER)
    access = stack.access()
    ledger = fill(access, "before", KEYS)
    stack.configure(shards="4")
    with Load(access, "by hand", WRITERS) as load, ThreadPoolExecutor(1) as pool:
        first = pool.submit(stack.up)
        await_journal(access, first.done)
        slot = open_by_hand(access)
        first.result().failed().says(f"slots {slot}", "moved by somebody else")
        assert {mark for _, mark in look(access).marks} == {slot}
        stack.up().ok()
    access = stack.access()
    live = assert_whole(access)
    assert sorted(len(live.slots_of(name)) for name in live.primaries) == [4096] * 4
    for part in (ledger, load.ledger):
        assert lost(access, part) == []
    stack.preview("--expect-no-changes").ok()


def test_a_primary_without_a_synced_successor_leaves_only_when_that_is_accepted(make: Make) -> None:
    stack = make({"topology": "replication", "replicas": 1, **SMALL})
    access = stack.access()
    ledger = fill(access, "before", 2000)
    stack.script("switchover", "--to", "node-2").ok()
    primary = Link(access, access.inventory.node("node-2"))
    primary.ask("ACL", "SETUSER", "replication", "off")
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    primary.close()
    stack.write_spec({"topology": "standalone", **SMALL})
    told = "node-2 is primary and would leave without a synced successor: node-1 has no connection to it"
    stack.preview().failed().says(told, f"pulumi config set change.accept_loss true --stack {stack.name}")
    stack.up().failed().says(told)
    assert len(data_containers(stack)) == 2
    stack.configure(**{"change.accept_loss": "true"})
    stack.up().ok().says("going on all the same", "node-1 takes over from node-2, which leaves")
    access = stack.access()
    assert roles(access) == {"node-1": "primary"}
    assert lost(access, ledger) == []


def test_replicas_that_stand_in_each_others_shard_cost_no_shard_its_copy_when_one_leaves(make: Make) -> None:
    """As a cluster moves replicas by itself after a failover; here by hand."""
    four = {**CLUSTER, "shards": 4}
    stack = make(four)
    access = stack.access()
    ledger = fill(access, "before", KEYS)
    live = look(access)
    with Fleet(access, access.inventory.data_nodes) as fleet:
        for follower, primary in (("node-1-2", "node-4-1"), ("node-4-2", "node-1-1")):
            fleet.links[follower].ask("CLUSTER", "REPLICATE", live.node_id(primary))
    stack.wait_healthy(access, PATIENCE_SECONDS)
    with Load(access, "fewer", WRITERS) as fewer:
        reshape(stack, **CLUSTER).says("node-1-2 becomes a replica of node-1-1, whose own replicas leave")
    access = stack.access()
    stack.wait_healthy(access, PATIENCE_SECONDS)
    assert len(assert_whole(access).primaries) == 3
    assert lost(access, ledger) == [] and lost(access, fewer.ledger) == []
