"""Objectives that the spec's own policies cannot meet, whatever the machine: refused with the reason.

How long a failover takes and what it costs are the formulas of `operations.bounds`; docs/decisions/0021 has the table.
"""

import math
from collections.abc import Iterator

from operations.bounds import FaultKind
from operations.objectives import EVERYSEC, FULL_COVERAGE_SECONDS, REPLICATION_IN_FLIGHT, Budget, Limit, Policy
from topologies.objectives import policy_of
from topologies.rules.ruling import Ruling, counted, refuse, warn
from topologies.spec import Spec

WAITING = "objectives.writes wait-all with clients that WAIT for every replica"
TIMEOUTS = {"sentinel": "sentinel.down_after_seconds", "cluster": "cluster.node_timeout_seconds"}
ROUNDING = 1e-9
LEAST, LAG, FSYNC, WRITES = (
    "replication.min_replicas_to_write",
    "replication.max_lag_seconds",
    "persistence.aof.fsync",
    "objectives.writes",
)


def objectives(spec: Spec) -> Iterator[Ruling]:
    """Every objective that is given, against what the policy can promise."""
    policy, given = policy_of(spec), spec.objectives
    yield from _writes(policy)
    for kind, limit in given.unavailable.items():
        path = f"objectives.unavailable.{kind}"
        yield from _idle(path, limit, policy, kind) or _unavailable(path, limit, policy, kind)
    for kind, budget in given.lost.items():
        path = f"objectives.lost.{kind}"
        yield from _idle(path, budget, policy, kind) or _lost(path, budget, policy, kind)
    yield from _two_primaries(given.two_primaries, policy)
    yield from _others(given.others_unavailable, policy)
    if given.redundancy is not None and not policy.replicas:
        yield warn("objectives.redundancy", given.redundancy, "but there are no replicas to wait for", "remove it", "replicas")


def _writes(policy: Policy) -> Iterator[Ruling]:
    if policy.writes != "wait-all":
        return
    if not policy.replicas:
        yield refuse(WRITES, policy.writes, "but there are no replicas to wait for", "use plain", "replicas", "topology")
    else:
        away = "the replica" if policy.replicas == 1 else f"one of {policy.replicas} replicas"
        reason = f"so no write is acknowledged while {away} is away: writes are traded for safety"
        yield warn(WRITES, policy.writes, reason, "use plain where losing a little is better than waiting", "replicas")


def without_effect(policy: Policy, kind: FaultKind) -> str | None:
    """Why a topology cannot have that fault, or None when it can."""
    topology = policy.timing.topology
    if kind in ("switchover", "replica", "split") and not policy.replicas:
        return "there are no replicas"
    if kind == "quorum" and topology not in ("sentinel", "cluster"):
        return f"a {topology} topology has no quorum"
    if kind == "data-loss" and policy.backup_age is None and policy.backup_return is None:
        return "backup.objectives promises nothing"
    return None


def _idle(path: str, value: Limit | Budget, policy: Policy, kind: FaultKind) -> list[Ruling]:
    reason = without_effect(policy, kind)
    if reason is None:
        return []
    return [warn(path, value, f"but has no effect: {reason}", "remove it", "replicas", "topology")]


def _unavailable(path: str, limit: Limit, policy: Policy, kind: FaultKind) -> Iterator[Ruling]:
    if limit == "any":
        return
    hit = kind in ("crash", "hang", "partition", "split", "power-loss")
    if (hit or kind == "stop") and not policy.replicas:
        reason = "but there is no replica that could take over, so writes stop until the node is back"
        yield refuse(
            path, limit, reason, "use any, or 1 or more replicas with topology sentinel or cluster", "topology", "replicas"
        )
    elif hit and not policy.fails_over:
        reason = "but a replication topology never fails over by itself, so writes stop until the node is back or you switch over"
        yield refuse(path, limit, reason, "use any, or topology sentinel or cluster", "topology")
    elif kind == "quorum" and policy.timing.topology == "cluster":
        reason = "but without most of the primaries nobody takes over, so writes stop until they are back"
        yield refuse(path, limit, reason, "use any", "topology")
    elif (hit or kind in ("stop", "replica")) and not policy.writes_without(2 if kind == "split" else 1):
        yield _stands_still(path, limit, policy, kind)
    elif limit == "bound" and not hit:
        yield refuse(path, limit, "but there is no formula for it", "write seconds, or any")
    elif not isinstance(limit, str):
        yield from _too_soon(path, limit, policy, kind)


def _stands_still(path: str, limit: Limit, policy: Policy, kind: FaultKind) -> Ruling:
    """Somebody takes over, or nobody has to, but writes wait for nodes that are away."""
    if policy.writes == "wait-all":
        reason = f"but with {WRITES} wait-all no write is acknowledged until every replica is back"
        return refuse(path, limit, reason, f"use any, or {WRITES} plain", WRITES)
    if policy.lag is None:
        reason = "but the only replica is cut off together with its primary, so nobody takes over"
        return refuse(path, limit, reason, "use any, or 2 or more replicas", "replicas")
    who = "the primary" if kind == "replica" else "the new primary"
    reason = f"but {who} then has fewer than the {counted(policy.least, 'replica')} that it needs ({LEAST}) and refuses writes"
    return refuse(path, limit, f"{reason} until one is back", f"use any, {LEAST} 0, or more replicas", LEAST, "replicas")


def _too_soon(path: str, limit: float, policy: Policy, kind: FaultKind) -> Iterator[Ruling]:
    bound = policy.failover(kind)
    if bound is None or limit >= bound.high - ROUNDING:
        return
    timeout = TIMEOUTS[policy.timing.topology]
    least = math.ceil(bound.with_slack * 100 - ROUNDING) / 100
    yield refuse(
        path,
        limit,
        f"but taking over can need {bound.high:g} s ({bound.formula})",
        f"use bound, {least:g} or more, or a smaller {timeout}",
        timeout,
    )


