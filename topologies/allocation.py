"""Which slot index a stack gets: the one it has, else the first that collides with nothing on this engine."""

from ipaddress import IPv4Network

from topologies.addresses import BLOCK, FIRST_PORT, INDEX_COUNT, Addressing, addressing, choose_index, subnet_of
from topologies.engine import EngineState, index_of, stack_of
from topologies.spec import Spec

ALL_PORTS = range(FIRST_PORT, FIRST_PORT + INDEX_COUNT * BLOCK)


def present_index(stack: str, state: EngineState) -> int | None:
    """The index under which `stack` already has a network or a volume."""
    for labels in (*(n.labels for n in state.networks), *(v.labels for v in state.volumes)):
        if stack_of(labels) == stack and (index := index_of(labels)) is not None:
            return index
    return None


def taken_indices(stack: str, state: EngineState) -> set[int]:
    """Indices that other stacks hold (also kept volumes), whose subnet overlaps another network, or whose ports listen."""
    labelled = [found.labels for group in (state.networks, state.volumes, state.containers) for found in group]
    taken = {index for labels in labelled if stack_of(labels) not in (None, stack) and (index := index_of(labels)) is not None}
    foreign = [IPv4Network(subnet) for network in state.networks for subnet in network.subnets if ":" not in subnet]
    taken |= {index for index in range(INDEX_COUNT) if any(subnet_of(index).overlaps(other) for other in foreign)}
    published = {port for container in state.containers for port in container.published}
    taken |= {(port - FIRST_PORT) // BLOCK for port in state.busy_ports | published if port in ALL_PORTS}
    return taken


def allocate(spec: Spec, stack: str, state: EngineState) -> Addressing:
    """The addressing of `stack`; what the user declared is taken as it is and checked by the guard."""
    index = present_index(stack, state)
    if index is None:
        index = choose_index(stack, taken_indices(stack, state))
    return addressing(index, spec.network.subnet, spec.network.port_base)
