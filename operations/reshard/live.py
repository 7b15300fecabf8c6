"""The cluster as it is now, as a move needs it: who owns which slot, what stands open, what slots hold, which way they move.

A shard is named by its present primary. Plans and journals name primaries too; when one was replaced by a failover since,
`Live.heir` tells who took its place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from operations.connect import Command, Fleet, Refused
from operations.errors import CheckFailed, InvalidInput, ToolkitError, Unreachable
from operations.inventory import Access, Inventory
from operations.observe import ClusterView, Observation, look
from operations.parse import SLOT_COUNT, format_slots
from operations.reshard.plan import Headroom, Size, ranges_of, slots_in
from operations.reshard.wire import KeyLink, worked

Way = Literal["keys", "valkey", "redis"]
"""How slots move: key by key (MIGRATE), or as a whole by Valkey's or Redis's own migration."""

REPLICATION_USER = "replication"
WRITTEN_BY_SOURCES: tuple[Command, ...] = (
    ("CLUSTER", "SYNCSLOTS", "ESTABLISH"),
    ("SELECT", "0"),
    ("SET", "key", "value"),
    ("MULTI",),
    ("EXEC",),
)
"""What a source sends to a target when Valkey moves slots, one of each kind."""

SURVEY_SLOTS = 256
"""Slots in one question; the server answers nobody else meanwhile, about a millisecond."""
SAMPLES = 3
SURVEY = f"""
local found = {{}}
for _, slot in ipairs(ARGV) do
  local count, bytes, seen = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot), 0, 0
  if count > 0 then
    for _, key in ipairs(redis.call('CLUSTER', 'GETKEYSINSLOT', slot, {SAMPLES})) do
      local size = redis.call('MEMORY', 'USAGE', key)
      if size then bytes = bytes + size; seen = seen + 1 end
    end
  end
  found[#found + 1] = count
  found[#found + 1] = seen > 0 and math.floor(bytes / seen * count) or 0
end
return found
"""


@dataclass(frozen=True)
class Opened:
    """A slot between two shards, from whoever reports it: both ends where they are known."""

    slot: int
    source: str
    target: str


@dataclass(frozen=True)
class Live:
    """One look at the cluster. `owners` maps slot to primary; `doubled` are slots that two primaries claim; `followed` tells whom
    nodes followed when they were last seen as replicas, for who looks more than once."""

    inventory: Inventory
    observation: Observation
    owners: Mapping[int, str]
    doubled: frozenset[int]
    opened: tuple[Opened, ...]
    marks: tuple[tuple[str, int], ...] = field(default=())
    """Node and slot of every open mark, also of those that lead nowhere."""
    followed: Mapping[str, str] = field(default_factory=dict)

    @property
    def primaries(self) -> tuple[str, ...]:
        """Names of the primaries that answer, in the order of the inventory."""
        return tuple(n.name for n in self.inventory.data_nodes if (v := self._view(n.name)) and v.me.is_primary)

    @property
    def uncovered(self) -> int:
        return SLOT_COUNT - len(self.owners)

    def slots_of(self, primary: str) -> list[int]:
        return [slot for slot, owner in self.owners.items() if owner == primary]

    def node_id(self, name: str) -> str:
        """The cluster's id of a node that answers; raises Unreachable."""
        view = self._view(name)
        if view is None:
            raise Unreachable(f"{name} does not answer: {self.observation.of(name).problem or 'its cluster state is unknown'}")
        return view.my_id

    def heir(self, name: str) -> str:
        """The present primary in the place of `name`: itself, whom it follows now, or who took over from it: who followed it, of
        whatever shard that node was made, or where that is not known, its mate.

        Raises Unreachable when nobody has (yet).
        """
        view = self._view(name)
        if view is not None and view.me.is_primary:
            return name
        if view is not None and view.me.primary_id and (primary := self.name_of(view.me.primary_id)):
            followed = self._view(primary)
            if followed is not None and followed.me.is_primary:
                return primary
        former = [primary for primary in self.primaries if self.followed.get(primary) == name]
        if len(former) == 1 and view is None:
            return former[0]
        shard = self.inventory.node(name).shard
        mates = [p for p in self.primaries if self.inventory.node(p).shard == shard and p != name]
        if len(mates) == 1 and view is None:
            return mates[0]
        raise Unreachable(f"nobody serves in the place of {name} now")

    def name_of(self, node_id: str) -> str | None:
        """The name of the node with this id, also when it is down and others still list it."""
        for node in self.observation.nodes:
            if node.cluster and node.cluster.my_id == node_id:
                return node.name
        for node in self.observation.nodes:
            line = node.cluster.knows(node_id) if node.cluster else None
            entry = self.inventory.at(line.address, line.port) if line else None
            if entry:
                return entry.name
        return None

    def memory(self) -> dict[str, Headroom]:
        return {
            name: Headroom(info.used_memory_bytes, info.maxmemory_bytes)
            for name in self.primaries
            if (info := self.observation.of(name).info)
        }

    def replicas_of(self, primary: str) -> tuple[str, ...]:
        node_id = self.node_id(primary)
        return tuple(
            n.name for n in self.inventory.data_nodes if (v := self._view(n.name)) is not None and v.me.primary_id == node_id
        )

    def following(self) -> dict[str, str]:
        """Whom each replica that answers follows, by name."""
        return {replica: primary for primary in self.primaries for replica in self.replicas_of(primary)}

    def _view(self, name: str) -> ClusterView | None:
        return self.observation.of(name).cluster


def read_live(fleet: Fleet, inventory: Inventory) -> Live:
    """Look once; raises InvalidInput when the stack is no cluster."""
    if inventory.topology != "cluster":
        raise InvalidInput(f"stack {inventory.stack} is of topology {inventory.topology}: only a cluster has slots to move")
    return live_of(look(fleet, inventory), inventory)


def live_of(observation: Observation, inventory: Inventory) -> Live:
    """What an observation says about slots. Pure. Of two claims the one with the higher epoch counts, as in the cluster."""
    views = {n.name: v for n in inventory.data_nodes if (v := observation.of(n.name).cluster) is not None}
    names = {view.my_id: name for name, view in views.items()}
    owners: dict[int, str] = {}
    doubled: set[int] = set()
    for name, view in sorted(views.items(), key=lambda item: item[1].me.config_epoch):
        if view.me.is_primary:
            for slot in slots_in(view.slots):
                if slot in owners:
                    doubled.add(slot)
                owners[slot] = name
    bare = Live(inventory, observation, owners, frozenset(doubled), ())
    opened: dict[int, Opened] = {}
    marks = []
    for name, view in views.items():
        for mark in view.open_slots if view.me.is_primary else ():
            marks.append((name, mark.slot))
            other = names.get(mark.other) or bare.name_of(mark.other)
            owner = owners.get(mark.slot)
            if mark.state == "migrating" and owner == name and other:
                opened[mark.slot] = Opened(mark.slot, name, other)
            elif mark.state == "importing" and owner not in (None, name) and mark.slot not in opened:
                opened[mark.slot] = Opened(mark.slot, str(owner), name)
    return Live(inventory, observation, owners, frozenset(doubled), tuple(opened.values()), tuple(marks))


def require_whole(live: Live) -> None:
    """Raise CheckFailed or Unreachable unless every slot is served by exactly one primary that answers."""
    stack = live.inventory.stack
    if live.uncovered:
        gaps = format_slots(ranges_of(set(range(SLOT_COUNT)) - set(live.owners)))
        raise Unreachable(
            f"slots {gaps} of stack {stack} are served by no primary that answers; look with scripts/repair.py --dry-run"
        )
    if live.doubled:
        raise CheckFailed(
            f"slots {format_slots(ranges_of(live.doubled))} of stack {stack} are claimed by two primaries; nothing was moved. "
            f"Run `scripts/repair.py --stack {stack} --dry-run`"
        )


def survey(access: Access, live: Live, slots: Iterable[int] | None = None) -> dict[int, Size]:
    """Keys and estimated bytes of slots, asked of their owners; `slots` None means all. Samples a few keys of each slot."""
    wanted = set(live.owners) if slots is None else set(slots)
    sizes: dict[int, Size] = {}
    for name in live.primaries:
        own = sorted(wanted.intersection(live.slots_of(name)))
        if not own:
            continue
        link = KeyLink(access, access.inventory.node(name))
        try:
            link.ensure_ours()
            for start in range(0, len(own), SURVEY_SLOTS):
                part = own[start : start + SURVEY_SLOTS]
                found: Any = worked(link.raw([("EVAL", SURVEY, 0, *part)])[0])
                sizes.update({slot: Size(found[2 * i], found[2 * i + 1]) for i, slot in enumerate(part)})
        finally:
            link.close()
    return sizes


def way_of(fleet: Fleet, live: Live) -> Way:
    """How this cluster moves slots best: all primaries are asked which commands they have.

    Valkey's sources log in to the target as the user of replication and write there as such. Where that user may not, as in
    stacks of earlier releases, slots move key by key.
    """
    commands: tuple[Command, ...] = (
        ("COMMAND", "INFO", "cluster|migrateslots"),
        ("COMMAND", "INFO", "cluster|migration"),
        *(("ACL", "DRYRUN", REPLICATION_USER, *command) for command in WRITTEN_BY_SOURCES),
    )
    answers = list(fleet.each(lambda link: link.ask_all(commands), live.primaries).values())
    if all(not isinstance(answer, ToolkitError) and _has(answer[0]) for answer in answers):
        allowed = all(not isinstance(answer, ToolkitError) and set(map(str, answer[2:])) == {"OK"} for answer in answers)
        return "valkey" if allowed else "keys"
    if all(not isinstance(answer, ToolkitError) and _has(answer[1]) for answer in answers):
        return "redis"
    return "keys"


def _has(reply: object) -> bool:
    return not isinstance(reply, Refused) and isinstance(reply, list) and bool(reply) and bool(reply[0])
