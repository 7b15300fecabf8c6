"""A change of topology on a running stack: who leaves, who takes a leaver's place first, and what speaks against it. Pure.

Roles and placement are read from the live servers, never from what was provisioned: a node that leaves may be primary, and a
primary's replicas may belong to other shards by their names.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from operations.form import shard_primary
from operations.inventory import Inventory, NodeEntry
from operations.observe import ClusterView, NodeState, Observation
from operations.parse import format_slots, uncovered
from operations.steps import Action, Decision, Wait, decision


@dataclass(frozen=True)
class Change:
    """`leaving` are nodes that run and are not declared any more. `rebalance`: the number of shards is another one.

    With `accept_loss` an unsynced replica may take over from a primary that leaves.
    """

    leaving: tuple[NodeEntry, ...] = ()
    rebalance: bool = False
    accept_loss: bool = False

    def __bool__(self) -> bool:
        return bool(self.leaving) or self.rebalance

    @property
    def data_nodes(self) -> tuple[NodeEntry, ...]:
        return tuple(node for node in self.leaving if not node.is_sentinel)

    @property
    def sentinels(self) -> tuple[NodeEntry, ...]:
        return tuple(node for node in self.leaving if node.is_sentinel)


Group = tuple[NodeState, list[NodeState]]
"""A primary and its replicas."""


@dataclass(frozen=True)
class Departure:
    """What has to be done before nodes can leave.

    `switches` maps a primary that leaves to the replica that takes its place. `drained` are primaries that give all slots away.
    `lent` maps replicas that stay, and that their shard can spare, to the primaries whose own replicas all leave. `unsynced` are
    switches to replicas that lack writes. In words: `obstacles` make leaving impossible now, `problems` forbid it because
    something could be lost.
    """

    switches: Mapping[str, str] = field(default_factory=dict)
    drained: tuple[str, ...] = ()
    lent: Mapping[str, str] = field(default_factory=dict)
    unsynced: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()

    @property
    def lent_lines(self) -> tuple[str, ...]:
        """`lent` in words."""
        return tuple(f"{name} becomes a replica of {primary}, whose own replicas leave" for name, primary in self.lent.items())


def widened(inventory: Inventory, leaving: Collection[NodeEntry]) -> Inventory:
    """The inventory with nodes that still run beside those that are declared."""
    topology = "replication" if leaving and inventory.topology == "standalone" else inventory.topology
    return inventory.model_copy(update={"nodes": (*inventory.nodes, *leaving), "topology": topology})


def is_apart(state: NodeState) -> bool:
    """It takes no part in the stack: it does not answer, or knows nobody and serves nothing."""
    if not state.reachable or state.is_unplaced:
        return True
    return state.cluster is not None and not state.cluster.others and not state.cluster.slots


def departure(observation: Observation, inventory: Inventory, leaving: Collection[NodeEntry]) -> Departure:
    """What has to be done before `leaving` (data nodes that stand in the observation too) can leave `inventory`'s stack."""
    if not leaving:
        return Departure()
    names = {node.name for node in leaving}
    if inventory.topology == "cluster":
        closed = {node.name for node in leaving if node.shard not in inventory.shards}
        return _of_shards(observation, inventory, names, closed)
    primaries = [node for node in observation.nodes if node.is_primary and not node.is_unplaced]
    if len(primaries) != 1:
        found = ", ".join(node.name for node in primaries) or "none that answers"
        return Departure(obstacles=(f"there has to be one primary before a node can leave, and there is {found}",))
    followers = [node for node in observation.nodes if _follows(node, primaries[0].name, inventory, leaving)]
    return _handed_over([(primaries[0], followers)], names, inventory)


def _follows(node: NodeState, primary: str, inventory: Inventory, leaving: Collection[NodeEntry]) -> bool:
    entry = next(one for one in (*inventory.nodes, *leaving) if one.name == primary)
    link = node.replication
    return link is not None and link.role == "replica" and link.primary_address == entry.address


