"""One node after the other: which may be taken down now, and which comes next. Pure; roles are those of this moment."""

from collections.abc import Collection

from operations.inventory import Inventory
from operations.observe import Observation
from operations.verdict import State, node_health, verdict


def unsafe_to_take(observation: Observation, inventory: Inventory, name: str) -> str | None:
    """Why `name` must not be taken down at this moment; None when it may.

    A node that is well may go only while the whole stack is as declared: then every primary has its replicas in sync, and no
    second node of a shard and no second sentinel is missing. A node that is not well itself may go when all others are: to take
    it away takes nothing away, and a replacement may be what it needs.
    """
    judged = verdict(observation, inventory)
    if judged.state is State.OK:
        return None
    ill = {node.name: health for node in inventory.nodes if (health := node_health(observation, inventory, node.name)) != "ok"}
    others = [f"{other} is {health}" for other, health in ill.items() if other != name]
    if others:
        return "; ".join(others)
    return None if name in ill else judged.reasons[0]


def next_to_take(observation: Observation, inventory: Inventory, names: Collection[str]) -> str:
    """Of `names`, the node to take down first: those that are down, then replicas, then primaries, each in order of shards.

    So each shard changes its primary once, and to a node that is done already.
    """

    def rank(name: str) -> tuple[int, int, int]:
        state, entry = observation.of(name), inventory.node(name)
        return (0 if not state.reachable else 2 if state.is_primary else 1), entry.shard, entry.member

    return min(names, key=rank)


def is_copying(observation: Observation) -> bool:
    """Some node loads its data or copies it from its primary, which nobody can hurry."""
    return any(node.loading or (node.replication and node.replication.sync_in_progress) for node in observation.nodes)
