"""A planned change of primary, confirmed by ROLE on both sides; or a forced one when the primary is gone.

The order of steps is what keeps acknowledged writes: Sentinel's own FAILOVER does not pause the old primary, and asking a
second sentinel promotes a second replica (11,413 of 50,146 writes lost in a trial). So: pause writes, wait until the replicas
have everything, ask once, confirm. In a cluster the server does this itself (CLUSTER FAILOVER), but its OK means accepted, not
done.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from operations.connect import Fleet, Refused
from operations.errors import CheckFailed, InvalidInput, ToolkitError, Undetermined, Unreachable, UsageError
from operations.inventory import Access, Inventory, NodeEntry
from operations.observe import NodeState, Observation, look
from operations.parse import Replication, Reply, items, sentinel_entry
from operations.parse import role as parse_role

POLL_SECONDS = 0.01
CATCH_UP_SECONDS = 5.0
GOOD_MOMENT_SECONDS = 4.0
GOOD_AGE_MS = range(560, 680)
TOGETHER_MS = 150
DEAD_AGE_MS = 12_000
INFO_MS, ORDINARY_INFO_MS = 1_000, 10_000
CONFIRM_SECONDS = 15.0
PREFERRED, ORDINARY = "1", "100"
"""replica-priority: sentinels promote the lowest number; 100 is the server's default. Never 0, which forbids promotion."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Switch:
    """What is to happen: `to` becomes primary of `shard`; `old` is its primary now, None when nobody serves the shard.

    `named` tells that the user chose `to`; otherwise sentinels may choose another replica that has everything.
    """

    shard: int
    old: NodeEntry | None
    to: NodeEntry
    takeover: bool
    named: bool = False


@dataclass(frozen=True)
class Switched:
    """What happened; `took_seconds` from the request until ROLE on both sides confirmed it."""

    shard: int
    old: str | None
    new: str
    took_seconds: float


def decide(inventory: Inventory, seen: Observation, shard: int | None, to: str | None, takeover: bool) -> Switch:
    """Choose primary and successor; raises UsageError, InvalidInput or CheckFailed with the reason why it cannot be."""
    if inventory.topology == "standalone":
        raise InvalidInput(f"stack {inventory.stack} is standalone: there is no replica to switch to")
    target = inventory.node(to) if to else None
    if target and target.is_sentinel:
        raise UsageError(f"{target.name} is a sentinel; name a data node")
    if shard is None:
        shard = _shard_of(inventory, seen, target) if target else 1
    if shard not in inventory.shards:
        raise UsageError(f"stack {inventory.stack} has no shard {shard}; its shards are {', '.join(map(str, inventory.shards))}")
    members = members_of(inventory, seen, shard)
    primaries = [node for node in members if (state := seen.of(node.name)).reachable and state.is_primary]
    if len(primaries) > 1:
        names = ", ".join(node.name for node in primaries)
        raise CheckFailed(
            f"shard {shard} has several primaries ({names}); run `scripts/status.py --stack {inventory.stack}` first"
        )
    old = primaries[0] if primaries else None
    if target is not None and target == old:
        raise UsageError(f"{target.name} is the primary of shard {shard} already")
    if old is None and not takeover:
        raise CheckFailed(f"shard {shard} has no primary that answers; to promote a replica all the same, add --takeover")
    candidates = [node for node in members if node != old and _fit(seen.of(node.name), old, takeover)]
    if target is not None:
        if target not in candidates:
            raise CheckFailed(f"{target.name} cannot take over shard {shard}: {_unfit(seen.of(target.name), old)}")
        return Switch(shard, old, target, takeover, named=True)
    if not candidates:
        raise CheckFailed(f"shard {shard} has no replica that could take over; run `scripts/status.py --stack {inventory.stack}`")
    return Switch(shard, old, max(candidates, key=lambda node: _offset(seen.of(node.name))), takeover)


def members_of(inventory: Inventory, seen: Observation, shard: int) -> list[NodeEntry]:
    """Nodes of a shard as they stand now: in a cluster replicas can follow another primary than the one they were made for."""
    if inventory.topology != "cluster":
        return list(inventory.data_nodes)
    return [node for node in inventory.data_nodes if _shard_of(inventory, seen, node) == shard]


