"""Slots move while clients write, while movers are killed and while a primary dies; no key may be lost or stand twice."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.crc import key_slot

from operations.clients import application_client
from operations.connect import Fleet, Link
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access
from operations.reshard.journal import KEY
from operations.reshard.pace import Limits
from operations.reshard.proposal import Proposal, propose
from operations.reshard.run import carry_out, resume
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Ledger, Load, fill, lost
from tests.live.movers import SLOW, assert_whole, await_begun, kill_in_the_middle, look, start, stored
from tests.waiting import wait_until

pytestmark = pytest.mark.live

SPEC = {
    "topology": "cluster",
    "shards": 3,
    "replicas": 1,
    "cluster": {"node_timeout_seconds": 2},
    "memory": {"maxmemory": "128mb"},
    "replication": {"backlog": "8mb"},
}
KEYS = 20_000
KILLS, KILLS_IN_FULL = 5, 20
LONGEST_RUN_SECONDS = 1.5
STUCK_SECONDS = 3  # bench/reshard.py measures the stalls; a machine that is busy with other tests may stand still itself
SEED = 7


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with throw_away_stack("reshard", SPEC, tmp_path_factory.mktemp("reshard"), pytestconfig) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    found = stack.access()
    stack.wait_healthy(found, 30)
    return found


def test_a_mover_killed_at_any_instant_is_continued_to_a_whole_cluster(access: Access, pytestconfig: pytest.Config) -> None:
    kills = KILLS_IN_FULL if pytestconfig.getoption("--full") else KILLS
    dice = random.Random(SEED)  # noqa: S311
    ledger = fill(access, "killed", KEYS)
    weights: tuple[dict[str, float], ...] = ({"3": 0.0}, {"1": 2.0}, {"2": 0.0}, {})
    interrupted = 0
    with Load(access, "meanwhile", writers=2) as load:
        for number in range(kills):
            process = start(access, weights[number % len(weights)], SLOW)
            await_begun(access, process)
            time.sleep(dice.uniform(0, LONGEST_RUN_SECONDS))
            interrupted += process.is_alive()
            process.kill()
            process.join(5)
            resume(access, report=lambda _: None)
    live = assert_whole(access)
    assert interrupted >= kills // 2, "the movers were too fast to be killed"
    assert lost(access, ledger) == []
    assert lost(access, load.ledger) == []
    assert len(stored(access, live)) >= KEYS + len(load.ledger.acknowledged)


def test_an_aborted_move_goes_back_and_nothing_new_begins_before_that(access: Access, stack: Stack) -> None:
    before = look(access).owners
    ledger = fill(access, "aborted", KEYS)
    full = str(access.inventory.node(before[0]).shard)  # shard 3 may be empty by now, and nothing would move
    kill_in_the_middle(access, {full: 0.0})
    stack.script("reshard").failed().says("reshard.py resume")
    stack.script("reshard", "abort", "--back").ok().says("none is open")
    live = assert_whole(access)
    assert live.owners == before
    assert lost(access, ledger) == []


def test_clients_read_and_write_on_while_slots_move(access: Access, stack: Stack) -> None:
    ledger = fill(access, "reader", 5000)
    stop, slow, wrong = threading.Event(), [], []

    def read() -> None:
        client: Any = application_client(access, decode_responses=True)
        for number in range(10**9):
            if stop.is_set():
                break
            began = time.perf_counter()
            key = f"reader:{number % 5000}"
            if client.get(key) != ledger.acknowledged[key]:
                wrong.append(key)
            slow.append(time.perf_counter() - began)
        client.close()

    reader = threading.Thread(target=read, daemon=True)
    with Load(access, "writer", writers=2) as load:
        reader.start()
        stack.script("reshard", "--weights", "1=0").ok().says("node-", "none is open")
        stack.script("reshard").ok().says("equal shares of slots")
        stop.set()
        reader.join(10)
    assert_whole(access)
    assert wrong == []
    assert load.ledger.unknown == 0
    assert lost(access, load.ledger) == []
    assert max(slow) < STUCK_SECONDS, f"a reader waited {max(slow):.3f} s"


class Mover:
    """A move in a thread of its own, slow enough to be disturbed; `error` is how it ended, unless it ended well."""

    def __init__(self, access: Access, weights: dict[str, float], limits: Limits = SLOW) -> None:
        self.access = access
        self.said: list[str] = []
        self.error: ToolkitError | None = None
        self._thread = threading.Thread(target=self._go, args=(propose(access, weights), limits), daemon=True)

    def _go(self, proposal: Proposal, limits: Limits) -> None:
        try:
            carry_out(self.access, proposal, limits, report=self.said.append)
        except ToolkitError as error:
            self.error = error

    def __enter__(self) -> "Mover":
        self._thread.start()
        client: Any = application_client(self.access)
        wait_until("a move", lambda: "" if client.hexists(KEY, "journal") else "no journal yet", 20, poll_seconds=0.005)
        client.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive(), "the mover did not end"


def assert_only_delayed(access: Access, stack: Stack, source: str, victim: str, ledger: Ledger) -> None:
    """`victim` is killed while `source` gives most of its slots away: the move goes on, and nothing is lost."""
    with Load(access, f"during-{next(iter(ledger.acknowledged))}", writers=2) as load:
        with Mover(access, {source: 0.1}) as mover:
            load.wait_for(200)
            stack.container(victim).kill()
        assert mover.error is None, mover.error
    stack.container(victim).start()
    stack.wait_healthy(access, 60)
    carry_out(access, propose(access), report=lambda _: None)
    stack.wait_healthy(access, 60)
    assert_whole(access)
    assert lost(access, ledger) == []
    assert lost(access, load.ledger) == []


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_primary_that_dies_in_the_middle_of_a_move_only_delays_it(access: Access, stack: Stack, end: str) -> None:
    ledger = fill(access, f"crash-{end}", KEYS)
    source, target, *_ = look(access).primaries
    assert_only_delayed(access, stack, source, source if end == "source" else target, ledger)


@pytest.mark.full
def test_a_target_whose_replica_was_made_for_another_shard_only_delays_it_when_it_dies(access: Access, stack: Stack) -> None:
    """Where replicas follow is the cluster's own affair (`cluster-allow-replica-migration`)."""
    ledger = fill(access, "exchanged", KEYS)
    seen = look(access)
    source, target, third = seen.primaries
    for replica, primary in ((seen.replicas_of(target)[0], third), (seen.replicas_of(third)[0], target)):
        assert Link(access, access.inventory.node(replica)).ask("CLUSTER", "REPLICATE", seen.node_id(primary)) == "OK"
    stack.wait_healthy(access, 60)
    assert_only_delayed(access, stack, source, target, ledger)


