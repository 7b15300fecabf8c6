"""What the user promised, compared with what was measured.

The models here read the field `objectives` of a spec as plain data (the inventory carries it); validation against the
policy, with reasons, happens where specs are validated. `bound` stands for the formula of `drills.bounds` plus slack, `any`
for "measure only".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drills.bounds import FaultKind, Timing, failover_bound, writable_when_cut_off
from drills.checkers.base import Verdict
from operations.errors import InvalidInput
from operations.inventory import Inventory

Seconds = Annotated[float, Field(ge=0)]
Limit = Seconds | Literal["bound", "any"]
Budget = Seconds | Literal["any"]


class Objectives(BaseModel):
    """Everything in seconds. What is not given falls back to the defaults of the topology and its policies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unavailable: Mapping[FaultKind, Limit] = Field(
        default_factory=dict, description="how long a shard that was hit may refuse writes, by kind of fault"
    )
    others_unavailable: Budget | None = Field(None, description="longest gap between writes on shards that were not hit")
    lost: Mapping[FaultKind, Budget] = Field(
        default_factory=dict,
        description="acknowledged writes that may be lost, in seconds of writes, by kind of fault; 0 means not a single one",
    )
    two_primaries: Limit | None = Field(None, description="how long two nodes of one shard may both acknowledge writes")
    redundancy: Budget | None = Field(None, description="time from heal until all replicas are in sync")

    def over(self, defaults: "Objectives") -> "Objectives":
        """These objectives, with `defaults` where nothing is said."""
        return Objectives(
            unavailable={**defaults.unavailable, **self.unavailable},
            others_unavailable=self.others_unavailable if self.others_unavailable is not None else defaults.others_unavailable,
            lost={**defaults.lost, **self.lost},
            two_primaries=self.two_primaries if self.two_primaries is not None else defaults.two_primaries,
            redundancy=self.redundancy if self.redundancy is not None else defaults.redundancy,
        )


@dataclass(frozen=True)
class Policy:
    """What the defaults depend on. `lag` is the lag limit in seconds, or None where `min-replicas-to-write` is off."""

    timing: Timing
    replicas: int
    aof: bool
    fsync: Literal["always", "everysec", "no"]
    lag: float | None


def policy_of(inventory: Inventory) -> Policy:
    """The policy of a stack, read from its inventory (the spec as plain data)."""
    persistence = inventory.spec.get("persistence", {})
    replication = inventory.spec.get("replication", {})
    timing = Timing(
        topology=inventory.topology,
        engine=inventory.engine.name,
        engine_major=int(inventory.engine.version.partition(".")[0]),
        node_timeout=inventory.cluster.node_timeout_ms / 1000 if inventory.cluster else None,
        down_after=inventory.sentinel.down_after_ms / 1000 if inventory.sentinel else None,
    )
    return Policy(
        timing=timing,
        replicas=inventory.replicas,
        aof=persistence.get("policy", "aof") in ("aof", "both"),
        fsync=persistence.get("aof", {}).get("fsync", "everysec"),
        lag=replication.get("max_lag_seconds", 10) if replication.get("min_replicas_to_write", 0) else None,
    )


REPLICATION_IN_FLIGHT = 1.0
"""Replication is asynchronous: what a primary acknowledged in its last moments may not have left it."""
EVERYSEC = 2.0
"""`appendfsync everysec` syncs once per second, and lets a slow disk delay that by one more.

While a sync runs, the server keeps new writes in its own memory for up to 2 s instead of handing them to the kernel
(`flushAppendOnlyFile`), and acknowledges them all the same: even a mere SIGKILL can cost them. With `always` and `no` nothing
waits there."""


def default_objectives(policy: Policy) -> Objectives:
    """What each topology and policy can promise. Nothing takes over on standalone and plain replication: measured only.

    A lag limit is no help in a split (the replica on the old primary's side goes on confirming), and keeps the new primary from
    accepting writes while its other replicas are on the far side: safety bought with writes.
    """
    fails_over = policy.timing.topology in ("sentinel", "cluster")
    cluster = policy.timing.topology == "cluster"
    failover: Limit = "bound" if fails_over else "any"
    unavailable: dict[FaultKind, Limit] = {
        "crash": failover, "hang": failover, "partition": failover, "split": failover if policy.lag is None else "any",
        "power-loss": failover, "restart": "any",
        "stop": (0.5 if cluster else 2.5) if fails_over else "any",
        "switchover": (0.25 if cluster else 2.0) if policy.replicas else "any",
        "replica": 0.3 if policy.lag is None else "any", "quorum": "any", "disk": "any", "slow": "any",
    }  # fmt: skip
    in_flight: Budget = REPLICATION_IN_FLIGHT if fails_over else 0.0
    cut_off = writable_when_cut_off(policy.lag, policy.timing)
    durable: Budget = {"always": 0.0, "everysec": EVERYSEC, "no": "any"}[policy.fsync] if policy.aof else "any"  # type: ignore[assignment]
    killed: Budget = (EVERYSEC if policy.fsync == "everysec" else 0.0) if policy.aof else "any"
    lost: dict[FaultKind, Budget] = {
        "crash": in_flight if fails_over else killed, "hang": in_flight,
        "partition": (cut_off if cut_off is not None else "any") if fails_over else 0.0, "split": "any" if fails_over else 0.0,
        "power-loss": max(durable, in_flight) if durable != "any" else "any",
        "restart": killed, "stop": 0.0, "switchover": 0.0, "replica": 0.0,
        "quorum": in_flight, "disk": 0.0, "slow": in_flight,
    }  # fmt: skip
    return Objectives(
        unavailable=unavailable,
        others_unavailable=0.3,
        lost=lost,
        two_primaries="bound" if fails_over else 0.0,
        redundancy=60.0,
    )


