"""Stacks that stand next to each other: neither may touch the other's addresses, ports, keys or data."""

from collections.abc import Iterator

import pytest

from operations.connect import Link
from operations.inventory import Access
from tests.live.harness import PREFIX, Stack, throw_away_stack
from tests.live.ledger import fill, lost
from topologies.addresses import preferred_index

SPEC = {"topology": "cluster", "shards": 3, "replicas": 0, "cluster": {"node_timeout_seconds": 2}}
UP_SECONDS = 60


@pytest.fixture(scope="module")
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("side-a", SPEC, tmp_path_factory.mktemp("first"), request.config) as stack:
        stack.up().ok()
        yield stack


@pytest.fixture(scope="module")
def second(first: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the same topology whose name asks for the very subnet that the first one has."""
    names = (f"{PREFIX}side-b-{number}" for number in range(10000))
    name = next(name for name in names if preferred_index(name) == preferred_index(first.name))
    with throw_away_stack(name, SPEC, tmp_path_factory.mktemp("second"), request.config) as stack:
        assert stack.name == name
        stack.up().ok()
        yield stack


def nodes_of(access: Access) -> set[tuple[str, int, int]]:
    return {(node.address, node.port, node.host_port) for node in access.inventory.nodes}


def test_two_stacks_of_one_topology_share_no_address_port_volume_or_network(first: Stack, second: Stack) -> None:
    one, other = first.access(), second.access()
    assert not {node.address for node in one.inventory.nodes} & {node.address for node in other.inventory.nodes}
    assert not {node.host_port for node in one.inventory.nodes} & {node.host_port for node in other.inventory.nodes}
    assert not {node.volume for node in one.inventory.nodes} & {node.volume for node in other.inventory.nodes}
    assert one.inventory.network.subnet != other.inventory.network.subnet


def test_two_stacks_have_passwords_of_their_own(first: Stack, second: Stack) -> None:
    one, other = first.access().credentials, second.access().credentials
    assert not {one.password(user) for user in one.passwords} & {other.password(user) for user in other.passwords}


def test_two_clusters_never_know_each_other(first: Stack, second: Stack) -> None:
    one, other = first.access(), second.access()
    for access, strangers in ((one, other), (other, one)):
        view = str(Link(access, access.inventory.nodes[0]).ask("CLUSTER", "NODES"))
        assert len(view.splitlines()) == len(access.inventory.nodes)
        assert not [node.address for node in strangers.inventory.nodes if f" {node.address}:" in view]


def test_another_up_of_the_first_does_not_move_it_off_its_subnet(first: Stack, second: Stack) -> None:
    before = nodes_of(first.access())
    assert second.access()
    first.up("--expect-no-changes").ok()
    assert nodes_of(first.access()) == before


def test_keys_of_one_are_unknown_to_the_other_and_survive_its_end(first: Stack, second: Stack) -> None:
    one, other = first.access(), second.access()
    kept = fill(one, "side-by-side", 500)
    assert len(lost(other, kept)) == 500
    second.destroy().ok()
    assert lost(one, kept) == []
    first.wait_healthy(one, UP_SECONDS)
