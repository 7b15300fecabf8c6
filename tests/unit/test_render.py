"""The files of a node: declared values in CONFIG GET's form, secrets only where they belong."""

import hashlib

import pytest

from topologies.addresses import addressing
from topologies.plan import Plan, make_plan
from topologies.render import USERS, data_rules, declared, failover_bound_seconds, shared_files, stack_files
from topologies.spec import Spec

PASSWORDS = {user: f"{user}-secret" for user in USERS}


def plan_of(topology: str, **fields: object) -> Plan:
    return make_plan(Spec.model_validate({"topology": topology, **fields}), "shop", addressing(7), "0123456789ab")


@pytest.mark.parametrize(
    ("policy", "appendonly", "save"),
    [
        ("none", "no", ""),
        ("rdb", "no", "3600 1 300 100 60 10000"),
        ("aof", "yes", ""),
        ("both", "yes", "3600 1 300 100 60 10000"),
    ],
)
def test_each_persistence_policy_sets_both_switches(policy: str, appendonly: str, save: str) -> None:
    values = declared(Spec.model_validate({"topology": "standalone", "persistence": {"policy": policy}}))
    assert (values["appendonly"], values["save"]) == (appendonly, save)


def test_parameters_of_the_user_come_last_and_booleans_are_yes_or_no() -> None:
    values = declared(Spec.model_validate({"topology": "standalone", "parameters": {"lazyfree-lazy-eviction": True, "hz": 20}}))
    assert values["lazyfree-lazy-eviction"] == "yes"
    assert values["hz"] == "20"


def test_a_cluster_node_announces_its_own_address() -> None:
    plan = plan_of("cluster")
    files = stack_files(plan, PASSWORDS)
    assert "ADDRESS='10.213.7.10'\n" in files["node-1-1/node.env"]
    assert "BUS_PORT='16379'\n" in files["node-1-1/node.env"]
    assert "cluster-node-timeout 5000\n" in files["data/declared.conf"]


def test_passwords_reach_the_server_as_hashes_except_the_ones_it_sends_itself() -> None:
    plan = plan_of("sentinel")
    acl = stack_files(plan, PASSWORDS)["data/users.acl"]
    for user in USERS:
        assert PASSWORDS[user] not in acl
        assert hashlib.sha256(PASSWORDS[user].encode()).hexdigest() in acl
    assert acl.startswith("user default reset\n")


def test_sentinels_know_no_application_data_password() -> None:
    plan = plan_of("sentinel")
    files = {path: text for path, text in stack_files(plan, PASSWORDS).items() if path.startswith("sentinel")}
    text = "".join(files.values())
    assert "app-secret" not in text
    assert "replication-secret" not in text
    assert "sentinel auth-pass main sentinel-secret\n" in files["sentinel/service.conf"]


def test_shard_peers_are_the_other_nodes_of_the_same_shard() -> None:
    plan = plan_of("cluster")
    env = stack_files(plan, PASSWORDS)["node-1-1/node.env"]
    assert "SHARD_PEERS='10.213.7.58'\n" in env
    assert "PEERS='10.213.7.11 10.213.7.12 10.213.7.58 10.213.7.59 10.213.7.60'\n" in env


def test_the_failover_bound_follows_the_measured_formula() -> None:
    assert failover_bound_seconds(Spec.model_validate({"topology": "cluster", "cluster": {"node_timeout_seconds": 2}})) == 6
    assert failover_bound_seconds(Spec.model_validate({"topology": "sentinel", "sentinel": {"down_after_seconds": 1}})) == 4


def test_the_scripts_hold_no_stack_and_no_secret() -> None:
    files = shared_files()
    assert {"scripts/start.sh", "scripts/health.sh", "scripts/handover.sh"} <= set(files)
    assert all("redis-topologies:shop" not in text for text in files.values())


@pytest.mark.parametrize(
    ("name", "version", "may_write"), [("valkey", "9.1", True), ("valkey", "8.1", False), ("redis", "8.0", False)]
)
def test_the_user_of_replication_may_write_only_where_the_engine_moves_slots_with_it(
    name: str, version: str, may_write: bool
) -> None:
    spec = Spec.model_validate({"topology": "cluster", "engine": {"name": name, "version": version}})
    assert ("+@write" in data_rules(spec)["replication"]) is may_write
    alone = Spec.model_validate({"topology": "replication", "engine": {"name": name, "version": version}})
    assert "+@write" not in data_rules(alone)["replication"]


def test_times_stand_in_the_files_of_a_stack_that_is_archived() -> None:
    archived = Spec.model_validate({"topology": "standalone", "backup": {"point_in_time": True}})
    assert declared(archived)["aof-timestamp-enabled"] == "yes"
    assert "aof-timestamp-enabled" not in declared(Spec.model_validate({"topology": "standalone"}))
