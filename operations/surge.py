"""Temporary replicas, one for each shard, while containers are replaced: no shard is ever short of a copy (`change.surge`).

They are no resources of Pulumi, whose state would show them as a change before and after. The first gate makes them, as copies
of a container that stands, with the image that is coming: so an image that does not start is found before any node is touched.
The convergence lets them go like nodes that leave the stack, whether it was this `up` that made them or one that was interrupted.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from operations.change import Change, widened
from operations.connect import Fleet
from operations.containers import Containers
from operations.converge import reach_shape
from operations.errors import CheckFailed
from operations.inventory import Access, Inventory, NodeEntry
from operations.observe import Observation
from operations.restart import await_settled

Report = Callable[[str], None]

LABEL = "redis-topologies.surge"
"""On the containers of temporary replicas."""
LAST_CHOICE = 110
"""Their `replica-priority`: a sentinel promotes one of the others (100) as long as there is one."""


@dataclass(frozen=True)
class Surge:
    """The replicas that a stack may get for a while, and the image and user that they run with."""

    nodes: tuple[NodeEntry, ...] = ()
    image: str = ""

    def standing(self, containers: Containers) -> tuple[NodeEntry, ...]:
        """Those that are there now."""
        return tuple(node for node in self.nodes if is_temporary(containers, node))


def is_temporary(containers: Containers, node: NodeEntry) -> bool:
    """Whether the container of `node` is one that this module made."""
    found = containers.inspect(node)
    return found is not None and LABEL in (found["Config"].get("Labels") or {})


def borrow(access: Access, surge: Surge, report: Report) -> None:
    """Make the temporary replicas that are missing, and wait until all copy nothing any more.

    Where a node of that name is still to leave the stack, it stands in itself. Raises CheckFailed when one does not start (then
    all that were made now are gone again), and what `reach_shape` raises.
    """
    engine = Containers(access.inventory)
    missing = [node for node in surge.nodes if engine.inspect(node) is None]
    inventory = widened(access.inventory, (*surge.standing(engine), *missing))
    whole = access.model_copy(update={"inventory": inventory})
    containers = Containers(inventory)
    if missing:
        report(f"{_names(missing)} join{'s' if len(missing) == 1 else ''} as temporary replica{'s' if len(missing) > 1 else ''}")
        _make(containers, access.inventory, missing, surge.image)
    with Fleet(whole) as fleet:
        if missing:
            _, problem = await_settled(fleet, containers, report, lambda seen: _silent(seen, missing))
            if problem:
                _remove(containers, missing)
                raise CheckFailed(f"a temporary replica with the new image does not work, so no node was replaced: {problem}")
        reach_shape(fleet, whole, report)
        if inventory.sentinels:
            for node in missing:
                fleet.links[node.name].ask("CONFIG", "SET", "replica-priority", LAST_CHOICE)


def joined(inventory: Inventory, change: Change, surge: Surge | None) -> Change:
    """The change, with the temporary replicas that stand among the nodes that leave."""
    if surge is None:
        return change
    known = {node.name for node in change.leaving}
    more = (node for node in surge.standing(Containers(inventory)) if node.name not in known)
    return replace(change, leaving=(*change.leaving, *more))


def give_back(inventory: Inventory, nodes: Collection[NodeEntry], report: Report) -> None:
    """Remove those of `nodes` that are temporary; they take part in nothing any more."""
    if not nodes:
        return
    containers = Containers(inventory)
    gone = [node for node in nodes if is_temporary(containers, node)]
    _remove(containers, gone)
    if gone:
        report(f"{_names(gone)}, which stood in for the time of the replacement, {'is' if len(gone) == 1 else 'are'} gone again")


def end(inventory: Inventory) -> None:
    """Remove the temporary replicas of a stack that ends, which an `up` that was interrupted left."""
    Containers(inventory).remove_labelled(LABEL)


def _make(containers: Containers, inventory: Inventory, nodes: Collection[NodeEntry], image: str) -> None:
    pattern = next((node for node in inventory.data_nodes if containers.inspect(node)), None)
    if pattern is None:
        raise CheckFailed(f"no data node of stack {inventory.stack} has a container, so no temporary replica can be made like it")
    engine = inventory.spec["engine"]
    for node in nodes:
        containers.make_like(pattern, node, image, engine.get("user") or engine["name"], LABEL)


def _remove(containers: Containers, nodes: Collection[NodeEntry]) -> None:
    for node in nodes:
        containers.remove(node)


def _silent(seen: Observation, nodes: Collection[NodeEntry]) -> str | None:
    return next((state.problem for node in nodes if not (state := seen.of(node.name)).reachable), None)


def _names(nodes: Collection[NodeEntry]) -> str:
    return ", ".join(node.name for node in nodes)
