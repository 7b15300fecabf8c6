"""Parameters of a running stack are changed by `pulumi up`: live ones at once, boot ones by restarts in place, all under load."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from docker.types import Ulimit

from operations.clients import application_client
from operations.connect import Link, node_client
from operations.inventory import Access
from operations.observe import observe
from tests.live.faults import kill_servers
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import Load, fill, lost

pytestmark = pytest.mark.live

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "8mb"}}
SPEC = {**SMALL, "topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 2}}
BOOT, LIVE = "tcp-backlog", "maxmemory-samples"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with throw_away_stack("parameters", SPEC, tmp_path_factory.mktemp("parameters"), pytestconfig) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    found = stack.access()
    stack.wait_healthy(found, 60)
    return found


def run_ids(access: Access) -> dict[str, str]:
    return {node.name: node.info.run_id for node in observe(access).nodes if node.info}


def values(access: Access, name: str) -> dict[str, str]:
    """Live value of a parameter by node."""
    found = {}
    for node in access.inventory.data_nodes:
        client = node_client(access, node, decode_responses=True)
        found[node.name] = str(client.config_get(name)[name])
        client.close()
    return found


def test_a_live_parameter_is_set_on_every_node_and_restarts_none(stack: Stack, access: Access) -> None:
    before = run_ids(access)
    stack.configure(**{f"parameters.{LIVE}": "7"})
    stack.up().ok().says(f"{LIVE} set live on")
    assert set(values(access, LIVE).values()) == {"7"}
    assert run_ids(access) == before


def test_a_boot_parameter_restarts_every_node_in_place_and_loses_nothing(stack: Stack, access: Access) -> None:
    before, ids = run_ids(access), {c.name: c.id for c in stack.containers()}
    kept = fill(access, "before")
    with Load(access, "during", writers=2) as load:
        load.wait_for(50)
        stack.configure(**{f"parameters.{BOOT}": "600"})
        result = stack.up().ok()
        ledger = load.ledger
    result.says("restarts for tcp-backlog", "took over shard")
    assert set(values(access, BOOT).values()) == {"600"}
    after = run_ids(access)
    assert set(after) == set(before) and not set(after.values()) & set(before.values()), "every server was started anew"
    assert {c.name: c.id for c in stack.containers() if "carrier" not in str(c.name)} == {
        name: number for name, number in ids.items() if "carrier" not in str(name)
    }
    assert lost(access, ledger) == [] and lost(access, kept) == []
    stack.wait_healthy(access, 30)


def test_a_value_that_the_server_does_not_start_with_is_refused_in_preview(stack: Stack, access: Access) -> None:
    before = run_ids(access)
    stack.configure(**{"parameters.notify-keyspace-events": "Q-"})
    stack.preview().failed().says("does not start with the declared parameters", "Invalid event class character", "not touched")
    del stack.settings["parameters.notify-keyspace-events"]
    stack.configure()
    assert run_ids(access) == before


@pytest.mark.full
def test_less_memory_than_a_node_holds_is_refused_in_preview_before_its_container_is_limited(
    stack: Stack, access: Access
) -> None:
    before = {str(c.name): c.attrs["HostConfig"]["Memory"] for c in stack.containers()}
    client = application_client(access)
    client.set("large", "x" * 24_000_000)
    stack.configure(**{"memory.maxmemory": "20mb"})
    try:
        stack.preview().failed().says("memory.maxmemory is 20 MB, but node-", "it would refuse every write", "not touched")
        stack.up().failed().says("memory.maxmemory is 20 MB, but node-")
        assert {str(c.name): c.attrs["HostConfig"]["Memory"] for c in stack.containers()} == before
        client.delete("large")
        stack.preview().ok()
    finally:
        client.close()
        del stack.settings["memory.maxmemory"]
        stack.configure()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("parameters.no-such-parameter", "7", "no-such-parameter"),
        ("shards", "2", "a cluster needs at least 3 primaries"),
    ],
)
def test_what_cannot_be_is_refused_in_preview_and_by_up_and_nothing_is_touched(
    stack: Stack, access: Access, field: str, value: str, words: str
) -> None:
    before, ids = run_ids(access), {c.name: c.id for c in stack.containers()}
    stack.configure(**{field: value})
    try:
        stack.preview().failed().says(words)
        stack.up().failed().says(words)
    finally:
        del stack.settings[field]
        stack.configure()
    assert run_ids(access) == before
    assert {c.name: c.id for c in stack.containers()} == ids


def test_more_open_files_than_the_engine_may_give_are_refused_in_preview(stack: Stack) -> None:
    most, image = 1_048_576, stack.containers()[0].image
    assert image is not None
    limit = Ulimit(name="nofile", soft=most, hard=most)
    container = engine().containers.create(image, ["true"], entrypoint=[], ulimits=[limit])
    try:
        container.start()
        pytest.skip("this engine gives as many open files as a spec can ask for")
    except APIError as error:
        assert "rlimit" in str(error)
    finally:
        container.remove(force=True)
    stack.configure(**{"limits.files": str(most)})
    try:
        stack.preview().failed().says("may not allow that many open files", "not touched")
    finally:
        del stack.settings["limits.files"]
        stack.configure()


def test_a_parameter_that_left_the_spec_is_set_back_to_its_default(stack: Stack, access: Access) -> None:
    before = run_ids(access)
    del stack.settings[f"parameters.{LIVE}"]
    stack.configure()
    stack.up().ok().says(f"{LIVE} set live on")
    assert set(values(access, LIVE).values()) == {"5"}
    assert run_ids(access) == before


@pytest.mark.full
def test_the_append_only_file_is_switched_without_a_restart_and_survives_kills(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    with throw_away_stack("switched", {**SMALL, "topology": "standalone"}, tmp_path, pytestconfig) as stack:
        stack.up().ok()
        access = stack.access()
        kept = fill(access, "kept")
        for policy, value in (("rdb", "no"), ("both", "yes"), ("rdb", "no"), ("aof", "yes")):
            before = run_ids(access)
            with Load(access, f"to-{policy}", writers=2) as load:
                load.wait_for(20)
                stack.configure(**{"persistence.policy": policy})
                stack.up().ok().says(f"appendonly {value} on")
            assert values(access, "appendonly") == {"node-1": value}
            assert run_ids(access) == before
            assert lost(access, load.ledger) == []
            if value == "no":
                Link(access, access.inventory.node("node-1")).ask("SAVE")  # what comes after is the risk of that policy
            kill_servers(stack, access.inventory.data_nodes)
            stack.wait_healthy(access, 90)
            assert values(access, "appendonly") == {"node-1": value}
            assert lost(access, kept) == [] and lost(access, load.ledger) == []
