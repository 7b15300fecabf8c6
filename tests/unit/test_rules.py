"""Each rule: a spec that passes it, and one that it refuses or doubts with exactly this sentence."""

from typing import Any

import pytest

from topologies.rules import check
from topologies.rules.engine import OLDEST_VERSIONS, OWN_VERSIONS
from topologies.spec import Spec

GIB = 1024**3
DIGEST = "a" * 64


def spec(topology: str, fields: dict[str, Any]) -> Spec:
    return Spec.model_validate({"topology": topology, **fields})


def problems(topology: str, fields: dict[str, Any]) -> list[str]:
    return [str(finding) for finding in check(spec(topology, fields), "shop").problems]


def warnings(topology: str, fields: dict[str, Any]) -> list[str]:
    return [str(finding) for finding in check(spec(topology, fields), "shop").warnings]


RDB = {"persistence": {"policy": "rdb"}}
NONE = {"persistence": {"policy": "none"}}

REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    # topology, fields that pass, fields that are refused, sentence
    (
        "standalone",
        {"backup": {"point_in_time": True}},
        {"backup": {"point_in_time": True}, "persistence": {"policy": "rdb"}},
        "backup.point_in_time is true but with persistence.policy rdb there are no append-only files to archive; use "
        "persistence.policy aof or both, or remove it",
    ),
    (
        "standalone",
        {"backup": {"point_in_time": True}, "parameters": {"aof-timestamp-enabled": True}},
        {"backup": {"point_in_time": True}, "parameters": {"aof-timestamp-enabled": "no"}},
        "parameters.aof-timestamp-enabled is false but backup.point_in_time needs the times in the files; remove it",
    ),
    (
        "replication",
        {"shards": 1},
        {"shards": 3},
        "shards is 3 but a replication topology has one shard; remove it, or use topology cluster",
    ),
    (
        "standalone",
        {"replicas": 0},
        {"replicas": 1},
        "replicas is 1 but a standalone topology has no replicas; remove it, or use topology replication or sentinel",
    ),
    (
        "cluster",
        {"cluster": {}},
        {"sentinel": {}},
        "sentinel is given but a cluster topology has no sentinels; remove the section, or use topology sentinel",
    ),
    (
        "sentinel",
        {"sentinel": {}},
        {"cluster": {}},
        "cluster is given but a sentinel topology has no cluster nodes; remove the section, or use topology cluster",
    ),
    (
        "cluster",
        {"shards": 3},
        {"shards": 2},
        "shards is 2 but a cluster needs at least 3 primaries to agree that one of them failed; use 3 to 48",
    ),
    (
        "cluster",
        {"shards": 48},
        {"shards": 49},
        "shards is 49 but the addresses of a stack are enough for 48 shards; use 3 to 48",
    ),
    (
        "replication",
        {"replicas": 1},
        {"replicas": 0},
        "replicas is 0 but a replication topology needs at least 1; use 1 to 4, or topology standalone",
    ),
    (
        "sentinel",
        {"sentinel": {"quorum": 3}},
        {"sentinel": {"quorum": 4}},
        "sentinel.quorum is 4 but only 3 sentinels exist; use 1 to 3",
    ),
    (
        "sentinel",
        {"sentinel": {"count": 1, "quorum": 1}},
        {"sentinel": {"count": 1, "quorum": 2}},
        "sentinel.quorum is 2 but only 1 sentinel exists; use 1",
    ),
    (
        "sentinel",
        {"sentinel": {"down_after_seconds": 0.5}},
        {"sentinel": {"down_after_seconds": 0.2}},
        "sentinel.down_after_seconds is 0.2 but nodes talk to each other only a few times a second, so healthy ones would be "
        "taken for dead; use 0.5 or more",
    ),
    (
        "cluster",
        {"cluster": {"node_timeout_seconds": 0.5}},
        {"cluster": {"node_timeout_seconds": 0.1}},
        "cluster.node_timeout_seconds is 0.1 but nodes talk to each other only a few times a second, so healthy ones would be "
        "taken for dead; use 0.5 or more",
    ),
    (
        "cluster",
        {**RDB, "restart": "after-failover"},
        {**RDB, "restart": "immediate"},
        "restart is immediate but with persistence.policy rdb a primary comes back without its last writes and its replicas copy "
        "that; use after-failover or never, or persistence.policy aof or both",
    ),
    (
        "replication",
        {**NONE, "restart": "never"},
        {**NONE, "restart": "immediate"},
        "restart is immediate but with persistence.policy none a primary comes back without its last writes and its replicas "
        "copy that; use never, or persistence.policy aof or both",
    ),
    (
        "replication",
        {"restart": "immediate"},
        {"restart": "after-failover"},
        "restart is after-failover but a replication topology never fails over by itself; use immediate or never",
    ),
    (
        "standalone",
        {**NONE, "restart": "immediate"},
        {**NONE, "restart": "after-failover"},
        "restart is after-failover but there is no replica that could take over; use immediate or never",
    ),
    (
        "standalone",
        {"persistence": {"policy": "rdb", "rdb": {"save": [[60, 1]]}}},
        {"persistence": {"policy": "rdb", "rdb": {"save": []}}},
        "persistence.rdb.save is [] but persistence.policy rdb takes snapshots at save points; "
        "give at least one, for example [[3600, 1]]",
    ),
    (
        "cluster",
        {"replication": {"min_replicas_to_write": 1}},
        {"replication": {"min_replicas_to_write": 2}},
        "replication.min_replicas_to_write is 2 but each primary has only 1 replica, so it would refuse every write; use 0 to 1",
    ),
    (
        "standalone",
        {"replication": {"min_replicas_to_write": 0}},
        {"replication": {"min_replicas_to_write": 1}},
        "replication.min_replicas_to_write is 1 but each primary has no replicas, so it would refuse every write; use 0",
    ),
    (
        "standalone",
        {"memory": {"maxmemory": "16mb"}},
        {"memory": {"maxmemory": 0}},
        "memory.maxmemory is 0, which to the server means no limit; use 16mb or more",
    ),
    (
        "standalone",
        {"memory": {"maxmemory": "16mb"}},
        {"memory": {"maxmemory": "1mb"}},
        "memory.maxmemory is 1mb, which is too little for a server and its links; use 16mb or more",
    ),
    (
        "replication",
        {"memory": {"maxmemory": "128mb"}, "replication": {"backlog": "64mb"}},
        {"memory": {"maxmemory": "100mb"}, "replication": {"backlog": "64mb"}},
        "replication.backlog is 64mb but counts against memory.maxmemory 100mb, so little is left for data; "
        "use 25mb or less, or more memory.maxmemory",
    ),
    (
        "replication",
        {"replication": {"replica_buffer": "64mb"}},
        {"replication": {"replica_buffer": 0}},
        "replication.replica_buffer is 0, which to the server means no limit, so one slow replica can fill the memory; "
        "use 64mb or more",
    ),
    (
        "cluster",
        {"memory": {"copy_on_write_headroom": 0.1}},
        {"memory": {"copy_on_write_headroom": 0}},
        "memory.copy_on_write_headroom is 0 but a snapshot under writes needed 61 % of maxmemory, then the container is killed "
        "for its memory; use 0.6 or more",
    ),
    (
        "cluster",
        {"engine": {"version": "7.0"}},
        {"engine": {"version": "7.2"}},
        "engine.version is 7.2 but the toolkit has images of redis 7.0, redis 8.0, valkey 8.1 or valkey 9.1; "
        "use 7.0 or 8.0, or name an image in engine.image",
    ),
    (
        "cluster",
        {"engine": {"user": "redis"}},
        {"engine": {"user": "app"}},
        "engine.user is app but the toolkit's own image runs its server as redis; remove it, or name an image in engine.image",
    ),
    (
        "cluster",
        {"engine": {"image": "redis:7.2", "version": "7.2"}},
        {"engine": {"image": "redis:6.2", "version": "6.2"}},
        "engine.version is 6.2 but the toolkit needs commands of redis 7.0; use an image with 7.0 or later, for example 8.0",
    ),
    (
        "cluster",
        {"engine": {"image": f"registry.example:5000/team/redis:8.0@sha256:{DIGEST}"}},
        {"engine": {"image": "Redis 8"}},
        'engine.image is "Redis 8" but is not the name of an image; write for example redis:8.0 or host:5000/redis:8.0',
    ),
    (
        "cluster",
        {"engine": {"image": "redis:8.0", "user": "999:999"}},
        {"engine": {"image": "redis:8.0", "user": "a b"}},
        'engine.user is "a b" but is not the name or number of a user; write for example redis or "999:999"',
    ),
    (
        "cluster",
        {"engine": {"image": "redis:8.0", "user": "redis"}},
        {"engine": {"image": "redis:8.0", "user": "0:0"}},
        "engine.user is 0:0 but a node does not run as root; use the image's own user, mostly redis",
    ),
    (
        "cluster",
        {"network": {"subnet": "10.50.0.0/24"}},
        {"network": {"subnet": "10.50.0.0/33"}},
        "network.subnet is 10.50.0.0/33 but is not an IPv4 subnet; write it for example 10.50.0.0/24",
    ),
    (
        "cluster",
        {"network": {"subnet": "10.50.0.0/16"}},
        {"network": {"subnet": "10.0.0.0/8"}},
        "network.subnet is 10.0.0.0/8, which would shut other networks out; use a part of it, for example 10.50.0.0/24",
    ),
    (
        "cluster",
        {"network": {"subnet": "192.168.40.0/24"}},
        {"network": {"subnet": "192.168.40.0/25"}},
        "network.subnet is 192.168.40.0/25 but addresses of nodes go up to .249, which needs a /24; use 192.168.40.0/24",
    ),
    (
        "cluster",
        {"network": {"subnet": "172.20.3.0/24"}},
        {"network": {"subnet": "172.20.3.7/24"}},
        "network.subnet is 172.20.3.7/24 but is the address of one host in that subnet; write 172.20.3.0/24",
    ),
    (
        "cluster",
        {"network": {"subnet": "172.20.3.0/24"}},
        {"network": {"subnet": "172.20.3.7"}},
        "network.subnet is 172.20.3.7 but is an address, not a subnet; write 172.20.3.0/24",
    ),
    (
        "cluster",
        {"network": {"subnet": "172.31.0.0/24"}},
        {"network": {"subnet": "8.8.8.0/24"}},
        "network.subnet is 8.8.8.0/24 but is not a private range, so real addresses would be shut out; "
        "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
    ),
    (
        "cluster",
        {"network": {"subnet": "10.50.0.0/24"}},
        {"network": {"subnet": "fd00::/64"}},
        "network.subnet is fd00::/64 but nodes have IPv4 addresses; use an IPv4 subnet, for example 10.50.0.0/24",
    ),
    (
        "cluster",
        {"network": {"port_base": 65280}},
        {"network": {"port_base": 65281}},
        "network.port_base is 65281 but its block of 256 ports would end at 65536; use 1024 to 65280",
    ),
    (
        "sentinel",
        {"parameters": {"replica-priority": 10}},
        {"parameters": {"replica-priority": 0}},
        "parameters.replica-priority is 0, so no replica can ever take over; use 1 or more, or remove it",
    ),
    (
        "cluster",
        {"parameters": {"cluster-replica-no-failover": "no"}},
        {"parameters": {"cluster-replica-no-failover": "yes"}},
        "parameters.cluster-replica-no-failover is true, so no replica can ever take over; remove it",
    ),
    (
        "cluster",
        {"parameters": {"repl-timeout": 30}},
        {"parameters": {"repl-timeout": 10}},
        "parameters.repl-timeout is 10 but replicas are asked every 10 s and given up after 10 s; "
        "make repl-timeout several times repl-ping-replica-period",
    ),
]