def _of_shards(observation: Observation, inventory: Inventory, leaving: set[str], closed: set[str]) -> Departure:
    """Groups of a primary and its replicas: those that keep nodes stay, as many as are declared; the others are drained.

    `closed` are those of `leaving` whose shard is not declared any more: a group in which nobody stays is drained then, also when
    fewer than declared are left, because a shard that stays serves no slots.
    """
    states = {node.name: node for node in observation.nodes if node.cluster}
    views: dict[str, ClusterView] = {name: state.cluster for name, state in states.items() if state.cluster}
    groups: list[Group] = [
        (states[name], [states[other] for other, seen in views.items() if seen.me.primary_id == view.my_id])
        for name, view in views.items()
        if view.slots
    ]

    def rank(group: Group) -> tuple[bool, bool, int]:
        primary, followers = group
        stays = primary.name not in leaving
        return not stays, not any(f.name not in leaving for f in followers), list(states).index(primary.name)

    unserved = uncovered(view.slots for view in views.values())
    if unserved:
        return Departure(obstacles=(f"slots {format_slots(unserved)} are served by nobody that answers",))
    ranked = sorted(groups, key=rank)
    takers = any(view.me.is_primary and name not in leaving for name, view in views.items())
    ends = {p.name for p, followers in groups if takers and p.name in closed and not _staying(followers, leaving)[0]}
    kept = [group for group in ranked if group[0].name not in ends][: len(inventory.shards)]
    surplus = [group for group in ranked if group not in kept]
    drained = tuple(primary.name for primary, _ in surplus)
    short = [primary.name for primary, followers in kept if _falls_short(primary, followers, leaving, inventory)]
    shard_of = {node.name: node.shard for node in inventory.data_nodes}
    spare, later = _spare(views, kept, surplus, leaving, shard_of) if short else ([], [])
    helped = short[: len(spare) + len(later)]
    found = _handed_over([group for group in kept if group[0].name not in helped], leaving, inventory)
    lent = dict(zip(spare, helped, strict=False))
    return Departure(found.switches, drained, lent, found.unsynced, found.problems)


def _staying(followers: Collection[NodeState], leaving: Collection[str]) -> tuple[list[NodeState], list[NodeState]]:
    """The replicas that stay, and those of them that are in sync."""
    staying = [node for node in followers if node.name not in leaving]
    return staying, [node for node in staying if node.replication and node.replication.link_up]


def _falls_short(primary: NodeState, followers: Collection[NodeState], leaving: Collection[str], inventory: Inventory) -> bool:
    """A primary that stays, and none of whose replicas does."""
    staying, _ = _staying(followers, leaving)
    return bool(inventory.replicas and followers) and not staying and primary.name not in leaving


def _spare(
    views: Mapping[str, ClusterView],
    kept: Collection[Group],
    surplus: Collection[Group],
    leaving: Collection[str],
    shard_of: Mapping[str, int],
) -> tuple[list[str], list[str]]:
    """Replicas that stay and that nobody needs: those of now, and those of primaries that are drained first.

    A failover lets the cluster move replicas between shards by itself, so that those that stay may stand where they are not
    needed (`cluster-allow-replica-migration`). Of several with one primary its own shard's is the one that it needs.
    """
    later = [node.name for _, followers in surplus for node in _staying(followers, leaving)[0]]
    needed: set[str] = set()
    for primary, followers in kept:
        staying, synced = _staying(followers, leaving)
        own = [node for node in synced or staying if shard_of.get(node.name) == shard_of.get(primary.name)]
        needed |= {node.name for node in (own or synced or staying)[:1]}
    replicas = [name for name, view in views.items() if name not in leaving and not view.me.is_primary]
    return [name for name in replicas if name not in needed and name not in later], later


