"""Everything that can be decided without Docker: nodes, addresses, ports, volumes, limits, restart order.

A pure function of the spec, the stack's name and its slot index (`topologies/addresses.py`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from operations.sizes import MIB
from topologies.addresses import Addressing
from topologies.spec import LimitsSpec, Spec

Kind = Literal["data", "sentinel"]

DATA_PORT = 6379
BUS_PORT = 16379
SENTINEL_PORT = 26379
OVERHEAD_BYTES = 64 * MIB
"""Server code, allocator slack, client buffers and the start script; an idle node measured at about 10 MB."""
SENTINEL_MEMORY_BYTES = 96 * MIB
AOF_REWRITE_BUFFER_BYTES = 32 * MIB

LABEL_PREFIX = "redis-topologies"
PARAMETERS_LABEL = f"{LABEL_PREFIX}.parameters"
"""A digest of declared parameters, image and raised limits on the carrier of a stack with any; see `topologies/trial.py`."""
DEFAULT_FILES: int = LimitsSpec.model_fields["files"].default


@dataclass(frozen=True)
class NodePlan:
    """One server process: where it runs, what it announces, what it may use."""

    name: str
    kind: Kind
    role: Literal["primary", "replica", "sentinel"]
    shard: int
    member: int
    container: str
    volume: str
    docker_host: str
    bind_address: str
    announced_address: str
    client_address: str
    port: int
    bus_port: int
    host: str
    host_port: int
    memory_limit_bytes: int
    stop_timeout_seconds: int
    restart: str
    labels: Mapping[str, str]

    @property
    def is_sentinel(self) -> bool:
        return self.kind == "sentinel"


@dataclass(frozen=True)
class Plan:
    """A whole stack; `nodes` stand in order of member and shard, sentinels last.

    `surge` are the temporary replicas that its nodes may be replaced with, one for each shard; they are no part of `nodes`.
    """

    stack: str
    owner: str
    spec: Spec
    image: str
    user: str
    network: str
    subnet: str
    gateway: str
    index: int
    carrier: str
    config_volume: str
    carrier_labels: Mapping[str, str]
    nodes: tuple[NodePlan, ...]
    labels: Mapping[str, str]
    surge: tuple[NodePlan, ...] = ()

    @property
    def data_nodes(self) -> tuple[NodePlan, ...]:
        return tuple(node for node in self.nodes if not node.is_sentinel)

    @property
    def sentinels(self) -> tuple[NodePlan, ...]:
        return tuple(node for node in self.nodes if node.is_sentinel)

    @property
    def replacement_order(self) -> tuple[NodePlan, ...]:
        """The order in which standing nodes are replaced, one after the other: replicas (as provisioned) before primaries, so
        that each shard hands over once; in a cluster neighbours are never of one shard; sentinels last."""
        return (*sorted(self.data_nodes, key=lambda node: (-node.member, node.shard)), *self.sentinels)

    @property
    def primaries(self) -> tuple[NodePlan, ...]:
        """Data nodes that are provisioned as primaries, one per shard."""
        return tuple(node for node in self.data_nodes if node.role == "primary")

    @property
    def memory_total_bytes(self) -> int:
        """Sum of all container limits."""
        return sum(node.memory_limit_bytes for node in self.nodes)


def data_memory_limit_bytes(spec: Spec) -> int:
    """Container limit of a data node: maxmemory with copy-on-write headroom, replication and AOF buffers, overhead.

    Source: redis-facts, "memory limit without copy-on-write headroom": OOM kill during BGSAVE.
    """
    buffers = spec.replication.backlog
    if spec.replica_count:
        buffers += spec.replication.replica_buffer
    if spec.uses_aof:
        buffers += AOF_REWRITE_BUFFER_BYTES
    return int(spec.memory.maxmemory * (1 + spec.memory.copy_on_write_headroom)) + buffers + OVERHEAD_BYTES


def node_name(spec: Spec, shard: int, member: int) -> str:
    """Role-neutral name, stable when shards or replicas are added."""
    return f"node-{shard}-{member}" if spec.topology == "cluster" else f"node-{member}"


def image_of(spec: Spec) -> str:
    return spec.engine.image or f"redis-topologies/node:{spec.engine.name}-{spec.engine.version}"


def _tried(spec: Spec) -> dict[str, str]:
    """The label that tells what was tried on a server of its own; none where nothing has to be."""
    raised = spec.limits.files > DEFAULT_FILES
    if not spec.parameters and not raised:
        return {}
    parts = (image_of(spec), sorted(spec.parameters.items()), *((spec.limits.files,) if raised else ()))
    return {PARAMETERS_LABEL: hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}


def make_plan(spec: Spec, stack: str, addressing: Addressing, owner: str = "unowned") -> Plan:
    """Decide every node of `stack`. The spec must have passed `topologies.rules.check`."""
    base = {
        f"{LABEL_PREFIX}.stack": stack,
        f"{LABEL_PREFIX}.owner": owner,
        f"{LABEL_PREFIX}.index": str(addressing.index),
    }
    prefix = f"redis-{stack}"
    restart = {"immediate": "unless-stopped", "after-failover": "unless-stopped", "never": "no"}[spec.restart_policy]

    def node(name: str, kind: Kind, shard: int, member: int, octet: int) -> NodePlan:
        sentinel = kind == "sentinel"
        address = addressing.address(octet)
        return NodePlan(
            name=name,
            kind=kind,
            role="sentinel" if sentinel else "primary" if member == 1 else "replica",
            shard=shard,
            member=member,
            container=f"{prefix}-{name}",
            volume=f"{prefix}-{name}-data",
            docker_host="local",
            bind_address="0.0.0.0",  # noqa: S104 - inside the container; only loopback is published
            announced_address=address,
            client_address=address,
            port=SENTINEL_PORT if sentinel else DATA_PORT,
            bus_port=0 if sentinel or spec.topology != "cluster" else BUS_PORT,
            host="127.0.0.1",
            host_port=addressing.host_port(octet) if spec.network.publish else 0,
            memory_limit_bytes=SENTINEL_MEMORY_BYTES if sentinel else data_memory_limit_bytes(spec),
            stop_timeout_seconds=spec.limits.stop_timeout_seconds,
            restart="unless-stopped" if sentinel else restart,
            labels={**base, f"{LABEL_PREFIX}.node": name, f"{LABEL_PREFIX}.shard": str(shard)},
        )

    def nodes() -> Iterable[NodePlan]:
        for member in range(1, spec.replica_count + 2):
            for shard in range(1, spec.shard_count + 1):
                yield node(node_name(spec, shard, member), "data", shard, member, addressing.data_octet(shard, member))
        for number in range(1, spec.sentinel_count + 1):
            yield node(f"sentinel-{number}", "sentinel", 0, number, addressing.sentinel_octet(number))

    def temporary() -> Iterable[NodePlan]:
        member = spec.replica_count + 2
        for shard in range(1, spec.shard_count + 1):
            yield node(node_name(spec, shard, member), "data", shard, member, addressing.data_octet(shard, member))

    return Plan(
        stack=stack,
        owner=owner,
        spec=spec,
        image=image_of(spec),
        user=spec.engine.user or spec.engine.name,
        network=prefix,
        subnet=str(addressing.subnet),
        gateway=addressing.address(1),
        index=addressing.index,
        carrier=f"{prefix}-carrier",
        config_volume=f"{prefix}-config",
        carrier_labels={
            # What changes with the spec is told by the carrier alone: other labels would replace nodes when they change.
            **base,
            f"{LABEL_PREFIX}.topology": spec.topology,
            f"{LABEL_PREFIX}.shards": str(spec.shard_count),
            **_tried(spec),
        },
        nodes=tuple(nodes()),
        labels=base,
        surge=tuple(temporary()) if spec.change.surge else (),
    )
