"""What stands on the engine and is not planned any more: nodes that leave, and the shape that was last begun. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from operations.inventory import NodeEntry
from operations.surge import LABEL
from topologies.addresses import Addressing
from topologies.engine import EngineState, FoundContainer, stack_of
from topologies.plan import BUS_PORT, DATA_PORT, LABEL_PREFIX, SENTINEL_PORT, NodePlan, Plan


@dataclass(frozen=True)
class Shape:
    """How the stack as it stands differs from the plan. `joining` do not exist yet; `shards` is the number last begun.

    `temporary` are replicas that a replacement which was interrupted left (`operations/surge.py`): they leave in any case.
    """

    joining: tuple[NodePlan, ...] = ()
    leaving: tuple[NodeEntry, ...] = ()
    shards: int | None = None
    temporary: tuple[NodeEntry, ...] = ()

    def is_another(self, plan: Plan) -> bool:
        """Whether the stack runs in another shape than the planned one."""
        return bool(self.joining) or not self.only_grows(plan)

    def only_grows(self, plan: Plan) -> bool:
        """Nodes join, and nothing that runs gives anything away."""
        return not self.leaving and self.shards in (None, plan.spec.shard_count)


def own_containers(plan: Plan, state: EngineState) -> tuple[FoundContainer, ...]:
    """Containers of this stack, running or not, the carrier among them."""
    return tuple(
        found
        for found in state.containers
        if stack_of(found.labels) == plan.stack and found.labels.get(f"{LABEL_PREFIX}.owner") == plan.owner
    )


def leaving(plan: Plan, state: EngineState, temporary: bool = False) -> tuple[NodeEntry, ...]:
    """Nodes whose containers stand but that are not planned, in order of their names; those that are temporary apart."""
    planned = {node.container for node in plan.nodes} | {plan.carrier}
    own = [found for found in own_containers(plan, state) if f"{LABEL_PREFIX}.node" in found.labels]
    found = [container for container in own if container.name not in planned and (LABEL in container.labels) == temporary]
    return tuple(_entry(plan, container) for container in sorted(found, key=lambda one: one.name))


def _entry(plan: Plan, container: FoundContainer) -> NodeEntry:
    """A node as its labels tell; its address follows from its number, as that of every node (`topologies/addresses.py`)."""
    name, shard = container.labels[f"{LABEL_PREFIX}.node"], int(container.labels[f"{LABEL_PREFIX}.shard"])
    member = int(name.rpartition("-")[2])
    octet = Addressing.data_octet(shard, member) if shard else Addressing.sentinel_octet(member)
    address = str(IPv4Network(plan.subnet).network_address + octet)
    port = DATA_PORT if shard else SENTINEL_PORT
    published = min(container.published, default=0)
    return NodeEntry(
        name=name,
        role="sentinel" if not shard else "primary" if member == 1 else "replica",
        shard=shard,
        member=member,
        container=container.name,
        volume=f"{container.name}-data",
        docker_host="local",
        address=address,
        port=port,
        bus_port=BUS_PORT if plan.spec.topology == "cluster" else 0,
        host="127.0.0.1" if published else address,
        host_port=published or port,
    )


def begun_shards(plan: Plan, state: EngineState) -> int | None:
    """The number of shards that the last `up` of a cluster went for, finished or not; None when that is not known."""
    for found in own_containers(plan, state):
        if found.name == plan.carrier and found.labels.get(f"{LABEL_PREFIX}.topology") == plan.spec.topology == "cluster":
            return int(found.labels[f"{LABEL_PREFIX}.shards"])
    return None


def shape_of(plan: Plan, state: EngineState) -> Shape:
    """How the stack as it stands differs from the plan; no difference for a stack of which no data node stands."""
    names = {found.name for found in own_containers(plan, state)}
    if not any(node.container in names for node in plan.data_nodes):
        return Shape()
    joining = tuple(node for node in plan.nodes if node.container not in names)
    return Shape(joining, leaving(plan, state), begun_shards(plan, state), leaving(plan, state, temporary=True))