def _handed_over(groups: Collection[Group], leaving: Collection[str], inventory: Inventory) -> Departure:
    """Successors of primaries that leave, and shards that would keep no copy beside their primary."""
    switches: dict[str, str] = {}
    unsynced: dict[str, str] = {}
    problems: list[str] = []
    for primary, followers in groups:
        staying, synced = _staying(followers, leaving)
        if primary.name in leaving:
            if synced:
                switches[primary.name] = max(synced, key=_offset).name
                continue
            names = ", ".join(node.name for node in staying)
            why = (
                f"{names} {'has' if len(staying) == 1 else 'have'} no connection to it"
                if names
                else "no node that stays follows it"
            )
            problems.append(f"{primary.name} is primary and would leave without a synced successor: {why}")
            if staying:
                unsynced[primary.name] = max(staying, key=_offset).name
        elif inventory.replicas and len(staying) < len(followers) and not synced:
            problems.append(
                f"{', '.join(n.name for n in followers if n.name in leaving)} would leave {primary.name} without any synced "
                "replica: its data would exist once only"
            )
    return Departure(switches, (), {}, unsynced, tuple(problems))


def _offset(node: NodeState) -> int:
    return node.replication.offset if node.replication else -1


def without_slots(observation: Observation, found: Departure, leaving: Collection[NodeEntry]) -> tuple[str, ...]:
    """Primaries that are to own no slot at the end: those to be drained, and those that leave and own none already."""
    empty = [node.name for node in leaving if not node.is_sentinel and observation.of(node.name).is_primary]
    return tuple(dict.fromkeys((*found.drained, *empty)))


def quorum_problems(
    observation: Observation, inventory: Inventory, leaving: Collection[NodeEntry], joining: int
) -> tuple[str, ...]:
    """Whether too few voters would be left: sentinels that answer, of which `joining` do not exist yet."""
    if not any(node.is_sentinel for node in leaving) or not inventory.sentinels:
        return ()
    seen = {node.name: node for node in observation.nodes}
    staying = sum(1 for node in inventory.sentinels if node.name in seen and seen[node.name].reachable)
    majority = len(inventory.sentinels) // 2 + 1
    if staying + joining >= majority:
        return ()
    return (f"only {staying} of the {len(inventory.sentinels)} sentinels that stay answer; a failover would need {majority}",)


# Leaving a cluster


def decide_departure(observation: Observation, inventory: Inventory, leaving: Collection[NodeEntry]) -> Decision:
    """Steps on the nodes that stay, until none of them follows or lists a node that leaves. `leaving` own no slots any more."""
    addresses = {(node.address, node.port) for node in leaving}
    actions: list[Action] = []
    waits: list[Wait] = []
    for entry in inventory.data_nodes:
        state = observation.of(entry.name)
        view = state.cluster
        if view is None:
            waits.append(Wait("nodes", f"{entry.name} to answer: {state.problem or 'it is loading its data'}"))
            continue
        former = [line for line in view.others if (line.address, line.port) in addresses]
        if view.me.primary_id in {line.node_id for line in former}:
            primary = shard_primary(observation, inventory, entry) or _least_followed(observation, inventory)
            target = observation.of(primary).cluster if primary else None
            if target is not None:
                command = ("CLUSTER", "REPLICATE", target.my_id)
                actions.append(Action(entry.name, (command,), f"{entry.name} becomes a replica of {primary}"))
            waits.append(Wait("links", f"{entry.name} to follow a primary that stays"))
            continue
        if any(line.slots for line in former):
            waits.append(Wait("views", f"{entry.name} to see that nodes that leave serve nothing"))
            continue
        names = ", ".join(node.name for node in leaving)
        actions += [Action(entry.name, (("CLUSTER", "FORGET", line.node_id),), f"all nodes forget {names}") for line in former]
    return decision(actions, waits)


def _least_followed(observation: Observation, inventory: Inventory) -> str | None:
    """The primary with the fewest replicas among the nodes that stay."""
    views = {e.name: v for e in inventory.data_nodes if (v := observation.of(e.name).cluster)}
    followed = [view.me.primary_id for view in views.values()]
    serving = [name for name, view in views.items() if view.slots]
    return min(serving, key=lambda name: followed.count(views[name].my_id), default=None)
