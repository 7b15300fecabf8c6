"""Primary and replicas without a cluster: who is primary, and who follows whom. Pure.

Roles belong to the running system: a promoted replica stays primary, whatever was provisioned. A role is given only to nodes that
have none (blank volumes follow a placeholder, see `operations/observe.py`) or whose primary does not exist any more. With
Sentinel, the sentinels decide first, and only what they leave undone is done here.
"""

from collections.abc import Iterator

from operations.errors import CheckFailed
from operations.inventory import Inventory
from operations.observe import NodeState, Observation
from operations.steps import Action, Decision, Overdue, Wait, decision

SENTINEL_INFO_SECONDS = 20.0
"""A sentinel declares a primary that calls itself replica down only after two INFO periods more than down-after."""
DEMOTION_SECONDS = 12.0
"""A sentinel waits four publish periods (8 s) and some time before it turns a returned primary into a replica."""
ELECTION_SECONDS = 15.0


def decide_replication(observation: Observation, inventory: Inventory, overdue: Overdue = frozenset()) -> Decision:
    """The next steps towards one primary that all others follow.

    Raises CheckFailed when several primaries hold data: which of them is right only the user can know.
    """
    nodes = [observation.of(entry.name) for entry in inventory.data_nodes]
    absent = [node for node in nodes if not node.reachable or node.loading]
    waits = [Wait("nodes", f"{node.name} to answer: {node.problem or 'it is loading its data'}") for node in absent]
    primaries = [node for node in nodes if node.is_primary and not node.loading]
    if not primaries and absent:
        return decision(waits=waits)  # one of the absent may be the primary, or hold the newest data
    if len(primaries) == 1:
        actions, more = _follow(primaries[0], nodes, observation, inventory, overdue)
        return decision(actions, [*waits, *more])
    hold = _leave_to_sentinels(nodes, primaries, observation, inventory, overdue)
    if hold:
        return decision(waits=[*waits, hold])
    if not primaries:
        return decision([_promote(nodes, observation, inventory)], waits)
    return decision(_demote(primaries, observation, inventory), waits)


def watched_primary(observation: Observation, inventory: Inventory) -> str | None:
    """The node that most sentinels watch as primary; None when none of them watches a node of this stack."""
    votes: dict[str, int] = {}
    for entry in inventory.sentinels:
        view = observation.of(entry.name).sentinel
        node = inventory.at(view.watched.address, view.watched.port) if view and view.watched else None
        if node:
            votes[node.name] = votes.get(node.name, 0) + 1
    return max(votes, key=lambda name: votes[name]) if votes else None


def _leave_to_sentinels(
    nodes: list[NodeState],
    primaries: list[NodeState],
    observation: Observation,
    inventory: Inventory,
    overdue: Overdue,
) -> Wait | None:
    """The wait for the sentinels to find one primary, while they are able to and have not had their time."""
    if inventory.sentinel is None or watched_primary(observation, inventory) is None:
        return None
    if not primaries and not any(_holds_data(node) for node in nodes):
        return None  # nothing to choose from, so no sentinel can fail over to it
    down_after = inventory.sentinel.down_after_ms / 1000
    if primaries:
        names = ", ".join(node.name for node in primaries)
        wait = Wait("sentinels demote", f"the sentinels to leave one of {names} as primary", down_after + DEMOTION_SECONDS)
    else:
        patience = down_after + SENTINEL_INFO_SECONDS + ELECTION_SECONDS
        wait = Wait("sentinels promote", "the sentinels to promote a replica that has the data", patience)
    return None if wait.key in overdue else wait


def _holds_data(node: NodeState) -> bool:
    link = node.replication
    return node.keys > 0 or (link is not None and not node.is_unplaced and link.offset > 0)