def _shard_of(inventory: Inventory, seen: Observation, node: NodeEntry) -> int:
    """The shard whose primary the node follows; the one it was made for when that cannot be told."""
    link = seen.of(node.name).replication
    if inventory.topology == "cluster" and link and link.role == "replica" and link.primary_address:
        primary = inventory.at(link.primary_address, link.primary_port or 0)
        return primary.shard if primary else node.shard
    return node.shard


def _offset(state: NodeState) -> int:
    return state.replication.offset if state.replication else -1


def _fit(state: NodeState, old: NodeEntry | None, takeover: bool) -> bool:
    return state.reachable and not state.is_primary and (takeover or _unfit(state, old) == "")


def _unfit(state: NodeState, old: NodeEntry | None) -> str:
    if not state.reachable:
        return state.problem or "it does not answer"
    link = state.replication
    if link is None or link.role != "replica":
        return "it is not a replica"
    if old is not None and (link.primary_address, link.primary_port) != (old.address, old.port):
        return f"it follows {link.primary_address}, not {old.name}"
    return "" if link.link_up else "its link to the primary is down, so it lacks writes; --takeover gives them up"


def switchover(
    access: Access,
    shard: int | None = None,
    to: str | None = None,
    takeover: bool = False,
    report: Report = lambda _line: None,
) -> Switched:
    """Make a replica the primary of its shard and wait until both sides say so.

    `takeover` is for a primary that is gone: the replica is promoted without it; writes that it had not received are lost.
    Raises CheckFailed when it cannot be or was not done, Undetermined when the outcome could not be confirmed.
    """
    inventory = access.inventory
    with Fleet(access) as fleet:
        switch = decide(inventory, look(fleet, inventory), shard, to, takeover)
        for node in (switch.old, switch.to):
            if node is not None:
                fleet.links[node.name].ensure_ours()
        was = switch.old.name if switch.old else "nobody"
        report(f"shard {switch.shard}: {was} -> {switch.to.name}")
        began = time.monotonic()
        way = {"cluster": _in_cluster, "sentinel": _by_sentinel, "replication": _by_hand}[inventory.topology]
        new = way(fleet, inventory, switch)
        return Switched(switch.shard, switch.old.name if switch.old else None, new.name, time.monotonic() - began)


def _role(fleet: Fleet, node: NodeEntry) -> Replication | None:
    try:
        return parse_role(fleet.links[node.name].ask("ROLE"))
    except ToolkitError:
        return None


