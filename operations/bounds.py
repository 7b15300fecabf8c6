"""How long a failover may take: formulas, so that "within the bound" means something. All times in seconds.

Source: `clusterCron` and `clusterHandleSlaveFailover` for Cluster, measurements for Sentinel (docs/guide/drills.md has both).
A bound covers the window that clients see: from the first refused to the first acknowledged write of the shard.
"""

from dataclasses import dataclass
from typing import Literal

FaultKind = Literal[
    "crash",
    "hang",
    "partition",
    "split",
    "power-loss",
    "restart",
    "stop",
    "switchover",
    "replica",
    "quorum",
    "disk",
    "slow",
    "data-loss",
]
"""What is done to a shard, as far as its window is concerned.

`crash`: the server dies and stays away. `hang`: it stops answering. `partition`: it is cut off. `split`: it is cut off together
with replicas, which go on confirming. `power-loss`: its machine is gone, so it falls silent and loses what was not synced.
`restart`: it dies and comes back by itself. `stop`: it is told to stop and hands over. `switchover`: a planned change of primary.
`replica`: a replica fails.
`quorum`: too many voters fail, so nobody takes over. `disk`, `slow`: it goes on, worse.
`data-loss`: all copies of its data are gone, and a backup brings them back.
"""

SLACK = 0.10
"""Share added to every upper bound: timers of clients and servers do not tick together."""
RANDOM_DELAY = 0.5
"""Cluster: a replica waits a fixed and a random part, up to this each, before it asks for votes."""
SENTINEL_KILL_EXTRA = 2.3
SENTINEL_HANG_EXTRA = 3.3
RETRY_FLOOR = 2.0


@dataclass(frozen=True)
class Bound:
    """A window from `low` to `high` seconds; `formula` says where the upper end comes from, before slack."""

    low: float
    high: float
    formula: str

    @property
    def with_slack(self) -> float:
        return self.high * (1 + SLACK)


@dataclass(frozen=True)
class Timing:
    """What the formulas need to know of a stack. `node_timeout` is Cluster's, `down_after` is Sentinel's."""

    topology: Literal["standalone", "replication", "sentinel", "cluster"]
    engine: Literal["redis", "valkey"] = "redis"
    engine_major: int = 8
    node_timeout: float | None = None
    down_after: float | None = None


def election_delay(timing: Timing) -> float:
    """The fixed part, and the most of the random part, of a replica's wait before it asks for votes.

    Valkey 9 scales it with the node timeout: min(500 ms, node timeout / 30) [valkey PR 2449].
    """
    if timing.engine == "valkey" and timing.engine_major >= 9 and timing.node_timeout is not None:
        return min(RANDOM_DELAY, timing.node_timeout / 30)
    return RANDOM_DELAY


def failover_bound(timing: Timing, kind: FaultKind) -> Bound | None:
    """The window that a failover may take, or None where nothing takes over by itself.

    Cluster with node timeout NT: detection takes up to 1.5 NT, gossip up to NT / 2 more, the election a fixed and a random delay
    and 0.1. That holds for a crash as well: the network of a container goes with its last process, so nobody is left to reset
    connections, and to its peers it is a machine that fell silent (docs/decisions/0025).
    Sentinel with down-after D: up to D + 2.3 after a crash, else D + 3.3.
    A first election that fails is not covered: it is tried again after `election_retry`.
    """
    if kind not in ("crash", "power-loss", "hang", "partition", "split"):
        return None
    if timing.topology == "cluster" and timing.node_timeout is not None:
        node_timeout, delay = timing.node_timeout, election_delay(timing)
        extra = 0.3 + 2 * delay
        return Bound(node_timeout + delay, 2 * node_timeout + extra, f"2 × node timeout + {extra:.2g} s")
    if timing.topology == "sentinel" and timing.down_after is not None:
        extra = SENTINEL_KILL_EXTRA if kind == "crash" else SENTINEL_HANG_EXTRA
        return Bound(timing.down_after, timing.down_after + extra, f"down-after + {extra} s")
    return None


def election_retry(timing: Timing) -> float | None:
    """After a failed election a cluster's replica tries again no sooner than this."""
    return None if timing.node_timeout is None else 2 * max(2 * timing.node_timeout, RETRY_FLOOR)


def writable_when_cut_off(lag_seconds: float | None, timing: Timing) -> float | None:
    """How long a cut-off primary may go on acknowledging writes: lag + 2 s under `min-replicas-to-write`.

    Cluster: a primary that does not hear from the majority stops by itself once it notices, which takes as long as the detection
    of a hang, 1.5 node timeouts (measured at node timeout 2 s: 2.8 s). Else nothing stops it (None).
    """
    limits = []
    if lag_seconds is not None:
        limits.append(lag_seconds + 2)
    if timing.topology == "cluster" and timing.node_timeout is not None:
        limits.append(1.5 * timing.node_timeout + 0.5)
    return min(limits) if limits else None
