"""Forming and repairing a cluster: from what every node sees to what has to be sent. Pure.

How a cluster forms fast (measured: all views equal after 0.2 to 0.4 s, `redis-cli --cluster create` 2 to 3 s):

- every node gets its slots and an epoch of its own before it knows any other (later the epoch is refused);
- every node introduces itself to every other one by CLUSTER MEET, so that nobody waits for gossip;
- a replica is told its primary as soon as it knows it, and then introduces itself again: a MEET to a node that knows the sender
  carries role and slots at once, where gossip takes seconds;
- a primary accepts clients only after it was in a majority for `cluster-node-timeout`, but at least 0.5 s (`clusterUpdateState`).
  While nothing is stored yet, that time-out is lowered for the moment of the decision and then set back.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from operations.errors import CheckFailed, NotOurs
from operations.inventory import Inventory, NodeEntry
from operations.observe import ClusterView, NodeState, Observation
from operations.parse import SLOT_COUNT, ClusterNode, Slots, format_slots, normalise, slot_total, uncovered
from operations.steps import Action, Decision, Overdue, Wait, decision
from operations.verdict import disagreements, line_problem

HURRIED_TIMEOUT_MS = 500
"""Lowest time that a primary waits before it accepts clients (CLUSTER_MIN_REJOIN_DELAY)."""
HURRY_AFTER_SECONDS = 0.4
"""Lowering the time-out earlier than this brings nothing, and leaves it low for longer."""
START_SECONDS = 2
"""A primary accepts no clients in this time after its start, whatever the time-out (CLUSTER_WRITABLE_DELAY)."""
SETTLE = "settle"


def planned_slots(shard: int, shards: int) -> tuple[int, int]:
    """First and last slot of a shard (counted from 1) of a new cluster: equal parts, the remainder spread."""
    return (shard - 1) * SLOT_COUNT // shards, shard * SLOT_COUNT // shards - 1


class _Members:
    """The nodes of one observation, by name and by id."""

    def __init__(self, observation: Observation, inventory: Inventory) -> None:
        self.inventory = inventory
        self.observation = observation
        self.entries = {entry.name: entry for entry in inventory.data_nodes}
        self.states: dict[str, NodeState] = {name: observation.of(name) for name in self.entries}
        self.views: dict[str, ClusterView] = {n: s.cluster for n, s in self.states.items() if s.cluster}
        self.names = {view.my_id: name for name, view in self.views.items()}
        self.silent = [name for name in self.entries if name not in self.views]

    def is_blank(self, name: str) -> bool:
        """It knows nobody and serves nothing, as a node with an empty volume does."""
        view = self.views[name]
        return not view.others and not view.slots

    @property
    def keys(self) -> int:
        return sum(state.keys for state in self.states.values())

    def strangers(self) -> dict[str, list[ClusterNode]]:
        """Lines about ids that no node of the stack has, by id; ids that a silent node may have are left out."""
        silent = {(self.entries[name].address, self.entries[name].port) for name in self.silent}
        found: dict[str, list[ClusterNode]] = {}
        for view in self.views.values():
            for line in view.others:
                if line.node_id not in self.names and (line.address, line.port) not in silent:
                    found.setdefault(line.node_id, []).append(line)
        return found


def decide_cluster(observation: Observation, inventory: Inventory, overdue: Overdue = frozenset()) -> Decision:
    """The next steps towards the declared cluster.

    A shard that is new gets a primary without slots and its replicas here; slots are moved to it by `operations/reshape.py`.

    Raises NotOurs when a node belongs to another cluster, CheckFailed when slots have lost their last copy.
    """
    members = _Members(observation, inventory)
    waits = [Wait("nodes", f"{name} to answer: {_silence(members.states[name])}") for name in members.silent]
    if not any(view.others or view.handshakes for view in members.views.values()):
        if waits:
            return decision(waits=waits)
        actions = tuple(_assign(members))
        if actions:
            return decision(actions)
    _refuse_other_clusters(members)
    leaving = _live_strangers(members, overdue)
    if leaving:
        return decision(waits=[*waits, *leaving])
    ghosts, ghost_waits = _ghosts(members, overdue)
    waits += ghost_waits
    actions = (*_node_timeouts(members, overdue), *ghosts, *_introduce(members), *_replicate(members))
    if not actions and not members.silent and not ghost_waits and not any(v.handshakes for v in members.views.values()):
        _refuse_lost_slots(members)
    waits += _unsettled(members)
    return decision(actions, waits)


def _silence(state: NodeState) -> str:
    return state.problem or ("it is loading its data" if state.loading else "its cluster state could not be read")


# A new cluster


def _assign(members: _Members) -> Iterator[Action]:
    """Slots and epochs of nodes that know nobody yet; nothing once all have them."""
    shards = len(members.inventory.shards)
    for epoch, (name, entry) in enumerate(members.entries.items(), start=1):
        view = members.views[name]
        planned = planned_slots(entry.shard, shards)
        if view.slots and (entry.member != 1 or view.slots != (planned,)):
            raise CheckFailed(
                f"no cluster is formed yet, but {name} claims slots {format_slots(view.slots)} with {members.states[name].keys} "
                f"keys: its volume {entry.volume} holds data from elsewhere. Nothing was changed; remove that volume, or restore "
                "the others too"
            )
        commands: list[tuple[str | int, ...]] = []
        if view.me.config_epoch == 0:
            commands.append(("CLUSTER", "SET-CONFIG-EPOCH", epoch))
        if entry.member == 1 and not view.slots:
            commands.append(("CLUSTER", "ADDSLOTSRANGE", *planned))
            yield Action(name, tuple(commands), f"{name} gets slots {planned[0]}-{planned[1]}")
        elif commands:
            yield Action(name, tuple(commands), None)


def _node_timeouts(members: _Members, overdue: Overdue) -> Iterator[Action]:
    """Lower the node time-out for the moment in which primaries of an empty cluster decide, and set it back after it."""
    if members.inventory.cluster is None:
        return
    declared = members.inventory.cluster.node_timeout_ms
    hurried = min(HURRIED_TIMEOUT_MS, declared)
    young = any(state.info is None or state.info.uptime_seconds < START_SECONDS for state in members.states.values())
    hurry = SETTLE in overdue and not members.keys and not members.silent and not young
    for name, view in members.views.items():
        waiting = hurry and bool(view.slots) and not view.state_ok
        wanted = hurried if waiting else declared
        if view.node_timeout_ms != wanted:
            text = None if hurried in (wanted, view.node_timeout_ms) else f"{name} gets cluster-node-timeout {wanted} back"
            yield Action(name, (("CONFIG", "SET", "cluster-node-timeout", wanted),), text)


# What must not be touched


def _refuse_other_clusters(members: _Members) -> None:
    """Raise NotOurs when a node of the stack holds the state of another cluster."""
    groups = _groups(members)
    if len(groups) < 2:
        return
    main = groups[0]
    covered = [members.views[name].slots for name in main]
    for group in groups[1:]:
        own = all(line.node_id in members.names for name in group for line in members.views[name].others)
        slots = [members.views[name].slots for name in group]
        disjoint = slot_total(uncovered(covered)) >= sum(map(slot_total, slots)) + slot_total(uncovered([*covered, *slots]))
        if own and disjoint:
            continue  # a part of a cluster that is being formed, or whose forming was interrupted: all it knows is ours
        raise NotOurs(
            f"{', '.join(group)} of stack {members.inventory.stack} hold the state of another cluster: they know none of "
            f"{', '.join(main)} and serve slots {'; '.join(map(format_slots, slots))}. Nothing was changed. Remove their volumes "
            f"({', '.join(members.entries[name].volume for name in group)}) if that data is not needed, and run `make up` again"
        )


def _live_strangers(members: _Members, overdue: Overdue) -> list[Wait]:
    """Waits for nodes that left the stack to be noticed as gone; raises NotOurs for another cluster's nodes."""
    own = {(entry.address, entry.port) for entry in members.entries.values()}
    subnet = IPv4Network(members.inventory.network.subnet)
    waits = []
    for node_id, lines in members.strangers().items():
        live = next((n for n in lines if n.connected and not n.is_failing and (n.address, n.port) not in own), None)
        if live is None:
            continue
        where = f"{node_id[:8]} at {live.address}:{live.port}"
        wait = Wait(
            f"stranger {node_id}", f"{where}, which left the stack, to be noticed as gone", _failover_seconds(members.inventory)
        )
        if IPv4Address(live.address) in subnet and wait.key not in overdue:
            waits.append(wait)
            continue
        stack = members.inventory.stack
        raise NotOurs(
            f"stack {stack} is connected to a cluster node that is not its own: {where}. Two clusters have met; nothing was "
            f"changed. Stop that node, or send CLUSTER FORGET {node_id} to every node of the stack, then run "
            f"`make up STACK={stack}`"
        )
    return waits


