"""What servers answer, as values: INFO, ROLE, CLUSTER NODES, CLUSTER SHARDS, CLUSTER INFO and Sentinel's lists.

Pure functions over RESP2 replies decoded to text. They accept redis 7.0 to 8.x and valkey 8.1 to 9.x, and ignore what they
do not know. Redis's own words end here: `master` becomes primary, `slave` becomes replica.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from operations.errors import ToolkitError

SLOT_COUNT = 16384

Reply = str | int | list["Reply"] | None
"""A decoded RESP2 reply."""

Slots = tuple[tuple[int, int], ...]
"""Ranges of slots, both ends included, in order."""

DataRole = Literal["primary", "replica"]

FAILING = frozenset({"fail", "fail?", "noaddr"})
"""Flags of a node that cannot be reached according to the view that shows them."""


class UnexpectedReply(ToolkitError):
    """A server answered in a form that is not understood; the message quotes it."""


@dataclass(frozen=True)
class OpenSlot:
    """A slot whose move was begun and not ended: `state` seen from the node that reports it, `other` a cluster node id."""

    slot: int
    state: Literal["migrating", "importing"]
    other: str


@dataclass(frozen=True)
class ClusterNode:
    """One line of CLUSTER NODES: a node as another (or itself) sees it."""

    node_id: str
    address: str
    port: int
    flags: frozenset[str]
    primary_id: str | None
    config_epoch: int
    connected: bool
    slots: Slots
    open_slots: tuple[OpenSlot, ...] = ()

    @property
    def is_primary(self) -> bool:
        return "master" in self.flags

    @property
    def in_handshake(self) -> bool:
        return "handshake" in self.flags

    @property
    def is_failing(self) -> bool:
        return bool(self.flags & FAILING)

    @property
    def is_failed(self) -> bool:
        """By agreement of the primaries, not only in the eyes of the node that was asked."""
        return "fail" in self.flags


@dataclass(frozen=True)
class ShardMember:
    """A node in CLUSTER SHARDS; `health` is online, failed or loading."""

    node_id: str
    address: str
    port: int
    role: DataRole
    offset: int
    health: str


@dataclass(frozen=True)
class Shard:
    """One entry of CLUSTER SHARDS."""

    slots: Slots
    members: tuple[ShardMember, ...]


@dataclass(frozen=True)
class ConnectedReplica:
    """A replica as its primary sees it; `state` is `online` once it follows the stream of writes."""

    address: str
    port: int
    state: str
    offset: int


@dataclass(frozen=True)
class Replication:
    """A data node's place in replication, as the server itself reports it. `offset` is its own position in bytes."""

    role: DataRole
    offset: int
    replication_id: str
    primary_address: str | None = None
    primary_port: int | None = None
    link_up: bool = False
    sync_in_progress: bool = False
    replicas: tuple[ConnectedReplica, ...] = ()


@dataclass(frozen=True)
class Persistence:
    """Whether a node's data is safe on its disk."""

    loading: bool
    aof_enabled: bool
    aof_last_rewrite_ok: bool
    aof_last_write_ok: bool
    last_save_ok: bool
    rewrite_in_progress: bool
    save_in_progress: bool
    changes_since_save: int

    @property
    def is_ok(self) -> bool:
        return self.aof_last_rewrite_ok and self.aof_last_write_ok and self.last_save_ok


@dataclass(frozen=True)
class ServerInfo:
    """The parts of INFO that say who a server is, what it holds and how it persists."""

    engine: str
    version: str
    run_id: str
    uptime_seconds: int
    keys: int
    used_memory_bytes: int
    maxmemory_bytes: int
    eviction: str
    persistence: Persistence
    replication: Replication


@dataclass(frozen=True)
class SentinelEntry:
    """A primary, replica or peer in a sentinel's lists. `fields` are those of the reply, under Redis's own names."""

    address: str
    port: int
    flags: frozenset[str]
    fields: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_down(self) -> bool:
        return bool(self.flags & {"s_down", "o_down", "disconnected"})

    def number(self, name: str) -> int:
        """A numeric field; 0 when the sentinel does not report it."""
        return int(self.fields.get(name, "0"))


def text(reply: Reply) -> str:
    """The reply as text; raises UnexpectedReply for anything else."""
    if not isinstance(reply, str):
        raise UnexpectedReply(f"expected text, the server answered {reply!r}")
    return reply


