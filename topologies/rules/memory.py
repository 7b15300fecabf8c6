"""Room for the data, the backlog, snapshots under writes, and all nodes together; what goes when it is full."""

from collections.abc import Iterator

from operations.sizes import MIB, format_bytes, write_bytes
from topologies.plan import SENTINEL_MEMORY_BYTES, data_memory_limit_bytes
from topologies.rules.ruling import Ruling, refuse, warn
from topologies.spec import Spec

LEAST_MAXMEMORY_BYTES = 16 * MIB
"""An empty server uses about 1 MB, links of a cluster and clients some more."""
SMALL_BACKLOG_BYTES = 16 * MIB
LEAST_HEADROOM, CALM_HEADROOM = 0.1, 0.5


def memory(spec: Spec) -> Iterator[Ruling]:
    """Room for the data, the backlog, and snapshots under writes."""
    memory, backlog = spec.memory, spec.replication.backlog
    size = write_bytes(memory.maxmemory)
    if memory.maxmemory < LEAST_MAXMEMORY_BYTES:
        why = "which to the server means no limit" if memory.maxmemory == 0 else "which is too little for a server and its links"
        yield refuse("memory.maxmemory", size, why, f"use {write_bytes(LEAST_MAXMEMORY_BYTES)} or more")
    elif spec.replica_count and backlog > memory.maxmemory // 2:
        yield refuse(
            "replication.backlog",
            write_bytes(backlog),
            f"but counts against memory.maxmemory {size}, so little is left for data",
            f"use {write_bytes(memory.maxmemory // 4)} or less, or more memory.maxmemory",
            "memory.maxmemory",
            "replicas",
        )
    elif spec.replica_count and backlog > memory.maxmemory // 4:
        yield warn(
            "replication.backlog",
            write_bytes(backlog),
            f"and counts against memory.maxmemory {size}",
            f"use {write_bytes(memory.maxmemory // 4)} or less, or more memory.maxmemory",
            "memory.maxmemory",
            "replicas",
        )
    if spec.replica_count and backlog < SMALL_BACKLOG_BYTES:
        yield warn(
            "replication.backlog",
            write_bytes(backlog),
            "so a short outage of a replica under writes ends in a full copy",
            "use write rate x tolerated outage, for example 64mb for a minute at 1 MB/s",
            "replicas",
        )
    yield from _replica_buffer(spec)
    headroom, forks = memory.copy_on_write_headroom, spec.persistence.policy != "none" or spec.replica_count > 0
    if forks and headroom < CALM_HEADROOM:
        judge, why = (refuse, "but") if headroom < LEAST_HEADROOM else (warn, "and")
        yield judge(
            "memory.copy_on_write_headroom",
            headroom,
            f"{why} a snapshot under writes needed 61 % of maxmemory, then the container is killed for its memory",
            "use 0.6 or more",
            "persistence.policy",
            "replicas",
        )


def _replica_buffer(spec: Spec) -> Iterator[Ruling]:
    path, buffer, backlog = "replication.replica_buffer", spec.replication.replica_buffer, spec.replication.backlog
    if not spec.replica_count:
        return
    if not buffer:
        remedy = f"use {write_bytes(backlog)} or more"
        yield refuse(path, 0, "which to the server means no limit, so one slow replica can fill the memory", remedy, "replicas")
    elif buffer < backlog:
        yield warn(
            path,
            write_bytes(buffer),
            f"but the server takes at least the backlog of {write_bytes(backlog)}",
            f"use {write_bytes(backlog)} or more",
            "replication.backlog",
            "replicas",
        )


def total_memory(spec: Spec, machine_memory_bytes: int | None) -> Iterator[Ruling]:
    """The sum of all containers' limits against what the machine has, when that is known."""
    each = data_memory_limit_bytes(spec)
    total = each * spec.shard_count * (spec.replica_count + 1 + spec.change.surge) + SENTINEL_MEMORY_BYTES * spec.sentinel_count
    if machine_memory_bytes and total > machine_memory_bytes:
        yield warn(
            "memory.maxmemory",
            write_bytes(spec.memory.maxmemory),
            f"which makes {format_bytes(each)} per node and {format_bytes(total)} in all, "
            f"but the machine has {format_bytes(machine_memory_bytes)}",
            "use less memory, or fewer nodes",
            "shards",
            "replicas",
        )


def eviction(spec: Spec) -> Iterator[Ruling]:
    eviction, policy = spec.memory.eviction, spec.persistence.policy
    if eviction.startswith("volatile-"):
        yield warn(
            "memory.eviction",
            eviction,
            "so keys without expiry are never evicted, and writes are refused when only those are left",
            "use it where every key has an expiry, else allkeys-lru or noeviction",
        )
    elif eviction == "noeviction" and policy == "none":
        yield warn(
            "memory.eviction", eviction, "so a full cache refuses writes", "use allkeys-lru for a cache", "persistence.policy"
        )
    elif eviction != "noeviction" and spec.uses_aof:
        yield warn(
            "memory.eviction",
            eviction,
            f"so acknowledged writes go when memory is full, whatever persistence.policy {policy} keeps",
            "use noeviction for data that must stay, or persistence.policy none for a cache",
            "persistence.policy",
        )
