"""Parameters of a running stack are changed by `pulumi up`: live ones at once, boot ones by restarts in place, all under load."""

from collections.abc import Iterator

import pytest

from operations.connect import node_client
from operations.inventory import Access
from operations.observe import observe
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import Load, fill, lost

pytestmark = pytest.mark.live

SPEC = {
    "topology": "cluster",
    "shards": 3,
    "replicas": 1,
    "cluster": {"node_timeout_seconds": 2},
    "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "8mb"},
}
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
