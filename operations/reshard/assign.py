"""Gives slots whose keys have all moved to their new owner, so that whoever dies meanwhile, somebody serves them.

The target first, since its claim is what lasts; then the replicas of both ends; the source; then everybody else. A replica that
is promoted before it heard of the slots would not claim them, and nobody would serve them (seen). Until the source is told,
it still serves them in that case.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from operations.connect import Refused
from operations.errors import ToolkitError
from operations.inventory import Access
from operations.parse import cluster_nodes
from operations.reshard.live import Live
from operations.reshard.plan import Move, slots_in
from operations.reshard.wire import KeyLink, RawCommand, worked

REPLICA_SECONDS = 1.0
REPLICA_POLL_SECONDS = 0.005


def mark(link: KeyLink, slots: Sequence[int], state: str, node_id: str) -> None:
    """Set the state of slots at one node; raises its refusal."""
    for reply in link.raw([("CLUSTER", "SETSLOT", slot, state, node_id) for slot in slots]):
        worked(reply)


def assign(access: Access, live: Live, links: Mapping[str, KeyLink], groups: Sequence[Move]) -> None:
    """Give the slots of groups of one source to their targets; many at once, since the wait for replicas is the same for all."""
    source, gains = groups[0].source, _gains(groups)
    for target, slots in gains.items():
        if access.inventory.engine.name == "valkey":  # it answers when its replicas know
            mark(links[target], slots, "NODE", live.node_id(target))
        else:
            _claim(access, live, links[target], slots, live.node_id(target))
    for target, slots in gains.items():
        _await_replicas(live, links, (source, target), slots, live.node_id(target))
    commands: list[RawCommand] = [
        ("CLUSTER", "SETSLOT", slot, "NODE", live.node_id(target)) for target, slots in gains.items() for slot in slots
    ]
    refused = [reply for reply in links[source].raw(commands) if isinstance(reply, Refused)]
    if refused and "only with masters" not in str(refused[0]):  # it gave its last slot away and follows somebody now
        raise refused[0]
    for name in live.primaries:
        if name != source:
            own = set(gains.get(name, ()))
            _tell(links[name], [command for command in commands if command[2] not in own])


def _gains(groups: Sequence[Move]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for group in groups:
        found.setdefault(group.target, []).extend(group.slots)
    return found


def _tell(link: KeyLink, commands: list[RawCommand]) -> None:
    """Let a primary that is not concerned know; one that cannot be told learns of it from the target."""
    try:
        link.ensure_ours()
        link.raw(commands)
    except ToolkitError:
        return


def _claim(access: Access, live: Live, target: KeyLink, slots: Sequence[int], node_id: str) -> None:
    """Assign slots at the target without a message to every node for each of them.

    A target that assigns a slot which it is importing takes an epoch above all others, unless it has that already, and sends
    its whole map to every node at once; each node that learns of slots that way writes its file and waits for the disk,
    answering nobody. So the slots are not marked any more when they are assigned, unless the epoch has to grow; replicas,
    which take no orders, hear of it by a MEET from the target, and primaries are told by SETSLOT, which waits for no disk.
    """
    answer: Any = target.ask("CLUSTER", "NODES")
    nodes = cluster_nodes(answer.decode())
    own = next(node.config_epoch for node in nodes if "myself" in node.flags)
    first = 0 if all(node.config_epoch < own for node in nodes if node.is_primary and "myself" not in node.flags) else 1
    mark(target, slots[:first], "NODE", node_id)
    commands: list[RawCommand] = []
    for slot in slots[first:]:
        commands += [("CLUSTER", "SETSLOT", slot, "STABLE"), ("CLUSTER", "SETSLOT", slot, "NODE", node_id)]
    for primary in live.primaries:
        entries = [access.inventory.node(name) for name in live.replicas_of(primary)]
        commands += [("CLUSTER", "MEET", e.address, e.port, *([e.bus_port] if e.bus_port else [])) for e in entries]
    for reply in target.raw(commands):
        worked(reply)


def _await_replicas(live: Live, links: Mapping[str, KeyLink], ends: Sequence[str], slots: Sequence[int], node_id: str) -> None:
    """Until replicas of both ends know who owns the slots; one that does not answer is not waited for."""
    wanted = set(slots)
    for name in [replica for end in ends for replica in live.replicas_of(end)]:
        deadline = time.monotonic() + REPLICA_SECONDS
        try:
            while time.monotonic() < deadline:
                answer: Any = links[name].ask("CLUSTER", "NODES")
                line = next((n for n in cluster_nodes(answer.decode()) if n.node_id == node_id), None)
                if line is None or wanted.issubset(slots_in(line.slots)):
                    break
                time.sleep(REPLICA_POLL_SECONDS)
        except ToolkitError:
            continue
