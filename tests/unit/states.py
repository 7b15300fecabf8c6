"""Hand-written live states for the tests of verdict and converge: builders for observations of each topology."""

from dataclasses import replace

from operations.inventory import Inventory
from operations.observe import ClusterView, NodeState, Observation, SentinelView
from operations.parse import ClusterNode, ConnectedReplica, Persistence, Replication, SentinelEntry, ServerInfo, Slots
from topologies.addresses import addressing
from topologies.outputs import inventory as inventory_data
from topologies.plan import make_plan
from topologies.spec import Spec

PERSISTENCE = Persistence(
    loading=False,
    aof_enabled=True,
    aof_last_rewrite_ok=True,
    aof_last_write_ok=True,
    last_save_ok=True,
    rewrite_in_progress=False,
    save_in_progress=False,
    changes_since_save=0,
)
PRIMARY = Replication(role="primary", offset=0, replication_id="r")


def inventory_of(topology: str, **fields: object) -> Inventory:
    """The inventory of a default stack called shop; `fields` are fields of the spec."""
    plan = make_plan(Spec.model_validate({"topology": topology, **fields}), "shop", addressing(7), "0123456789ab")
    return Inventory.model_validate(inventory_data(plan, "sha256:1", "8.0.2"))


def server(replication: Replication = PRIMARY, keys: int = 0, persistence: Persistence = PERSISTENCE) -> ServerInfo:
    return ServerInfo(
        engine="redis",
        version="8.0.2",
        run_id="a" * 40,
        uptime_seconds=60,
        keys=keys,
        used_memory_bytes=1_000_000,
        maxmemory_bytes=100_000_000,
        eviction="noeviction",
        persistence=persistence,
        replication=replication,
    )


def observed(inventory: Inventory, states: dict[str, NodeState]) -> Observation:
    """An observation of all nodes; those not named do not answer."""
    nodes = tuple(states.get(n.name) or silent(n.name) for n in inventory.nodes)
    return Observation(inventory.stack, inventory.topology, at=0.0, took_seconds=0.01, nodes=nodes)


def silent(name: str) -> NodeState:
    return NodeState(name, problem=f"nothing listens for {name}")


def foreign(name: str) -> NodeState:
    return NodeState(name, problem=f"the server in place of {name} is not ours", foreign=True)


# Primary and replicas


def primary(name: str, keys: int = 0, offset: int = 0, replicas: tuple[str, ...] = ()) -> NodeState:
    """A primary; `replicas` are addresses of those connected to it."""
    connected = tuple(ConnectedReplica(address, 6379, "online", offset) for address in replicas)
    return NodeState(name, info=server(replace(PRIMARY, offset=offset, replicas=connected), keys))


def replica(name: str, of: str, keys: int = 0, offset: int = 0, up: bool = True, port: int = 6379) -> NodeState:
    """A replica of the address `of`."""
    link = Replication("replica", offset, "r", primary_address=of, primary_port=port, link_up=up)
    return NodeState(name, info=server(link, keys))


def blank(name: str) -> NodeState:
    """A data node with an empty volume."""
    return replica(name, of="127.0.0.1", port=1, up=False)


def replicated(inventory: Inventory, leader: str = "node-1", keys: int = 10) -> dict[str, NodeState]:
    """Everybody follows `leader`."""
    address = inventory.node(leader).address
    followers = [n for n in inventory.data_nodes if n.name != leader]
    states = {n.name: replica(n.name, address, keys, 100) for n in followers}
    states[leader] = primary(leader, keys, 100, tuple(n.address for n in followers))
    return states


def entry(inventory: Inventory, name: str, flags: str, **fields: str) -> SentinelEntry:
    node = inventory.node(name)
    return SentinelEntry(node.address, node.port, frozenset(flags.split(",")), fields)


