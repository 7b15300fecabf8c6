"""The objectives of a spec: what its policies are as far as promises go, and what is in force."""

from operations.bounds import Timing
from operations.objectives import Objectives, Policy, default_objectives
from topologies.spec import Spec


def policy_of(spec: Spec) -> Policy:
    """What decides about the promises of a spec."""
    replication = spec.replication
    timing = Timing(
        topology=spec.topology,
        engine=spec.engine.name,
        engine_major=int(spec.engine.version.partition(".")[0]),
        node_timeout=spec.cluster.node_timeout_seconds if spec.topology == "cluster" else None,
        down_after=spec.sentinel.down_after_seconds if spec.topology == "sentinel" else None,
    )
    return Policy(
        timing=timing,
        replicas=spec.replica_count,
        aof=spec.uses_aof,
        fsync=spec.persistence.aof.fsync,
        lag=replication.max_lag_seconds if replication.min_replicas_to_write else None,
        least=replication.min_replicas_to_write or 1,
        rdb=spec.uses_rdb,
        full_coverage=spec.topology == "cluster" and spec.cluster.full_coverage,
        writes=spec.objectives.writes or "plain",
        backup_age=spec.backup.objectives.rpo_seconds,
        backup_return=spec.backup.objectives.rto_seconds,
    )


def objectives_of(spec: Spec) -> Objectives:
    """The objectives in force: those of the spec, over the defaults of its policies. A drill may have some of its own between."""
    return spec.objectives.over(default_objectives(policy_of(spec)))