DOUBTED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "standalone",
        {"backup": {"rehearsal": "0 5 * * 0", "schedule": "0 3 * * *"}},
        {"backup": {"rehearsal": "0 5 * * 0"}},
        'backup.rehearsal is "0 5 * * 0" but without backup.schedule there is no agent, so `status` cannot tell when it is '
        "overdue; set backup.schedule too",
    ),
    (
        "replication",
        {"replication": {}},
        {"replicas": 1, "replication": {"diskless_sync_delay_seconds": 5}},
        "replication.diskless_sync_delay_seconds is 5 but each primary has one replica, so a full copy waits for nobody; use 0",
    ),
    (
        "standalone",
        {},
        {"replication": {"backlog": "64mb"}},
        "replication has no effect, because no node has replicas; remove the section",
    ),
    (
        "standalone",
        {"persistence": {"policy": "both", "rdb": {}}},
        {"persistence": {"policy": "aof", "rdb": {}}},
        "persistence.rdb has no effect with persistence.policy aof; use persistence.policy rdb or both, or remove the section",
    ),
    (
        "standalone",
        {"persistence": {"policy": "both", "aof": {}}},
        {"persistence": {"policy": "rdb", "aof": {}}},
        "persistence.aof has no effect with persistence.policy rdb; use persistence.policy aof or both, or remove the section",
    ),
    (
        "cluster",
        {"replicas": 1},
        {"replicas": 0},
        "replicas is 0, so the slots of a node that fails are not served until it is back; use 1 to 4",
    ),
    (
        "sentinel",
        {"sentinel": {"quorum": 2}},
        {"sentinel": {"quorum": 1}},
        "sentinel.quorum is 1, so a single sentinel that cannot reach the primary can start a failover of a healthy one; use 2",
    ),
    (
        "sentinel",
        {"sentinel": {"count": 5}},
        {"sentinel": {"count": 4}},
        "sentinel.count is 4 but tolerates no more failures than 3; use 3 or 5",
    ),
    (
        "sentinel",
        {"sentinel": {"count": 3}},
        {"sentinel": {"count": 2}},
        "sentinel.count is 2 but a failover needs a majority of all sentinels, so none may be down; use 3 or 5",
    ),
    (
        "sentinel",
        {"sentinel": {"down_after_seconds": 2}},
        {"sentinel": {"down_after_seconds": 1}},
        "sentinel.down_after_seconds is 1, so a slow command or a busy machine can start a failover; use 2 or more",
    ),
    (
        "sentinel",
        {"sentinel": {"failover_timeout_seconds": 10}},
        {"sentinel": {"failover_timeout_seconds": 9}},
        "sentinel.failover_timeout_seconds is 9 but it takes 5 s to notice a failure, so a failover may be given up half-way; "
        "use 10 or more",
    ),
    (
        "cluster",
        {"cluster": {"node_timeout_seconds": 2}},
        {"cluster": {"node_timeout_seconds": 1}},
        "cluster.node_timeout_seconds is 1, so a slow command or a busy machine can start a failover; use 2 or more",
    ),
    (
        "cluster",
        {"cluster": {"full_coverage": False}},
        {"cluster": {"full_coverage": True}},
        "cluster.full_coverage is true, so one shard that is down stops all others too (0.8 to 1.3 s per failover measured); "
        "use false, unless half of the keys are worse than none",
    ),
    (
        "standalone",
        {"memory": {"maxmemory": "3gb"}, **RDB},
        {"memory": {"maxmemory": "4gb"}, **RDB},
        "limits.stop_timeout_seconds is 60 but handing over and saving 4gb can take 64 s, then the server is "
        "killed; use 64 or more",
    ),
    (
        "replication",
        {"replication": {"min_replicas_to_write": 1}},
        {"replication": {"min_replicas_to_write": 2}},
        "replication.min_replicas_to_write is 2 and each primary has 2 replicas, so writes stop whenever one of them is away; "
        "use 1, or more replicas",
    ),
    (
        "sentinel",
        {"replication": {"min_replicas_to_write": 1}},
        {"replication": {"min_replicas_to_write": 0}},
        "replication.min_replicas_to_write is 0, so a primary that is cut off goes on acknowledging writes that the failover "
        "loses (5,422 in 15 s measured); use 1",
    ),
    (
        "replication",
        {"replication": {"min_replicas_to_write": 1, "max_lag_seconds": 3}},
        {"replication": {"max_lag_seconds": 3}},
        "replication.max_lag_seconds is 3 but has no effect while replication.min_replicas_to_write is 0; "
        "remove it, or use replication.min_replicas_to_write 1 or more",
    ),
    (
        "sentinel",
        {"replication": {"max_lag_seconds": 2}},
        {"replication": {"max_lag_seconds": 1}},
        "replication.max_lag_seconds is 1 but replicas report once a second, so a short stall refuses writes; use 2 or more",
    ),
    (
        "sentinel",
        {"replication": {"max_lag_seconds": 5}},
        {"replication": {"max_lag_seconds": 6}},
        "replication.max_lag_seconds is 6 but others take over after 5 s, and what is acknowledged from then on is lost; "
        "use 5 or less",
    ),
    (
        "replication",
        {"memory": {"maxmemory": "256mb"}},
        {"memory": {"maxmemory": "200mb"}},
        "replication.backlog is 64mb and counts against memory.maxmemory 200mb; use 50mb or less, or more memory.maxmemory",
    ),
    (
        "replication",
        {"replication": {"backlog": "16mb"}},
        {"replication": {"backlog": "1mb"}},
        "replication.backlog is 1mb, so a short outage of a replica under writes ends in a full copy; "
        "use write rate x tolerated outage, for example 64mb for a minute at 1 MB/s",
    ),
    (
        "replication",
        {"replication": {"replica_buffer": "64mb"}},
        {"replication": {"replica_buffer": "32mb"}},
        "replication.replica_buffer is 32mb but the server takes at least the backlog of 64mb; use 64mb or more",
    ),
    (
        "cluster",
        {"memory": {"copy_on_write_headroom": 0.5}},
        {"memory": {"copy_on_write_headroom": 0.3}},
        "memory.copy_on_write_headroom is 0.3 and a snapshot under writes needed 61 % of maxmemory, then the container is "
        "killed for its memory; use 0.6 or more",
    ),
    (
        "standalone",
        {"memory": {"eviction": "noeviction"}},
        {"memory": {"eviction": "volatile-lru"}, **NONE},
        "memory.eviction is volatile-lru, so keys without expiry are never evicted, and writes are refused when only those are "
        "left; use it where every key has an expiry, else allkeys-lru or noeviction",
    ),
    (
        "standalone",
        {**NONE, "memory": {"eviction": "allkeys-lru"}},
        {**NONE},
        "memory.eviction is noeviction, so a full cache refuses writes; use allkeys-lru for a cache",
    ),
    (
        "standalone",
        {"memory": {"eviction": "noeviction"}},
        {"memory": {"eviction": "allkeys-lfu"}},
        "memory.eviction is allkeys-lfu, so acknowledged writes go when memory is full, whatever persistence.policy aof keeps; "
        "use noeviction for data that must stay, or persistence.policy none for a cache",
    ),
    (
        "cluster",
        {"engine": {"image": "redis:8.0"}},
        {"engine": {"image": "redis"}},
        "engine.image is redis, so its content can change under a running stack; name a version, for example redis:8.0",
    ),
    (
        "cluster",
        {"engine": {"image": f"redis@sha256:{DIGEST}"}},
        {"engine": {"image": "redis:latest"}},
        "engine.image is redis:latest, so its content can change under a running stack; name a version, for example redis:8.0",
    ),
    (
        "cluster",
        {"network": {"subnet": "10.214.0.0/24"}},
        {"network": {"subnet": "10.213.7.0/24"}},
        "network.subnet is 10.213.7.0/24 but stacks without a subnet of their own take theirs from 10.213.0.0/18; "
        "remove it to get a free one, or use another range",
    ),
    (
        "cluster",
        {"network": {"subnet": "172.18.0.0/24"}},
        {"network": {"subnet": "172.17.5.0/24"}},
        "network.subnet is 172.17.5.0/24 but Docker mostly uses that range for its default network; "
        "use another, for example 10.50.0.0/24",
    ),
    (
        "cluster",
        {"network": {"port_base": 29384}},
        {"network": {"port_base": 29000}},
        "network.port_base is 29000 but stacks without a port_base of their own take theirs from 13000 to 29383; "
        "remove it to get a free one, or use another range",
    ),
    (
        "cluster",
        {"network": {"port_base": 32512}},
        {"network": {"port_base": 32513}},
        "network.port_base is 32513 but Linux takes ports 32768 to 60999 for outgoing connections, so one can be taken when a "
        "node starts; use 29384 to 32512",
    ),
    (
        "cluster",
        {"network": {"publish": False}},
        {"network": {"publish": False, "port_base": 31000}},
        "network.port_base is 31000 but has no effect with network.publish false; remove it",
    ),
    (
        "standalone",
        {"parameters": {"no-appendfsync-on-rewrite": False}},
        {"parameters": {"no-appendfsync-on-rewrite": True}},
        "parameters.no-appendfsync-on-rewrite is true, so nothing reaches the disk while the file is rewritten; "
        "remove it to keep the promise of persistence.aof.fsync",
    ),
    (
        "standalone",
        {"parameters": {"aof-load-truncated": "yes"}},
        {"parameters": {"aof-load-truncated": "no"}},
        "parameters.aof-load-truncated is false, so a node whose machine lost power in the middle of a write does not start; "
        "remove it",
    ),
    (
        "cluster",
        {"parameters": {"repl-diskless-load": "disabled"}},
        {"parameters": {"repl-diskless-load": "swapdb"}},
        "parameters.repl-diskless-load is swapdb, so a replica may hold its old and its new data at once; "
        "make memory.copy_on_write_headroom 1.0 or more, or remove it",
    ),
    (
        "cluster",
        {"parameters": {"replica-ignore-maxmemory": True}},
        {"parameters": {"replica-ignore-maxmemory": False}},
        "parameters.replica-ignore-maxmemory is false, so replicas evict on their own and differ from their primary; remove it",
    ),
    (
        "cluster",
        {"parameters": {"enable-debug-command": "local"}},
        {"parameters": {"enable-debug-command": "yes"}},
        "parameters.enable-debug-command is true, so the admin user can stall or crash a server; use local, or remove it",
    ),
]