def items(reply: Reply) -> Sequence[Reply]:
    """The reply as a list; raises UnexpectedReply for anything else."""
    if not isinstance(reply, list):
        raise UnexpectedReply(f"expected a list, the server answered {reply!r}")
    return reply


def pairs(reply: Reply) -> dict[str, Reply]:
    """A flat list name, value, name, value … as a mapping."""
    flat = items(reply)
    return {text(flat[i]): flat[i + 1] for i in range(0, len(flat) - 1, 2)}


def info_fields(answer: str) -> dict[str, str]:
    """Every `name:value` line of an INFO-like answer."""
    lines = (line.strip() for line in answer.splitlines())
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def server_info(answer: str) -> ServerInfo:
    """Read INFO (sections server, memory, persistence, replication, keyspace)."""
    fields = info_fields(answer)
    valkey = "valkey_version" in fields
    version = fields.get("valkey_version") or fields.get("redis_version")
    if version is None or "role" not in fields:
        raise UnexpectedReply(f"INFO names no version or role: {answer[:120]!r}")
    return ServerInfo(
        engine="valkey" if valkey else "redis",
        version=version,
        run_id=fields.get("run_id", ""),
        uptime_seconds=int(fields.get("uptime_in_seconds", "0")),
        keys=_count_keys(fields),
        used_memory_bytes=int(fields.get("used_memory", "0")),
        maxmemory_bytes=int(fields.get("maxmemory", "0")),
        eviction=fields.get("maxmemory_policy", ""),
        persistence=Persistence(
            loading=fields.get("loading") == "1",
            aof_enabled=fields.get("aof_enabled") == "1",
            aof_last_rewrite_ok=fields.get("aof_last_bgrewrite_status", "ok") == "ok",
            aof_last_write_ok=fields.get("aof_last_write_status", "ok") == "ok",
            last_save_ok=fields.get("rdb_last_bgsave_status", "ok") == "ok",
            rewrite_in_progress=fields.get("aof_rewrite_in_progress") == "1",
            save_in_progress=fields.get("rdb_bgsave_in_progress") == "1",
            changes_since_save=int(fields.get("rdb_changes_since_last_save", "0")),
        ),
        replication=_replication(fields),
    )


def _count_keys(fields: dict[str, str]) -> int:
    databases = (value for name, value in fields.items() if name.startswith("db") and name[2:].isdigit())
    return sum(int(_comma_fields(value).get("keys", "0")) for value in databases)


def _comma_fields(value: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)


def _replication(fields: dict[str, str]) -> Replication:
    if fields["role"] == "master":
        replicas = (_comma_fields(v) for n, v in fields.items() if n.startswith("slave") and n[5:].isdigit())
        return Replication(
            role="primary",
            offset=int(fields.get("master_repl_offset", "0")),
            replication_id=fields.get("master_replid", ""),
            replicas=tuple(
                ConnectedReplica(r.get("ip", ""), int(r.get("port", "0")), r.get("state", ""), int(r.get("offset", "0")))
                for r in replicas
            ),
        )
    return Replication(
        role="replica",
        # A replica that never synchronised reports -1 or 0 here; master_repl_offset counts what it holds on its own.
        offset=max(int(fields.get("slave_repl_offset", "0")), int(fields.get("master_repl_offset", "0"))),
        replication_id=fields.get("master_replid", ""),
        primary_address=fields.get("master_host"),
        primary_port=int(fields.get("master_port", "0")),
        link_up=fields.get("master_link_status") == "up",
        sync_in_progress=fields.get("master_sync_in_progress") == "1",
    )


def role(reply: Reply) -> Replication:
    """Read ROLE of a data node; a smaller answer than INFO for tight polling. Raises UnexpectedReply for a sentinel's."""
    parts = items(reply)
    kind = text(parts[0])
    if kind == "master":
        connected = [items(entry) for entry in items(parts[2])]
        return Replication(
            role="primary",
            offset=int(str(parts[1])),
            replication_id="",
            replicas=tuple(ConnectedReplica(text(e[0]), int(text(e[1])), "", int(text(e[2]))) for e in connected),
        )
    if kind == "slave":
        state = text(parts[3])
        return Replication(
            role="replica",
            offset=int(str(parts[4])),
            replication_id="",
            primary_address=text(parts[1]),
            primary_port=int(str(parts[2])),
            link_up=state == "connected",
            sync_in_progress=state == "sync",
        )
    raise UnexpectedReply(f"ROLE answered {kind!r}: not a data node")


