"""What a user promises about faults: the models, the policies that decide what can be promised, and the defaults.

Declared in a spec beside the topology, carried by the inventory, and judged by drills. `bound` stands for the formula of
`operations.bounds` plus slack, `any` for "measured only". Whether a spec's policy can meet its objectives is checked, with
reasons, where specs are validated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from operations.bounds import Bound, FaultKind, Timing, failover_bound, writable_when_cut_off

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Limit = Seconds | Literal["bound", "any"]
Budget = Seconds | Literal["any"]
Writes = Literal["plain", "wait-all"]


class Objectives(BaseModel):
    """What must hold when something fails, in seconds; what is not given is that which topology and policy can promise."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    writes: Writes | None = Field(
        None,
        description="how the application writes, and drills do likewise: plain, or wait-all (WAIT for every replica, its answer "
        "checked); default plain",
    )
    unavailable: Mapping[FaultKind, Limit] = Field(
        default_factory=dict,
        description="how long a shard that was hit may refuse writes, by kind of fault: seconds, bound or any",
    )
    others_unavailable: Budget | None = Field(
        None, description="longest gap between writes on shards that were not hit: seconds or any"
    )
    lost: Mapping[FaultKind, Budget] = Field(
        default_factory=dict,
        description="acknowledged writes that may be lost, by kind of fault: seconds of writes (0: not a single one) or any",
    )
    two_primaries: Limit | None = Field(
        None, description="how long two nodes of one shard may both acknowledge writes: seconds, bound or any"
    )
    redundancy: Budget | None = Field(None, description="time from heal until all replicas are in sync: seconds or any")

    def over(self, defaults: "Objectives") -> "Objectives":
        """These objectives, with `defaults` where nothing is said."""
        return Objectives(
            writes=self.writes or defaults.writes,
            unavailable={**defaults.unavailable, **self.unavailable},
            others_unavailable=self.others_unavailable if self.others_unavailable is not None else defaults.others_unavailable,
            lost={**defaults.lost, **self.lost},
            two_primaries=self.two_primaries if self.two_primaries is not None else defaults.two_primaries,
            redundancy=self.redundancy if self.redundancy is not None else defaults.redundancy,
        )


@dataclass(frozen=True)
class Policy:
    """What decides about promises. `lag` is the lag limit in seconds, or None where `min-replicas-to-write` is off; `least` is
    that number of replicas. `rdb`: snapshots are taken, also on a clean stop."""

    timing: Timing
    replicas: int
    aof: bool
    fsync: Literal["always", "everysec", "no"]
    lag: float | None
    least: int = 1
    rdb: bool = False
    full_coverage: bool = False
    writes: Writes = "plain"
    backup_age: float | None = None
    backup_return: float | None = None
    """Seconds that `backup.objectives` allows: the age of the newest backup, and the time until a restore accepts writes."""

    @property
    def fails_over(self) -> bool:
        """Whether a replica takes the place of a primary that is down, without anybody's doing."""
        return self.timing.topology in ("sentinel", "cluster") and self.replicas > 0

    def writes_without(self, away: int) -> bool:
        """Whether writes are acknowledged while so many of a shard's nodes are away (and one of the others is primary)."""
        if self.writes == "wait-all":
            return away == 0
        return self.replicas - away >= (self.least if self.lag is not None else 0)

    def takes_over(self, kind: FaultKind) -> bool:
        """Whether writes go on in another place after that fault, while the nodes that were hit are still away.

        In a split the primary has at least one replica on its side.
        """
        return self.fails_over and self.writes_without(2 if kind == "split" else 1)

    def failover(self, kind: FaultKind) -> Bound | None:
        """The formula for that fault, or None where writes do not come back by themselves."""
        return failover_bound(self.timing, kind) if self.takes_over(kind) else None

    @property
    def cut_off(self) -> float | None:
        """So long a primary that is cut off with its clients may go on acknowledging, at most; None: nothing stops it."""
        return writable_when_cut_off(self.lag, self.timing)

    @property
    def split_off(self) -> float | None:
        """The same when a replica is on its side, which goes on confirming: a lag limit is no help."""
        return writable_when_cut_off(None, self.timing)

    @property
    def in_flight(self) -> float:
        """Writes that a failover can lose because they had not left the primary, in seconds of writes."""
        return REPLICATION_IN_FLIGHT if self.fails_over and self.writes == "plain" else 0.0

    @property
    def kill_costs(self) -> Budget:
        """What a server that is killed and comes back with its own data has lost."""
        if not self.aof:
            return "any"
        return EVERYSEC if self.fsync == "everysec" else 0.0

    @property
    def power_costs(self) -> Budget:
        """What a server whose machine lost power and that comes back with its own data has lost."""
        if not self.aof or self.fsync == "no":
            return "any"
        return EVERYSEC if self.fsync == "everysec" else 0.0


