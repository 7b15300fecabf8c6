"""What the user declares: a topology in a small YAML file, as frozen models.

Field checks that need one value alone stand here; rules that relate several fields stand in `topologies/rules.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from operations.backup.settings import VOLUME, BackupSettings, RepositoryPlace
from operations.inventory import STACK_NAME
from operations.objectives import Objectives
from operations.sizes import Bytes

TopologyName = Literal["standalone", "replication", "sentinel", "cluster"]
Eviction = Literal[
    "noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random",
    "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
]  # fmt: skip


DEFAULT_VERSIONS = {"redis": "8.0", "valkey": "8.1"}
DEFAULT_REPLICAS = {"standalone": 0, "replication": 2, "sentinel": 2, "cluster": 1}
DEFAULT_LAG_SECONDS = 5
MAX_SECONDS = 3600
"""Upper end of time-outs: whoever needs more than an hour of silence does not want a failover."""


def _words_to_bool(value: object) -> object:
    """Redis's own yes and no, which YAML reads as text."""
    return {"yes": True, "no": False}.get(value, value) if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_words_to_bool, json_schema_input_type=bool)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
SavePoint = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], Field(strict=False)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True)


class EngineSpec(_Model):
    """Which server runs: an engine and its major.minor version, or any image that has the server, its client and `sh`."""

    name: Literal["redis", "valkey"] = Field("redis", description="server software")
    version: str = Field(
        default_factory=lambda data: DEFAULT_VERSIONS[data.get("name", "redis")],
        pattern=r"^\d+\.\d+$",
        description="major.minor, the exact version stands in the inventory; default 8.0 (valkey: 8.1)",
    )
    image: str | None = Field(None, description="any other image, pulled when missing; default: the toolkit's own image")
    user: str | None = Field(None, description="user in the image that runs the server; default: the engine's name")


class MemorySpec(_Model):
    """Memory of one data node; the container's limit is derived from it."""

    maxmemory: Bytes = Field(256 * 1024**2, description="data limit of one node, for example 256mb")
    eviction: Eviction = Field("noeviction", description="what goes when maxmemory is reached")
    copy_on_write_headroom: float = Field(
        0.6,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="share of maxmemory kept free for a snapshot under writes (61 % measured)",
    )


class AofSpec(_Model):
    fsync: Literal["always", "everysec", "no"] = Field("everysec", description="when the append-only file reaches the disk")


class RdbSpec(_Model):
    save: tuple[SavePoint, ...] = Field(
        ((3600, 1), (300, 100), (60, 10000)),
        strict=False,
        description="save points as [seconds, changes]: a snapshot after that time if there were that many changes",
    )


class PersistenceSpec(_Model):
    """What survives a restart."""

    policy: Literal["none", "rdb", "aof", "both"] = Field("aof", description="none, snapshots, append-only file, or both")
    aof: AofSpec = AofSpec()
    rdb: RdbSpec = RdbSpec()


class ReplicationSpec(_Model):
    """How replicas follow their primary."""

    backlog: Bytes = Field(64 * 1024**2, description="what a replica may miss and still catch up without a full copy")
    replica_buffer: Bytes = Field(256 * 1024**2, description="unsent replication data at which a replica is cut off")
    min_replicas_to_write: int = Field(
        0,
        ge=0,
        description="a primary with fewer live replicas refuses writes; default 0 (sentinel with 2 or more replicas: 1)",
    )
    max_lag_seconds: int = Field(
        DEFAULT_LAG_SECONDS,
        ge=1,
        le=MAX_SECONDS,
        description="a replica silent for longer does not count as live; default 5, under sentinel not above down_after_seconds",
    )
    diskless_sync_delay_seconds: int = Field(0, ge=0, le=60, description="wait for more replicas before a full copy starts")


class SentinelSpec(_Model):
    """The sentinels that watch a replicated primary."""

    count: int = Field(3, ge=1, le=7, description="number of sentinels")
    quorum: int = Field(
        default_factory=lambda data: data.get("count", 3) // 2 + 1,
        ge=1,
        description="sentinels that must agree that the primary is down; default: a majority",
    )
    down_after_seconds: Seconds = Field(5, description="silence after which a node counts as down")
    failover_timeout_seconds: int = Field(
        15, ge=1, le=MAX_SECONDS, description="half the time after which sentinels that could not agree try a failover again"
    )
    service: str = Field("main", pattern=r"^[A-Za-z0-9._-]+$", description="name under which clients ask for the primary")


class ClusterSpec(_Model):
    """How the nodes of a cluster judge each other."""

    node_timeout_seconds: Seconds = Field(5, description="silence after which a node counts as failing")
    full_coverage: Flag = Field(False, description="refuse all reads and writes while any slot is not served")


class NetworkSpec(_Model):
    """Where nodes are reachable; by default each stack gets a subnet and a block of ports of its own."""

    subnet: str | None = Field(None, description="IPv4 subnet of the stack's network, /24 or larger, for example 10.50.0.0/24")
    publish: Flag = Field(True, description="publish each node on a port of the Docker host's loopback address")
    port_base: int | None = Field(None, ge=1024, description="published port = port_base + last part of the address")


