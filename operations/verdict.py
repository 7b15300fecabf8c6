"""What an observation means: one word for the stack, the reasons for it, and one word per node.

Pure: the same observation and inventory always give the same verdict. Used by status, converge and verify.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from operations.inventory import Inventory
from operations.observe import NodeState, Observation, SentinelView
from operations.parse import SLOT_COUNT, ClusterNode, Slots, format_slots, slot_total, uncovered

NEARLY_FULL = 0.9
"""Share of maxmemory from which a node that evicts nothing is worth a warning."""


class State(StrEnum):
    """What the stack does for its clients.

    ok: as declared. degraded: all data is served, but not as declared. down: some data is not served. unknown: nobody could be
    asked, or a stranger answered.
    """

    OK = "ok"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    DOWN = "down"


_ORDER = (State.OK, State.DEGRADED, State.UNKNOWN, State.DOWN)


@dataclass(frozen=True)
class Verdict:
    """`reasons` explain any state but ok; `warnings` change nothing now and may later; `summary` says what is well."""

    state: State
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    summary: str = ""

    @property
    def line(self) -> str:
        """The verdict in one line."""
        if self.state is State.OK:
            return f"ok: {self.summary}"
        more = f" (and {len(self.reasons) - 1} more)" if len(self.reasons) > 1 else ""
        return f"{self.state}: {self.reasons[0]}{more}"


@dataclass(frozen=True)
class _Finding:
    state: State
    text: str


def verdict(observation: Observation, inventory: Inventory) -> Verdict:
    """Judge a whole observation against what was provisioned."""
    warnings = tuple(_warnings(observation, inventory))
    if not observation.answering:
        first = observation.nodes[0].problem if observation.nodes else "the inventory lists no nodes"
        return Verdict(State.UNKNOWN, (f"no node answers: {first}",), warnings)
    findings = list(_common(observation))
    findings += _cluster(observation, inventory) if inventory.topology == "cluster" else _replicated(observation, inventory)
    if inventory.sentinels:
        findings += _sentinels(observation, inventory)
    findings.sort(key=lambda finding: -_ORDER.index(finding.state))
    state = findings[0].state if findings else State.OK
    return Verdict(state, tuple(f.text for f in findings), warnings, _summary(observation, inventory))


def node_health(observation: Observation, inventory: Inventory, name: str) -> str:
    """One or two words about one node, for tables."""
    node = observation.of(name)
    link = node.replication
    broken = link is not None and link.role == "replica" and not link.link_up
    primaries = _primaries(observation)
    checks = (
        (node.foreign, "not ours"),
        (not node.reachable, "unreachable"),
        (node.loading, "loading"),
        (node.info is not None and not node.info.persistence.is_ok, "cannot persist"),
        (node.is_unplaced, "blank"),
        (node.is_primary and node.unconfirmed, "refuses writes"),
        (broken and link is not None and link.sync_in_progress, "synchronising"),
        (broken, "link down"),
        (node.cluster is not None and not node.cluster.state_ok, "cluster fail"),
        (
            node.sentinel is not None and any(sentinel_problems(name, node.sentinel, inventory, primaries)),
            "incomplete view",
        ),
    )
    return next((word for is_so, word in checks if is_so), "ok")


def _common(observation: Observation) -> Iterator[_Finding]:
    for node in observation.nodes:
        if node.problem:
            yield _Finding(State.UNKNOWN if node.foreign else State.DEGRADED, node.problem)
        if node.info is None:
            continue
        if not node.info.persistence.is_ok:
            yield _Finding(State.DEGRADED, f"{node.name} cannot persist its data: {_persistence_problem(node)}")
        if node.loading and not node.is_primary:
            yield _Finding(State.DEGRADED, f"{node.name} is loading its data")


def _persistence_problem(node: NodeState) -> str:
    assert node.info is not None  # noqa: S101 - narrows the type; callers checked
    state = node.info.persistence
    failed = {
        "the append-only file cannot be written": not state.aof_last_write_ok,
        "the last rewrite of the append-only file failed": not state.aof_last_rewrite_ok,
        "the last snapshot failed": not state.last_save_ok,
    }
    return ", ".join(text for text, is_so in failed.items() if is_so)


def _warnings(observation: Observation, inventory: Inventory) -> Iterator[str]:
    for node in observation.answering:
        info = node.info
        if info is None:
            continue
        if info.maxmemory_bytes and info.eviction == "noeviction":
            share = info.used_memory_bytes / info.maxmemory_bytes
            if share >= NEARLY_FULL:
                yield f"{node.name} uses {share:.0%} of its maxmemory and evicts nothing: it refuses writes at 100 %"
        if info.version != inventory.engine.version and not info.version.startswith(inventory.engine.version + "."):
            yield f"{node.name} runs {info.engine} {info.version}, provisioned was {inventory.engine.version}"


def _summary(observation: Observation, inventory: Inventory) -> str:
    parts = []
    data = [node for node in observation.nodes if node.info]
    if inventory.topology == "cluster":
        shards = sum(1 for n in data if n.cluster and n.cluster.slots)
        parts.append(f"{shards} shards serve all {SLOT_COUNT} slots, all {len(data)} nodes agree")
    else:
        replicas = len(data) - 1
        primary = ", ".join(_primaries(observation)) or "nobody"
        parts.append(f"{primary} is primary" + (f" with {replicas} replicas in sync" if replicas else ""))
    if inventory.sentinels:
        parts.append(f"{len(inventory.sentinels)} sentinels agree, quorum reached")
    return "; ".join(parts)


# Primary and replicas


def _primaries(observation: Observation) -> tuple[str, ...]:
    return tuple(node.name for node in observation.nodes if node.is_primary)


def _replicated(observation: Observation, inventory: Inventory) -> Iterator[_Finding]:
    primaries = _primaries(observation)
    data = [observation.of(entry.name) for entry in inventory.data_nodes]
    if len(primaries) > 1:
        accept = [node.name for node in data if node.is_primary and not node.unconfirmed]
        doing = "primaries accept writes" if len(accept) > 1 else "nodes are primary"
        yield _Finding(State.DEGRADED, f"{len(primaries)} {doing}: {', '.join(primaries)}")
    if not primaries:
        yield _no_primary(data, inventory)
    for node in data:
        if node.is_primary and node.loading:
            yield _Finding(State.DOWN, f"{node.name} is primary and still loading its data")
        elif node.is_primary and node.unconfirmed:
            until = "the sentinels have seen it" if inventory.sentinels else "its peers agree that it is primary"
            yield _Finding(State.DEGRADED, f"{node.name} came back and takes no writes until {until}")
        yield from _replica_findings(node, observation, inventory, primaries)


def _no_primary(data: list[NodeState], inventory: Inventory) -> _Finding:
    """Nobody that answers is primary; a silent node that replicas still follow is alive all the same."""
    silent = {entry.address: entry.name for entry in inventory.data_nodes if not _named(data, entry.name).reachable}
    followed = {
        silent[link.primary_address]
        for node in data
        if (link := node.replication) and link.link_up and link.primary_address in silent
    }
    if followed:
        name = ", ".join(sorted(followed))
        return _Finding(State.DEGRADED, f"{name} cannot be asked from here, but its replicas follow it")
    blank = [node.name for node in data if node.is_unplaced]
    if blank:
        return _Finding(State.DOWN, f"there is no primary; without a role yet: {', '.join(blank)}")
    return _Finding(State.DOWN, "there is no primary")


def _named(nodes: Iterable[NodeState], name: str) -> NodeState:
    return next(node for node in nodes if node.name == name)


def is_chained(followed: NodeState, primary: str, inventory: Inventory) -> bool:
    """Whether a node that others follow is itself a replica of `primary`: somebody's choice, and it works without Sentinel."""
    link = followed.replication
    return link is not None and link.role == "replica" and link.primary_address == inventory.node(primary).address


