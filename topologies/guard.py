"""Refuses what must not happen: compares the plan with what stands on the engine, before any resource is registered.

Pure: `problems(plan, state)` returns sentences. It runs in the program itself, so preview and update both stop on it, and
`--skip-preview` does not get around it (docs/decisions/0004-guard-in-the-program.md).
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from operations.backup.launch import IMAGE as AGENT_IMAGE
from operations.surge import LABEL
from topologies.engine import EngineState, FoundVolume, stack_of
from topologies.plan import LABEL_PREFIX, Plan
from topologies.standing import own_containers

OWN_IMAGES = "redis-topologies/node:"

READS_DATA_OF: Mapping[str, Mapping[str, tuple[int, int] | None]] = {
    # planned engine -> engines (with highest version) whose files it reads; from the RDB versions of each release
    "redis": {"redis": None},
    "valkey": {"valkey": None, "redis": (7, 2)},
}


def _version(text: str) -> tuple[int, int]:
    major, minor, *_ = (*text.split("."), "0")
    return int(major), int(minor)


def problems(plan: Plan, state: EngineState) -> tuple[str, ...]:
    """Every reason why this plan cannot be carried out on this engine; empty when it can."""
    return (
        *_strangers(plan, state),
        *_addresses(plan, state),
        *_image(plan, state),
        *_changes(plan, state),
        *_kept_data(plan, state),
        *_running_data(plan, state),
    )


def _owner(labels: Mapping[str, str]) -> str | None:
    return labels.get(f"{LABEL_PREFIX}.owner")


def _strangers(plan: Plan, state: EngineState) -> Iterator[str]:
    ours = {plan.carrier, *(node.container for node in plan.nodes)}
    for container in state.containers:
        if container.name in ours and _owner(container.labels) != plan.owner:
            yield (
                f"container {container.name} exists and was not made by this Pulumi stack; remove it, or give this "
                "stack another name"
            )
    for network in state.networks:
        if network.name == plan.network and _owner(network.labels) != plan.owner:
            yield (
                f"network {network.name} exists and was not made by this Pulumi stack; remove it, or give this stack another name"
            )
    planned = {node.volume for node in plan.nodes}
    for volume in state.volumes:
        if volume.name in planned and _owner(volume.labels) not in (plan.owner, None, plan.spec.data.adopt_owner):
            yield (
                f"volume {volume.name} holds data of a stack of the same name under another Pulumi backend; use that backend, "
                f"or take the data over with data.adopt_owner: {_owner(volume.labels)}, or give this stack another name"
            )


def _addresses(plan: Plan, state: EngineState) -> Iterator[str]:
    wanted = IPv4Network(plan.subnet)
    for network in state.networks:
        if network.name == plan.network:
            continue
        for subnet in network.subnets:
            if ":" not in subnet and wanted.overlaps(IPv4Network(subnet)):
                yield (
                    f"network.subnet {plan.subnet} overlaps {subnet} of the Docker network {network.name}; "
                    "choose another network.subnet, or leave it out to get a free one"
                )
    own = {container.name: container for container in state.containers}
    for node in (*plan.nodes, *plan.surge):
        if not node.host_port:
            continue
        mine = node.container in own and node.host_port in own[node.container].published
        holder = next((c.name for c in state.containers if node.host_port in c.published and c.name != node.container), None)
        if holder:
            yield (f"port {node.host_port} for {node.name} is published by container {holder}; choose another network.port_base")
        elif node.host_port in state.busy_ports and not mine:
            yield (
                f"port {node.host_port} for {node.name} is taken: another program listens on 127.0.0.1:{node.host_port}; "
                "stop it, or choose another network.port_base"
            )


def _image(plan: Plan, state: EngineState) -> Iterator[str]:
    if plan.image.startswith(OWN_IMAGES) and plan.image not in state.images:
        engine = plan.image.removeprefix(OWN_IMAGES)
        yield f"image {plan.image} is not on the Docker engine at {state.address}; build it: make images ENGINE={engine}"
    if plan.spec.backup.needs_agent and AGENT_IMAGE not in state.images:
        yield f"image {AGENT_IMAGE} is not on the Docker engine at {state.address}; build it: make images ENGINE=client"


def _changes(plan: Plan, state: EngineState) -> Iterator[str]:
    """Changes of a stack that stands which cannot be carried out online; see `topologies/change.py` for those that can."""
    planned = {node.container: node.name for node in plan.nodes}
    for found in own_containers(plan, state):
        if found.name in planned and LABEL in found.labels:
            yield (
                f"{planned[found.name]} is a temporary replica that an interrupted replacement left; "
                "`pulumi up` with the former number of replicas first, which lets it go"
            )
        topology = found.labels.get(f"{LABEL_PREFIX}.topology", plan.spec.topology)
        if found.name == plan.carrier and topology != plan.spec.topology and "cluster" in (topology, plan.spec.topology):
            yield (
                f"stack {plan.stack} runs as {topology} and cannot become {plan.spec.topology} in place, because the "
                "keys of a cluster "
                "are spread over slots; make a second stack and move the data, or destroy this one first"
            )


def _kept_data(plan: Plan, state: EngineState) -> Iterator[str]:
    """Data volumes without their containers were kept by a destroy, or by nodes that left; they are adopted only when they fit.

    While the stack stands, its own nodes hold the data, and nothing on a volume of a node that left counts any more.
    """
    standing = {container.name for container in state.containers}
    nodes = {node.volume: node for node in plan.data_nodes if node.container not in standing}
    kept = [volume for volume in state.volumes if volume.name in nodes and volume.identity]
    orphans = sorted(
        volume.name
        for volume in state.volumes
        if stack_of(volume.labels) == plan.stack
        and volume.name not in {node.volume for node in plan.nodes}
        and volume.labels.get(f"{LABEL_PREFIX}.shard", "0") != "0"
        and volume.name.removesuffix("-data") not in standing
        and volume.identity
    )
    choices = (
        f"either change the spec to fit, or use another stack name, or give the data up: make down STACK={plan.stack} DATA=delete"
    )
    if not kept:
        return
    is_up = any(found.labels.get(f"{LABEL_PREFIX}.shard", "0") != "0" for found in own_containers(plan, state))
    misfits = [_unreadable] if is_up else [_of_another_shape, _unreadable]
    for reason in sorted({reason for volume in kept for misfit in misfits for reason in misfit(plan, volume)}):
        yield f"kept data of stack {plan.stack} does not fit: {reason}; {choices}"
    if orphans and plan.spec.topology == "cluster" and not is_up:
        yield (
            f"kept data of stack {plan.stack} does not fit: {', '.join(orphans)} belong to it, but the spec has "
            f"no node for them; {choices}"
        )


def _of_another_shape(plan: Plan, volume: FoundVolume) -> Iterator[str]:
    found, spec = volume.identity, plan.spec
    topology = found.get("topology", "?")
    if topology != spec.topology and "cluster" in (topology, spec.topology):
        yield f"it was written by a {topology}, the spec says {spec.topology}"
    elif topology == "cluster" and found.get("shards") != str(spec.shard_count):
        yield f"it was written with {found.get('shards')} shards, the spec says {spec.shard_count}"


def _unreadable(plan: Plan, volume: FoundVolume) -> Iterator[str]:
    """Why the planned engine cannot read the data of a volume; nothing when it can."""
    spec = plan.spec
    engine, version = volume.identity.get("engine", "?"), volume.identity.get("version", "0.0")
    readable = READS_DATA_OF[spec.engine.name]
    if engine not in readable:
        yield f"it was written by {engine} {version}, which {spec.engine.name} {spec.engine.version} cannot read"
    elif _version(version) > (readable[engine] or _version(spec.engine.version)):
        yield f"it was written by {engine} {version}, which {spec.engine.name} {spec.engine.version} cannot read (it is newer)"


def _running_data(plan: Plan, state: EngineState) -> Iterator[str]:
    """Nodes that would be replaced by an engine that cannot read what they have written."""
    standing = {container.name for container in state.containers}
    nodes = {node.volume: node for node in plan.data_nodes if node.container in standing}
    known = [volume for volume in state.volumes if volume.name in nodes and volume.identity]
    reasons = {nodes[volume.name].name: reason for volume in known for reason in _unreadable(plan, volume)}
    if not reasons:
        return
    lost = [nodes[volume.name] for volume in known if nodes[volume.name].name in reasons]
    for reason in sorted(set(reasons.values())):
        yield f"the data of {', '.join(name for name, why in reasons.items() if why == reason)} would be lost: {reason}"
    if len(lost) == len(known) or any(node.container in state.primaries for node in lost):
        yield "an older engine cannot take over: set engine back, or load a backup into a new stack of that version"
    else:
        commands = "; ".join(f"docker rm -f {node.container} && docker volume rm {node.volume}" for node in lost)
        yield f"the others can still go back: give up the copies of those nodes, which are replicas, first: {commands}"
