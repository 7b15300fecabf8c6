"""The files of each node, as text: pure functions of the plan and the passwords.

`declared` gives parameters in the form in which CONFIG GET shows them, so that live servers can be compared with them.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

from operations.bounds import failover_bound
from operations.sizes import MIB
from topologies.objectives import policy_of
from topologies.plan import Kind, NodePlan, Plan
from topologies.spec import ParameterValue, Spec

CONFIG = "/config"
DATA = "/data"
SCRIPTS = "scripts"
SCRIPT_SOURCES = Path(__file__).resolve().parent.parent / "configs" / "node"

USERS = ("app", "admin", "replication", "sentinel", "monitor", "backup")
TIMES_IN_FILES = "aof-timestamp-enabled"
"""The second stands in the append-only files, so that they can be cut there."""
DEFAULT_MAXCLIENTS = 10000
RESERVED_FILES = 64
"""File descriptors that the server keeps for itself (32) plus the start script and AOF files."""

_ASK_CLUSTER = (
    "+cluster|slots +cluster|shards +cluster|nodes +cluster|info +cluster|keyslot +cluster|countkeysinslot +cluster|myid"
)
_ASK_SENTINEL = " ".join(
    f"+sentinel|{command}"
    for command in (
        "masters",
        "master",
        "replicas",
        "slaves",
        "sentinels",
        "get-master-addr-by-name",
        "ckquorum",
        "myid",
    )
)

REPLICATION = "+psync +replconf +ping"
SLOT_MIGRATION = "~* +@write +select +multi +exec +cluster|syncslots"
"""What a shard needs at another when Valkey, from 9.0 on, moves slots by itself: it logs in there as `replication`."""
DATA_RULES: Mapping[str, str] = {
    # Everything on keys, nothing that administers; what client libraries ask of a server is let through.
    "app": f"~* &* +@all -@admin -@dangerous +info +role +sort +sort_ro {_ASK_CLUSTER}",
    "admin": "~* &* +@all",
    "replication": REPLICATION,
    # The list of the Sentinel documentation.
    "sentinel": "&* +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info "
    "+client|setname +client|kill +script|kill",
    # Not CONFIG GET: it tells masterauth, and who can log in as `replication` can copy all data.
    "monitor": f"+@connection -@dangerous +info +role +slowlog|get +slowlog|len +latency|latest +latency|history "
    f"+latency|histogram +memory|stats +dbsize +lastsave {_ASK_CLUSTER}",
    "backup": f"~* +@read +@connection -@dangerous +info +role +scan +psync +sync +replconf +bgsave +lastsave "
    f"+client|pause +client|unpause {_ASK_CLUSTER}",
}
SENTINEL_RULES: Mapping[str, str] = {
    # @connection alone would hold CLIENT KILL and CLIENT PAUSE.
    "app": f"&* +@connection -@dangerous +ping +role +subscribe +psubscribe +unsubscribe +punsubscribe {_ASK_SENTINEL}",
    "admin": "~* &* +@all",
    "sentinel": "&* +@connection -@dangerous +ping +info +role +publish +subscribe +sentinel|is-master-down-by-addr",
    "monitor": f"+@connection -@dangerous +ping +info +role {_ASK_SENTINEL}",
}


def _text(value: ParameterValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def declared(spec: Spec) -> dict[str, str]:
    """Parameters that every data node of the spec has, as CONFIG GET shows them."""
    buffer = spec.replication.replica_buffer
    values: dict[str, str] = {
        "port": "6379",
        "protected-mode": "no",  # users and passwords guard every address
        "maxclients": str(min(DEFAULT_MAXCLIENTS, spec.limits.files - RESERVED_FILES)),
        "maxmemory": str(spec.memory.maxmemory),
        "maxmemory-policy": spec.memory.eviction,
        "appendonly": "yes" if spec.uses_aof else "no",
        "appendfsync": spec.persistence.aof.fsync,
        "save": " ".join(f"{seconds} {changes}" for seconds, changes in spec.persistence.rdb.save) if spec.uses_rdb else "",
        "repl-backlog-size": str(max(spec.replication.backlog, 16384)),
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": str(spec.replication.diskless_sync_delay_seconds),
        "min-replicas-to-write": str(spec.replication.min_replicas_to_write),
        "min-replicas-max-lag": str(spec.replication.max_lag_seconds),
        "client-output-buffer-limit": (f"normal 0 0 0 slave {buffer} {buffer // 4} 60 pubsub {32 * MIB} {8 * MIB} 60"),
    }
    if spec.topology == "cluster":
        values |= {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(round(spec.cluster.node_timeout_seconds * 1000)),
            "cluster-require-full-coverage": "yes" if spec.cluster.full_coverage else "no",
        }
    if spec.backup.point_in_time:
        values[TIMES_IN_FILES] = "yes"
    return values | {name: _text(value) for name, value in spec.parameters.items()}


def failover_bound_seconds(spec: Spec) -> int:
    """Longest time that an automatic failover after a crash takes, with slack, rounded up; 0 where nobody takes over."""
    bound = failover_bound(policy_of(spec).timing, "crash")
    return math.ceil(bound.with_slack) if bound else 0


def _quoted(value: str) -> str:
    return f'"{value}"' if value == "" or (" " in value and "{" in value) else value


def _data_conf(plan: Plan, passwords: Mapping[str, str]) -> str:
    """The declared parameters of all data nodes; included last, so they win over what the server wrote."""
    own = {
        "bind": plan.data_nodes[0].bind_address,
        "dir": DATA,
        "daemonize": "no",
        "logfile": "",
        "aclfile": f"{CONFIG}/data/users.acl",
        "masteruser": "replication",
        "masterauth": passwords["replication"],
    }
    if plan.spec.topology == "cluster":
        own["cluster-config-file"] = "nodes.conf"
    return as_file(own | declared(plan.spec))


def as_file(values: Mapping[str, str]) -> str:
    """Parameters as a server's configuration file has them."""
    return "".join(f"{name} {_quoted(value)}\n" for name, value in values.items())


