"""One look at the whole live stack: every node asked at once, within a stated time, as one frozen value.

Nothing is judged here (see `operations/verdict.py`) and nothing is written.
"""

import time
from dataclasses import dataclass
from functools import cached_property

from operations.connect import IDENTITY_PARAMETER, Fleet, Link, Refused, Timeouts, identity_problem
from operations.errors import NotOurs, ToolkitError
from operations.inventory import Access, Inventory, NodeEntry, Topology
from operations.parse import (
    ClusterNode,
    OpenSlot,
    Replication,
    Reply,
    SentinelEntry,
    ServerInfo,
    Slots,
    UnexpectedReply,
    cluster_nodes,
    info_fields,
    items,
    pairs,
    sentinel_entry,
    server_info,
    text,
)

OBSERVE_SECONDS = 4.0
"""Time for one look at all nodes: more than one connection and one command may take together."""

PLACEHOLDER = ("127.0.0.1", 1)
"""What a data node with a blank volume follows at first, so that it refuses writes until converge decides its role."""

NODE_TIMEOUT = "cluster-node-timeout"

MIN_REPLICAS, NOBODY_HAS = "min-replicas-to-write", 1_000_000
"""A primary that comes back under Sentinel demands so many replicas until sentinels have seen it (configs/node/confirm.sh)."""

INFO_SECTIONS = ("server", "memory", "persistence", "replication", "keyspace")


@dataclass(frozen=True)
class ClusterView:
    """The cluster as one node sees it, itself included."""

    my_id: str
    state_ok: bool
    current_epoch: int
    node_timeout_ms: int
    nodes: tuple[ClusterNode, ...]

    @cached_property
    def _by_id(self) -> dict[str, ClusterNode]:
        return {node.node_id: node for node in self.nodes if not node.in_handshake or node.node_id == self.my_id}

    @property
    def me(self) -> ClusterNode:
        """This node's line about itself."""
        return self._by_id[self.my_id]

    @cached_property
    def others(self) -> tuple[ClusterNode, ...]:
        """The nodes it knows by name; those in a handshake carry a passing, random name and are left out."""
        return tuple(n for n in self.nodes if n.node_id != self.my_id and not n.in_handshake)

    @cached_property
    def handshakes(self) -> frozenset[tuple[str, int]]:
        """Addresses that it is being introduced to."""
        return frozenset((n.address, n.port) for n in self.nodes if n.in_handshake)

    @property
    def slots(self) -> Slots:
        """The slots that this node serves by its own account."""
        return self.me.slots

    @property
    def open_slots(self) -> tuple[OpenSlot, ...]:
        return self.me.open_slots

    def knows(self, node_id: str) -> ClusterNode | None:
        """Its line about the node with this id."""
        return self._by_id.get(node_id)


@dataclass(frozen=True)
class SentinelView:
    """What one sentinel believes. `quorum_problem` is its answer to CKQUORUM unless that was OK."""

    my_id: str
    watched: SentinelEntry | None
    replicas: tuple[SentinelEntry, ...] = ()
    peers: tuple[SentinelEntry, ...] = ()
    quorum_problem: str | None = None
    other_services: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeState:
    """What was found out about one node; `problem` says why nothing could be, `foreign` that a stranger answers.

    `unconfirmed`: it came back and takes no writes as primary until the sentinels have seen it, or its peers agree
    (configs/node/confirm.sh).
    """

    name: str
    problem: str | None = None
    foreign: bool = False
    unconfirmed: bool = False
    info: ServerInfo | None = None
    cluster: ClusterView | None = None
    sentinel: SentinelView | None = None

    @property
    def reachable(self) -> bool:
        return self.problem is None

    @property
    def loading(self) -> bool:
        """It answers, but is still reading its data from disk."""
        return self.info is not None and self.info.persistence.loading

    @property
    def replication(self) -> Replication | None:
        return self.info.replication if self.info else None

    @property
    def keys(self) -> int:
        return self.info.keys if self.info else 0

    @property
    def is_primary(self) -> bool:
        return self.info is not None and self.info.replication.role == "primary"

    @property
    def is_unplaced(self) -> bool:
        """It follows the placeholder: nobody has decided yet what it is."""
        link = self.replication
        return link is not None and (link.primary_address, link.primary_port) == PLACEHOLDER


