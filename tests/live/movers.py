"""Movers of slots as processes of their own, so that kill -9 takes all that a user's process would take; what must hold after."""

import multiprocessing
from typing import Any

from operations.clients import application_client
from operations.connect import Fleet, node_client
from operations.inventory import Access
from operations.parse import SLOT_COUNT
from operations.reshard.journal import KEY
from operations.reshard.live import Live, read_live
from operations.reshard.pace import Limits
from operations.reshard.proposal import propose
from operations.reshard.run import carry_out
from tests.waiting import wait_until

SLOW = Limits(bytes_per_second=300_000)
"""A move that lasts for seconds with the little data of these tests."""


def look(access: Access) -> Live:
    with Fleet(access, access.inventory.data_nodes) as fleet:
        return read_live(fleet, access.inventory)


def stored(access: Access, live: Live) -> list[bytes]:
    """Every key of every primary; one that stands on two of them is here twice."""
    found: list[bytes] = []
    for name in live.primaries:
        client = node_client(access, access.inventory.node(name))
        found += client.scan_iter(count=1000)
        client.close()
    return found


def assert_whole(access: Access) -> Live:
    """All slots are served once by everybody's account, none is open, no key stands twice, and no journal is left."""
    live = look(access)
    assert len(live.owners) == SLOT_COUNT
    assert not live.doubled
    assert live.marks == ()
    keys = stored(access, live)
    assert len(keys) == len(set(keys)), f"{len(keys) - len(set(keys))} keys stand twice"
    assert KEY.encode() not in keys
    return live


def move(access: Access, weights: dict[str, float], limits: Limits) -> None:
    """What the child process does."""
    carry_out(access, propose(access, weights), limits, report=lambda _: None)


def start(access: Access, weights: dict[str, float], limits: Limits | None = None) -> Any:
    arguments = (access, weights, limits or Limits())
    process = multiprocessing.get_context("spawn").Process(target=move, args=arguments, daemon=True)
    process.start()
    return process


def await_begun(access: Access, process: Any) -> None:
    """Until the journal says that a move is under way, or it has ended already."""
    client: Any = application_client(access)
    wait_until(
        "a move",
        lambda: "" if client.hexists(KEY, "journal") or not process.is_alive() else "no journal yet",
        20,
        poll_seconds=0.005,
    )
    client.close()


def kill_in_the_middle(access: Access, weights: dict[str, float]) -> None:
    """A move that was begun and is killed before its end."""
    process = start(access, weights, SLOW)
    await_begun(access, process)
    assert process.is_alive(), "the move ended before it could be killed"
    process.kill()
    process.join(5)