def sentinel(inventory: Inventory, name: str, leader: str | None = "node-1", down: tuple[str, ...] = ()) -> NodeState:
    """A sentinel that watches `leader` and sees everybody, those in `down` as down; None: it watches nothing."""
    assert inventory.sentinel is not None
    if leader is None:
        return NodeState(name, sentinel=SentinelView("s" + name, None, quorum_problem="no such master"))
    settings = {
        "quorum": str(inventory.sentinel.quorum),
        "down-after-milliseconds": str(inventory.sentinel.down_after_ms),
        "failover-timeout": str(inventory.sentinel.failover_timeout_ms),
        "parallel-syncs": "1",
    }

    def seen(other: str, kind: str) -> SentinelEntry:
        return entry(inventory, other, f"{kind},s_down" if other in down else kind)

    watched = replace(seen(leader, "master"), fields=settings)
    replicas = tuple(seen(n.name, "slave") for n in inventory.data_nodes if n.name != leader)
    peers = tuple(seen(n.name, "sentinel") for n in inventory.sentinels if n.name != name)
    return NodeState(name, sentinel=SentinelView("s" + name, watched, replicas, peers))


def watched(inventory: Inventory, leader: str = "node-1", keys: int = 10) -> dict[str, NodeState]:
    """A healthy sentinel stack."""
    sentinels = {n.name: sentinel(inventory, n.name, leader) for n in inventory.sentinels}
    return replicated(inventory, leader, keys) | sentinels


# Cluster


def identifier(name: str) -> str:
    """A made-up cluster node id."""
    return name.replace("-", "").ljust(40, "0")


def blank_member(inventory: Inventory, name: str, node_id: str | None = None) -> NodeState:
    """A cluster node with an empty volume: it knows itself alone."""
    node = inventory.node(name)
    me = ClusterNode(node_id or identifier(name), node.address, node.port, frozenset({"myself", "master"}), None, 0, True, ())
    assert inventory.cluster is not None
    view = ClusterView(me.node_id, False, 0, inventory.cluster.node_timeout_ms, (me,))
    return NodeState(name, info=server(), cluster=view)


def formed(inventory: Inventory, leaders: dict[int, str] | None = None, keys: int = 10) -> dict[str, NodeState]:
    """A healthy cluster; `leaders` names the primary of shards where it is not the first member."""
    shards = len(inventory.shards)
    lines: dict[str, ClusterNode] = {}
    leader_of = {s: (leaders or {}).get(s, f"node-{s}-1") for s in inventory.shards}
    for node in inventory.data_nodes:
        leader = leader_of[node.shard]
        slots: Slots = ((((node.shard - 1) * 16384 // shards), node.shard * 16384 // shards - 1),)
        leads = leader == node.name
        lines[node.name] = ClusterNode(
            node_id=identifier(node.name),
            address=node.address,
            port=node.port,
            flags=frozenset({"master" if leads else "slave"}),
            primary_id=None if leads else identifier(leader),
            config_epoch=node.shard,
            connected=True,
            slots=slots if leads else (),
        )
    states = {}
    for node in inventory.data_nodes:
        leader = leader_of[node.shard]
        mine = lines[node.name]
        view = tuple(replace(line, flags=line.flags | {"myself"}) if line is mine else line for line in lines.values())
        assert inventory.cluster is not None
        cluster = ClusterView(mine.node_id, True, 6, inventory.cluster.node_timeout_ms, view)
        link = PRIMARY
        if leader != node.name:
            link = Replication("replica", 100, "r", inventory.node(leader).address, node.port, link_up=True)
        states[node.name] = NodeState(node.name, info=server(replace(link, offset=100), keys), cluster=cluster)
    return states


def with_line(state: NodeState, node_id: str, **changes: object) -> NodeState:
    """The same node, but its line about `node_id` is changed."""
    assert state.cluster is not None
    nodes = tuple(replace(n, **changes) if n.node_id == node_id else n for n in state.cluster.nodes)  # type: ignore[arg-type]
    return replace(state, cluster=replace(state.cluster, nodes=nodes))


def also_knowing(state: NodeState, line: ClusterNode) -> NodeState:
    """The same node, listing one more."""
    assert state.cluster is not None
    return replace(state, cluster=replace(state.cluster, nodes=(*state.cluster.nodes, line)))