@dataclass(frozen=True)
class Observation:
    """The whole stack at one moment; `at` is Unix time in seconds."""

    stack: str
    topology: Topology
    at: float
    took_seconds: float
    nodes: tuple[NodeState, ...]

    def of(self, name: str) -> NodeState:
        """The state of the node called `name`; it is in the inventory that was observed."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def answering(self) -> tuple[NodeState, ...]:
        return tuple(node for node in self.nodes if node.reachable)


def lag_bytes(observation: Observation, inventory: Inventory, name: str) -> int | None:
    """How far a replica is behind its primary, or None when that cannot be told.

    The two offsets are read at slightly different moments, so under load the figure is as exact as one look takes.
    """
    link = observation.of(name).replication
    if link is None or link.role == "primary" or link.primary_address is None:
        return None
    entry = inventory.at(link.primary_address, link.primary_port or 0)
    source = observation.of(entry.name).replication if entry else None
    return max(0, source.offset - link.offset) if source else None


def observe(access: Access, seconds: float = OBSERVE_SECONDS, timeouts: Timeouts | None = None) -> Observation:
    """Look at every node once, on new connections; takes at most about `seconds`."""
    with Fleet(access, timeouts=timeouts) as fleet:
        return look(fleet, access.inventory, seconds)


def look(fleet: Fleet, inventory: Inventory, seconds: float = OBSERVE_SECONDS) -> Observation:
    """Look at every node of a fleet once, on its open connections."""
    started, at = time.perf_counter(), time.time()
    answers = fleet.each(lambda link: _ask_node(link, inventory), seconds=seconds)
    return Observation(
        stack=inventory.stack,
        topology=inventory.topology,
        at=at,
        took_seconds=time.perf_counter() - started,
        nodes=tuple(_state(node, answers[node.name]) for node in fleet.nodes),
    )


def _state(node: NodeEntry, answer: NodeState | ToolkitError) -> NodeState:
    if isinstance(answer, ToolkitError):
        return NodeState(node.name, problem=str(answer), foreign=isinstance(answer, NotOurs))
    return answer


def _ask_node(link: Link, inventory: Inventory) -> NodeState:
    if link.node.is_sentinel:
        service = inventory.sentinel.service if inventory.sentinel else ""
        return NodeState(link.node.name, sentinel=_ask_sentinel(link, service))
    commands = [["CONFIG", "GET", IDENTITY_PARAMETER], ["INFO", *INFO_SECTIONS]]
    if inventory.topology == "cluster":
        commands[0].append(NODE_TIMEOUT)
        commands += [["CLUSTER", "MYID"], ["CLUSTER", "NODES"], ["CLUSTER", "INFO"]]
    if inventory.topology == "sentinel":
        commands[0].append(MIN_REPLICAS)
    config, info, *cluster = link.ask_all(commands)
    parameters = pairs(_value(config))
    problem = identity_problem(inventory.stack, link.node, str(parameters.get(IDENTITY_PARAMETER, "")))
    if problem:
        raise NotOurs(problem)
    view = None
    if cluster and not any(isinstance(part, Refused) for part in cluster):  # refused while it loads its data
        timeout_ms = int(str(parameters.get(NODE_TIMEOUT, "0")))
        my_id, nodes, state = (text(_value(part)) for part in cluster)
        view = cluster_view(my_id, nodes, state, timeout_ms)
    unconfirmed = str(parameters.get(MIN_REPLICAS, "")) == str(NOBODY_HAS)
    return NodeState(link.node.name, unconfirmed=unconfirmed, info=server_info(text(_value(info))), cluster=view)


def cluster_view(my_id: str, nodes: str, info: str, node_timeout_ms: int = 0) -> ClusterView:
    """Join the answers to CLUSTER MYID, CLUSTER NODES and CLUSTER INFO; raises UnexpectedReply when they do not fit."""
    fields = info_fields(info)
    view = ClusterView(
        my_id=my_id,
        state_ok=fields.get("cluster_state") == "ok",
        current_epoch=int(fields.get("cluster_current_epoch", "0")),
        node_timeout_ms=node_timeout_ms,
        nodes=cluster_nodes(nodes),
    )
    if not any(node.node_id == my_id for node in view.nodes):
        raise UnexpectedReply(f"CLUSTER NODES of {my_id} does not list the node itself")
    return view


def _ask_sentinel(link: Link, service: str) -> SentinelView:
    my_id, watched, replicas, peers, quorum = link.ask_all(
        [
            ["SENTINEL", "MYID"],
            ["SENTINEL", "MASTERS"],
            ["SENTINEL", "REPLICAS", service],
            ["SENTINEL", "SENTINELS", service],
            ["SENTINEL", "CKQUORUM", service],
        ]
    )
    entries = [sentinel_entry(entry) for entry in items(_value(watched))]
    return SentinelView(
        my_id=text(_value(my_id)),
        watched=next((entry for entry in entries if entry.fields.get("name") == service), None),
        replicas=_entries(replicas),
        peers=_entries(peers),
        quorum_problem=str(quorum) if isinstance(quorum, Refused) else None,
        other_services=tuple(name for entry in entries if (name := entry.fields.get("name", "")) != service),
    )


def _entries(reply: Reply | Refused) -> tuple[SentinelEntry, ...]:
    """A list of entries; a sentinel that does not know the service refuses, which means an empty list."""
    return () if isinstance(reply, Refused) else tuple(sentinel_entry(entry) for entry in items(reply))


def _value(reply: Reply | Refused) -> Reply:
    if isinstance(reply, Refused):
        raise reply
    return reply
