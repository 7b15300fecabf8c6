"""A plan as people see it in a terminal, and as programs read it."""

from collections.abc import Iterable
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from operations.sizes import format_bytes
from scripts._objectives_view import objectives_data, objectives_view
from topologies.findings import Findings
from topologies.plan import NodePlan, Plan
from topologies.promises import promises

SLOTS = 16384
BARE_TABLE_WIDTH = 78
"""Width of the table of nodes without volumes, at the longest names of a stack of few shards."""
STYLES = {"primary": "bold green", "replica": "cyan", "sentinel": "magenta"}
_RESTARTS = {
    "immediate": "a node that died comes back at once",
    "after-failover": "a node that died comes back as a replica, after the failover",
    "never": "a node that died stays down until the next `pulumi up`",
}
MARKS = {"primary": "●", "replica": "○", "sentinel": "◇"}


def plan_data(plan: Plan, findings: Findings) -> dict[str, Any]:
    """The plan as plain data."""
    return {
        "valid": True,
        "stack": plan.stack,
        "topology": plan.spec.topology,
        "image": plan.image,
        "user": plan.user,
        "network": {"name": plan.network, "subnet": plan.subnet, "gateway": plan.gateway},
        "volumes": [plan.config_volume, *(node.volume for node in plan.nodes)],
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "shard": node.shard,
                "container": node.container,
                "volume": node.volume,
                "address": node.announced_address,
                "port": node.port,
                "bus_port": node.bus_port,
                "host": node.host,
                "host_port": node.host_port,
                "memory_limit_bytes": node.memory_limit_bytes,
                "restart": node.restart,
            }
            for node in plan.nodes
        ],
        "memory_total_bytes": plan.memory_total_bytes,
        "promises": promises(plan.spec).as_data(),
        "objectives": objectives_data(plan.spec),
        "problems": [],
        "warnings": [warning.as_data() for warning in findings.warnings],
    }


def plan_view(plan: Plan, findings: Findings, width: int, machine_memory_bytes: int | None = None) -> RenderableType:
    """The plan for people: what it is, its picture, its nodes, its memory, what it promises, its objectives, and warnings.

    In less than the `width` that it needs, the table does without volumes, whose names follow those of the nodes.
    """
    with_volumes = width >= BARE_TABLE_WIDTH + max(len(node.volume) for node in plan.nodes)
    return Group(
        _headline(plan),
        Padding(_picture(plan), (1, 0)),
        _nodes(plan, with_volumes),
        Text(),
        _facts(plan, with_volumes, machine_memory_bytes),
        Text(),
        objectives_view(plan.spec),
        *_warnings(findings),
    )


def _headline(plan: Plan) -> Text:
    spec = plan.spec
    replicas = "1 replica" if spec.replica_count == 1 else f"{spec.replica_count} replicas"
    shape = {
        "standalone": "one node",
        "replication": f"1 primary and {replicas}",
        "sentinel": f"1 primary and {replicas}, watched by {spec.sentinel_count} sentinels",
        "cluster": f"{spec.shard_count} shards, each 1 primary and {replicas}",
    }[spec.topology]
    software = f"{spec.engine.name} {spec.engine.version}"
    return Text.assemble("Stack ", (plan.stack, "bold"), f", topology {spec.topology}: {shape}; {software}")


def _node_line(node: NodePlan, lead: str = "") -> Text:
    style = STYLES[node.role]
    return Text.assemble((lead, "dim"), (f"{MARKS[node.role]} {node.name}", style), justify="left", no_wrap=True)


def _shard(nodes: list[NodePlan], title: str | None) -> Panel:
    """A primary and, below it, the replicas that follow it."""
    primary, *replicas = sorted(nodes, key=lambda node: node.member)
    lines = [_node_line(primary)]
    for replica in replicas:
        lines.append(_node_line(replica, "└─▶ " if replica is replicas[-1] else "├─▶ "))
    return Panel(Group(*lines), title=title, border_style="dim", expand=False, padding=(0, 1))


