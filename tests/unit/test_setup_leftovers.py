"""What a killed Pulumi leaves behind, and what is somebody's work in progress."""

import json

import pytest

from operations.errors import InvalidInput
from scripts.leftovers import (
    Found,
    Lock,
    LockState,
    PluginProcess,
    State,
    judge_lock,
    not_running,
    parse_lock,
    parse_plugin,
    parse_state,
)
from scripts.leftovers import unknown_objects as unknown

LOCK = Lock("/locks/a.json", 4167, "here", "root", "2026-01-02T03:04:05Z")
URN = "urn:pulumi:cluster::redis-topologies::docker:index/container:Container::"


def test_a_lock_file_tells_who_holds_it() -> None:
    text = json.dumps({"pid": 4167, "username": "root", "hostname": "here", "timestamp": "2026-01-02T03:04:05Z"})
    assert parse_lock("/locks/a.json", text) == LOCK


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"pid": "x", "username": "", "hostname": "", "timestamp": ""}'])
def test_a_broken_lock_file_is_named_in_the_error(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"/locks/a\.json"):
        parse_lock("/locks/a.json", text)


def test_a_lock_of_a_running_pulumi_is_respected() -> None:
    assert judge_lock(LOCK, "here", "pulumi") is LockState.LIVE


def test_a_lock_without_a_process_is_stale() -> None:
    assert judge_lock(LOCK, "here", None) is LockState.STALE


def test_a_lock_whose_number_went_to_another_program_is_stale() -> None:
    assert judge_lock(LOCK, "here", "redis-server") is LockState.STALE


def test_nobody_can_tell_about_a_process_on_another_machine() -> None:
    assert judge_lock(LOCK, "there", None) is LockState.FOREIGN


def test_a_stack_that_was_never_up_has_an_empty_state() -> None:
    assert parse_state({"version": 3}) == State((), frozenset())
    assert parse_state({"version": 3, "deployment": {"resources": None, "pending_operations": None}}) == State((), frozenset())


def test_the_state_gives_ids_and_what_was_cut_off() -> None:
    exported = {
        "deployment": {
            "resources": [{"urn": URN + "node-1", "id": "abc"}, {"urn": "urn:pulumi:the-stack-itself"}],
            "pending_operations": [{"type": "creating", "resource": {"urn": URN + "node-2"}}],
        }
    }
    assert parse_state(exported) == State(("creating node-2",), frozenset({"abc"}))


def test_what_the_state_knows_is_not_left_over() -> None:
    known = (Found("container", "abc", "redis-a-node-1"), Found("network", "net", "redis-a"))
    assert unknown(known, State((), frozenset({"abc", "net"}))) == ()


def test_left_over_containers_go_before_their_network() -> None:
    network, second, first = Found("network", "n", "a"), Found("container", "2", "node-2"), Found("container", "1", "node-1")
    assert unknown((network, second, first), State((), frozenset())) == (first, second, network)


def test_a_container_made_by_hand_under_a_known_name_is_left_over() -> None:
    """The id decides: a name says nothing about who made a container."""
    impostor = Found("container", "other", "redis-a-node-1")
    assert unknown((impostor,), State((), frozenset({"abc"}))) == (impostor,)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/cache/bin/pulumi-language-python", "127.0.0.1:39861"], "pulumi-language-python"),
        (["/home/.pulumi/plugins/resource-docker-v5.2.0/pulumi-resource-docker", "127.0.0.1:39861"], "pulumi-resource-docker"),
        (["/bin/sh", "/cache/bin/pulumi-resource-pulumi-python", "127.0.0.1:39861"], "pulumi-resource-pulumi-python"),
        (["/repo/.venv/bin/python", "-u", "-m", "pulumi.dynamic", "127.0.0.1:39861"], "pulumi.dynamic"),
    ],
)
def test_plugins_are_known_by_their_command(command: list[str], name: str) -> None:
    assert parse_plugin(7, command, "/repo") == PluginProcess(7, name, "127.0.0.1:39861", "/repo")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["pulumi", "up", "--yes"],
        ["redis-server", "127.0.0.1:6379"],
        ["grep", "-r", "pulumi-resource-docker", "host:1"],
        ["/cache/bin/pulumi-language-python", "--help"],
        ["python", "-m", "pytest", "a:b"],
    ],
)
def test_other_programs_are_no_plugins(command: list[str]) -> None:
    assert parse_plugin(7, command, "/repo") is None


def test_containers_that_should_run_and_do_not_are_named_and_the_carrier_is_not() -> None:
    def container(name: str, **inputs: object) -> dict[str, object]:
        return {"type": "docker:index/container:Container", "id": f"{name}-id", "inputs": {"name": name, **inputs}}

    resources = [container("redis-x-node-1"), container("redis-x-node-2"), container("redis-x-carrier", mustRun=False)]
    state = parse_state({"deployment": {"resources": resources}})
    assert not_running(state, {"redis-x-node-1-id"}) == ("redis-x-node-2",)
    assert not_running(state, {"redis-x-node-1-id", "redis-x-node-2-id"}) == ()