def _ids(cases: list[tuple[str, dict[str, Any], dict[str, Any], str]]) -> list[str]:
    return [f"{number}-{sentence.split(' ')[0].rstrip(',')}" for number, (_, _, _, sentence) in enumerate(cases)]


@pytest.mark.parametrize(("topology", "passes", "fails", "sentence"), REFUSED, ids=_ids(REFUSED))
def test_a_broken_rule_is_refused_with_one_sentence(
    topology: str, passes: dict[str, Any], fails: dict[str, Any], sentence: str
) -> None:
    assert problems(topology, fails) == [sentence]
    assert problems(topology, passes) == []


@pytest.mark.parametrize(("topology", "passes", "fails", "sentence"), DOUBTED, ids=_ids(DOUBTED))
def test_what_is_doubtful_gives_a_warning_and_is_not_refused(
    topology: str, passes: dict[str, Any], fails: dict[str, Any], sentence: str
) -> None:
    assert problems(topology, fails) == []
    assert sentence in warnings(topology, fails)
    assert sentence not in warnings(topology, passes)


@pytest.mark.parametrize("topology", ["standalone", "replication", "sentinel", "cluster"])
@pytest.mark.parametrize("engine", ["redis", "valkey"])
def test_the_defaults_of_every_topology_pass_without_a_warning(topology: str, engine: str) -> None:
    findings = check(spec(topology, {"engine": {"name": engine}}), "shop", 64 * GIB)
    assert (findings.problems, findings.warnings) == ((), ())