def objectives_of(inventory: Inventory, between: Objectives | None = None) -> Objectives:
    """The objectives in force for a stack: its spec's, over those `between` (of a drill), over the defaults.

    Raises InvalidInput when the field in its spec cannot be read.
    """
    data: Any = inventory.spec.get("objectives") or {}
    defaults = default_objectives(policy_of(inventory))
    if between is not None:
        defaults = between.over(defaults)
    try:
        return Objectives.model_validate(data).over(defaults)
    except ValidationError as error:
        problems = tuple(f"objectives.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"the objectives of stack {inventory.stack} cannot be read", problems) from None


@dataclass(frozen=True)
class Measured:
    """Figures of one repetition; None where a figure could not be found out. Times in seconds.

    `others` counts the shards that were not hit, `others_gap` is the longest time without an acknowledged write on them.
    """

    kind: FaultKind
    unavailable: float | None
    recovered: bool
    others: int
    others_gap: float | None
    lost: int | None
    lost_span: float | None
    two_primaries: float | None
    redundancy: float | None


@dataclass(frozen=True)
class Outcome:
    """One objective: its limit in words and as a number, what was measured, and whether it was met."""

    name: str
    limit: str
    limit_seconds: float | None
    measured: float | None
    verdict: Verdict
    text: str


def evaluate(objectives: Objectives, policy: Policy, measured: Measured) -> tuple[Outcome, ...]:
    """Compare every objective that concerns the kind of fault. A figure that is missing makes its objective unknown."""
    return tuple(
        outcome
        for outcome in (
            _unavailable(objectives, policy, measured),
            _others(objectives, measured),
            _lost(objectives, measured),
            _two_primaries(objectives, policy, measured),
            _simple("redundancy", "time to full redundancy", objectives.redundancy, measured.redundancy),
        )
        if outcome is not None
    )


def _verdict(limit: float, measured: float | None) -> Verdict:
    if measured is None:
        return Verdict.UNKNOWN
    return Verdict.TRUE if measured <= limit else Verdict.FALSE


def _seconds(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f} s"


def _unavailable(objectives: Objectives, policy: Policy, measured: Measured) -> Outcome | None:
    limit = objectives.unavailable.get(measured.kind, "any")
    name, value = "unavailable", measured.unavailable
    if not measured.recovered:
        return Outcome(name, "recovers", None, value, Verdict.FALSE, "the shard still refused writes when the load ended")
    if limit == "any":
        return Outcome(name, "measured only", None, value, Verdict.TRUE, f"writes refused for {_seconds(value)}")
    if limit == "bound":
        bound = failover_bound(policy.timing, measured.kind)
        if bound is None:
            text = f"there is no bound for {measured.kind} on {policy.timing.topology}"
            return Outcome(name, "bound", None, value, Verdict.UNKNOWN, text)
        words = f"{bound.with_slack:.2f} s ({bound.formula}, plus 10 %)"
        limit = bound.with_slack
    else:
        words = f"{limit:g} s"
    return Outcome(name, words, limit, value, _verdict(limit, value), f"writes refused for {_seconds(value)} of {words}")


def _others(objectives: Objectives, measured: Measured) -> Outcome | None:
    if not measured.others:
        return None
    return _simple("others-unavailable", "gap on shards not hit", objectives.others_unavailable, measured.others_gap)


def _lost(objectives: Objectives, measured: Measured) -> Outcome | None:
    limit = objectives.lost.get(measured.kind, 0.0)
    name = "lost"
    if measured.lost is None:
        return Outcome(name, _budget(limit), None, None, Verdict.UNKNOWN, "not every acknowledged write could be read back")
    text = f"{measured.lost:,} acknowledged writes lost"
    if limit == "any":
        return Outcome(name, _budget(limit), None, float(measured.lost), Verdict.TRUE, text)
    if limit == 0:
        verdict = Verdict.FALSE if measured.lost else Verdict.TRUE
        return Outcome(name, _budget(limit), 0.0, float(measured.lost), verdict, text)
    span = measured.lost_span
    return Outcome(name, _budget(limit), limit, span, _verdict(limit, span), f"{text}, acknowledged within {_seconds(span)}")


def _budget(limit: Budget) -> str:
    if limit == "any":
        return "measured only"
    return "none" if limit == 0 else f"{limit:g} s of writes"


def _two_primaries(objectives: Objectives, policy: Policy, measured: Measured) -> Outcome | None:
    limit = objectives.two_primaries
    if limit is None or limit == "any":
        return None
    if limit == "bound":
        bound = writable_when_cut_off(policy.lag, policy.timing)
        if bound is None:
            return None
        limit = bound
    return _simple("two-primaries", "two primaries at once", limit, measured.two_primaries)


def _simple(name: str, what: str, limit: Limit | Budget | None, value: float | None) -> Outcome | None:
    if limit is None or isinstance(limit, str):
        return None
    words = f"{limit:g} s"
    return Outcome(name, words, limit, value, _verdict(limit, value), f"{what}: {_seconds(value)} of {words}")
