"""Targets of faults as words: `primary`, `replica`, `primary of shard 2`, `shard`, `one of sentinels`, `majority of primaries`,
`all`."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operations.errors import UsageError
from operations.inventory import Inventory, NodeEntry

GRAMMAR = (
    "primary, replica, primary of shard N, replica of shard N, shard, all, primaries, replicas, sentinels, voters, nodes, "
    "or one / minority / majority / all of one of these groups"
)
_OF_SHARD = re.compile(r"^(primary|replica)[ -]of[ -]shard[ -](\d+)$")
_SHARE_OF = re.compile(r"^(one|minority|majority|all) of (primaries|replicas|sentinels|voters|nodes)$")
_GROUPS = ("primaries", "replicas", "sentinels", "voters", "nodes")


@dataclass(frozen=True)
class Roles:
    """Who is what at this moment: primary per shard."""

    inventory: Inventory
    primaries: Mapping[int, str]

    def group(self, word: str) -> list[NodeEntry]:
        """All nodes of a group, in the order of the inventory; voters are those who elect a new primary."""
        if word == "voters":
            word = "sentinels" if self.inventory.sentinels else "primaries"
        if word == "sentinels":
            return list(self.inventory.sentinels)
        if word == "nodes":
            return list(self.inventory.nodes)
        named = set(self.primaries.values())
        return [node for node in self.inventory.data_nodes if (node.name in named) == (word == "primaries")]

    def of_shard(self, word: str, shard: int) -> list[NodeEntry]:
        """The primary, or the replicas, of one shard."""
        primary = self.primaries.get(shard)
        nodes = [node for node in self.inventory.data_nodes if node.shard == shard]
        return [node for node in nodes if (node.name == primary) == (word == "primary")]


def resolve(word: str, roles: Roles, chance: random.Random) -> tuple[NodeEntry, ...]:
    """The nodes that a word means now; where it leaves a choice, `chance` decides. Raises UsageError."""
    text = " ".join(word.split())
    if text == "all":
        text = "all of nodes"
    found: Sequence[NodeEntry]
    if text in ("primary", "replica"):
        shard = chance.choice(sorted(roles.primaries)) if roles.primaries else 1
        found = roles.of_shard(text, shard)
        found = [chance.choice(list(found))] if found else []
    elif text == "shard":
        number = chance.choice(roles.inventory.shards)
        found = [node for node in roles.inventory.data_nodes if node.shard == number]
    elif match := _OF_SHARD.match(text):
        found = roles.of_shard(match[1], int(match[2]))[:1]
    elif text in _GROUPS:
        found = roles.group(text)
    elif match := _SHARE_OF.match(text):
        group = roles.group(match[2])
        majority = len(group) // 2 + 1
        count = {"one": 1, "minority": len(group) - majority, "majority": majority, "all": len(group)}[match[1]]
        found = chance.sample(group, min(count, len(group)))
    else:
        raise UsageError(f"{word!r} is no target; use {GRAMMAR}")
    if not found:
        raise UsageError(f"stack {roles.inventory.stack} has no {text}")
    return tuple(found)
