"""Which node of each shard is read: a replica in sync that heard of its primary lately, else the primary. Pure but for `look`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from operations.connect import Fleet, Link, Refused
from operations.errors import CheckFailed, ToolkitError, Unreachable
from operations.inventory import Inventory, NodeEntry
from operations.observe import cluster_view
from operations.parse import Replication, ServerInfo, Slots, info_fields, server_info, text, uncovered

LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Seen:
    """One node as it describes itself. `silent_seconds`: since a replica heard of its primary; `moving`: it has open slots."""

    info: ServerInfo
    slots: Slots
    silent_seconds: int
    moving: bool = False

    @property
    def link(self) -> Replication:
        return self.info.replication


@dataclass(frozen=True)
class Source:
    """The node that one shard is read from, and what it said of itself."""

    shard: int
    primary: NodeEntry
    node: NodeEntry
    role: Literal["primary", "replica"]
    slots: Slots
    lag_bytes: int
    keys: int
    used_memory_bytes: int


def look(fleet: Fleet, inventory: Inventory) -> dict[str, Seen | ToolkitError]:
    """Ask every data node who it is; the user `backup` may ask all of this."""

    def ask(link: Link) -> Seen:
        commands: list[list[str]] = [["INFO"]]
        if inventory.topology == "cluster":
            commands += [["CLUSTER", "MYID"], ["CLUSTER", "NODES"], ["CLUSTER", "INFO"]]
        answers = link.ask_all(commands)
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer
        words = [text(answer) for answer in answers]  # type: ignore[arg-type]
        fields = info_fields(words[0])
        view = cluster_view(words[1], words[2], words[3]) if len(words) > 1 else None
        return Seen(
            info=server_info(words[0]),
            slots=view.slots if view else (),
            silent_seconds=int(fields.get("master_last_io_seconds_ago", "0")),
            moving=bool(view and view.open_slots),
        )

    return fleet.each(ask, [node.name for node in inventory.data_nodes], LOOK_SECONDS)


def choose(
    seen: Mapping[str, Seen | ToolkitError], inventory: Inventory, prefer: Literal["replica", "primary"], max_lag_seconds: int
) -> tuple[Source, ...]:
    """One source per shard that serves anything, numbered from 1 in the order of their primaries.

    Raises Unreachable or CheckFailed naming the shards that cannot be read: a set without them would be worth nothing.
    """
    known = {name: one for name, one in seen.items() if isinstance(one, Seen)}
    primaries = [node for node in inventory.data_nodes if node.name in known and known[node.name].link.role == "primary"]
    serving = [node for node in primaries if known[node.name].slots] if inventory.topology == "cluster" else primaries
    taken = {node.shard for node in serving}
    missing = [shard for shard in inventory.shards if shard not in taken]
    if inventory.topology == "cluster":
        if uncovered(known[node.name].slots for node in serving):  # else others serve what was theirs
            _refuse_lost(missing, inventory, known, seen)
    elif len(primaries) != 1:
        names = ", ".join(node.name for node in primaries) or "none"
        raise CheckFailed(f"a backup needs one primary, and there are {len(primaries)} ({names}); see scripts/status.py")
    return tuple(
        _source(number, node, known, inventory, prefer, max_lag_seconds) for number, node in enumerate(_ordered(serving), start=1)
    )


def slot_map(seen: Mapping[str, Seen | ToolkitError]) -> tuple[Slots, ...]:
    """Which ranges are served together, whoever serves them. Raises CheckFailed while slots are on the move.

    A key that moves from a shard that is read later to one that was read already would be in neither snapshot.
    """
    known = {name: one for name, one in seen.items() if isinstance(one, Seen) and one.link.role == "primary"}
    if moving := sorted(name for name, one in known.items() if one.moving):
        raise CheckFailed(f"slots of {', '.join(moving)} are on the move; make a backup when that has ended (scripts/reshard.py)")
    return tuple(sorted(one.slots for one in known.values() if one.slots))


def _ordered(primaries: list[NodeEntry]) -> list[NodeEntry]:
    return sorted(primaries, key=lambda node: (node.shard, node.member))


def _refuse_lost(
    missing: list[int], inventory: Inventory, known: Mapping[str, Seen], seen: Mapping[str, Seen | ToolkitError]
) -> None:
    for shard in missing:
        members = [node for node in inventory.data_nodes if node.shard == shard]
        if all(node.name in known for node in members):
            continue  # it serves no slots: there is nothing to back up
        silent = next(node for node in members if node.name not in known)
        raise Unreachable(f"shard {shard} cannot be read, so there would be no whole backup: {seen.get(silent.name)}")


def _source(
    number: int, primary: NodeEntry, known: Mapping[str, Seen], inventory: Inventory, prefer: str, max_lag_seconds: int
) -> Source:
    head = known[primary.name]
    if head.info.persistence.loading:
        raise Unreachable(f"{primary.name} is still loading its data; try again when it has ended")
    followers = [
        node
        for node in inventory.data_nodes
        if node.name in known and _follows(known[node.name], primary) and _is_fit(known[node.name], max_lag_seconds)
    ]
    best = max(followers, key=lambda node: known[node.name].link.offset, default=None) if prefer == "replica" else None
    node = best or primary
    one = known[node.name]
    return Source(
        shard=number,
        primary=primary,
        node=node,
        role="replica" if best else "primary",
        slots=head.slots,
        lag_bytes=max(0, head.link.offset - one.link.offset) if best else 0,
        keys=one.info.keys,
        used_memory_bytes=one.info.used_memory_bytes,
    )


def _follows(seen: Seen, primary: NodeEntry) -> bool:
    return (seen.link.primary_address, seen.link.primary_port) == (primary.address, primary.port)


def _is_fit(seen: Seen, max_lag_seconds: int) -> bool:
    link = seen.link
    return (
        link.link_up
        and not link.sync_in_progress
        and not seen.info.persistence.loading
        and seen.silent_seconds <= max_lag_seconds
    )