def cluster_nodes(answer: str) -> tuple[ClusterNode, ...]:
    """Read CLUSTER NODES: `id ip:port@bus[,hostname…] flags primary ping pong epoch link-state slots…`."""
    return tuple(_cluster_node(line) for line in answer.splitlines() if line.strip())


def _cluster_node(line: str) -> ClusterNode:
    fields = line.split()
    if len(fields) < 8:
        raise UnexpectedReply(f"CLUSTER NODES has a line of {len(fields)} fields: {line!r}")
    endpoint = fields[1].split(",", 1)[0].split("@", 1)[0]
    address, _, port = endpoint.rpartition(":")
    plain = [s for s in fields[8:] if not s.startswith("[")]
    return ClusterNode(
        node_id=fields[0],
        address=address,
        port=int(port or 0),
        flags=frozenset(fields[2].split(",")) - {"noflags"},
        primary_id=None if fields[3] == "-" else fields[3],
        config_epoch=int(fields[6]),
        connected=fields[7] == "connected",
        slots=normalise(_range(s) for s in plain),
        open_slots=tuple(_open_slot(s) for s in fields[8:] if s.startswith("[")),
    )


def _range(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    return int(first), int(last or first)


def _open_slot(word: str) -> OpenSlot:
    body = word.strip("[]")
    if "->-" in body:
        slot, _, other = body.partition("->-")
        return OpenSlot(int(slot), "migrating", other)
    slot, arrow, other = body.partition("-<-")
    if not arrow:
        raise UnexpectedReply(f"CLUSTER NODES shows a slot in an unknown state: {word!r}")
    return OpenSlot(int(slot), "importing", other)


def cluster_shards(reply: Reply) -> tuple[Shard, ...]:
    """Read CLUSTER SHARDS: what cluster clients are told."""
    return tuple(_shard(pairs(entry)) for entry in items(reply))


def _shard(entry: dict[str, Reply]) -> Shard:
    bounds = [int(str(bound)) for bound in items(entry["slots"])]
    return Shard(
        slots=normalise(zip(bounds[::2], bounds[1::2], strict=True)),
        members=tuple(_shard_member(pairs(member)) for member in items(entry["nodes"])),
    )


def _shard_member(member: dict[str, Reply]) -> ShardMember:
    return ShardMember(
        node_id=text(member["id"]),
        address=text(member["ip"]),
        port=int(str(member.get("port") or member.get("tls-port") or 0)),
        role="primary" if text(member["role"]) in ("master", "primary") else "replica",
        offset=int(str(member.get("replication-offset", 0))),
        health=text(member["health"]),
    )


def sentinel_entry(reply: Reply) -> SentinelEntry:
    """One primary, replica or peer of SENTINEL MASTERS, REPLICAS or SENTINELS."""
    fields = {name: str(value) for name, value in pairs(reply).items()}
    return SentinelEntry(
        address=fields.get("ip", ""),
        port=int(fields.get("port", "0")),
        flags=frozenset(fields.get("flags", "").split(",")),
        fields=fields,
    )


def normalise(ranges: Iterable[tuple[int, int]]) -> Slots:
    """Ranges in order, neighbours joined: [(5, 9), (0, 4)] -> ((0, 9),)."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def slot_total(slots: Slots) -> int:
    """How many slots the ranges hold."""
    return sum(last - first + 1 for first, last in slots)


def uncovered(parts: Iterable[Slots]) -> Slots:
    """The slots in none of `parts`."""
    gaps, expected = [], 0
    for first, last in normalise(r for part in parts for r in part):
        if first > expected:
            gaps.append((expected, first - 1))
        expected = last + 1
    if expected < SLOT_COUNT:
        gaps.append((expected, SLOT_COUNT - 1))
    return tuple(gaps)


def format_slots(slots: Slots) -> str:
    """Ranges for people: ((0, 5460), (7, 7)) -> '0-5460, 7'."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in slots) or "none"
