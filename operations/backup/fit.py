"""Which shard of a backup goes to which node of a running stack, and why it cannot. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from operations.backup.manifest import Manifest, ShardRecord
from operations.errors import CheckFailed
from operations.inventory import Inventory
from operations.observe import Observation
from operations.parse import format_slots

MEMORY_RESERVE = 1.1
"""A data set takes a little more than it took at the source: other allocator state, the replication backlog."""
READS_RDB_OF: Mapping[str, Mapping[str, tuple[int, int] | None]] = {
    "redis": {"redis": None},
    "valkey": {"valkey": None, "redis": (7, 2)},
}
"""Engine of the target -> engines whose RDB it reads, up to that version (None: its own)."""


class OtherShape(CheckFailed):
    """The target's shards are others than the backup's, so files cannot be taken as they are; see reshape.py."""


@dataclass(frozen=True)
class Fit:
    """`targets` maps the name of each primary to the shard that it gets; `reasons` say why there is no such mapping."""

    targets: Mapping[str, ShardRecord]
    reasons: tuple[str, ...] = ()
    other_shape: bool = False


def version_of(text: str) -> tuple[int, int]:
    """Major and minor of a version."""
    major, minor, *_ = (*text.split("."), "0", "0")
    return int(major), int(minor)


def engine_problem(manifest: Manifest, inventory: Inventory) -> str | None:
    """Why the target's engine cannot read the backup, or None."""
    name, version = inventory.engine.name, inventory.engine.version
    made = f"{manifest.engine} {manifest.version}"
    if manifest.engine not in READS_RDB_OF[name]:
        return f"the backup was made by {made}, which {name} {version} cannot read; restore it into a stack of {manifest.engine}"
    newest = READS_RDB_OF[name][manifest.engine] or version_of(version)
    if version_of(manifest.version) > newest:
        return (
            f"the backup was made by {made}, which is newer than what {name} {version} reads; "
            f"give the target engine.version {'.'.join(map(str, version_of(manifest.version)))} or later"
        )
    return None


def primaries_of(seen: Observation, inventory: Inventory) -> dict[str, tuple[tuple[int, int], ...]]:
    """The primaries of a stack with the slots that they serve (none outside a cluster)."""
    found = {}
    for node in inventory.data_nodes:
        state = seen.of(node.name)
        if state.is_primary and (inventory.topology != "cluster" or (state.cluster and state.cluster.slots)):
            found[node.name] = state.cluster.slots if state.cluster else ()
    return found


def fit(manifest: Manifest, seen: Observation, inventory: Inventory) -> Fit:
    """The same shape: every shard has a primary that serves exactly its slots, so that its file can be taken as it is."""
    primaries = primaries_of(seen, inventory)
    clustered = (manifest.topology == "cluster", inventory.topology == "cluster")
    if clustered[0] != clustered[1] or len(primaries) != len(manifest.shards):
        one = f"{manifest.topology} of {len(manifest.shards)}"
        other = f"{inventory.topology} of {len(primaries)}"
        return Fit({}, (f"the backup is a {one} and stack {inventory.stack} a {other} primaries",), other_shape=True)
    by_slots = {slots: name for name, slots in primaries.items()}
    missing = [shard for shard in manifest.shards if shard.slots not in by_slots] if clustered[0] else []
    if missing:
        words = "; ".join(f"no node serves exactly {format_slots(shard.slots)}" for shard in missing)
        return Fit(
            {}, (f"the slots of stack {inventory.stack} are shared out otherwise than in the backup: {words}",), other_shape=True
        )
    targets = {by_slots[shard.slots] if clustered[0] else next(iter(primaries)): shard for shard in manifest.shards}
    reasons = (*filter(None, [engine_problem(manifest, inventory)]), *_memory(targets, seen))
    return Fit(targets, reasons)


def _memory(targets: Mapping[str, ShardRecord], seen: Observation) -> Iterator[str]:
    for name, shard in targets.items():
        info = seen.of(name).info
        if info and info.maxmemory_bytes and shard.used_memory_bytes * MEMORY_RESERVE > info.maxmemory_bytes:
            yield (
                f"{name} has a maxmemory of {info.maxmemory_bytes / 1e6:.0f} MB and shard {shard.shard} took "
                f"{shard.used_memory_bytes / 1e6:.0f} MB at its source; raise memory.maxmemory of the target"
            )