def _replica_findings(
    node: NodeState, observation: Observation, inventory: Inventory, primaries: tuple[str, ...]
) -> Iterator[_Finding]:
    link = node.replication
    if link is None or link.role == "primary":
        return
    if node.is_unplaced:
        if primaries:
            yield _Finding(State.DEGRADED, f"{node.name} is blank and has no role yet")
        return
    followed = inventory.at(link.primary_address or "", link.primary_port or 0)
    whom = followed.name if followed else f"{link.primary_address}:{link.primary_port}, which is no node of this stack"
    if not link.link_up:
        doing = "is copying from" if link.sync_in_progress else "has no connection to"
        yield _Finding(State.DEGRADED, f"{node.name} {doing} its primary {whom}")
    elif followed is None or (primaries and followed.name not in primaries):
        if followed and not inventory.sentinel and is_chained(observation.of(followed.name), primaries[0], inventory):
            return
        yield _Finding(State.DEGRADED, f"{node.name} follows {whom}, not the primary {', '.join(primaries) or '(none)'}")


# Sentinels


def _sentinels(observation: Observation, inventory: Inventory) -> Iterator[_Finding]:
    primaries = _primaries(observation)
    for entry in inventory.sentinels:
        view = observation.of(entry.name).sentinel
        if view is None:
            continue
        for problem in sentinel_problems(entry.name, view, inventory, primaries):
            yield _Finding(State.DEGRADED, problem)
    answering = [e for e in inventory.sentinels if observation.of(e.name).reachable]
    majority = len(inventory.sentinels) // 2 + 1
    if len(answering) < majority:
        yield _Finding(
            State.DEGRADED, f"only {len(answering)} of {len(inventory.sentinels)} sentinels answer: no failover is possible"
        )