def _groups(members: _Members) -> list[list[str]]:
    """Nodes that are not blank, in groups that know each other (or a common third node), the largest group first."""
    group_of: dict[str, set[str]] = {}
    for name, view in members.views.items():
        if members.is_blank(name):
            continue
        merged = {view.my_id, *(line.node_id for line in view.others)}
        for node_id in list(merged):
            merged |= group_of.get(node_id, set())
        for node_id in merged:
            group_of[node_id] = merged
    distinct = {id(group): group for group in group_of.values()}.values()
    named = [[name for name, view in members.views.items() if view.my_id in group] for group in distinct]
    return sorted((names for names in named if names), key=len, reverse=True)


def _refuse_lost_slots(members: _Members) -> None:
    lost = uncovered(view.slots for view in members.views.values())
    if not lost:
        return
    blank = [name for name in members.views if not members.views[name].slots and members.views[name].me.is_primary]
    stack = members.inventory.stack
    if not blank:
        raise CheckFailed(
            f"slots {format_slots(lost)} of stack {stack} have no owner, though every node answers and none came back empty. "
            f"Nothing was assigned: `scripts/repair.py --stack {stack} --dry-run` says who holds their keys; without --dry-run "
            f"it gives the slots to them; then run `make up STACK={stack}`"
        )
    raise CheckFailed(
        f"slots {format_slots(lost)} of stack {stack} have no copy left; {', '.join(blank)} came back empty. Their "
        "data is lost unless a volume or a backup of it exists, so nothing was reassigned. Either bring the old volume back, or "
        f"accept the loss: `make cli STACK={stack} NODE={blank[0]}`, there "
        + "; ".join(f"CLUSTER ADDSLOTSRANGE {first} {last}" for first, last in lost)
        + f", then `make up STACK={stack}`"
    )


