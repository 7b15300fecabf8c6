"""What is not as declared is named: parameters, announced addresses, users, containers; and what the servers own is not."""

import copy
from typing import Any

import pytest

from operations.defaults import undeclared
from operations.drift import UP, Drift, announced_parameters, parameter_drift
from operations.parameters import expected_parameters
from operations.users import User, allowed, declared_user, live_user, user_problems
from tests.unit.states import inventory_of
from topologies.hardening import declared_container, live_container
from topologies.parameters import OWNED, recorded
from topologies.render import DATA_RULES

CLUSTER = inventory_of("cluster", parameters={"hz": 20})
NODE = CLUSTER.node("node-1-1")
LIVE = {**expected_parameters(CLUSTER), **announced_parameters(CLUSTER, NODE)}
CATEGORIES = {
    "read": frozenset({"get", "keys", "client|list"}),
    "write": frozenset({"set"}),
    "dangerous": frozenset({"keys", "client|kill", "client|list"}),
    "connection": frozenset({"client", "client|kill", "client|list", "ping"}),
}


def test_a_server_that_runs_as_declared_has_no_drift() -> None:
    assert list(parameter_drift(NODE, LIVE, CLUSTER)) == []


@pytest.mark.parametrize(
    ("name", "live", "declared"),
    [("maxmemory-policy", "allkeys-lru", "noeviction"), ("hz", "10", "20"), ("slowlog-max-len", "7", "128")],
)
def test_a_parameter_set_by_hand_is_drift_whether_declared_or_not(name: str, live: str, declared: str) -> None:
    (found,) = parameter_drift(NODE, LIVE | {name: live}, CLUSTER)
    assert (found.node, found.what, found.declared, found.live) == ("node-1-1", name, declared, live)


def test_a_wrong_announced_address_is_set_back_as_a_parameter_is() -> None:
    (found,) = parameter_drift(NODE, LIVE | {"cluster-announce-ip": "192.0.2.1"}, CLUSTER)
    assert found.declared == NODE.address
    assert found.remedy == UP


@pytest.mark.parametrize(("engine", "version"), recorded())
def test_defaults_are_on_record_for_what_a_spec_may_set_and_for_nothing_that_moves(engine: str, version: str) -> None:
    known = undeclared(engine, version)
    assert len(known) > 80
    assert not set(known) & set(OWNED)
    assert not {"replica-priority", "cluster-allow-replica-migration"} & set(known)
    assert not any(name.startswith("tls-") for name in known)
    assert "databases" not in known, "a cluster has one, whatever the default is"


def test_an_engine_that_is_not_on_record_is_compared_with_what_is_declared_alone() -> None:
    assert undeclared("redis", "6.0") == {}


def test_a_drift_reads_as_a_sentence() -> None:
    assert str(Drift("node-1", "hz", "20", "10")) == "node-1: hz is 10, declared 20"


def test_rules_are_worked_out_in_their_order() -> None:
    assert allowed(("+@all", "-@dangerous", "+client|list"), CATEGORIES) == {"get", "set", "client|list", "ping"}
    assert allowed(("+client", "-client|kill"), CATEGORIES) == {"client|list"}
    assert allowed((), CATEGORIES) == frozenset()


def test_the_same_rights_in_the_words_of_another_version_are_no_drift() -> None:
    declared = declared_user("secret", "~* &* +@all -@dangerous")
    hashed = next(iter(declared.passwords))
    name, live = live_user(f"user app on sanitize-payload #{hashed} ~* &* +@all -keys -client|kill -client|list")
    assert user_problems({name: declared}, {name: live, "default": live_user("user default off")[1]}, CATEGORIES) == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("user app on #{hash} ~* &* +@all", "may also run client|kill, client|list, keys"),
        ("user app on #{hash} ~* &* +get", "may not run ping, set"),
        ("user app on #abcd ~* &* +@all -@dangerous", "has 1 passwords that are not declared and lacks 1"),
        ("user app on nopass #{hash} ~* &* +@all -@dangerous", "needs no password"),
        ("user app off #{hash} ~* &* +@all -@dangerous", "cannot log in"),
        ("user app on #{hash} ~app:* &* +@all -@dangerous", "reaches &* ~app:*"),
    ],
)
def test_a_changed_user_is_told_without_any_password(line: str, problem: str) -> None:
    declared = declared_user("secret", "~* &* +@all -@dangerous")
    hashed = next(iter(declared.passwords))
    name, live = live_user(line.replace("{hash}", hashed))
    found = user_problems({name: declared}, {name: live, "default": live_user("user default off")[1]}, CATEGORIES)
    assert found == {"app": problem}
    assert hashed not in found["app"]


