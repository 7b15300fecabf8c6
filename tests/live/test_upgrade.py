"""Another engine version or image: one node after the other, under load; one that does not work stops at its first node."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operations.inventory import Access
from operations.observe import observe
from tests.live.conftest import BASE
from tests.live.faults import hang
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Load, fill, lost

pytestmark = pytest.mark.live

UNSENT_WRITES = 10
SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "8mb"}}
SPEC = {
    **SMALL,
    "topology": "cluster",
    "engine": {"name": "redis", "version": "7.0"},
    "shards": 3,
    "replicas": 1,
    "cluster": {"node_timeout_seconds": 2},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with throw_away_stack("upgrade", SPEC, tmp_path_factory.mktemp("upgrade"), pytestconfig) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    found = stack.access()
    stack.wait_healthy(found, 60)
    return found


def versions(access: Access) -> dict[str, str]:
    return {node.name: node.info.version for node in observe(access).nodes if node.info}


def ids(stack: Stack) -> dict[str, str | None]:
    return {str(c.name): c.id for c in stack.containers() if not str(c.name).endswith("carrier")}


def assert_upgraded(stack: Stack, access: Access, old: str, new: str) -> None:
    """Under load, nothing acknowledged is lost, and a second `up` has nothing to do."""
    assert all(version.startswith(f"{old}.") for version in versions(access).values())
    kept = fill(access, "before")
    with Load(access, "during", writers=2) as load:
        load.wait_for(50)
        stack.configure(**{"engine.version": new})
        stack.up().ok().says("are replaced one after the other")
        ledger = load.ledger
    assert all(version.startswith(f"{new}.") for version in versions(access).values())
    stack.wait_healthy(access, 60)
    assert lost(access, ledger) == [] and lost(access, kept) == []
    stack.preview("--expect-no-changes").ok()


def test_an_upgrade_replaces_node_by_node_and_loses_nothing(stack: Stack, access: Access) -> None:
    assert_upgraded(stack, access, "7.0", "8.0")


@pytest.mark.full
@pytest.mark.parametrize(
    ("topology", "engine_name", "old", "new"),
    [("cluster", "valkey", "8.1", "9.1"), ("sentinel", "redis", "7.0", "8.0"), ("replication", "valkey", "8.1", "9.1")],
)
def test_the_other_topologies_and_engines_are_upgraded_alike(
    topology: str, engine_name: str, old: str, new: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    spec = {**SMALL, "topology": topology, "engine": {"name": engine_name, "version": old}}
    with throw_away_stack(f"upgrade-{topology}", spec, tmp_path, pytestconfig) as made:
        made.up().ok()
        access = made.access()
        made.wait_healthy(access, 60)
        assert_upgraded(made, access, old, new)


@pytest.mark.full
@pytest.mark.parametrize("victim", ["node-2-2", "node-1-1"])
def test_a_node_that_is_lost_is_back_before_any_other_is_replaced(
    victim: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Its container is gone when the version changes in the spec; one `up` makes it anew first, then replaces the others."""
    with throw_away_stack("upgrade-lost", SPEC, tmp_path, pytestconfig) as made:
        made.up().ok()
        access = made.access()
        made.wait_healthy(access, 60)
        kept = fill(access, "before")
        with Load(access, "during", writers=2) as load:
            load.wait_for(50)
            made.container(victim).remove(force=True)
            if victim == "node-1-1":
                made.wait_promoted(access, victim, 30)
            made.configure(**{"engine.version": "8.0"})
            made.up("--refresh").ok()
        assert all(version.startswith("8.0.") for version in versions(access).values())
        made.wait_healthy(access, 60)
        missing = lost(access, load.ledger)
        # A primary that is killed takes with it what it had not sent yet; nothing else may go.
        assert len(missing) <= (UNSENT_WRITES if victim == "node-1-1" else 0), missing[:5]
        assert lost(access, kept) == []
        made.preview("--expect-no-changes").ok()


def test_a_downgrade_that_cannot_read_the_data_is_refused_in_preview(stack: Stack, access: Access) -> None:
    stack.configure(**{"engine.version": "7.0"})
    stack.preview().failed().says("which redis 7.0 cannot read (it is newer)", "was not touched")
    stack.configure(**{"engine.version": "8.0"})
    assert all(version.startswith("8.0.") for version in versions(access).values())


def test_an_upgrade_whose_first_node_does_not_come_back_stops_there(stack: Stack, access: Access, broken_image: str) -> None:
    before = ids(stack)
    stack.configure(**{"engine.image": broken_image})
    stack.up().failed().says(
        "does not start", "this build cannot run here", "was not replaced, and neither were the nodes after it"
    )
    changed = {name for name, number in ids(stack).items() if before[name] != number}
    assert len(changed) == 1, "one node was taken for the attempt, all others are as they were"
    assert len(observe(access).answering) == len(access.inventory.nodes) - 1
    assert lost(access, fill(access, "meanwhile")) == []


def test_setting_the_image_back_mends_it_and_touches_no_other_node(stack: Stack, access: Access) -> None:
    before = ids(stack)
    stack.configure(**{"engine.image": BASE})
    stack.up().ok()
    changed = {name for name, number in ids(stack).items() if before[name] != number}
    assert len(changed) == 1
    stack.wait_healthy(access, 60)


def test_a_server_that_hangs_is_started_again_by_up_which_then_does_what_it_was_asked_for(stack: Stack, access: Access) -> None:
    """As Redis 8.0 does by itself now and then (docs/decisions/0170)."""
    hang(access, "node-1-2" if observe(access).of("node-1-1").is_primary else "node-1-1")
    stack.configure(**{"parameters.hz": "20"})
    stack.up().ok().says("hung: it answered nobody while its process worked", "hz")
    stack.wait_healthy(access, 30)
