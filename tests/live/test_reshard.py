"""Slots move while clients write, while movers are killed and while a primary dies; no key may be lost or stand twice."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from operations.clients import application_client
from operations.errors import ToolkitError
from operations.inventory import Access
from operations.reshard.journal import KEY
from operations.reshard.proposal import propose
from operations.reshard.run import carry_out, resume
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Load, fill, lost
from tests.live.movers import assert_whole, await_begun, look, start, stored
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]  # part of `make test-full` until `pulumi up` moves slots

SPEC = {
    "topology": "cluster",
    "shards": 3,
    "replicas": 1,
    "cluster": {"node_timeout_seconds": 2},
    "memory": {"maxmemory": "128mb"},
    "replication": {"backlog": "8mb"},
}
KEYS = 20_000
KILLS = 5
LONGEST_RUN_SECONDS = 1.5
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


def test_a_mover_killed_at_any_instant_is_continued_to_a_whole_cluster(access: Access) -> None:
    dice = random.Random(SEED)  # noqa: S311
    ledger = fill(access, "killed", KEYS)
    weights: tuple[dict[str, float], ...] = ({"3": 0.0}, {"1": 2.0}, {"2": 0.0}, {})
    interrupted = 0
    with Load(access, "meanwhile", writers=2) as load:
        for number in range(KILLS):
            process = start(access, weights[number % len(weights)])
            await_begun(access, process)
            time.sleep(dice.uniform(0, LONGEST_RUN_SECONDS))
            interrupted += process.is_alive()
            os.kill(process.pid, signal.SIGKILL)
            process.join(5)
            resume(access, report=lambda _: None)
    live = assert_whole(access)
    assert interrupted >= KILLS // 2, "the movers were too fast to be killed"
    assert lost(access, ledger) == []
    assert lost(access, load.ledger) == []
    assert len(stored(access, live)) >= KEYS + len(load.ledger.acknowledged)


def test_an_aborted_move_goes_back_and_nothing_new_begins_before_that(access: Access, stack: Stack) -> None:
    before = look(access).owners
    ledger = fill(access, "aborted", KEYS)
    process = start(access, {"3": 0.0})
    await_begun(access, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join(5)
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
    assert max(slow) < 1.0, f"a reader waited {max(slow):.3f} s"


def test_a_primary_that_dies_in_the_middle_of_a_move_only_delays_it(access: Access, stack: Stack) -> None:
    ledger = fill(access, "failover", KEYS)
    victim = next(iter(look(access).owners.values()))
    errors: list[ToolkitError] = []

    def go() -> None:
        try:
            carry_out(access, propose(access, {victim: 0.0}), report=lambda _: None)
        except ToolkitError as error:
            errors.append(error)

    with Load(access, "during", writers=2) as load:
        mover = threading.Thread(target=go, daemon=True)
        mover.start()
        client: Any = application_client(access)
        wait_until("a move", lambda: "" if client.hexists(KEY, "journal") else "no journal yet", 20, poll_seconds=0.005)
        time.sleep(0.3)
        stack.container(victim).kill()
        mover.join(60)
        assert not mover.is_alive(), "the mover did not end"
        assert errors == []
    stack.container(victim).start()
    carry_out(access, propose(access), report=lambda _: None)
    stack.wait_healthy(access, 60)
    assert_whole(access)
    assert lost(access, ledger) == []
    assert lost(access, load.ledger) == []