@pytest.mark.parametrize("policy", ["none", "rdb", "aof", "both"])
@pytest.mark.parametrize("topology", ["standalone", "replication", "sentinel", "cluster"])
def test_every_persistence_policy_is_possible_in_every_topology(topology: str, policy: str) -> None:
    assert problems(topology, {"persistence": {"policy": policy}}) == []


def test_more_memory_than_the_machine_has_is_a_warning() -> None:
    made = spec("cluster", {"memory": {"maxmemory": "1gb"}})
    assert check(made, "shop", 64 * GIB).warnings == ()
    assert [str(warning) for warning in check(made, "shop", 8 * GIB).warnings] == [
        "memory.maxmemory is 1gb, which makes 2.0 GiB per node and 12.0 GiB in all, but the machine has 8.0 GiB; "
        "use less memory, or fewer nodes"
    ]


@pytest.mark.parametrize(("stack", "fine"), [("shop-2", True), ("Shop", False), ("a_b", False), ("x" * 41, False), ("-a", False)])
def test_the_name_of_a_stack_must_fit_into_container_names(stack: str, fine: bool) -> None:
    found = [str(problem) for problem in check(spec("cluster", {}), stack).problems]
    reason = "but becomes part of container and volume names; use up to 40 lower-case letters, digits and hyphens"
    assert found == ([] if fine else [f"stack is {stack} {reason}"])


def test_all_broken_rules_are_listed_at_once() -> None:
    found = problems(
        "sentinel", {"sentinel": {"quorum": 4}, "network": {"port_base": 65500}, **RDB, "restart": "immediate", "shards": 3}
    )
    assert [sentence.split(" ")[0] for sentence in found] == ["shards", "sentinel.quorum", "restart", "network.port_base"]


def test_own_versions_are_not_older_than_the_oldest() -> None:
    for engine, versions in OWN_VERSIONS.items():
        assert all(tuple(map(int, version.split("."))) >= OLDEST_VERSIONS[engine] for version in versions)