def _picture(plan: Plan) -> RenderableType:
    shards = sorted({node.shard for node in plan.data_nodes})
    if plan.spec.topology == "cluster":
        return Columns(
            [_shard([n for n in plan.data_nodes if n.shard == shard], f"shard {shard}") for shard in shards],
            padding=(0, 1),
        )
    middle = _shard(list(plan.data_nodes), plan.spec.sentinel.service if plan.sentinels else None)
    if not plan.sentinels:
        return middle
    return _watched(plan, middle)


def _watched(plan: Plan, middle: Panel) -> RenderableType:
    """Sentinels around the nodes that they watch: the first above, the others left and right in turn."""
    first, *others = plan.sentinels
    left, right = others[0::2], others[1::2]
    picture = Table.grid(padding=(0, 1))
    picture.add_column(vertical="middle", justify="right")
    picture.add_column(justify="center")
    picture.add_column(vertical="middle")
    picture.add_row("", _node_line(first), "")
    picture.add_row(_stack(left, "", " ─"), middle, _stack(right, "─ ", ""))
    return picture


def _stack(nodes: Iterable[NodePlan], before: str, after: str) -> Text:
    return Text("\n").join(Text.assemble((before, "dim"), _node_line(node), (after, "dim")) for node in nodes)


def _nodes(plan: Plan, with_volumes: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    cluster = plan.spec.topology == "cluster"
    titles = [
        "node",
        "role",
        *(["shard"] if cluster else []),
        "address",
        "published",
        *(["volume"] if with_volumes else []),
        "memory",
    ]
    for title in titles:
        table.add_column(title, justify="right" if title in ("shard", "memory") else "left", no_wrap=True)
    for node in sorted(plan.nodes, key=lambda n: (n.is_sentinel, n.shard, n.member)):
        table.add_row(
            node.name,
            Text(node.role, STYLES[node.role]),
            *([str(node.shard)] if cluster else []),
            f"{node.announced_address}:{node.port}",
            f"{node.host}:{node.host_port}" if node.host_port else "no",
            *([node.volume] if with_volumes else []),
            format_bytes(node.memory_limit_bytes),
        )
    return table


def _facts(plan: Plan, with_volumes: bool, machine_memory_bytes: int | None) -> Table:
    spec, promised = plan.spec, promises(plan.spec)
    machine = f"; this machine has {format_bytes(machine_memory_bytes)}" if machine_memory_bytes else ""
    policy = spec.persistence.policy + (f", fsync {spec.persistence.aof.fsync}" if spec.uses_aof else "")
    default = spec.network.subnet is None and spec.network.port_base is None
    free = " (or the next free one)" if default else ""
    rows = {
        "image": f"{plan.image}, server runs as {plan.user}",
        "network": f"{plan.network}, {plan.subnet}{free}",
        "memory": f"at most {format_bytes(plan.memory_total_bytes)} in all{machine}",
        "persistence": f"{policy}; on destroy volumes are {'kept' if spec.data.on_destroy == 'keep' else 'deleted'}",
        "restart": _RESTARTS[spec.restart_policy],
    }
    if not with_volumes:
        rows["volumes"] = plan.nodes[0].volume.replace(plan.nodes[0].name, "<node>")
    if spec.topology == "cluster":
        rows["slots"] = f"{SLOTS}, about {SLOTS // spec.shard_count} for each shard"
    if plan.sentinels:
        rows["quorum"] = f"{spec.sentinel.quorum} of {spec.sentinel_count} sentinels agree that the primary is down"
    rows |= {
        "a server is killed": promised.server_killed,
        "the machine loses power": promised.machine_loses_power,
        "a primary is cut off": promised.primary_cut_off,
        "availability": promised.writes_stop,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _warnings(findings: Findings) -> Iterable[Text]:
    if findings.warnings:
        yield Text()
    for warning in findings.warnings:
        yield Text.assemble(("warning: ", "bold yellow"), warning.located)