def _await(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise Undetermined(f"{what} did not come true within {seconds:g} s; look with scripts/status.py before trying again")
        time.sleep(POLL_SECONDS)


def _is_primary(fleet: Fleet, node: NodeEntry) -> bool:
    role = _role(fleet, node)
    return role is not None and role.role == "primary"


def _follows(fleet: Fleet, node: NodeEntry, primary: NodeEntry) -> bool:
    role = _role(fleet, node)
    return role is not None and role.role == "replica" and role.primary_address == primary.address


def _confirm(fleet: Fleet, switch: Switch, new: NodeEntry, seconds: float = CONFIRM_SECONDS) -> NodeEntry:
    """Both sides say so: the new primary, and the old one when it is expected to answer."""
    _await(lambda: _is_primary(fleet, new), seconds, f"{new.name} as primary")
    old = switch.old
    if old is not None and not switch.takeover:
        _await(lambda: _follows(fleet, old, new), seconds, f"{old.name} as replica of {new.name}")
    return new


def _in_cluster(fleet: Fleet, inventory: Inventory, switch: Switch) -> NodeEntry:
    """CLUSTER FAILOVER on the replica; with a dead primary FORCE while a majority can vote, else TAKEOVER."""
    command: tuple[str, ...] = ("CLUSTER", "FAILOVER")
    if switch.takeover:
        seen = look(fleet, inventory)
        voters = sum(1 for node in inventory.data_nodes if seen.of(node.name).reachable and seen.of(node.name).is_primary)
        command = (*command, "FORCE" if voters > len(inventory.shards) // 2 else "TAKEOVER")
    _accepted(fleet, switch.to, *command)
    timeout = inventory.cluster.node_timeout_ms / 1000 if inventory.cluster else 5
    # The server gives a manual failover 5 s; a vote that failed is tried again after 2 * node timeout.
    return _confirm(fleet, switch, switch.to, math.ceil(5 + 2 * timeout))


def _accepted(fleet: Fleet, node: NodeEntry, *command: str) -> None:
    try:
        fleet.links[node.name].ask(*command)
    except Refused as error:
        raise CheckFailed(f"{node.name} refused {' '.join(command)}: {error}") from None


def _paused(fleet: Fleet, old: NodeEntry, milliseconds: int) -> None:
    fleet.links[old.name].ask("CLIENT", "PAUSE", milliseconds, "WRITE")


def _resume(fleet: Fleet, old: NodeEntry) -> None:
    try:
        fleet.links[old.name].ask("CLIENT", "UNPAUSE")
    except ToolkitError:
        return  # it stopped or hangs; the pause ends by itself


def _caught_up(fleet: Fleet, old: NodeEntry, successors: Iterable[NodeEntry]) -> None:
    """Writes are paused: wait until every possible successor has all that the primary has."""
    names = tuple(successors)

    def equal() -> bool:
        source = _role(fleet, old)
        copies = [_role(fleet, node) for node in names]
        return source is not None and all(copy is not None and copy.offset >= source.offset for copy in copies)

    _await(equal, CATCH_UP_SECONDS, f"{', '.join(node.name for node in names)} with everything that {old.name} has")


def _by_sentinel(fleet: Fleet, inventory: Inventory, switch: Switch) -> NodeEntry:
    """Pause, catch up, ask one sentinel, confirm; a named successor is made the preferred one for that moment."""
    settings = inventory.sentinel
    if settings is None:
        raise InvalidInput(f"the inventory of stack {inventory.stack} has no sentinel settings")
    link = fleet.links[switch.to.name]
    old, planned = switch.old, not switch.takeover
    others = [node for node in inventory.data_nodes if node != old]
    if switch.named:
        link.ask("CONFIG", "SET", "replica-priority", PREFERRED)
    try:
        if switch.named:
            _await(lambda: _sees_priority(fleet, inventory, switch.to), 12, "the sentinels' knowledge of the successor")
        asked = _informed(fleet, inventory, switch)
        if old is not None and planned:
            _await_good_moment(fleet, asked[:1], settings.service)
            _paused(fleet, old, int(CONFIRM_SECONDS * 1000))
            _caught_up(fleet, old, [node for node in others if _follows(fleet, node, old)])
        _ask_one_sentinel(fleet, settings.service, asked)
        _await(lambda: any(_is_primary(fleet, node) for node in others), CONFIRM_SECONDS, "a new primary")
        new = next(node for node in others if _is_primary(fleet, node))
        if old is not None:
            _point_at(fleet, old, new)  # sentinels would do so only after four publish periods, about 10 s
            if planned:
                _resume(fleet, old)  # a replica refuses writes: clients that waited hear so and look for the new primary
        return _confirm(fleet, switch, new)
    finally:
        if old is not None and planned:
            _resume(fleet, old)
        if switch.named:
            link.ask("CONFIG", "SET", "replica-priority", ORDINARY)


def _informed(fleet: Fleet, inventory: Inventory, switch: Switch) -> list[NodeEntry]:
    """Sentinels that can be asked: all that answer, or those that know that the named successor is preferred.

    The last one first: the sentinel that leads a failover is the last to name the new primary, and clients ask the first.
    """
    if not switch.named:
        return [sentinel for sentinel in reversed(inventory.sentinels) if _answers(fleet, sentinel)]
    return [sentinel for sentinel in reversed(inventory.sentinels) if _knows_priority(fleet, inventory, sentinel, switch.to)]


def _answers(fleet: Fleet, node: NodeEntry) -> bool:
    try:
        return fleet.links[node.name].ask("PING") == "PONG"
    except ToolkitError:
        return False


def _await_good_moment(fleet: Fleet, asked: Iterable[NodeEntry], service: str) -> None:
    """Wait, while writes still go on, for the moment in which a sentinel will notice the promotion soonest.

    It learns of it by INFO, which during a failover it sends to each replica once a second, counted from the last one; and it
    promotes up to 0.35 s after it was asked. So its period is set to 1 s until it restarts (SENTINEL DEBUG), and it is asked when
    the last INFO is about 0.6 s old. Replicas that it asks at different times are first brought together: the period is held at
    10 s until all are due. A moment that does not come costs nothing but speed.
    """
    for sentinel in asked:
        link = fleet.links[sentinel.name]
        deadline = time.monotonic() + GOOD_MOMENT_SECONDS
        period = 0
        try:
            while time.monotonic() < deadline:
                wanted, now = info_moment(_info_ages(link.ask("SENTINEL", "REPLICAS", service)))
                if wanted != period:
                    link.ask("SENTINEL", "DEBUG", "info-period", wanted)
                    period = wanted
                if now:
                    return
                time.sleep(POLL_SECONDS)
            link.ask("SENTINEL", "DEBUG", "info-period", INFO_MS)
        except ToolkitError:
            return


def _info_ages(replies: Reply) -> list[int]:
    """Milliseconds since a sentinel's last INFO from each replica that answers it."""
    entries = [sentinel_entry(reply) for reply in items(replies)]
    ages = [int(entry.fields.get("info-refresh", "0")) for entry in entries]
    return [age for age in ages if age <= DEAD_AGE_MS]


def info_moment(ages: Sequence[int]) -> tuple[int, bool]:
    """The period that the sentinel should have, in milliseconds, and whether to ask it for a failover now."""
    if not ages:
        return INFO_MS, False
    if max(ages) - min(ages) > TOGETHER_MS:
        return (INFO_MS if min(ages) >= INFO_MS else ORDINARY_INFO_MS), False
    return INFO_MS, max(ages) in GOOD_AGE_MS


def _sees_priority(fleet: Fleet, inventory: Inventory, node: NodeEntry) -> bool:
    """Sentinels learn a priority from INFO, every 10 s; the first that knows it can be asked."""
    return any(_knows_priority(fleet, inventory, sentinel, node) for sentinel in inventory.sentinels)


def _knows_priority(fleet: Fleet, inventory: Inventory, sentinel: NodeEntry, node: NodeEntry) -> bool:
    service = inventory.sentinel.service if inventory.sentinel else ""
    try:
        replies = fleet.links[sentinel.name].ask("SENTINEL", "REPLICAS", service)
    except ToolkitError:
        return False
    entries = [sentinel_entry(reply) for reply in items(replies)]
    return any(e.address == node.address and e.fields.get("slave-priority") == PREFERRED for e in entries)


def _ask_one_sentinel(fleet: Fleet, service: str, sentinels: Iterable[NodeEntry]) -> None:
    """Exactly one sentinel starts the failover: one that answers OK is never followed by another."""
    reasons = []
    for sentinel in sentinels:
        try:
            fleet.links[sentinel.name].ask("SENTINEL", "FAILOVER", service)
        except Refused as error:
            reasons.append(f"{sentinel.name}: {error}")
            continue
        except Unreachable as error:
            if "did not answer within" in str(error):
                return  # it may have begun; confirm rather than ask another
            reasons.append(str(error))
            continue
        return
    raise CheckFailed("no sentinel started a failover: " + "; ".join(reasons))


def _by_hand(fleet: Fleet, inventory: Inventory, switch: Switch) -> NodeEntry:
    """Plain replication: pause, catch up, promote, point everybody at the new primary, and remember it in their files."""
    old = switch.old
    if old is not None and not switch.takeover:
        _paused(fleet, old, int(CONFIRM_SECONDS * 1000))
    try:
        if old is not None and not switch.takeover:
            _caught_up(fleet, old, [switch.to])
        _accepted(fleet, switch.to, "REPLICAOF", "NO", "ONE")
        fleet.links[switch.to.name].ask("CONFIG", "REWRITE")
        others = [node for node in inventory.data_nodes if node != switch.to]
        for node in sorted(others, key=lambda node: node != old):  # the old primary first: it must take no more writes
            _point_at(fleet, node, switch.to)
    finally:
        if old is not None:
            _resume(fleet, old)
    return _confirm(fleet, switch, switch.to)


def _point_at(fleet: Fleet, node: NodeEntry, primary: NodeEntry) -> None:
    """An old primary that is down, or loads its data, learns of the new one by itself (configs/node/role.sh, confirm.sh)."""
    try:
        link = fleet.links[node.name]
        link.ensure_ours()
        link.ask("REPLICAOF", primary.address, primary.port)
        link.ask("CONFIG", "REWRITE")
    except Unreachable:
        return
