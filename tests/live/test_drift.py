"""What somebody changed by hand is shown, and `pulumi refresh` and `up` set it back; what servers changed themselves stays."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from operations.connect import Link
from operations.inventory import Access
from operations.observe import observe
from operations.verdict import verdict
from tests.live.faults import roles, switch
from tests.live.harness import Stack, throw_away_stack
from tests.waiting import wait_until

pytestmark = pytest.mark.live

SPEC = {"topology": "sentinel", "replicas": 1, "memory": {"maxmemory": "64mb"}, "replication": {"backlog": "8mb"}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with throw_away_stack("drift", SPEC, tmp_path_factory.mktemp("drift"), pytestconfig) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    found = stack.access()
    stack.wait_healthy(found, 60)
    return found


def drift(stack: Stack, code: int) -> set[tuple[str, str]]:
    """(node, what) of every difference; the exit code says the same."""
    result = stack.script("drift", "--json")
    assert result.code == code, result.told()
    found: list[dict[str, Any]] = json.loads(result.output)["drift"]
    return {(entry["node"], entry["what"]) for entry in found}


def ask(access: Access, node: str, *command: str | int) -> None:
    link = Link(access, access.inventory.node(node))
    link.ask(*command)
    link.close()


def test_a_fresh_stack_has_no_drift(stack: Stack, access: Access) -> None:
    assert access.inventory.users
    assert drift(stack, 0) == set()


def test_a_promoted_replica_is_no_drift_and_keeps_its_role(stack: Stack, access: Access) -> None:
    switch(stack, access)
    stack.wait_healthy(access, 60)
    assert drift(stack, 0) == set()
    before = roles(access)
    stack.pulumi("refresh", "--yes", "--skip-preview", "--stack", stack.name, "--non-interactive").ok()
    stack.up("--expect-no-changes").ok()
    assert roles(access) == before


def test_changes_by_hand_are_shown_and_refresh_and_up_set_them_back(stack: Stack, access: Access) -> None:
    before = roles(access)
    ask(access, "node-1", "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    ask(access, "node-2", "CONFIG", "SET", "slowlog-max-len", "7")
    ask(access, "node-2", "ACL", "SETUSER", "eve", "on", ">secret", "~*", "+@all")
    ask(access, "sentinel-1", "SENTINEL", "SET", "main", "down-after-milliseconds", "77000")
    changed = {
        ("node-1", "maxmemory-policy"), ("node-2", "slowlog-max-len"), ("node-2", "user eve"),
        ("sentinel-1", "down-after-milliseconds"),
    }  # fmt: skip
    assert drift(stack, 10) == changed
    table = stack.script("drift").says("maxmemory-policy", "noeviction", "allkeys-lru", "what to do")
    assert table.code == 10
    stack.up("--expect-no-changes").ok()
    assert drift(stack, 10) == changed, "`up` alone changes nothing that was not changed in the spec"
    stack.pulumi("refresh", "--yes", "--skip-preview", "--stack", stack.name, "--non-interactive").ok()
    stack.up().ok().says("maxmemory-policy set live on node-1", "users of node-2 are as declared again: eve")
    assert drift(stack, 0) == set()
    assert roles(access) == before
    passwords = stack.outputs()["credentials"].values()
    state = stack.pulumi("stack", "export", "--stack", stack.name).ok().output
    assert not [password for password in passwords if password in state], "secrets stay secret through a refresh"


@pytest.mark.full
def test_users_and_passwords_without_which_nobody_follows_or_watches_are_set_back(stack: Stack, access: Access) -> None:
    leader, follower = sorted(roles(access), key=lambda name: roles(access)[name])
    ask(access, leader, "ACL", "SETUSER", "replication", "resetpass")
    ask(access, leader, "CLIENT", "KILL", "TYPE", "replica")
    ask(access, follower, "CONFIG", "SET", "masterauth", "wrong")
    ask(access, follower, "ACL", "SETUSER", "sentinel", "off")
    ask(access, follower, "CLIENT", "KILL", "USER", "sentinel")
    ask(access, "sentinel-1", "SENTINEL", "SET", "main", "auth-pass", "wrong")

    def missing() -> str:
        reasons = verdict(observe(access), access.inventory).reasons
        return "" if any("no connection" in why for why in reasons) and any("dead" in why for why in reasons) else str(reasons)

    wait_until("a replica that nobody sees, without a primary", missing, 30)
    assert {(leader, "user replication"), (follower, "user sentinel"), (follower, "masterauth")} < drift(stack, 10)
    assert "wrong" not in stack.script("drift").text
    stack.pulumi("refresh", "--yes", "--skip-preview", "--stack", stack.name, "--non-interactive").ok()
    stack.up().ok().says(
        f"users of {leader} are as declared again: replication", f"users of {follower} are as declared again: sentinel"
    )
    assert drift(stack, 0) == set()


def test_a_stopped_node_is_drift(stack: Stack, access: Access) -> None:
    stack.container("node-2").stop(timeout=30)
    try:
        found = drift(stack, 10)
    finally:
        stack.container("node-2").start()
    assert ("node-2", "state") in found and ("", "shape") in found
    stack.wait_healthy(access, 60)
