"""Replication"""

import re
import time

from operations.clients import TopologyClient
from operations.inventory import Inventory, NodeEntry
from operations.parse import items
from tests.infra.subject import Subject
from tests.waiting import wait_until

SETTLE_SECONDS = 5
"""Time in which replicas that are well have what was just written: they acknowledge once a second."""


def primaries(subjects: dict[str, Subject], inventory: Inventory) -> list[Subject]:
    return [subjects[entry.name] for entry in inventory.data_nodes if subjects[entry.name].is_primary]


def followers(subject: Subject, inventory: Inventory) -> list[NodeEntry | None]:
    """Nodes of the inventory that a primary counts as its replicas; None for a stranger."""
    return [inventory.at(str(items(entry)[0]), int(str(items(entry)[1]))) for entry in items(subject.role()[2])]


def test_every_shard_has_one_primary_and_all_its_replicas(subjects: dict[str, Subject], inventory: Inventory) -> None:
    found = {subject.name: followers(subject, inventory) for subject in primaries(subjects, inventory)}
    assert len(found) == len(inventory.shards), f"primaries are {sorted(found)}"
    assert {name: len(replicas) for name, replicas in found.items()} == dict.fromkeys(found, inventory.replicas)
    followed = [entry for replicas in found.values() for entry in replicas]
    assert None not in followed, "a replica that is no node of this stack follows a primary of it"
    assert len({entry.name for entry in followed if entry}) == len(inventory.data_nodes) - len(inventory.shards)


def test_a_replica_follows_a_primary_of_this_stack_and_is_connected(data_node: Subject, subjects: dict[str, Subject]) -> None:
    role = data_node.role()
    if role[0] == "master":
        assert len(items(role[2])) == data_node.access.inventory.replicas
        return
    followed = data_node.access.inventory.at(str(role[1]), int(str(role[2])))
    assert followed is not None, f"{data_node.name} follows {role[1]}:{role[2]}, which is no node of this stack"
    assert subjects[followed.name].is_primary, f"{data_node.name} follows {followed.name}, which is a replica itself"
    assert role[3] == "connected"


def test_a_replica_never_sits_in_the_container_of_its_primary(inventory: Inventory) -> None:
    assert len({(entry.docker_host, entry.container) for entry in inventory.nodes}) == len(inventory.nodes)


def test_replicas_reach_the_offset_of_their_primary(
    client: TopologyClient, keys: list[str], subjects: dict[str, Subject], inventory: Inventory
) -> None:
    for key in keys:
        client.set(key, "written to converge")
    targets = {subject.name: int(str(subject.role()[1])) for subject in primaries(subjects, inventory)}

    def missing() -> str:
        behind = []
        for name, target in targets.items():
            for entry in followers(subjects[name], inventory):
                reached = int(str(subjects[entry.name].role()[4])) if entry else -1
                if reached < target:
                    behind.append(f"{entry.name if entry else 'a stranger'} is at {reached} of {target}")
        return ", ".join(behind)

    wait_until("equal offsets", missing, SETTLE_SECONDS)


def test_a_replica_refuses_writes(data_node: Subject) -> None:
    if data_node.is_primary:
        assert data_node.info("replication")["role"] == "master"
        return
    refusal = data_node.refusal("SET", "verify:refused", "1", user="app")
    if data_node.access.inventory.topology == "cluster":
        # The client library cuts off the word MOVED: what is left is the slot and the node to go to.
        assert re.search(r"\d+ \S+:\d+$", refusal) and data_node.entry.address not in refusal, refusal
    else:
        assert "read only replica" in refusal, refusal


def test_a_replica_cannot_be_written_to_even_by_its_configuration(data_node: Subject) -> None:
    assert data_node.config("replica-read-only") == "yes"


def test_wait_confirms_a_write_on_every_replica(
    client: TopologyClient, keys: list[str], subjects: dict[str, Subject], inventory: Inventory
) -> None:
    for key in keys:
        client.set(key, "written to be confirmed")
    for subject in primaries(subjects, inventory):
        began = time.monotonic()
        confirmed = subject.ask("WAIT", inventory.replicas, 1500)
        assert confirmed == inventory.replicas, f"{subject.name}: {confirmed} after {time.monotonic() - began:.1f} s"


def test_a_short_outage_of_a_replica_fits_into_the_backlog(data_node: Subject) -> None:
    state = data_node.info("replication")
    assert state["repl_backlog_active"] == "1"
    assert int(state["repl_backlog_size"]) >= data_node.access.inventory.spec["replication"]["backlog"]


def test_a_node_logs_in_to_its_primary_as_the_replication_user(data_node: Subject) -> None:
    assert data_node.config("masteruser") == "replication"
    if data_node.is_primary:
        clients = str(data_node.ask("CLIENT", "LIST", "TYPE", "replica"))
        users = [word.removeprefix("user=") for word in clients.split() if word.startswith("user=")]
        assert users == ["replication"] * data_node.access.inventory.replicas