REPLICATION_IN_FLIGHT = 1.0
"""Replication is asynchronous: what a primary acknowledged in its last moments may not have left it."""
EVERYSEC = 2.0
"""`appendfsync everysec` syncs once per second, and lets a slow disk delay that by one more.

While a sync runs, the server keeps new writes in its own memory for up to 2 s instead of handing them to the kernel
(`flushAppendOnlyFile`), and acknowledges them all the same: even a mere SIGKILL can cost them. With `always` and `no` nothing
waits there."""
OTHERS_SECONDS = 0.3
FULL_COVERAGE_SECONDS = 1.3
"""`cluster-require-full-coverage`: the other shards stop from the detection of a failure until the failover, 0.8 to 1.3 s
measured."""
REDUNDANCY_SECONDS = 60.0


def default_objectives(policy: Policy) -> Objectives:
    """What each topology and policy can promise. Nothing takes over on standalone and plain replication: measured only.

    A lag limit is no help in a split (the replica on the old primary's side goes on confirming), and keeps the new primary from
    accepting writes while its other replicas are on the far side: safety bought with writes.
    """
    fails_over, cluster = policy.fails_over, policy.timing.topology == "cluster"

    def failover(kind: FaultKind) -> Limit:
        return "bound" if policy.failover(kind) is not None else "any"

    unavailable: dict[FaultKind, Limit] = {
        "crash": failover("crash"), "hang": failover("hang"), "partition": failover("partition"), "split": failover("split"),
        "power-loss": failover("power-loss"), "restart": "any",
        "stop": (0.5 if cluster else 2.5) if policy.takes_over("stop") else "any",
        "switchover": (0.25 if cluster else 2.0) if policy.replicas and policy.writes_without(1) else "any",
        "replica": OTHERS_SECONDS if policy.replicas and policy.lag is None and policy.writes_without(1) else "any",
        "quorum": "any", "disk": "any", "slow": "any",
        "data-loss": policy.backup_return if policy.backup_return is not None else "any",
    }  # fmt: skip
    in_flight, killed, durable = policy.in_flight, policy.kill_costs, policy.power_costs
    waits = policy.writes == "wait-all"
    cut_off = 0.0 if waits else policy.cut_off
    kept_on_stop = policy.aof or policy.rdb or policy.replicas
    lost: dict[FaultKind, Budget] = {
        "crash": in_flight if fails_over else killed, "hang": in_flight,
        "partition": (cut_off if cut_off is not None else "any") if fails_over else 0.0,
        "split": "any" if fails_over and not waits else 0.0,
        "power-loss": max(durable, in_flight) if durable != "any" else "any",
        "restart": killed, "stop": 0.0 if kept_on_stop else "any", "switchover": 0.0, "replica": 0.0,
        "quorum": in_flight, "disk": 0.0, "slow": in_flight,
        "data-loss": policy.backup_age if policy.backup_age is not None else "any",
    }  # fmt: skip
    return Objectives(
        writes=policy.writes,
        unavailable=unavailable,
        others_unavailable="any" if policy.full_coverage else OTHERS_SECONDS,
        lost=lost,
        two_primaries=("bound" if policy.cut_off is not None else "any") if fails_over else 0.0,
        redundancy=REDUNDANCY_SECONDS,
    )