def test_missing_and_strange_users_and_an_open_default_are_drift() -> None:
    open_default = live_user("user default on nopass ~* &* +@all")[1]
    found = user_problems(
        {"app": declared_user("x", "+get")}, {"eve": User(True, frozenset(), ()), "default": open_default}, CATEGORIES
    )
    assert found == {"app": "is missing", "eve": "is not declared", "default": "can log in; needs no password"}


def test_the_inventory_tells_the_rules_of_every_user_and_no_password() -> None:
    assert CLUSTER.users == {"data": dict(DATA_RULES), "sentinel": {}}
    assert set(inventory_of("sentinel").users["sentinel"]) == {"app", "admin", "sentinel", "monitor"}


def inspection(limit: int) -> dict[str, Any]:
    """What `docker inspect` tells of a node that is as declared."""
    return {
        "Image": "sha256:1",
        "State": {"Status": "running"},
        "Config": {"User": "redis", "StopTimeout": 60, "Labels": {"redis-topologies.owner": CLUSTER.owner}},
        "HostConfig": {
            "ReadonlyRootfs": True, "Privileged": False, "CapDrop": ["ALL"], "CapAdd": None, "Memory": limit,
            "SecurityOpt": ["no-new-privileges:true"], "RestartPolicy": {"Name": "unless-stopped"},
            "Ulimits": [{"Name": "nofile", "Hard": 20000}, {"Name": "nproc", "Hard": 4096}],
            "PortBindings": {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(NODE.host_port)}]},
        },
        "NetworkSettings": {"Networks": {CLUSTER.network.name: {"IPAMConfig": {"IPv4Address": NODE.address}}}},
        "Mounts": [
            {"Destination": "/data", "Name": NODE.volume, "RW": True},
            {"Destination": "/config", "Name": "redis-shop-config", "RW": False},
        ],
    }  # fmt: skip


def memory_limit() -> int:
    return int(declared_container(CLUSTER, NODE)["memory"].removesuffix(" MB")) * 1024**2


def test_a_hardened_container_is_as_declared() -> None:
    assert live_container(inspection(memory_limit())) == declared_container(CLUSTER, NODE)


@pytest.mark.parametrize(
    ("part", "field", "value", "fact"),
    [
        ("HostConfig", "ReadonlyRootfs", False, "root file system"),
        ("HostConfig", "Privileged", True, "privileged"),
        ("HostConfig", "CapAdd", ["NET_ADMIN"], "capabilities"),
        ("HostConfig", "SecurityOpt", None, "new privileges"),
        ("HostConfig", "Memory", 0, "memory"),
        ("HostConfig", "Ulimits", None, "open files"),
        ("HostConfig", "RestartPolicy", {"Name": "always"}, "restart policy"),
        ("HostConfig", "PortBindings", {"6379/tcp": [{"HostIp": "", "HostPort": "6379"}]}, "published ports"),
        ("Config", "User", "", "user"),
        ("Config", "StopTimeout", 10, "patience on stop"),
        ("State", "Status", "paused", "state"),
        ("NetworkSettings", "Networks", {}, "networks"),
    ],
)
def test_every_loosened_limit_of_a_container_is_drift(part: str, field: str, value: object, fact: str) -> None:
    changed = copy.deepcopy(inspection(memory_limit()))
    changed[part][field] = value
    declared, live = declared_container(CLUSTER, NODE), live_container(changed)
    assert fact in {name for name in declared if declared[name] != live[name]}


def test_another_image_and_another_volume_are_drift() -> None:
    changed = inspection(memory_limit())
    changed["Image"] = "sha256:2"
    changed["Mounts"][0]["Name"] = "somebody-elses"
    changed["Mounts"].append({"Destination": "/host", "Source": "/", "RW": True})
    live = live_container(changed)
    assert live["image"] == "sha256:2"
    assert live["mounts"] == "/config read-only, /data somebody-elses, /host /"
