"""`change.surge`: while containers are replaced, each shard keeps a copy in sync; under load, interrupted, refused."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operations.change import widened
from operations.connect import Fleet
from operations.inventory import Access, NodeEntry
from operations.observe import look
from operations.surge import LABEL
from tests.conftest import FIGURE
from tests.live.harness import LABEL as OURS
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import Load, fill, lost
from tests.live.shapes import dynamic_providers, start_up
from tests.waiting import wait_until
from topologies.addresses import Addressing

pytestmark = [pytest.mark.live, pytest.mark.full]

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "8mb"}, "change": {"surge": True}}
CLUSTER = {**SMALL, "topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 3}}
SWITCH_SECONDS = 3.0
"""A new primary has no replica until the others have turned to it, a second or so; a copy made anew takes longer."""


def temporary(stack: Stack) -> list[str]:
    """Containers of temporary replicas, and volumes without a name that they left."""
    found = engine().api.containers(all=True, filters={"label": [LABEL, f"{OURS}.stack={stack.name}"]})
    return sorted(entry["Names"][0].lstrip("/") for entry in found)


def names(stack: Stack) -> list[str]:
    return sorted(str(container.name) for container in stack.containers())


def temporary_nodes(access: Access) -> tuple[NodeEntry, ...]:
    """Where the temporary replicas of a stack with one replica are, when they are there."""
    found = []
    for node in access.inventory.data_nodes:
        if node.member == 1:
            network, _, octet = node.address.rpartition(".")
            further = Addressing.data_octet(node.shard, 3) - int(octet)
            moved = {"address": f"{network}.{int(octet) + further}", "host_port": node.host_port + further, "member": 3}
            found.append(node.model_copy(update={**moved, "name": f"{node.name.rpartition('-')[0]}-3", "role": "replica"}))
    return tuple(found)


@contextmanager
def watching_copies(access: Access) -> Iterator[dict[str, float]]:
    """Seconds, by shard, for which it had no replica in sync at the longest; and how many looks were taken."""
    inventory = widened(access.inventory, temporary_nodes(access))
    whole = access.model_copy(update={"inventory": inventory})
    longest: dict[str, float] = {"looks": 0.0}
    stop = threading.Event()

    def watch() -> None:
        since: dict[str, float] = {}
        with Fleet(whole) as fleet:
            while not stop.wait(0.1):
                now, seen = time.monotonic(), look(fleet, inventory)
                longest["looks"] += 1
                for shard in inventory.shards:
                    mates = [seen.of(node.name) for node in inventory.data_nodes if node.shard == shard]
                    synced = any(
                        mate.replication and mate.replication.role == "replica" and mate.replication.link_up for mate in mates
                    )
                    began = now if synced else since.get(f"shard {shard}", now)
                    since[f"shard {shard}"] = began
                    longest[f"shard {shard}"] = max(longest.get(f"shard {shard}", 0.0), now - began)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield longest
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("topology", ["cluster", "sentinel", "replication"])
def test_every_shard_has_a_copy_in_sync_all_the_time(
    topology: str, tmp_path: Path, pytestconfig: pytest.Config, record_property: Any
) -> None:
    spec = {**(CLUSTER if topology == "cluster" else {**SMALL, "topology": topology, "replicas": 1})}
    with throw_away_stack("surge", {**spec, "engine": {"name": "redis", "version": "7.0"}}, tmp_path, pytestconfig) as stack:
        stack.up().ok()
        access = stack.access()
        stack.wait_healthy(access, 60)
        kept, before = fill(access, "before"), names(stack)
        stack.configure(**{"engine.version": "8.0"})
        with watching_copies(access) as longest, Load(access, "during", writers=2) as load:
            load.wait_for(50)
            stack.up().ok().says("as temporary replica", "which stood in for the time of the replacement")
        record_property(FIGURE, f"{stack.name}: {topology}, longest time without a replica in sync {longest}")
        access = stack.access()
        stack.wait_healthy(access, 60)
        assert access.inventory.engine.version.startswith("8.0.")
        assert lost(access, load.ledger) == [] and lost(access, kept) == []
        assert names(stack) == before and temporary(stack) == []
        assert longest.pop("looks") > 20
        assert max(longest.values()) < SWITCH_SECONDS, longest
        stack.preview("--expect-no-changes").ok()


def test_an_image_that_does_not_start_takes_no_node(tmp_path: Path, pytestconfig: pytest.Config, broken_image: str) -> None:
    with throw_away_stack("surge-broken", CLUSTER, tmp_path, pytestconfig) as stack:
        stack.up().ok()
        before = {str(c.name): c.id for c in stack.containers() if not str(c.name).endswith("carrier")}
        stack.configure(**{"engine.image": broken_image})
        stack.up().failed().says("temporary replica", "this build cannot run here", "neither were the nodes after it")
        assert {str(c.name): c.id for c in stack.containers() if not str(c.name).endswith("carrier")} == before
        stack.wait_healthy(stack.access(), 60)


@pytest.mark.parametrize("way_on", ["up", "destroy"])
def test_what_an_interrupted_replacement_leaves_goes_with_the_next_command(
    way_on: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    with throw_away_stack("surge-cut", CLUSTER, tmp_path, pytestconfig) as stack:
        stack.up().ok()
        access = stack.access()
        ledger, before = fill(access, "before"), names(stack)
        ids = {str(c.name): c.id for c in stack.containers()}
        stack.configure(**{"limits.files": "19001"})
        process = start_up(stack)

        def missing() -> str:
            assert process.poll() is None, "`up` ended before anything was replaced"
            changed = [c.name for c in stack.containers() if "-node-" in str(c.name) and ids.get(str(c.name)) not in (None, c.id)]
            return "" if changed and len(temporary(stack)) == 3 else f"replaced {changed}, temporary {temporary(stack)}"

        wait_until("the first replacement", missing, 120)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        told = stack.script("recover").ok().text
        wait_until(f"the end of the orphaned provider after {told}", partial(dynamic_providers, process.pid), 10)
        assert len(temporary(stack)) == 3
        if way_on == "destroy":
            stack.destroy().ok()
            assert temporary(stack) == [] and stack.containers() == []
            return
        # Not plain `pulumi up`: a container that was made and not started yet is in the state, and only `make up` starts it.
        stack.script("up", seconds=600).ok().says("which stood in for the time of the replacement")
        access = stack.access()
        stack.wait_healthy(access, 60)
        assert lost(access, ledger) == []
        assert names(stack) == before and temporary(stack) == []
        stack.preview("--expect-no-changes").ok()
