"""What is wrong with a cluster, from one look at it. Pure.

Three sources count: what each node says about itself (its slots, its marks), what the others believe of it, and which keys it
holds. Whatever nobody of the stack can be asked about is named as such, and is never taken for lost.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from operations.errors import ToolkitError
from operations.inventory import Inventory
from operations.observe import ClusterView, NodeState
from operations.parse import SLOT_COUNT, ClusterNode
from operations.repair.findings import (
    Disbelieved,
    Doubled,
    Finding,
    Forgotten,
    Ghost,
    Interrupted,
    Leaderless,
    Open,
    Orphans,
    Silent,
    Stranger,
    Unowned,
)
from operations.reshard.journal import Found
from operations.reshard.live import Live
from operations.reshard.plan import slots_in


@dataclass(frozen=True)
class Picture:
    """One look. `held` gives for each primary the number of keys in every slot of which it has any, its own or not.

    `journal` is None when its slot is not served. `hung` are silent nodes whose process works all the same (operations/hung.py).
    """

    live: Live
    held: Mapping[str, Mapping[int, int]]
    journal: Found | None
    hung: frozenset[str] = frozenset()

    @property
    def inventory(self) -> Inventory:
        return self.live.inventory

    @cached_property
    def views(self) -> dict[str, ClusterView]:
        """The views of all nodes of the stack that answer."""
        states = ((node.name, self.live.observation.of(node.name)) for node in self.inventory.data_nodes)
        return {name: state.cluster for name, state in states if state.cluster is not None}

    def state(self, name: str) -> NodeState:
        return self.live.observation.of(name)

    def keys(self, name: str, slots: Iterable[int]) -> int:
        held = self.held.get(name, {})
        return sum(held.get(slot, 0) for slot in slots)


def diagnose(picture: Picture) -> tuple[Finding, ...]:
    """Everything that is wrong, in the order in which it would be repaired; nothing for a whole cluster."""
    gone = _gone_primaries(picture)
    leaderless = tuple(_leaderless(picture, gone))
    waiting = {slot for finding in leaderless for slot in finding.slots}
    return (
        *_silent(picture),
        *_strangers(picture),
        *leaderless,
        *_doubled(picture),
        *_forgotten(picture),
        *_unowned(picture, waiting),
        *_disbelieved(picture),
        *_orphans(picture),
        *_open(picture),
        *_interrupted(picture),
        *_ghosts(picture),
    )


def _silent(picture: Picture) -> Iterator[Finding]:
    for node in picture.inventory.data_nodes:
        if node.name not in picture.views:
            problem = picture.state(node.name).problem or "it is loading its data"
            yield Silent(node.name, problem, node.name in picture.hung)


# Nodes that are gone, unknown or forgotten


def _lines(picture: Picture) -> dict[str, list[ClusterNode]]:
    """What is said about every node that did not answer itself, by id."""
    own = {view.my_id for view in picture.views.values()}
    found: dict[str, list[ClusterNode]] = {}
    for view in picture.views.values():
        for line in view.others:
            if line.node_id not in own:
                found.setdefault(line.node_id, []).append(line)
    return found


def _is_gone(lines: list[ClusterNode]) -> bool:
    """More than half of those that list it cannot reach it."""
    return sum(line.is_failing or not line.connected for line in lines) * 2 > len(lines)


def _gone_primaries(picture: Picture) -> dict[str, tuple[str, set[int]]]:
    """Label and last known slots of primaries that nobody reaches, by id; slots that somebody serves by now are left out."""
    found = {}
    for node_id, lines in _lines(picture).items():
        if not _is_gone(lines):
            continue
        slots = {slot for line in lines for slot in slots_in(line.slots)} - set(picture.live.owners)
        if slots:
            entry = next((e for line in lines if (e := picture.inventory.at(line.address, line.port))), None)
            silent = entry is not None and entry.name not in picture.views
            found[node_id] = (entry.name if entry and silent else f"the former node {node_id[:8]}", slots)
    return found


def _leaderless(picture: Picture, gone: Mapping[str, tuple[str, set[int]]]) -> Iterator[Leaderless]:
    serving = len(set(picture.live.owners.values()))
    majority = serving * 2 > serving + len(gone)
    for node_id, (label, slots) in sorted(gone.items(), key=lambda item: item[1][0]):
        replicas = [
            (name, state.offset if (state := picture.state(name).replication) else 0)
            for name, view in picture.views.items()
            if view.me.primary_id == node_id
        ]
        is_silent = not label.startswith("the former")
        if replicas or is_silent:  # else its volume is gone and so is the last copy: see _unowned
            yield Leaderless(label, tuple(sorted(slots)), tuple(sorted(replicas, key=lambda r: (-r[1], r[0]))), majority)


def _strangers(picture: Picture) -> Iterator[Finding]:
    for node_id, lines in sorted(_lines(picture).items()):
        entry = picture.inventory.at(lines[0].address, lines[0].port)
        if entry is None and not _is_gone(lines):
            yield Stranger(node_id, f"{lines[0].address}:{lines[0].port}")


def _ghosts(picture: Picture) -> Iterator[Finding]:
    followed = {view.me.primary_id for view in picture.views.values()}
    for node_id, lines in sorted(_lines(picture).items()):
        entry = next((e for line in lines if (e := picture.inventory.at(line.address, line.port))), None)
        silent = entry is not None and entry.name not in picture.views
        serves = any(set(slots_in(line.slots)) - set(picture.live.owners) for line in lines)
        if _is_gone(lines) and not silent and not serves and node_id not in followed:
            yield Ghost(node_id, tuple(name for name, view in picture.views.items() if view.knows(node_id)))


def _forgotten(picture: Picture) -> Iterator[Finding]:
    for name, view in picture.views.items():
        for other, seen in picture.views.items():
            if other != name and not view.knows(seen.my_id):
                yield Forgotten(name, other)


# Slots


def _grouped(slots: Iterable[tuple[tuple[str, ...], int]]) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Slots with the same names together."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for names, slot in slots:
        groups.setdefault(names, []).append(slot)
    return [(names, tuple(sorted(group))) for names, group in sorted(groups.items())]


def _doubled(picture: Picture) -> Iterator[Finding]:
    found = [
        ((winner, name), slot)
        for name, view in picture.views.items()
        if view.me.is_primary
        for slot in slots_in(view.slots)
        if (winner := picture.live.owners[slot]) != name
    ]
    for (winner, loser), slots in _grouped(found):
        yield Doubled(winner, loser, slots, picture.keys(loser, slots))


def _unowned(picture: Picture, waiting: set[int]) -> Iterator[Finding]:
    """Only when every node answers: what a silent node has is not without an owner."""
    if len(picture.views) < len(picture.inventory.data_nodes) or not picture.live.primaries:
        return
    ids = {view.my_id: name for name, view in picture.views.items()}
    believed: dict[int, Counter[str]] = {}
    for view in picture.views.values():
        for line in view.others:
            for slot in slots_in(line.slots):
                believed.setdefault(slot, Counter())[line.node_id] += 1
    owners = picture.live.owners
    neighbour = next((owners[slot] for slot in sorted(owners)), picture.live.primaries[0])
    found = []
    for slot in range(SLOT_COUNT):
        if slot in owners:
            neighbour = owners[slot]
            continue
        if slot in waiting:
            continue
        holders = [name for name in picture.live.primaries if picture.held.get(name, {}).get(slot)]
        most = [node_id for node_id, _ in believed.get(slot, Counter()).most_common(1)]
        said = next((ids[i] for i in most if i in ids and ids[i] in picture.live.primaries), None)
        lost_with = next((f"the former node {i[:8]}" for i in most if i not in ids), "") if not holders else ""
        best = max(holders, key=lambda name: (picture.held[name][slot], name), default=said or neighbour)
        found.append(((best, lost_with), slot))
    for (owner, lost_with), slots in _grouped(found):
        yield Unowned(owner, slots, picture.keys(owner, slots), lost_with or None)


def _disbelieved(picture: Picture) -> Iterator[Finding]:
    """Views of nodes that know the owner, but take another for it."""
    wrong: dict[str, tuple[set[int], set[str]]] = {}
    owned = {name: set(picture.live.slots_of(name)) for name in picture.live.primaries}
    for name, view in picture.views.items():
        for owner, slots in owned.items():
            line = view.knows(picture.views[owner].my_id)
            if owner == name or line is None:
                continue
            missing = slots - set(slots_in(line.slots)) - set(slots_in(view.slots if view.me.is_primary else ()))
            if missing:
                found, by = wrong.setdefault(owner, (set(), set()))
                found |= missing
                by.add(name)
    for owner, (slots, by) in sorted(wrong.items()):
        yield Disbelieved(owner, tuple(sorted(slots)), tuple(sorted(by)))


# Moves that were not ended


def half_moved(picture: Picture) -> dict[int, tuple[str, str]]:
    """Source and target of slots in mid-move: by their marks, or by the journal where a failover took the marks."""
    found = {o.slot: (o.source, o.target) for o in picture.live.opened}
    for move in picture.journal.opened if picture.journal else ():
        try:
            target = picture.live.heir(move.target)
        except ToolkitError:
            continue
        for slot in move.slots:
            owner = picture.live.owners.get(slot)
            if owner not in (None, target):
                found.setdefault(slot, (str(owner), target))
    return found


def _open(picture: Picture) -> Iterator[Finding]:
    halves = half_moved(picture)
    for (source, target), slots in _grouped((ends, slot) for slot, ends in halves.items()):
        yield Open(source, target, slots)
    stray = [((name,), slot) for name, slot in picture.live.marks if slot not in halves]
    for (name,), slots in _grouped(stray):
        yield Open(name, None, slots)


def _interrupted(picture: Picture) -> Iterator[Finding]:
    entry = picture.journal.entry if picture.journal else None
    if entry is not None:
        yield Interrupted(entry.by, entry.since, entry.goal)


def _orphans(picture: Picture) -> Iterator[Finding]:
    halves = half_moved(picture)
    found = []
    for name, held in picture.held.items():
        claimed = set(slots_in(picture.views[name].slots)) if name in picture.views else set()
        for slot in held:
            owner = picture.live.owners.get(slot)
            if owner not in (None, name) and slot not in claimed and halves.get(slot, ("", ""))[1] != name:
                found.append(((name, str(owner)), slot))
    for (name, owner), slots in _grouped(found):
        yield Orphans(name, owner, slots, picture.keys(name, slots))