def _follow(
    primary: NodeState, nodes: list[NodeState], observation: Observation, inventory: Inventory, overdue: Overdue
) -> tuple[list[Action], list[Wait]]:
    """Let everybody follow the one primary; links that work already are left alone."""
    actions: list[Action] = []
    waits: list[Wait] = []
    for node in nodes:
        link = node.replication
        if node is primary or link is None or node.loading:
            continue
        followed = inventory.at(link.primary_address or "", link.primary_port or 0)
        if followed is not None and followed.name == primary.name:
            if not link.link_up:
                waits.append(Wait("links", f"{node.name} to copy the data of {primary.name}"))
            continue
        if node.is_unplaced:
            actions.append(_replica_of(node, primary, inventory, "it is new or came back empty"))
        elif followed is None:
            where = f"{link.primary_address}:{link.primary_port}"
            actions.append(_replica_of(node, primary, inventory, f"{where} is no node of this stack"))
        elif not _is_chained(observation.of(followed.name), primary, inventory):
            wait = Wait(f"{node.name} repointed", f"the sentinels to let {node.name} follow {primary.name}", ELECTION_SECONDS)
            if inventory.sentinel and watched_primary(observation, inventory) and wait.key not in overdue:
                waits.append(wait)
            else:
                actions.append(_replica_of(node, primary, inventory, f"{followed.name} is not the primary"))
        elif not link.link_up:
            waits.append(Wait("links", f"{node.name} to copy the data of {followed.name}"))
    connected = {replica.address for replica in primary.replication.replicas} if primary.replication else set()
    for node in nodes:
        address = inventory.node(node.name).address
        link = node.replication
        if link and link.link_up and link.primary_address == inventory.node(primary.name).address and address not in connected:
            waits.append(Wait("links", f"{primary.name} to list {node.name} as its replica"))
    return actions, waits


def _is_chained(followed: NodeState, primary: NodeState, inventory: Inventory) -> bool:
    """A replica that follows a replica of the primary is somebody's choice, and works."""
    link = followed.replication
    address = inventory.node(primary.name).address
    return link is not None and link.role == "replica" and link.primary_address == address


def _replica_of(node: NodeState, primary: NodeState, inventory: Inventory, why: str) -> Action:
    target = inventory.node(primary.name)
    commands = (("REPLICAOF", target.address, target.port), ("CONFIG", "REWRITE"))
    return Action(node.name, commands, f"{node.name} becomes a replica of {primary.name}: {why}")


def _promote(nodes: list[NodeState], observation: Observation, inventory: Inventory) -> Action:
    """Everybody answers and nobody is primary: the newest data wins, and without any data the first node."""
    holders = [node for node in nodes if _holds_data(node)]
    if holders:
        best = max(holders, key=lambda node: (_offset(node), node.keys, -nodes.index(node)))
        empty = [node.name for node in nodes if not _holds_data(node)]
        others = ", ".join(f"{n.name} {_offset(n)}" for n in holders if n is not best)
        why = (f"{', '.join(empty)} came back empty, and " if empty else "no node is primary, and ") + (
            f"{best.name} holds the newest data (offset {_offset(best)}, {best.keys} keys{'; ' + others if others else ''})"
        )
    else:
        chosen = watched_primary(observation, inventory) or nodes[0].name
        best = observation.of(chosen)
        why = "no node holds data yet"
    return Action(best.name, (("REPLICAOF", "NO", "ONE"), ("CONFIG", "REWRITE")), f"{best.name} becomes primary: {why}")


def _offset(node: NodeState) -> int:
    return node.replication.offset if node.replication else 0


def _demote(primaries: list[NodeState], observation: Observation, inventory: Inventory) -> Iterator[Action]:
    """Several primaries: those without data follow the one that has some; raises CheckFailed when two have."""
    holders = [node for node in primaries if node.keys]
    if len(holders) > 1:
        held = "; ".join(
            f"{node.name} ({node.keys} keys, offset {_offset(node)}, "
            f"{len(node.replication.replicas) if node.replication else 0} replicas)"
            for node in holders
        )
        stack = inventory.stack
        raise CheckFailed(
            f"stack {stack} has {len(holders)} primaries that hold data: {held}. Which of them is right cannot be told from "
            "here, so nothing was changed. Decide, save what the other has that is missing, then on the one to give up (its data "
            f"is replaced): `make cli STACK={stack} NODE=NAME`, there REPLICAOF <address of the other> 6379 and CONFIG REWRITE"
        )
    watched = watched_primary(observation, inventory)

    def preference(node: NodeState) -> tuple[int, bool, int]:
        followers = len(node.replication.replicas) if node.replication else 0
        return followers, node.name == watched, -primaries.index(node)

    kept = holders[0] if holders else max(primaries, key=preference)
    for node in primaries:
        if node is not kept:
            yield _replica_of(node, kept, inventory, "it was a second primary, without data")