# Repairs


def _ghosts(members: _Members, overdue: Overdue) -> tuple[list[Action], list[Wait]]:
    """Ids that lost their node (its volume was wiped, or it was removed): forgotten once they serve nothing.

    A replica that still follows such an id is promoted first. The others do not do that by themselves: they only fail nodes that
    have an address, and the new node took the address over.
    """
    actions: list[Action] = []
    waits: list[Wait] = []
    for node_id, lines in members.strangers().items():
        label = f"the former node {node_id[:8]}"
        orphaned = normalise(part for line in lines for part in _orphaned(members, line.slots))
        followers = [name for name, view in members.views.items() if view.me.primary_id == node_id]
        if followers:
            key = f"failover of {node_id}"
            if key in overdue and not members.silent:
                raise CheckFailed(
                    f"{', '.join(followers)} of stack {members.inventory.stack} still follow {label}, which is gone with its "
                    f"volume, and did not take over its slots ({format_slots(orphaned)}): more than half of the primaries must "
                    "agree. Nothing was given up; bring the other primaries back, or as a last resort send CLUSTER FAILOVER "
                    f"TAKEOVER to {followers[0]}, which may lose its latest writes"
                )
            seconds = _failover_seconds(members.inventory)
            waits.append(Wait(key, f"{', '.join(followers)} to take over from {label}", 2 * seconds))
            if not members.silent and all(_is_replaced(members, line) for line in lines):
                best = max(followers, key=lambda name: _offset(members.states[name]))
                command = ("CLUSTER", "FAILOVER", "FORCE")
                actions.append(Action(best, (command,), f"{best} takes over from {label}, whose volume is gone", seconds))
        elif not orphaned and not members.silent:
            listing = [name for name, view in members.views.items() if view.knows(node_id)]
            text = f"all nodes forget {label}, which is gone"
            for name in listing:
                actions.append(Action(name, (("CLUSTER", "FORGET", node_id),), text if name == listing[0] else None))
    return actions, waits


def _is_replaced(members: _Members, line: ClusterNode) -> bool:
    """Another node answers at the address, or nobody knows an address any more; anything else may still come back."""
    return "noaddr" in line.flags or members.inventory.at(line.address, line.port) is not None


def _offset(state: NodeState) -> int:
    return state.replication.offset if state.replication else 0


def _orphaned(members: _Members, slots: Slots) -> Slots:
    """The part of `slots` that no node of the stack serves by its own account."""
    gaps = uncovered(view.slots for view in members.views.values())
    return tuple(
        (max(first, low), min(last, high)) for first, last in gaps for low, high in slots if first <= high and low <= last
    )


def _failover_seconds(inventory: Inventory) -> float:
    """Time for one failover: an election, and not asked for again within 2 x node time-out (redis-facts section 1)."""
    return 2 * (inventory.cluster.node_timeout_ms / 1000 if inventory.cluster else 5.0) + 2.0


