"""What the user promised, compared with what was measured. The promises themselves are those of `operations.objectives`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from drills.checkers.base import Verdict
from operations.backup.settings import BackupObjectives, BackupSettings
from operations.bounds import FaultKind, Timing
from operations.errors import InvalidInput
from operations.inventory import Inventory
from operations.objectives import Budget, Limit, Objectives, Policy, default_objectives

__all__ = ["Measured", "Objectives", "Outcome", "Policy", "default_objectives", "evaluate", "objectives_of", "policy_of"]


def policy_of(inventory: Inventory, waits: bool = False) -> Policy:
    """The policy of a stack, read from its inventory (the spec as plain data). `waits`: the clients wait for every replica, also
    where the spec does not say so."""
    persistence = inventory.spec.get("persistence", {})
    replication = inventory.spec.get("replication", {})
    declared: Any = inventory.spec.get("objectives")
    backups = backup_objectives(inventory)
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
        least=replication.get("min_replicas_to_write", 0) or 1,
        rdb=persistence.get("policy", "aof") in ("rdb", "both"),
        full_coverage=inventory.cluster is not None and inventory.cluster.full_coverage,
        writes="wait-all" if waits else (declared.get("writes") if isinstance(declared, Mapping) else None) or "plain",
        backup_age=backups.rpo_seconds,
        backup_return=backups.rto_seconds,
    )


def backup_objectives(inventory: Inventory) -> BackupObjectives:
    """What the spec of a stack promises of its backups."""
    return BackupSettings.model_validate(inventory.spec.get("backup", {})).objectives


def objectives_of(inventory: Inventory, between: Objectives | None = None, waits: bool = False) -> Objectives:
    """The objectives in force for a stack: its spec's, over those `between` (of a drill), over the defaults (for clients that
    wait for every replica, when `waits` is set).

    Raises InvalidInput when the field in its spec cannot be read.
    """
    try:
        declared = Objectives.model_validate(inventory.spec.get("objectives") or {})
    except ValidationError as error:
        problems = tuple(f"objectives.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"the objectives of stack {inventory.stack} cannot be read", problems) from None
    defaults = default_objectives(policy_of(inventory, waits))
    return declared.over(between.over(defaults) if between is not None else defaults)


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
    stalled: Mapping[str, float] = field(default_factory=dict)
    """By objective, and `recovers`: for how much of the time that was measured processes of the drill could not run."""


@dataclass(frozen=True)
class Outcome:
    """One objective: its limit in words and as a number, what was measured, and whether it was met.

    `stalled`: it is unknown only because for so many seconds of what was measured processes of the drill could not run."""

    name: str
    limit: str
    limit_seconds: float | None
    measured: float | None
    verdict: Verdict
    text: str
    stalled: float = 0.0


def evaluate(objectives: Objectives, policy: Policy, measured: Measured) -> tuple[Outcome, ...]:
    """Compare every objective that concerns the kind of fault. A figure that is missing makes its objective unknown."""
    return tuple(
        _excused(outcome, measured.stalled.get(outcome.name, 0.0))
        for outcome in (
            _unavailable(objectives, policy, measured),
            _others(objectives, measured),
            _lost(objectives, measured),
            _two_primaries(objectives, policy, measured),
            _simple("redundancy", "time to full redundancy", objectives.redundancy, measured.redundancy),
        )
        if outcome is not None
    )


def _excused(outcome: Outcome, stalled: float) -> Outcome:
    """A limit on time missed by less than the machine stood still: whether the stack missed it nobody knows. Never a pass."""
    if (
        outcome.name == "lost"
        or outcome.verdict is not Verdict.FALSE
        or outcome.limit_seconds is None
        or outcome.measured is None
    ):
        return outcome
    if outcome.measured - stalled > outcome.limit_seconds:
        return outcome
    words = f"{outcome.text}; but for {stalled:.3f} s of it the machine stood still, so nobody knows"
    return replace(outcome, verdict=Verdict.UNKNOWN, text=words, stalled=stalled)


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
        text = "the shard still refused writes when the load ended"
        if stalled := measured.stalled.get("recovers", 0.0):
            text = f"{text}; but the machine stood still then for {stalled:.3f} s, so nobody knows"
            return Outcome(name, "recovers", None, value, Verdict.UNKNOWN, text, stalled)
        return Outcome(name, "recovers", None, value, Verdict.FALSE, text)
    if limit == "any":
        return Outcome(name, "measured only", None, value, Verdict.TRUE, f"writes refused for {_seconds(value)}")
    if limit == "bound":
        bound = policy.failover(measured.kind)
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
        bound = policy.cut_off
        if bound is None:
            return None
        limit = bound
    return _simple("two-primaries", "two primaries at once", limit, measured.two_primaries)


def _simple(name: str, what: str, limit: Limit | Budget | None, value: float | None) -> Outcome | None:
    if limit is None or isinstance(limit, str):
        return None
    words = f"{limit:g} s"
    return Outcome(name, words, limit, value, _verdict(limit, value), f"{what}: {_seconds(value)} of {words}")