def sentinel_problems(name: str, view: SentinelView, inventory: Inventory, primaries: tuple[str, ...]) -> Iterator[str]:
    if view.watched is None:
        yield f"{name} watches nothing"
        return
    watched = inventory.at(view.watched.address, view.watched.port)
    label = watched.name if watched else f"{view.watched.address}:{view.watched.port}, which is no node of this stack"
    if watched is None or (len(primaries) == 1 and watched.name not in primaries):
        yield f"{name} watches {label} as primary"
    if view.watched.is_down:
        yield f"{name} sees the primary {label} as down"
    if view.quorum_problem:
        yield f"{name} has no quorum: {view.quorum_problem}"
    for kind, seen, wanted in (
        ("replicas", view.replicas, len(inventory.data_nodes) - 1),
        ("other sentinels", view.peers, len(inventory.sentinels) - 1),
    ):
        live = sum(1 for entry in seen if not entry.is_down)
        if live != wanted or len(seen) != wanted:
            yield f"{name} sees {live} of {wanted} {kind}" + (f" and {len(seen) - live} dead" if len(seen) > live else "")


# Cluster


def _cluster(observation: Observation, inventory: Inventory) -> Iterator[_Finding]:
    nodes = {e.name: observation.of(e.name) for e in inventory.data_nodes}
    views = {name: node.cluster for name, node in nodes.items() if node.cluster}
    if not views:
        yield _Finding(State.DOWN, "no node that answers has finished loading its data")
        return
    if not any(view.others or view.slots for view in views.values()):
        yield _Finding(State.DOWN, "the cluster is not formed: no node knows another or serves a slot")
        return
    ids = {view.my_id: name for name, view in views.items()}
    yield from _slot_findings(nodes, ids, inventory)
    for name, view in views.items():
        if not view.state_ok and not view.slots:
            yield _Finding(State.DEGRADED, f"{name} reports cluster_state:fail")
        for slot in view.open_slots:
            yield _Finding(State.DEGRADED, f"slot {slot.slot} is open on {name} ({slot.state})")
        yield from (_Finding(State.DEGRADED, text) for text in disagreements(observation, inventory, name))
    yield from _redundancy(observation, inventory, ids)


def _slot_findings(nodes: dict[str, NodeState], ids: dict[str, str], inventory: Inventory) -> Iterator[_Finding]:
    """Which slots are served: by an own account of a node that is ok, or by nodes that cannot be asked but the others see."""
    served: list[Slots] = []
    for name, node in nodes.items():
        if node.cluster and node.cluster.slots:
            if node.cluster.state_ok and not node.loading:
                served.append(node.cluster.slots)
            else:
                slots = format_slots(node.cluster.slots)
                yield _Finding(State.DOWN, f"{name} serves no client yet (slots {slots}): cluster_state:fail")
                served.append(node.cluster.slots)  # named already; not to be listed as unassigned too
    for line in _seen_by_majority(nodes, ids):
        at = inventory.at(line.address, line.port)
        if at is None or nodes[at.name].cluster is None:  # else another node answers there: it lost its volume
            served.append(line.slots)
    gaps = uncovered(served)
    if gaps:
        yield _Finding(State.DOWN, f"{slot_total(gaps)} slots are not served: {format_slots(gaps)}")
    claimed = sum(slot_total(slots) for slots in served)
    if claimed > SLOT_COUNT - slot_total(gaps):
        yield _Finding(State.DEGRADED, f"{claimed - SLOT_COUNT + slot_total(gaps)} slots are claimed by two primaries")