class LimitsSpec(_Model):
    """Limits of one container."""

    processes: int = Field(
        4096,
        ge=256,
        le=4_194_304,
        description="processes and threads of the server's user on one Docker host (the kernel counts per user)",
    )
    files: int = Field(20000, ge=1024, le=1_048_576, description="open files; also bounds the number of clients")
    stop_timeout_seconds: int = Field(
        60,
        ge=20,
        le=MAX_SECONDS,
        description="patience on stop: handover (6 s), shutdown-timeout (10 s), saving maxmemory at 100 MB/s, margin",
    )


class DataSpec(_Model):
    on_destroy: Literal["keep", "delete"] = Field("keep", description="data volumes after `pulumi destroy`")
    adopt_owner: str | None = Field(None, description="take over kept volumes that another Pulumi backend made: its owner id")


class ChangeSpec(_Model):
    """How far a change of a running stack may go."""

    accept_loss: Flag = Field(
        False, description="carry out changes of topology that the guard refuses because data or a quorum could be lost"
    )
    surge: Flag = Field(
        False, description="while containers are replaced each shard gets one more replica, which goes again at the end"
    )


class RestoreFrom(_Model):
    """The backup that a new stack is born from; read once, when the stack is created, and only into an empty one."""

    stack: str = Field(pattern=STACK_NAME.pattern, description="the stack whose backups are meant, for example cluster")
    backup: str = Field("latest", description="which one: latest, a name, or the beginning of a name")
    repository: RepositoryPlace = Field(VOLUME, description="where they lie, as backup.repository of that stack says")


ParameterValue = bool | int | float | str


class Spec(_Model):
    """One Redis topology. Everything but `topology` has a default that is meant for production."""

    topology: TopologyName = Field(description="standalone, replication, sentinel or cluster")
    engine: EngineSpec = EngineSpec()
    shards: int | None = Field(None, ge=1, description="cluster only: number of shards; default 3")
    replicas: int | None = Field(None, ge=0, le=4, description="replicas of each primary; default 2 (cluster: 1, standalone: 0)")
    memory: MemorySpec = MemorySpec()
    persistence: PersistenceSpec = PersistenceSpec()
    restart: Literal["immediate", "after-failover", "never"] | None = Field(
        None, description="how a node that died comes back; default: the fastest way that loses no replicated data"
    )
    replication: ReplicationSpec = ReplicationSpec()
    sentinel: SentinelSpec = SentinelSpec()
    cluster: ClusterSpec = ClusterSpec()
    network: NetworkSpec = NetworkSpec()
    limits: LimitsSpec = LimitsSpec()
    data: DataSpec = DataSpec()
    change: ChangeSpec = ChangeSpec()
    objectives: Objectives = Objectives()
    backup: BackupSettings = BackupSettings()
    restore_from: RestoreFrom | None = Field(None, description="the backup that a new stack gets its data from")
    parameters: dict[str, ParameterValue] = Field(
        default_factory=dict, description="further server parameters, checked against the engine version"
    )

    @model_validator(mode="before")
    @classmethod
    def _lag_limit_by_topology(cls, data: Any) -> Any:
        """Under Sentinel an isolated primary goes on acknowledging writes that the failover loses, so it gets a limit.

        Only with a replica to spare: with a single one, its restart would stop all writes.
        """
        if not isinstance(data, dict) or data.get("topology") != "sentinel":
            return data
        replicas, given = data.get("replicas"), data.get("replication", {})
        replicas = DEFAULT_REPLICAS["sentinel"] if replicas is None else replicas
        if not isinstance(given, Mapping) or not isinstance(replicas, int) or replicas < 2:
            return data
        sentinel = data.get("sentinel", {})
        down_after = sentinel.get("down_after_seconds") if isinstance(sentinel, Mapping) else None
        limits = {"min_replicas_to_write": 1}
        if isinstance(down_after, int | float) and 0 < down_after < DEFAULT_LAG_SECONDS:
            limits["max_lag_seconds"] = max(2, int(down_after))
        return {**data, "replication": {**limits, **given}}

    @property
    def shard_count(self) -> int:
        return (self.shards or 3) if self.topology == "cluster" else 1

    @property
    def replica_count(self) -> int:
        """Replicas per shard."""
        if self.replicas is not None:
            return self.replicas
        return DEFAULT_REPLICAS[self.topology]

    @property
    def sentinel_count(self) -> int:
        return self.sentinel.count if self.topology == "sentinel" else 0

    @property
    def uses_aof(self) -> bool:
        return self.persistence.policy in ("aof", "both")

    @property
    def uses_rdb(self) -> bool:
        return self.persistence.policy in ("rdb", "both")

    @property
    def restart_policy(self) -> Literal["immediate", "after-failover", "never"]:
        """The declared way of coming back, or the fastest that cannot lose replicated data.

        A primary that comes back without its last writes before somebody took over empties its replicas; so without AOF
        it waits for the failover, or stays down where nothing fails over by itself.
        """
        if self.restart is not None:
            return self.restart
        if self.uses_aof or self.replica_count == 0:
            return "immediate"
        return "never" if self.topology == "replication" else "after-failover"

    def as_data(self) -> dict[str, Any]:
        """Plain data, without secrets, for the inventory and for journals."""
        return self.model_dump(mode="json")