def _introduce(members: _Members) -> Iterator[Action]:
    """MEET from every node to those whose line about it is missing, outdated or at an old address."""
    commands: dict[str, tuple[tuple[str | int, ...], ...]] = {}
    moved: list[str] = []
    for name, view in members.views.items():
        targets = [
            members.entries[other]
            for other, seen in members.views.items()
            if other != name and _needs_meeting(seen.knows(view.my_id), view.me)
        ]
        moved += [name] * any(_is_elsewhere(members.views[t.name].knows(view.my_id), view.me) for t in targets)
        targets = [target for target in targets if (target.address, target.port) not in view.handshakes]
        if targets:
            commands[name] = tuple(("CLUSTER", "MEET", t.address, t.port, *filter(None, [t.bus_port])) for t in targets)
    newcomers = [name for name in commands if not members.views[name].others]
    text = None
    if newcomers:
        text = "all nodes meet" if len(newcomers) == len(members.entries) else f"{', '.join(newcomers)} meet the cluster"
    elif moved:
        text = f"{', '.join(moved)} announce their new address"
    for name, meets in commands.items():
        yield Action(name, meets, text)
        text = None


def _is_elsewhere(seen: ClusterNode | None, own: ClusterNode) -> bool:
    return seen is not None and (seen.address, seen.port) != (own.address, own.port)


def _needs_meeting(seen: ClusterNode | None, own: ClusterNode) -> bool:
    """A message helps unless the line is right, or only says that the bus between the two is broken."""
    if seen is None or _is_elsewhere(seen, own):
        return True
    return not seen.is_failing and seen.connected and line_problem(seen, own) is not None


def _replicate(members: _Members) -> Iterator[Action]:
    """Nodes that serve nothing follow the primary of their shard, as soon as they know it."""
    for name, view in members.views.items():
        if view.slots or not view.me.is_primary:
            continue
        primary = shard_primary(members.observation, members.inventory, members.entries[name])
        if primary is None:
            continue
        primary_id = members.views[primary].my_id
        if view.knows(primary_id):
            yield Action(name, (("CLUSTER", "REPLICATE", primary_id),), f"{name} becomes a replica of {primary}")


def shard_primary(observation: Observation, inventory: Inventory, entry: NodeEntry) -> str | None:
    """Who serves the shard of `entry` now: a mate with slots, else whom most of its mates follow; None when unknown.

    A failover, a switchover or a move of replicas by hand may have put any node there, so provisioned roles do not count.
    """
    views = {e.name: v for e in inventory.data_nodes if (v := observation.of(e.name).cluster)}
    names = {view.my_id: name for name, view in views.items()}
    mates = [views[e.name] for e in inventory.data_nodes if e.shard == entry.shard and e.name != entry.name and e.name in views]
    serving = [names[mate.my_id] for mate in mates if mate.slots]
    if serving:
        return serving[0]
    followed = Counter(names[p] for mate in mates if (p := mate.me.primary_id) in names and p is not None)
    candidates = [name for name, _ in followed.most_common() if views[name].slots and name != entry.name]
    if candidates:
        return candidates[0]
    if uncovered(view.slots for view in views.values()):
        return None  # the shard may have lost its slots; an empty node must not stand for them
    return _new_primary(inventory, entry, views, followed)


def _new_primary(inventory: Inventory, entry: NodeEntry, views: Mapping[str, ClusterView], followed: Counter[str]) -> str | None:
    """Who leads a shard without slots: whom its nodes follow already, else the first of them; None when that is `entry`."""
    empty = [e.name for e in inventory.data_nodes if e.shard == entry.shard and e.name in views and views[e.name].me.is_primary]
    first = min(empty, key=lambda name: not followed[name], default=None)
    return first if first != entry.name else None


# The goal


def _unsettled(members: _Members) -> Iterable[Wait]:
    """What is still different from a formed cluster on any node."""
    for name, view in members.views.items():
        for text in disagreements(members.observation, members.inventory, name):
            yield Wait("views", f"every node to see the same cluster: {text}")
            break
        state = members.states[name].replication
        if not view.me.is_primary and state is not None and not state.link_up:
            yield Wait("links", f"{name} to copy its primary's data")
    failing = [name for name, view in members.views.items() if not view.state_ok]
    if failing:
        yield Wait(SETTLE, f"{', '.join(failing)} to accept clients", HURRY_AFTER_SECONDS)
