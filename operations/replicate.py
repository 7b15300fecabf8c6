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
from operations.verdict import is_chained

DEMOTION_SECONDS = 12.0
"""A sentinel waits four publish periods (8 s) and some time before it turns a returned primary into a replica."""
ELECTION_SECONDS = 15.0
SETTLED_SECONDS = 10.0
"""A primary that came back waits 5 s for peers that start together with it (configs/node/confirm.sh)."""


def decide_replication(observation: Observation, inventory: Inventory, overdue: Overdue = frozenset()) -> Decision:
    """The next steps towards one primary that all others follow.

    Raises CheckFailed when several primaries hold data, or one came back and its peers follow another one that is silent: which
    of them is right only the user can know.
    """
    nodes = [observation.of(entry.name) for entry in inventory.data_nodes]
    absent = [node for node in nodes if not node.reachable or node.loading]
    waits = [Wait("nodes", f"{node.name} to answer: {node.problem or 'it is loading its data'}") for node in absent]
    primaries = [node for node in nodes if node.is_primary and not node.loading]
    if not primaries and absent:
        return decision(waits=waits)  # one of the absent may be the primary, or hold the newest data
    unsure = [node for node in primaries if node.unconfirmed]
    if unsure and inventory.sentinel is None:
        names = ", ".join(node.name for node in unsure)
        wait = Wait("confirmed", f"{names} to learn whether another node was promoted meanwhile", SETTLED_SECONDS)
        if wait.key not in overdue or any(node.loading for node in nodes):
            return decision(waits=[*waits, wait])
        if len(primaries) == 1:
            raise CheckFailed(_unsettled(unsure[0], nodes, inventory))
    if len(primaries) == 1:
        actions, more = _follow(primaries[0], nodes, observation, inventory, overdue)
        return decision(actions, [*waits, *more])
    if _are_in_charge(nodes, primaries, observation, inventory):
        left = _leave_to_sentinels(primaries, observation, inventory, overdue)
        if not left.is_done:
            return decision(left.actions, [*waits, *left.waits])
    if not primaries:
        return decision([_promote(nodes, observation, inventory)], waits)
    return decision(_demote(primaries, observation, inventory), waits)


def _unsettled(back: NodeState, nodes: list[NodeState], inventory: Inventory) -> str:
    """Why a primary that came back takes no writes: its peers follow another one, which is silent."""
    stack, entry = inventory.stack, inventory.node(back.name)
    lines = [f"{back.name} came back as primary of stack {stack} and takes no writes, because its peers do not agree that it is"]
    for node in nodes:
        link = node.replication
        followed = inventory.at(link.primary_address or "", link.primary_port or 0) if link else None
        if followed is None or followed.name == back.name:
            continue
        lines += [
            f"{node.name} follows {followed.name}: start that one again, and the two settle it",
            f"if {followed.name} is lost for good, go on with what {node.name} holds: `scripts/switchover.py --stack {stack} "
            f"--to {node.name} --takeover`",
            f"to go on with what {back.name} holds: `make cli STACK={stack} NODE={node.name}`, there REPLICAOF {entry.address} "
            f"{entry.port} and CONFIG REWRITE",
        ]
    return "\n  - ".join([*lines, "which of them has the newer data cannot be told from here, so nothing was changed"])


def watched_primary(observation: Observation, inventory: Inventory) -> str | None:
    """The node that most sentinels watch as primary; None when none of them watches a node of this stack."""
    votes: dict[str, int] = {}
    for entry in inventory.sentinels:
        view = observation.of(entry.name).sentinel
        node = inventory.at(view.watched.address, view.watched.port) if view and view.watched else None
        if node:
            votes[node.name] = votes.get(node.name, 0) + 1
    return max(votes, key=lambda name: votes[name]) if votes else None


def _are_in_charge(nodes: list[NodeState], primaries: list[NodeState], observation: Observation, inventory: Inventory) -> bool:
    """Sentinels watch a node of this stack, and there is a primary or data to make one of."""
    watching = inventory.sentinel is not None and watched_primary(observation, inventory) is not None
    return watching and bool(primaries or any(_holds_data(node) for node in nodes))


def _leave_to_sentinels(primaries: list[NodeState], observation: Observation, inventory: Inventory, overdue: Overdue) -> Decision:
    """Wait for the sentinels to find one primary; ask one of them if they do not; done when they had their time.

    A primary that came back empty answers, so the sentinels take 20 s more than down-after to give it up, and by then may find
    all replicas disconnected for too long. Asked in time, they promote one at once. Only one is asked, and only once: a second
    failover at the same time loses writes.
    """
    settings = inventory.sentinel
    assert settings is not None  # noqa: S101 - callers checked; narrows the type
    down_after = settings.down_after_ms / 1000
    if primaries:
        names = ", ".join(node.name for node in primaries)
        demotion = Wait("sentinels demote", f"the sentinels to leave one of {names} as primary", down_after + DEMOTION_SECONDS)
        return decision(waits=[demotion] if demotion.key not in overdue else [])
    able = [e.name for e in inventory.sentinels if (v := observation.of(e.name).sentinel) and v.watched and not v.quorum_problem]
    promotion = Wait("sentinels promote", "the sentinels to promote a replica that has the data", down_after)
    asked = Wait("sentinels asked", "the sentinels to promote a replica that has the data", down_after + ELECTION_SECONDS)
    if promotion.key not in overdue:
        return decision(waits=[promotion])
    if able and asked.key not in overdue:
        command = ("SENTINEL", "FAILOVER", settings.service)
        text = f"{able[0]} is asked to promote a replica, because the primary came back empty"
        return decision([Action(able[0], (command,), text, again_after_seconds=600)], [promotion, asked])
    watching = [e.name for e in inventory.sentinels if (v := observation.of(e.name).sentinel) and v.watched]
    command = ("SENTINEL", "REMOVE", settings.service)
    text = "the sentinels could not promote anybody, and stop watching until there is a primary"
    return decision([Action(name, (command,), text if name == watching[0] else None) for name in watching])


def _holds_data(node: NodeState) -> bool:
    link = node.replication
    return node.keys > 0 or (link is not None and not node.is_unplaced and link.offset > 0)


def _follow(
    primary: NodeState, nodes: list[NodeState], observation: Observation, inventory: Inventory, overdue: Overdue
) -> tuple[list[Action], list[Wait]]:
    """Let everybody follow the one primary; links that work already are left alone."""
    actions: list[Action] = []
    waits = _unconfirmed(primary, inventory, overdue)
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
        elif inventory.sentinel or not is_chained(observation.of(followed.name), primary.name, inventory):
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


def _unconfirmed(primary: NodeState, inventory: Inventory, overdue: Overdue) -> list[Wait]:
    """The wait for sentinels to see a primary that came back, and that takes no writes until then (configs/node/confirm.sh).

    A failover may be under way: to set its parameters now would let it acknowledge writes that are lost then.
    """
    if not primary.unconfirmed or inventory.sentinel is None:
        return []
    patience = inventory.sentinel.down_after_ms / 1000 + ELECTION_SECONDS
    wait = Wait("confirmed", f"the sentinels to see {primary.name}, which came back", patience)
    return [wait] if wait.key not in overdue else []


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
