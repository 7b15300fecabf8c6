"""Proof that `make verify` can fail: what it asserts is broken by hand, one thing at a time, and it names just that.

Everything is put back, and the stack is green again at the end.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from operations.connect import Link
from operations.inventory import Access
from tests.live.harness import Stack, throw_away_stack

SPEC = {"topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 5}}
AS_DECLARED, NOT_AS_DECLARED, NOT_UP = 0, 10, 69


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("proof", SPEC, tmp_path_factory.mktemp("proof"), request.config) as made:
        made.up().ok()
        yield made


@pytest.fixture
def access(stack: Stack) -> Access:
    return stack.access()


def verify(stack: Stack, code: int) -> dict[str, Any]:
    """What `scripts/verify.py --json` says."""
    result = stack.script("verify", "--json")
    if not result.output:
        raise AssertionError(result.told())
    report: dict[str, Any] = json.loads(result.output)
    assert result.code == code, (
        f"ended with {result.code}; failed: {[check for check in report['checks'] if not check['passed']]}"
    )
    assert report["as_declared"] is (code == AS_DECLARED)
    return report


def failed(report: dict[str, Any]) -> dict[str, set[str]]:
    """Failed checks by sentence, with the nodes (and users) that they failed for."""
    found: dict[str, set[str]] = {}
    for check in report["checks"]:
        if not check["passed"]:
            assert check["reason"], f"{check['check']} failed without a reason"
            found.setdefault(check["check"], set()).add(check["subject"])
    return found


def ask(access: Access, node: str, *command: str) -> Any:
    link = Link(access, access.inventory.node(node))
    try:
        return link.ask(*command)
    finally:
        link.close()


def test_an_untouched_stack_passes_every_check(stack: Stack) -> None:
    report = verify(stack, AS_DECLARED)
    assert report["failed"] == 0 and report["passed"] > 100
    assert len({check["group"] for check in report["checks"]}) >= 10


def test_a_parameter_set_by_hand_is_found_on_just_that_node(stack: Stack, access: Access) -> None:
    before = ask(access, "node-1-1", "CONFIG", "GET", "maxmemory-policy")[1]
    ask(access, "node-1-1", "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        report = verify(stack, NOT_AS_DECLARED)
        assert failed(report) == {"the live configuration is the declared one": {"node-1-1"}}
        reason = next(check["reason"] for check in report["checks"] if not check["passed"])
        assert "maxmemory-policy" in reason and "allkeys-lru" in reason
    finally:
        ask(access, "node-1-1", "CONFIG", "SET", "maxmemory-policy", before)


def test_a_user_with_too_many_rights_and_an_open_default_user_are_found(stack: Stack, access: Access) -> None:
    ask(access, "node-2-1", "ACL", "SETUSER", "monitor", "+config|get")
    ask(access, "node-3-1", "ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all")
    try:
        found = failed(verify(stack, NOT_AS_DECLARED))
        assert found.pop("a user of a data node cannot do what it must not") == {"node-2-1-monitor"}
        assert found.pop("the server really refuses what a user must not do") == {"node-2-1-monitor-CONFIG GET masterauth"}
        assert found.pop("the default user is off and has no rights") == {"node-3-1"}
        assert found.pop("a wrong password is refused") == {"node-3-1-default"}
        unguarded = found.pop("a client without a password is refused")
        assert {subject.partition("-PING")[0] for subject in unguarded if "PING" in subject} == {"node-3-1"}
        assert not found
    finally:
        for node in ("node-2-1", "node-3-1"):
            ask(access, node, "ACL", "LOAD")


def test_an_open_slot_is_found(stack: Stack, access: Access) -> None:
    other = ask(access, "node-2-1", "CLUSTER", "MYID")
    ask(access, "node-1-1", "CLUSTER", "SETSLOT", "0", "MIGRATING", other)
    try:
        found = failed(verify(stack, NOT_AS_DECLARED))
        assert found == {"no slot is open": {"node-1-1"}, "the stack as a whole is as declared": {""}}
    finally:
        ask(access, "node-1-1", "CLUSTER", "SETSLOT", "0", "STABLE")


def test_a_stopped_replica_is_found_and_the_rest_is_still_checked(stack: Stack, access: Access) -> None:
    container = stack.container("node-2-2")
    container.stop(timeout=20)
    try:
        report = verify(stack, NOT_AS_DECLARED)
        found = failed(report)
        assert "node-2-2" in found["the container runs and is not being restarted"]
        assert "node-2-2" in found["the engine calls the container healthy"]
        assert found["the stack as a whole is as declared"] == {""}
        assert found["every shard has one primary and all its replicas"] == {""}
        fine = {check["subject"] for check in report["checks"] if check["passed"]}
        assert {"node-1-1", "node-1-2", "node-2-1"} <= fine, "the nodes that run are checked all the same"
        reasons = [check["reason"] for check in report["checks"] if not check["passed"]]
        assert any("node-2-2" in reason and "not running" in reason for reason in reasons)
    finally:
        container.start()
    stack.wait_healthy(access, 30)


def test_what_was_put_back_passes_again(stack: Stack) -> None:
    verify(stack, AS_DECLARED)


def test_a_stack_whose_nodes_are_all_stopped_is_not_up(stack: Stack, access: Access) -> None:
    containers = [stack.container(node.name) for node in access.inventory.nodes]
    for container in containers:
        container.kill()
    stack.script("verify").failed(NOT_UP).says("is not up", f"make up STACK={stack.name}")


def test_a_stack_without_outputs_is_not_up(stack: Stack) -> None:
    stack.destroy().ok()
    stack.script("verify").failed(NOT_UP).says("it is not up")
