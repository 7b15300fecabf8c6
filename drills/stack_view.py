"""What a drill asks of the running stack, apart from its load: who is primary, is all well, does each node accept writes."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from redis.crc import key_slot

from drills.records import State
from drills.targets import Roles
from drills.workload.plan import KEY_PREFIX, SlotRanges
from operations.connect import Timeouts, node_client
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access, Inventory, NodeEntry
from operations.observe import NodeState, Observation, observe
from operations.parse import format_slots
from operations.verdict import State as StackState
from operations.verdict import verdict

PROBE_TIMEOUTS = Timeouts(connect_seconds=1.0, command_seconds=2.0)
REFUSALS = (redis.ResponseError, redis.BusyLoadingError)


def problem(access: Access) -> str | None:
    """Why the stack is not as declared, or None when all is well."""
    try:
        found = verdict(observe(access), access.inventory)
    except ToolkitError as error:
        return str(error)
    return None if found.state is StackState.OK else found.line


def require_steady(access: Access) -> Observation:
    """The stack as it is, when all is well; raises CheckFailed otherwise, and NotOurs when a stranger answers."""
    seen = observe(access)
    for node in seen.nodes:
        if node.foreign:
            raise CheckFailed(f"{node.problem}")
    found = verdict(seen, access.inventory)
    if found.state is not StackState.OK:
        stack = access.inventory.stack
        raise CheckFailed(
            f"stack {stack} is not in its steady state, so a drill would prove nothing: {found.line}. "
            f"See `scripts/status.py --stack {stack}`"
        )
    return seen


def roles_of(seen: Observation, inventory: Inventory) -> Roles:
    """Who is primary of which shard."""
    primaries = {node.shard: node.name for node in inventory.data_nodes if seen.of(node.name).is_primary}
    return Roles(inventory, primaries)


def slots_of(seen: Observation, inventory: Inventory) -> dict[int, SlotRanges]:
    """Which slots each shard serves; empty where there are no slots."""
    found: dict[int, SlotRanges] = {}
    for node in inventory.data_nodes:
        view = seen.of(node.name).cluster
        if view is not None and view.slots:
            found[node.shard] = view.slots
    return found


def claims(node: NodeEntry, state: NodeState, inventory: Inventory) -> dict[str, str] | None:
    """What a node says about the stack, subject to word, so that the words of different nodes can be compared."""
    if not state.reachable:
        return None
    return dict(_claims(node, state, inventory))


def _claims(node: NodeEntry, state: NodeState, inventory: Inventory) -> Iterator[tuple[str, str]]:
    def name(address: str | None, port: int | None) -> str:
        found = inventory.at(address or "", port or 0)
        return found.name if found else f"{address}:{port}"

    if state.cluster is not None:
        ids = {line.node_id: name(line.address, line.port) for line in state.cluster.nodes}
        for line in state.cluster.nodes:
            word = f"primary of {format_slots(line.slots)}" if line.is_primary else f"replica of {ids.get(line.primary_id or '')}"
            yield ids[line.node_id], f"{word}, failing" if line.is_failing else word
    elif state.sentinel is not None:
        watched = state.sentinel.watched
        yield "primary", "nobody" if watched is None else name(watched.address, watched.port)
    elif state.replication is not None:
        link = state.replication
        yield "primary", node.name if link.role == "primary" else name(link.primary_address, link.primary_port)


def states(access: Access, moment: str, at: int, slots: Mapping[int, SlotRanges], run: str) -> list[State]:
    """Role, writability and view of every node. Writability is tried with a write by the applications' user."""
    inventory = access.inventory
    seen = observe(access)

    def state(node: NodeEntry) -> State:
        found = seen.of(node.name)
        role = "sentinel" if node.is_sentinel else found.replication.role if found.replication else None
        writable = False if node.is_sentinel else accepts_writes(access, node, probe_key(node.shard, slots, run))
        return State(at, moment, node.name, node.shard, role, writable, claims(node, found, inventory))

    with ThreadPoolExecutor(max(1, len(inventory.nodes))) as pool:
        return list(pool.map(state, inventory.nodes))


def quorum_words(access: Access, sentinels: Sequence[NodeEntry]) -> list[str]:
    """What sentinels answer when they are asked whether a failover could be made, one sentence each."""
    service = access.inventory.sentinel.service if access.inventory.sentinel else ""

    def ask(node: NodeEntry) -> str:
        client = node_client(access, node, timeouts=PROBE_TIMEOUTS)
        try:
            answer: Any = client.execute_command("SENTINEL CKQUORUM", service)  # type: ignore[no-untyped-call]
            return f"{node.name} says about a failover: {answer.decode() if isinstance(answer, bytes) else answer}"
        except redis.RedisError as error:
            return f"{node.name} says about a failover: {error}"
        finally:
            client.close()

    return [ask(node) for node in sentinels]


def probe_key(shard: int, slots: Mapping[int, SlotRanges], run: str) -> str:
    """A key of the shard, used for nothing but to see whether writes are accepted."""
    for number in range(100_000):
        key = f"{KEY_PREFIX}:{{probe-{number}}}:{run}"
        if not slots or any(low <= key_slot(key.encode()) <= high for low, high in slots.get(shard, ())):
            return key
    return f"{KEY_PREFIX}:probe:{run}"


def accepts_writes(access: Access, node: NodeEntry, key: str) -> bool | None:
    """Whether a node accepts a write from an application; None when it does not answer."""
    client = node_client(access, node, user="app", timeouts=PROBE_TIMEOUTS)
    try:
        client.set(key, "probe", ex=60)
    except REFUSALS:
        return False
    except redis.RedisError:
        return None
    finally:
        client.close()
    return True