def test_a_switchover_in_the_middle_of_a_move_only_delays_it(access: Access, stack: Stack) -> None:
    ledger = fill(access, "switched", KEYS)
    source = look(access).primaries[0]
    with Load(access, "meanwhile", writers=2) as load:
        with Mover(access, {source: 0.0}) as mover:
            load.wait_for(100)
            stack.script("switchover", "--shard", str(access.inventory.node(source).shard)).ok()
        assert mover.error is None, mover.error
    carry_out(access, propose(access), report=lambda _: None)
    assert_whole(access)
    assert lost(access, ledger) == []
    assert lost(access, load.ledger) == []


def test_slots_that_a_hand_opens_meanwhile_are_named_and_left_alone(access: Access) -> None:
    ledger = fill(access, "hand", KEYS)
    live = look(access)
    source, target, other = live.primaries
    slot = live.slots_of(source)[-1]
    with Mover(access, {source: 0.0}) as mover, Fleet(access, access.inventory.data_nodes) as fleet:
        fleet.links[other].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", live.node_id(source))
        fleet.links[source].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", live.node_id(other))
    assert f"slots {slot}" in str(mover.error)
    after = look(access)
    assert after.slots_of(source) == [slot]
    assert {mark for _, mark in after.marks} == {slot}
    resume(access, report=lambda _: None)
    assert assert_whole(access).owners[slot] == other
    carry_out(access, propose(access), report=lambda _: None)
    assert lost(access, ledger) == []
    assert target in after.primaries


def test_a_target_without_memory_is_refused_in_the_plan_or_stops_the_move_in_order(access: Access) -> None:
    ledger = fill(access, "full", KEYS)
    live = look(access)
    source, *targets = live.primaries
    proposal = propose(access, {source: 0.0})
    with Fleet(access, access.inventory.data_nodes) as fleet:
        for name in targets:
            fleet.links[name].ask("CONFIG", "SET", "maxmemory", live.memory()[name].used + 100_000)
        try:
            assert any("must keep 5% free" in problem for problem in propose(access, {source: 0.0}).problems)
            with pytest.raises(CheckFailed, match=r"has no room for .* No slot was left open"):
                carry_out(access, proposal, report=lambda _: None)
            assert look(access).marks == ()
        finally:
            for name in targets:
                fleet.links[name].ask("CONFIG", "SET", "maxmemory", 128 * 2**20)
    resume(access, report=lambda _: None)
    assert assert_whole(access).slots_of(source) == []
    carry_out(access, propose(access), report=lambda _: None)
    assert lost(access, ledger) == []


def test_a_large_key_is_announced_and_moved_whole(access: Access) -> None:
    client: Any = application_client(access)
    client.rpush("large", *["x" * 1000] * 3000)
    said: list[str] = []
    source = look(access).owners[key_slot(b"large")]
    carry_out(access, propose(access, {source: 0.0}), report=said.append)
    assert any("'large'" in line and "answers nobody for about" in line for line in said)
    assert client.llen("large") == 3000
    client.delete("large")
    client.close()
    carry_out(access, propose(access), report=lambda _: None)
    assert_whole(access)
