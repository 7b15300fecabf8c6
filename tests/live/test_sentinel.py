"""The life of a stack of topology sentinel, on the default engine."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from operations.connect import Link, Refused
from operations.errors import Unreachable
from operations.parse import pairs
from tests.live.faults import kill_servers, role_of, roles, server_process
from tests.live.harness import ROOT, Stack, throw_away_stack
from tests.live.lifecycle import UP_SECONDS, Lifecycle
from tests.waiting import wait_until


class TestSentinel(Lifecycle):
    topology = "sentinel"


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own: the life of the other one ends with its removal. With default time-outs: a primary that nobody confirms
    takes writes after the time of a failover, and a busy machine must not be slower than that."""
    with throw_away_stack("return", ROOT / "configs" / "sentinel.yaml", tmp_path, request.config) as made:
        made.up().ok()
        made.wait_healthy(made.access(), UP_SECONDS)
        yield made


def test_a_primary_that_came_back_in_the_middle_of_its_failover_acknowledges_nothing(stack: Stack) -> None:
    access = stack.access()
    before = roles(access)
    (old,) = (node for node in access.inventory.data_nodes if before[node.name] == "primary")
    follower = next(node for node in access.inventory.data_nodes if node is not old)
    sentinels = [stack.container(sentinel.name) for sentinel in access.inventory.sentinels[1:]]
    returned = Link(access, old)
    with ExitStack() as healed:
        for sentinel in sentinels:  # so nobody can confirm that it is still primary; frozen ones would trust nobody for 30 s
            sentinel.stop()
            healed.callback(sentinel.start)
        kill_servers(stack, [old])
        wait_until("the return of the primary", lambda: role_of(returned).removeprefix("primary"), 20, 0.02)
        returned.ensure_ours()
        with pytest.raises(Refused, match="NOREPLICAS"):
            returned.ask("SET", "early", "1")
        pid = server_process(stack, old.name)
        os.kill(pid, signal.SIGSTOP)
        healed.callback(os.kill, pid, signal.SIGCONT)
        frozen = stack.container(follower.name)  # so nobody can tell it to follow another one
        frozen.pause()
        healed.callback(frozen.unpause)
        for sentinel in sentinels:
            sentinel.start()
        stack.wait_promoted(access, old.name, 30)
    acknowledged, deadline = 0, time.monotonic() + 20
    while role_of(returned) != "replica":
        assert time.monotonic() < deadline, "it still believes that it is primary"
        acknowledged += acknowledges(returned)
    assert acknowledged == 0
    stack.wait_healthy(access, 60)
    assert pairs(returned.ask("CONFIG", "GET", "min-replicas-to-write")) == {"min-replicas-to-write": "1"}


def acknowledges(link: Link) -> bool:
    try:
        link.ask("SET", "late", "1")
    except (Refused, Unreachable):
        return False
    return True