def _lost(path: str, budget: Budget, policy: Policy, kind: FaultKind) -> Iterator[Ruling]:
    """At most one ruling for each budget: what the failover loses comes before what the disk loses."""
    if budget == "any":
        return
    for rule in (_lost_on_the_way, _lost_while_cut_off, _lost_in_memory):
        found = rule(path, budget, policy, kind)
        if found is not None:
            yield found
            return


def _lost_on_the_way(path: str, budget: float, policy: Policy, kind: FaultKind) -> Ruling | None:
    if budget or not policy.in_flight or kind not in ("crash", "hang", "power-loss"):
        return None
    reason = "but replication is asynchronous: the last writes that a primary acknowledged may not have reached who takes over"
    remedy = f"use for example {REPLICATION_IN_FLIGHT:g} (second of writes), or {WAITING}"
    return refuse(path, budget, reason, remedy, WRITES, "topology", "replicas")


def _lost_while_cut_off(path: str, budget: float, policy: Policy, kind: FaultKind) -> Ruling | None:
    if kind not in ("partition", "split") or not policy.in_flight or (kind == "split" and policy.replicas < 2):
        return None
    limit = policy.cut_off if kind == "partition" else policy.split_off
    if limit is not None and budget >= limit - ROUNDING:
        return None
    least = f"{limit:g} or more" if limit is not None else "any"
    acknowledges = f"a primary that is cut off goes on acknowledging for up to {limit:g} s" if limit is not None else ""
    if kind == "split":
        reason = (
            f"but {acknowledges} what others then take over without"
            if acknowledges
            else "but the replica on the side of a primary that is cut off goes on confirming, so no lag limit stops it"
        )
        return refuse(path, budget, reason, f"use {least}, or {WAITING}", WRITES, "replicas")
    if limit is None:
        reason = "but nothing stops a primary that is cut off: all that it acknowledges until it is back is lost"
        limited = f"{LEAST} 1" + (" and 2 or more replicas" if policy.replicas == 1 else "")
        return refuse(path, budget, reason, f"use any, {limited}, or {WAITING}", WRITES, LEAST, "replicas")
    reason = f"but {acknowledges} what the failover loses"
    price = (
        f"; with 1 replica {LEAST} 1 is no way out: it stops all writes whenever that replica is away"
        if policy.replicas == 1 and policy.lag is None
        else ""
    )
    return refuse(path, budget, reason, f"use {least}, or {WAITING}{price}", WRITES, LEAST, LAG)


def _lost_in_memory(path: str, budget: float, policy: Policy, kind: FaultKind) -> Ruling | None:
    """What a server that comes back with its own data has lost."""
    comes_back = kind == "restart" or (kind == "crash" and not policy.fails_over)
    persistence = "persistence.policy"
    if kind == "stop" and not (policy.aof or policy.rdb or policy.replicas):
        reason = "but with persistence.policy none a node that stops forgets everything"
        return refuse(path, budget, reason, "use any, or persistence.policy aof, rdb or both", persistence)
    costs = policy.power_costs if kind == "power-loss" else policy.kill_costs if comes_back else 0.0
    if costs == "any":
        if not policy.aof:
            since = "everything since the last save point" if policy.rdb else "everything"
            reason = f"but without AOF {since} is lost"
            return refuse(path, budget, reason, "use any, or persistence.policy aof or both", persistence)
        reason = "but with fsync no it is the kernel's decision when writes reach the disk, mostly within 30 s"
        return refuse(path, budget, reason, f"use any, or {FSYNC} always or everysec", FSYNC, persistence)
    if budget >= costs:
        return None
    where = "are not on the disk yet" if kind == "power-loss" else "may wait in the server's own memory while a sync runs"
    reason = f"but with fsync everysec up to {EVERYSEC:g} s of acknowledged writes {where}"
    return refuse(path, budget, reason, f"use {EVERYSEC:g} or more, or {FSYNC} always", FSYNC, persistence)


def _two_primaries(limit: Limit | None, policy: Policy) -> Iterator[Ruling]:
    path = "objectives.two_primaries"
    if limit is None or limit == "any":
        return
    if not policy.fails_over:
        if limit == "bound":
            yield refuse(
                path, limit, "but there is no formula: nobody takes over by itself", "use 0, or any", "topology", "replicas"
            )
        return
    stops = policy.cut_off
    if stops is None and (limit == "bound" or policy.writes == "plain"):
        limited = f"{LEAST} 1" + (" and 2 or more replicas" if policy.replicas == 1 else "")
        reason = "but nothing stops a primary that is cut off from acknowledging writes"
        yield refuse(path, limit, reason, f"use any, or {limited}", LEAST, "replicas", "topology")
    elif stops is not None and not isinstance(limit, str) and policy.writes == "plain" and limit < stops - ROUNDING:
        reason = f"but a primary that is cut off goes on acknowledging for up to {stops:g} s"
        yield refuse(path, limit, reason, f"use bound, or {stops:g} or more", LEAST, LAG, *TIMEOUTS.values())


def _others(limit: Budget | None, policy: Policy) -> Iterator[Ruling]:
    path = "objectives.others_unavailable"
    if limit is None or limit == "any":
        return
    if policy.timing.topology != "cluster":
        yield warn(path, limit, "but has no effect: there is one shard", "remove it", "topology")
    elif policy.full_coverage and limit < FULL_COVERAGE_SECONDS:
        reason = "but with cluster.full_coverage all shards stop while one is down (0.8 to 1.3 s per failover measured)"
        yield refuse(path, limit, reason, "use any, or cluster.full_coverage false", "cluster.full_coverage")
