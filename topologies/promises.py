"""What a spec promises when something fails: for how long writes stop, and which acknowledged writes can be lost.

The sentences and their figures are those of the tables in docs/guide/spec.md.
"""

from dataclasses import asdict, dataclass

from operations.objectives import EVERYSEC
from topologies.render import failover_bound_seconds
from topologies.spec import Spec

LAG_MARGIN_SECONDS = 2
"""A primary notices once a second, from reports that come once a second."""


@dataclass(frozen=True)
class Promises:
    """One sentence for each kind of failure."""

    server_killed: str
    machine_loses_power: str
    primary_cut_off: str
    writes_stop: str

    def as_data(self) -> dict[str, str]:
        return asdict(self)


def promises(spec: Spec) -> Promises:
    """The promises of a valid spec."""
    return Promises(
        server_killed=_server_killed(spec),
        machine_loses_power=_machine_loses_power(spec),
        primary_cut_off=_primary_cut_off(spec),
        writes_stop=_writes_stop(spec),
    )


def _fails_over(spec: Spec) -> bool:
    return spec.topology in ("sentinel", "cluster") and spec.replica_count > 0


def _server_killed(spec: Spec) -> str:
    tail = "what the primary had not yet sent to the replica that takes over (milliseconds)"
    if spec.uses_aof:
        kept = "nothing is lost"
        if spec.persistence.aof.fsync == "everysec":
            kept += f" (on a slow disk up to {EVERYSEC:g} s of writes)"
        return f"if it comes back {kept}, else {tail}" if _fails_over(spec) else kept
    if _fails_over(spec):
        return f"lost is {tail}"
    if spec.replica_count:
        return "the primary stays down, its replicas keep what they received; switching over is up to you"
    return "lost is everything since the last save point" if spec.uses_rdb else "everything is lost"


def _machine_loses_power(spec: Spec) -> str:
    if spec.uses_aof:
        return {
            "always": "nothing is lost",
            "everysec": f"up to {EVERYSEC:g} s of writes are lost",
            "no": "lost is what the kernel had not yet written, mostly up to 30 s",
        }[spec.persistence.aof.fsync]
    return "lost is everything since the last save point" if spec.uses_rdb else "everything is lost"


def _primary_cut_off(spec: Spec) -> str:
    """A primary that still has its clients but no contact with the other nodes."""
    lag = spec.replication.max_lag_seconds + LAG_MARGIN_SECONDS if spec.replication.min_replicas_to_write else None
    if not spec.replica_count:
        return "it goes on alone, there are no replicas"
    if not _fails_over(spec):
        return (
            f"it refuses writes after {lag} s, nothing is lost" if lag else "it goes on, nobody takes its place, nothing is lost"
        )
    if spec.topology == "cluster":
        limit = min(spec.cluster.node_timeout_seconds, lag) if lag else spec.cluster.node_timeout_seconds
        return f"it refuses writes after {limit:g} s, what it acknowledged until then can be lost"
    if lag:
        return f"it refuses writes after {lag} s, what it acknowledged until then can be lost"
    return "it goes on, and all that it acknowledges until it is back is lost"


def _writes_stop(spec: Spec) -> str:
    if _fails_over(spec):
        where = "to one shard " if spec.topology == "cluster" and not spec.cluster.full_coverage else ""
        return f"writes {where}stop for at most {failover_bound_seconds(spec)} s when a primary is killed"
    if spec.replica_count:
        return "writes stop until the primary is back or you switch over"
    return "reads and writes stop until the node is back"