def _seen_by_majority(nodes: dict[str, NodeState], ids: dict[str, str]) -> Iterator[ClusterNode]:
    """Primaries that could not be asked, but that more than half of those asked, and all their replicas, are connected to."""
    views = [node.cluster for node in nodes.values() if node.cluster]
    cut_off = {
        node.cluster.me.primary_id
        for node in nodes.values()
        if node.cluster and node.replication and node.replication.role == "replica" and not node.replication.link_up
    }
    others = {line.node_id for view in views for line in view.others} - ids.keys() - cut_off
    for node_id in sorted(others):
        lines = [line for view in views if (line := view.knows(node_id))]
        live = [line for line in lines if line.is_primary and line.slots and line.connected and not line.is_failing]
        if len(live) * 2 > len(views):
            yield live[0]


def disagreements(observation: Observation, inventory: Inventory, name: str) -> Iterator[str]:
    """How one node's own view of the cluster differs from what each other node says about itself."""
    view = observation.of(name).cluster
    if view is None:
        return
    known = {line.node_id for line in view.others}
    own: dict[str, str] = {}
    for entry in inventory.data_nodes:
        other = observation.of(entry.name).cluster
        if other is None or entry.name == name:
            continue
        own[other.my_id] = entry.name
        line = view.knows(other.my_id)
        problem = "does not know" if line is None else line_problem(line, other.me)
        if problem:
            yield f"{name} {problem} {entry.name}"
    silent = sum(1 for e in inventory.data_nodes if observation.of(e.name).cluster is None)
    strangers = [line for line in view.others if line.node_id in known - own.keys()]
    if len(strangers) > silent:
        listed = ", ".join(f"{line.node_id[:8]} ({', '.join(sorted(line.flags))})" for line in strangers)
        yield f"{name} lists {len(strangers) - silent} nodes that are not in this stack: {listed}"
    if view.handshakes:
        yield f"{name} is still being introduced to {len(view.handshakes)} nodes"


def line_problem(seen: ClusterNode, own: ClusterNode) -> str | None:
    """How a line about a node differs from that node's own line, as a phrase before its name; None when they agree."""
    checks = (
        (seen.is_failing, "sees as failing"),
        ((seen.address, seen.port) != (own.address, own.port), "has an old address of"),
        (seen.is_primary != own.is_primary, "sees another role of"),
        (seen.primary_id != own.primary_id, "sees another primary of"),
        (seen.slots != own.slots, "sees other slots of"),
        (not seen.connected, "has no connection to"),
    )
    return next((phrase for differs, phrase in checks if differs), None)


def _label(line: ClusterNode | None, inventory: Inventory) -> str:
    """A name for a node that could not be asked: that of the stack's node at its address, else its id."""
    if line is None:
        return "(unknown)"
    node = inventory.at(line.address, line.port)
    return node.name if node else line.node_id[:8]


def _redundancy(observation: Observation, inventory: Inventory, ids: dict[str, str]) -> Iterator[_Finding]:
    states = {entry.name: observation.of(entry.name) for entry in inventory.data_nodes}
    followers: dict[str, int] = {}
    for name, node in states.items():
        link, view = node.replication, node.cluster
        if link is None or view is None or view.me.is_primary:
            continue
        primary_id = view.me.primary_id or ""
        whom = ids.get(primary_id) or _label(view.knows(primary_id), inventory)
        if link.link_up:
            followers[primary_id] = followers.get(primary_id, 0) + 1
        else:
            doing = "is copying from" if link.sync_in_progress else "has no connection to"
            yield _Finding(State.DEGRADED, f"{name} {doing} its primary {whom}")
    if not inventory.replicas:
        return
    for name, node in states.items():
        if node.cluster and node.cluster.slots and not followers.get(node.cluster.my_id):
            yield _Finding(State.DEGRADED, f"no replica follows {name}: a failure would lose its slots")
    idle = [n for n, s in states.items() if s.cluster and s.cluster.me.is_primary and not s.cluster.slots]
    for name in idle:
        yield _Finding(State.DEGRADED, f"{name} is a primary without slots")
