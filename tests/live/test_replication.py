"""The life of a stack of topology replication, on the default engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.connect import Link, Refused
from operations.errors import Unreachable
from operations.observe import observe
from operations.switchover import switchover
from tests.live.faults import role_of, roles
from tests.live.harness import ROOT, Stack, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.lifecycle import UP_SECONDS, Lifecycle
from tests.waiting import wait_until


class TestReplication(Lifecycle):
    topology = "replication"


@pytest.fixture(params=[2])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own, by number of replicas: the life of the other one ends with its removal."""
    spec = ROOT / "configs" / "replication.yaml"
    with throw_away_stack("stale", spec, tmp_path, request.config, replicas=str(request.param)) as made:
        made.up().ok()
        made.wait_healthy(made.access(), UP_SECONDS)
        yield made


def test_a_primary_that_was_replaced_while_it_was_down_replaces_nobody_when_all_come_back(stack: Stack) -> None:
    access = stack.access()
    (old,) = (name for name, role in roles(access).items() if role == "primary")
    stack.container(old).kill()  # and the engine does not start it again
    new = switchover(access, takeover=True).new
    ledger = fill(access, "since")
    follower = next(node.name for node in access.inventory.data_nodes if node.name not in (old, new))
    for name in (new, follower):
        stack.container(name).kill()

    stack.container(old).start()  # first of all: nobody is there who knows better
    returned = Link(access, access.inventory.node(old))
    wait_until("the return of the old primary", lambda: role_of(returned).removeprefix("primary"), 20, 0.02)
    returned.ensure_ours()
    with pytest.raises(Refused, match="NOREPLICAS"):
        returned.ask("SET", "early", "1")
    stack.container(follower).start()
    wait_until("the replica that follows another one", lambda: "" if observe(access).of(follower).reachable else "silent", 20)
    with pytest.raises(Refused, match="NOREPLICAS"):
        returned.ask("SET", "early", "1")
    stack.container(new).start()
    stack.wait_healthy(access, 60)
    assert roles(access)[new] == "primary"
    assert lost(access, ledger) == []


@pytest.mark.full
@pytest.mark.parametrize("stack", [1], indirect=True)
def test_of_two_nodes_that_were_both_primary_none_replaces_the_other(stack: Stack) -> None:
    """Nobody can tell them which of them was promoted last, so a person has to."""
    access = stack.access()
    (old,) = (name for name, role in roles(access).items() if role == "primary")
    stack.container(old).kill()
    new = switchover(access, takeover=True).new
    ledger = fill(access, "since")
    stack.container(new).kill()
    stack.container(old).start()
    returned = Link(access, access.inventory.node(old))
    wait_until("writes taken alone", lambda: "" if accepts(returned) else "refused", 20)
    stack.container(new).start()
    wait_until("the return of the new primary", lambda: "" if observe(access).of(new).is_primary else "silent", 20)
    stack.up("--refresh").failed().says("2 primaries that hold data", old, new)
    assert {name for name, role in roles(access).items() if role == "primary"} == {old, new}

    new_entry = access.inventory.node(new)
    returned.ask("REPLICAOF", new_entry.address, new_entry.port)
    returned.ask("CONFIG", "REWRITE")
    stack.wait_healthy(access, 30)
    assert lost(access, ledger) == []


def accepts(link: Link) -> bool:
    try:
        link.ensure_ours()
        return link.ask("SET", "alone", "1") == "OK"
    except (Refused, Unreachable):
        return False
