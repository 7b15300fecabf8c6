"""Small models of a cluster and of replication, to run the deciding functions against: what commands do, without servers.

They are stricter than servers where it matters: what a server refuses raises, so that a wrong decision fails its test.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from operations.inventory import Inventory
from operations.observe import PLACEHOLDER, ClusterView, NodeState, Observation
from operations.parse import ClusterNode, ConnectedReplica, Replication, Slots, normalise
from operations.steps import Action
from tests.unit.states import identifier, observed, server, silent


@dataclass
class Member:
    """One node of the cluster model; `known` maps id to the last line heard from it."""

    node_id: str
    epoch: int = 0
    slots: Slots = ()
    primary_id: str | None = None
    keys: int = 0
    known: dict[str, ClusterNode] = field(default_factory=dict)
    up: bool = True


class SimulatedCluster:
    """Nodes that learn of each other by messages; a message carries the sender's own line."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.members = {n.name: Member(identifier(n.name)) for n in inventory.data_nodes}
        self.wiped = 0

    def line(self, name: str) -> ClusterNode:
        member, node = self.members[name], self.inventory.node(name)
        flags = frozenset({"slave" if member.primary_id else "master"})
        return ClusterNode(member.node_id, node.address, node.port, flags, member.primary_id, member.epoch, True, member.slots)

    def observe(self) -> Observation:
        states = {}
        assert self.inventory.cluster is not None
        for name, member in self.members.items():
            if not member.up:
                states[name] = silent(name)
                continue
            mine = self.line(name)
            lines = (replace(mine, flags=mine.flags | {"myself"}), *member.known.values())
            view = ClusterView(member.node_id, True, 1, self.inventory.cluster.node_timeout_ms, lines)
            link = Replication("primary", 0, "r")
            if member.primary_id:
                source = self.by_id(member.primary_id)
                at = self.inventory.node(source) if source else None
                link = Replication("replica", 0, "r", at.address if at else "10.9.9.9", 6379, link_up=source is not None)
            states[name] = NodeState(name, info=server(link, member.keys), cluster=view)
        return observed(self.inventory, states)

    def by_id(self, node_id: str) -> str | None:
        return next((name for name, member in self.members.items() if member.node_id == node_id), None)

    def wipe(self, name: str) -> None:
        """The volume is lost, and a blank node comes up at the same address; the others notice that the old one is gone."""
        old = self.members[name]
        self.wiped += 1
        self.members[name] = Member(f"{self.wiped:040x}")
        for member in self.members.values():
            if old.node_id in member.known:
                gone = replace(member.known[old.node_id], flags=member.known[old.node_id].flags | {"noaddr"}, address="", port=0)
                member.known[old.node_id] = gone

    def apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            for command in action.commands:
                self._send(action.node, [str(word) for word in command])

    def _send(self, name: str, words: list[str]) -> None:
        member = self.members[name]
        match words[1:]:
            case ["SET-CONFIG-EPOCH", epoch]:
                assert not member.known, f"{name} refuses an epoch: it knows others"
                assert member.epoch == 0, f"{name} has an epoch already"
                member.epoch = int(epoch)
            case ["ADDSLOTSRANGE", first, last]:
                wanted = (int(first), int(last))
                assert not any(_overlap(m.slots, wanted) for m in self.members.values()), f"slots {wanted} are served already"
                member.slots = normalise([*member.slots, wanted])
            case ["MEET", address, port, *_]:
                target = self.inventory.at(address, int(port))
                assert target is not None, f"{name} would meet a stranger at {address}:{port}"
                self._introduce(name, target.name)
            case ["REPLICATE", node_id]:
                assert node_id in member.known, f"{name} does not know {node_id}"
                assert not member.slots, f"{name} serves slots and cannot become a replica"
                member.primary_id = node_id
                source = self.by_id(node_id)
                assert source is not None, f"{name} would follow a node that is gone"
                member.keys = self.members[source].keys
            case ["FORGET", node_id]:
                assert member.primary_id != node_id, f"{name} cannot forget its primary"
                del member.known[node_id]
            case ["FAILOVER", "FORCE"]:
                self._promote(name)
            case _:
                raise AssertionError(f"unexpected command {words}")

    def _introduce(self, name: str, other: str) -> None:
        member, met = self.members[name], self.members[other]
        if not met.up:
            return
        met.known[member.node_id] = self.line(name)
        if met.node_id not in member.known:
            member.known[met.node_id] = replace(self.line(other), slots=())  # a handshake carries no slots

    def _promote(self, name: str) -> None:
        member = self.members[name]
        assert member.primary_id is not None, f"{name} is no replica"
        old = member.known[member.primary_id]
        voters = [m for m in self.members.values() if m.up and m.slots]
        if len(voters) * 2 <= len(voters) + 1:
            return  # not more than half of the primaries vote
        member.slots, member.primary_id = old.slots, None
        for other in self.members.values():
            if old.node_id in other.known:
                other.known[old.node_id] = replace(other.known[old.node_id], slots=())


def _overlap(slots: Slots, wanted: tuple[int, int]) -> bool:
    return any(first <= wanted[1] and wanted[0] <= last for first, last in slots)


@dataclass
class Server:
    """One node of the replication model; `follows` is an address, None for a primary."""

    keys: int = 0
    offset: int = 0
    follows: tuple[str, int] | None = PLACEHOLDER
    up: bool = True


class SimulatedReplication:
    """Servers that copy everything from whom they follow, at once."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.servers = {n.name: Server() for n in inventory.data_nodes}

    def observe(self, sentinels: dict[str, NodeState] | None = None) -> Observation:
        states = dict(sentinels or {})
        for name, one in self.servers.items():
            if not one.up:
                states[name] = silent(name)
                continue
            if one.follows is None:
                address = self.inventory.node(name).address
                connected = tuple(
                    ConnectedReplica(self.inventory.node(other).address, 6379, "online", s.offset)
                    for other, s in self.servers.items()
                    if s.up and s.follows == (address, 6379)
                )
                link = Replication("primary", one.offset, "r", replicas=connected)
            else:
                source = self._source(one)
                link = Replication("replica", one.offset, "r", *one.follows, link_up=source is not None)
            states[name] = NodeState(name, info=server(link, one.keys))
        return observed(self.inventory, states)

    def _source(self, one: Server, depth: int = 0) -> Server | None:
        """Whom it copies from; a server that is not connected to a primary itself serves no copy."""
        node = self.inventory.at(*one.follows) if one.follows else None
        source = self.servers[node.name] if node else None
        if source is None or not source.up or depth > len(self.servers):
            return None
        return source if source.follows is None or self._source(source, depth + 1) else None

    def apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if action.node not in self.servers:
                continue  # a sentinel's
            one = self.servers[action.node]
            for command in action.commands:
                match [str(word) for word in command]:
                    case ["REPLICAOF", "NO", "ONE"]:
                        one.follows = None
                    case ["REPLICAOF", address, port]:
                        assert not (one.follows is None and one.keys), f"{action.node} is primary, and its data would be lost"
                        one.follows = (address, int(port))
                    case ["CONFIG", "REWRITE"]:
                        pass
                    case words:
                        raise AssertionError(f"unexpected command {words}")
        for _ in self.servers:
            for one in self.servers.values():
                if one.up and (source := self._source(one)):
                    one.keys, one.offset = source.keys, source.offset
