"""Who takes over when, who comes back with what, and which writes are acknowledged meanwhile."""

from collections.abc import Iterator

from operations.sizes import write_bytes
from topologies.rules.ruling import Ruling, counted, refuse, warn
from topologies.spec import Spec

LEAST_TIMEOUT_SECONDS = 0.5
CALM_TIMEOUT_SECONDS = 2
STOP_SECONDS = 21
"""Handover 6, shutdown-timeout 10, margin 5; saving comes on top."""
SAVE_BYTES_PER_SECOND = 100e6
"""A slow disk; 250 MB/s were measured."""


def coming_back(spec: Spec) -> Iterator[Ruling]:
    """Restart policy against persistence: who comes back empty before somebody took over empties its replicas."""
    policy = spec.persistence.policy
    fails_over = spec.topology in ("sentinel", "cluster") and spec.replica_count > 0
    if spec.restart == "immediate" and not spec.uses_aof and spec.replica_count:
        others = "after-failover or never" if fails_over else "never"
        yield refuse(
            "restart",
            spec.restart,
            f"but with persistence.policy {policy} a primary comes back without its last writes and its replicas copy that",
            f"use {others}, or persistence.policy aof or both",
            "persistence.policy",
            "replicas",
            "topology",
        )
    if spec.restart == "after-failover" and not fails_over:
        why = (
            f"a {spec.topology} topology never fails over by itself"
            if spec.replica_count
            else "there is no replica that could take over"
        )
        safe = "immediate or never" if spec.uses_aof or not spec.replica_count else "never"
        yield refuse(
            "restart",
            spec.restart,
            f"but {why}",
            f"use {safe}",
            "topology",
            "replicas",
        )


def stopping(spec: Spec) -> Iterator[Ruling]:
    """Save points, and time enough to save on a clean stop."""
    policy = spec.persistence.policy
    if spec.uses_rdb and not spec.persistence.rdb.save:
        yield refuse(
            "persistence.rdb.save",
            [],
            f"but persistence.policy {policy} takes snapshots at save points",
            "give at least one, for example [[3600, 1]]",
            "persistence.policy",
        )
    save = spec.memory.maxmemory / SAVE_BYTES_PER_SECOND if spec.uses_rdb else 0
    needed = int(STOP_SECONDS + save) + 1
    if needed > spec.limits.stop_timeout_seconds:
        yield warn(
            "limits.stop_timeout_seconds",
            spec.limits.stop_timeout_seconds,
            f"but handing over and saving {write_bytes(spec.memory.maxmemory)} can take {needed} s, then the server is killed",
            f"use {needed} or more",
            "memory.maxmemory",
            "persistence.policy",
        )


def lag_limits(spec: Spec) -> Iterator[Ruling]:
    """When a primary that has lost its replicas stops acknowledging writes."""
    replication, replicas = spec.replication, spec.replica_count
    least, lag = replication.min_replicas_to_write, replication.max_lag_seconds
    path, lag_path = "replication.min_replicas_to_write", "replication.max_lag_seconds"
    if least > replicas:
        have = f"has only {counted(replicas, 'replica')}" if replicas else "has no replicas"
        yield refuse(
            path,
            least,
            f"but each primary {have}, so it would refuse every write",
            f"use 0 to {replicas}" if replicas else "use 0",
            "replicas",
            "topology",
        )
    elif least and least == replicas:
        yield warn(
            path,
            least,
            f"and each primary has {counted(replicas, 'replica')}, so writes stop whenever one of them is away",
            f"use {least - 1}, or more replicas",
            "replicas",
        )
    if spec.topology == "sentinel" and not least and replicas:
        yield warn(
            path,
            least,
            "so a primary that is cut off goes on acknowledging writes that the failover loses (5,422 in 15 s measured)",
            "use 1" if replicas > 1 else "use 2 replicas, and 1 here",
            "topology",
            "replicas",
        )
    if not least and "max_lag_seconds" in replication.model_fields_set:
        yield warn(lag_path, lag, f"but has no effect while {path} is 0", f"remove it, or use {path} 1 or more", path)
    if least and lag == 1:
        yield warn(lag_path, lag, "but replicas report once a second, so a short stall refuses writes", "use 2 or more", path)
    if least and spec.topology == "sentinel" and lag > max(spec.sentinel.down_after_seconds, 2):
        yield warn(
            lag_path,
            lag,
            f"but others take over after {spec.sentinel.down_after_seconds:g} s, and what is acknowledged from then on is lost",
            f"use {max(2, int(spec.sentinel.down_after_seconds))} or less",
            "sentinel.down_after_seconds",
            path,
        )
    delay = replication.diskless_sync_delay_seconds
    if delay and replicas == 1:
        yield warn(
            "replication.diskless_sync_delay_seconds",
            delay,
            "but each primary has one replica, so a full copy waits for nobody",
            "use 0",
            "replicas",
        )


def _timeouts(path: str, seconds: float) -> Iterator[Ruling]:
    if seconds < LEAST_TIMEOUT_SECONDS:
        yield refuse(
            path,
            seconds,
            "but nodes talk to each other only a few times a second, so healthy ones would be taken for dead",
            f"use {LEAST_TIMEOUT_SECONDS:g} or more",
        )
    elif seconds < CALM_TIMEOUT_SECONDS:
        yield warn(
            path, seconds, "so a slow command or a busy machine can start a failover", f"use {CALM_TIMEOUT_SECONDS} or more"
        )


def sentinels(spec: Spec) -> Iterator[Ruling]:
    """Numbers and times of the sentinels."""
    if spec.topology != "sentinel":
        return
    sentinel = spec.sentinel
    count, quorum, majority = sentinel.count, sentinel.quorum, sentinel.count // 2 + 1
    if quorum > count:
        exist = "1 sentinel exists" if count == 1 else f"{count} sentinels exist"
        remedy = f"use 1 to {count}" if count > 1 else "use 1"
        yield refuse("sentinel.quorum", quorum, f"but only {exist}", remedy, "sentinel.count")
    elif quorum < majority:
        few = "a single sentinel" if quorum == 1 else f"{quorum} of {count} sentinels"
        yield warn(
            "sentinel.quorum",
            quorum,
            f"so {few} that cannot reach the primary can start a failover of a healthy one",
            f"use {majority}",
            "sentinel.count",
        )
    if count < 3:
        yield warn("sentinel.count", count, "but a failover needs a majority of all sentinels, so none may be down", "use 3 or 5")
    elif count % 2 == 0:
        yield warn("sentinel.count", count, f"but tolerates no more failures than {count - 1}", f"use {count - 1} or {count + 1}")
    yield from _timeouts("sentinel.down_after_seconds", sentinel.down_after_seconds)
    if sentinel.failover_timeout_seconds < 2 * sentinel.down_after_seconds:
        yield warn(
            "sentinel.failover_timeout_seconds",
            sentinel.failover_timeout_seconds,
            f"but it takes {sentinel.down_after_seconds:g} s to notice a failure, so a failover may be given up half-way",
            f"use {int(2 * sentinel.down_after_seconds + 0.999)} or more",
            "sentinel.down_after_seconds",
        )


def cluster(spec: Spec) -> Iterator[Ruling]:
    if spec.topology != "cluster":
        return
    yield from _timeouts("cluster.node_timeout_seconds", spec.cluster.node_timeout_seconds)
    if spec.cluster.full_coverage:
        yield warn(
            "cluster.full_coverage",
            True,
            "so one shard that is down stops all others too (0.8 to 1.3 s per failover measured)",
            "use false, unless half of the keys are worse than none",
        )