def sentinel_settings(spec: Spec) -> dict[str, str]:
    """Declared settings of the watched service, as SENTINEL SET and SENTINEL MASTER name them."""
    return {
        "down-after-milliseconds": str(round(spec.sentinel.down_after_seconds * 1000)),
        "failover-timeout": str(spec.sentinel.failover_timeout_seconds * 1000),
        "parallel-syncs": "1",
    }


def _sentinel_conf(node: NodePlan, passwords: Mapping[str, str]) -> str:
    return "".join(
        f"{line}\n"
        for line in (
            f"port {node.port}",
            f"bind {node.bind_address}",
            "protected-mode no",
            f"dir {DATA}",
            "daemonize no",
            'logfile ""',
            f"aclfile {CONFIG}/sentinel/users.acl",
            "sentinel sentinel-user sentinel",
            f"sentinel sentinel-pass {passwords['sentinel']}",
        )
    )


def _service_conf(plan: Plan, passwords: Mapping[str, str]) -> str:
    service = plan.spec.sentinel.service
    settings = sentinel_settings(plan.spec) | {"auth-user": "sentinel", "auth-pass": passwords["sentinel"]}
    return "".join(f"sentinel {name} {service} {value}\n" for name, value in settings.items())


def data_rules(spec: Spec) -> dict[str, str]:
    """The rights of each user on data nodes."""
    migrates = spec.topology == "cluster" and spec.engine.name == "valkey" and int(spec.engine.version.split(".")[0]) >= 9
    return {**DATA_RULES, "replication": f"{REPLICATION} {SLOT_MIGRATION}"} if migrates else dict(DATA_RULES)


def _users_acl(spec: Spec, kind: Kind, passwords: Mapping[str, str]) -> str:
    rules = SENTINEL_RULES if kind == "sentinel" else data_rules(spec)
    hashes = {user: hashlib.sha256(passwords[user].encode()).hexdigest() for user in rules}
    lines = [f"user {user} reset on #{hashes[user]} {rule}" for user, rule in rules.items()]
    return "\n".join(["user default reset", *lines]) + "\n"


def _node_env(plan: Plan, node: NodePlan) -> str:
    spec = plan.spec
    others = [other for other in plan.data_nodes if other.name != node.name]
    values = {
        "STACK": plan.stack,
        "NODE": node.name,
        "KIND": node.kind,
        "TOPOLOGY": spec.topology,
        "ENGINE": spec.engine.name,
        "SHARDS": spec.shard_count,
        "ADDRESS": node.announced_address,
        "PORT": node.port,
        "BUS_PORT": node.bus_port,
        "PEERS": " ".join(other.announced_address for other in others),
        "SHARD_PEERS": " ".join(other.announced_address for other in others if other.shard == node.shard),
        "SENTINELS": " ".join(sentinel.announced_address for sentinel in plan.sentinels),
        "SENTINEL_PORT": plan.sentinels[0].port if plan.sentinels else 0,
        "SERVICE": spec.sentinel.service,
        "QUORUM": spec.sentinel.quorum,
        "RESTART": spec.restart_policy,
        "FAILOVER_BOUND_SECONDS": failover_bound_seconds(spec),
    }
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def stack_files(plan: Plan, passwords: Mapping[str, str]) -> dict[str, str]:
    """Files of a stack by path below the configuration volume; they hold secrets.

    What all nodes of a kind have in common stands once, in `data/` and `sentinel/`: each upload costs time when a stack starts.
    """
    files = {f"{node.name}/node.env": _node_env(plan, node) for node in (*plan.nodes, *plan.surge)}
    files |= {f"data/{name}": text for name, text in _logins(plan.spec, "data", passwords).items()}
    files["data/declared.conf"] = _data_conf(plan, passwords)
    if plan.sentinels:
        files |= {f"sentinel/{name}": text for name, text in _logins(plan.spec, "sentinel", passwords).items()}
        files["sentinel/declared.conf"] = _sentinel_conf(plan.sentinels[0], passwords)
        files["sentinel/service.conf"] = _service_conf(plan, passwords)
    return files


def _logins(spec: Spec, kind: Kind, passwords: Mapping[str, str]) -> dict[str, str]:
    """Users of a kind of node, and the passwords that its own scripts need."""
    return {
        "users.acl": _users_acl(spec, kind, passwords),
        "admin.password": passwords["admin"],
        "monitor.password": passwords["monitor"],
    }


def shared_files() -> dict[str, str]:
    """Start and health scripts, the same for every node; no secret in them."""
    return {f"{SCRIPTS}/{path.name}": path.read_text() for path in sorted(SCRIPT_SOURCES.glob("*.sh"))}


def start_command(node: NodePlan) -> list[str]:
    return ["sh", f"{CONFIG}/{SCRIPTS}/start.sh", f"{CONFIG}/{node.name}"]


def health_command(node: NodePlan) -> list[str]:
    return ["CMD", "sh", f"{CONFIG}/{SCRIPTS}/health.sh", f"{CONFIG}/{node.name}"]
