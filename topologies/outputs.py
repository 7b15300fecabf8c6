"""Stack outputs: the inventory (no secret) and, with passwords, what an application needs to connect."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from operations.bounds import FaultKind
from operations.inventory import SCHEMA_VERSION
from topologies.objectives import policy_of
from topologies.plan import NodePlan, Plan
from topologies.render import SENTINEL_RULES, data_rules, declared, sentinel_settings
from topologies.spec import Spec

APPLICATION_USER = "app"
CONNECT_SECONDS = 1
"""In one data centre a connection takes milliseconds; only an address behind which nothing runs needs a limit."""
COMMAND_SECONDS = 2
"""Longer than a command of an application takes, also beside a snapshot; shorter than the detection of a failed primary."""
ATTACH_SECONDS = 2
"""After a failover, until the other replicas follow: with `min_replicas_to_write` the new primary refuses writes till then."""
RESTART_SECONDS = 15
"""Where nothing takes over: the restart of a node with a few hundred megabytes of append-only file, or a switchover."""


def reach(node: NodePlan) -> tuple[str, int]:
    """Where the machine that runs Pulumi reaches a node: its published port, else its own address."""
    return (node.host, node.host_port) if node.host_port else (node.announced_address, node.port)


def entry(node: NodePlan) -> dict[str, Any]:
    """A node as plain data; its schema is `operations.inventory.NodeEntry`."""
    return {
        "name": node.name,
        "role": node.role,
        "shard": node.shard,
        "member": node.member,
        "container": node.container,
        "volume": node.volume,
        "docker_host": node.docker_host,
        "address": node.announced_address,
        "port": node.port,
        "bus_port": node.bus_port,
        "host": reach(node)[0],
        "host_port": reach(node)[1],
    }


def inventory(plan: Plan, image_id: str, version: str) -> dict[str, Any]:
    """The stack output `inventory` as plain data; its schema is `operations.inventory.Inventory`."""
    spec = plan.spec
    return {
        "schema_version": SCHEMA_VERSION,
        "topology": spec.topology,
        "stack": plan.stack,
        "owner": plan.owner,
        "engine": {"name": spec.engine.name, "version": version, "image": plan.image, "image_id": image_id},
        "tls": False,
        "network": {"name": plan.network, "subnet": plan.subnet},
        "nodes": [entry(node) for node in plan.nodes],
        "replicas": spec.replica_count,
        "sentinel": {
            "service": spec.sentinel.service,
            "quorum": spec.sentinel.quorum,
            "down_after_ms": round(spec.sentinel.down_after_seconds * 1000),
            "failover_timeout_ms": spec.sentinel.failover_timeout_seconds * 1000,
        }
        if spec.topology == "sentinel"
        else None,
        "cluster": {
            "node_timeout_ms": round(spec.cluster.node_timeout_seconds * 1000),
            "shards": spec.shard_count,
            "full_coverage": spec.cluster.full_coverage,
        }
        if spec.topology == "cluster"
        else None,
        "parameters": {"data": declared(spec), "sentinel": sentinel_settings(spec) if plan.sentinels else {}},
        "users": {"data": data_rules(spec), "sentinel": dict(SENTINEL_RULES) if plan.sentinels else {}},
        "spec": spec.as_data(),
    }


def timing(spec: Spec) -> dict[str, int]:
    """How long a client should wait for a connection and for an answer, and how long it should go on trying; in seconds.

    `patience_seconds` outlasts every failover that this spec bounds, and what a client notices of it later than the servers do.
    docs/guide/connecting.md explains the numbers.
    """
    policy = policy_of(spec)
    windows = [bound.with_slack for kind in get_args(FaultKind) if (bound := policy.failover(kind))]
    window = max(windows, default=RESTART_SECONDS)
    return {
        "connect_seconds": CONNECT_SECONDS,
        "command_seconds": COMMAND_SECONDS,
        "patience_seconds": math.ceil(window + ATTACH_SECONDS + COMMAND_SECONDS + CONNECT_SECONDS),
    }


def connection(plan: Plan, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Ready URLs and settings for applications, inside the stack's network and on the host; holds a password."""
    password = passwords[APPLICATION_USER]

    def url(host: str, port: int) -> str:
        return f"redis://{APPLICATION_USER}:{password}@{host}:{port}/0"

    def inside(node: NodePlan) -> tuple[str, int]:
        return node.client_address, node.port

    def side(at: Any) -> dict[str, Any]:
        nodes = [list(at(node)) for node in plan.data_nodes]
        first = url(*at(plan.primaries[0]))
        if plan.spec.topology == "standalone":
            return {"url": first}
        if plan.spec.topology == "replication":
            return {
                "url": first,
                "nodes": nodes,
                "primary": "ask each node for ROLE: the one that answers master is the primary",
            }
        if plan.spec.topology == "sentinel":
            return {"sentinels": [list(at(node)) for node in plan.sentinels], "service": plan.spec.sentinel.service}
        return {"url": first, "startup_nodes": nodes}

    remap = {f"{node.client_address}:{node.port}": "{}:{}".format(*reach(node)) for node in plan.nodes}
    return {
        "topology": plan.spec.topology,
        "username": APPLICATION_USER,
        "password": password,
        "timing": timing(plan.spec),
        "network": plan.network,
        "inside": side(inside),
        "host": {**side(reach), "address_remap": remap},
    }
