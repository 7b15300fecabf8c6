"""Addresses and ports: never shared, never moved when a stack grows, never outside the stack's own range."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from operations.errors import InvalidInput
from topologies.addresses import (
    BLOCK,
    FIRST_PORT,
    INDEX_COUNT,
    MAX_MEMBERS,
    MAX_SHARDS,
    Addressing,
    addressing,
    choose_index,
    preferred_index,
    subnet_of,
)
from topologies.plan import make_plan
from topologies.spec import Spec

INDICES = st.integers(0, INDEX_COUNT - 1)
SPECS = st.one_of(
    st.builds(
        lambda shards, replicas: Spec(topology="cluster", shards=shards, replicas=replicas),
        st.integers(3, MAX_SHARDS),
        st.integers(0, MAX_MEMBERS - 1),
    ),
    st.builds(
        lambda replicas, count: Spec.model_validate({"topology": "sentinel", "replicas": replicas, "sentinel": {"count": count}}),
        st.integers(1, MAX_MEMBERS - 1),
        st.integers(1, 7),
    ),
    st.builds(lambda replicas: Spec(topology="replication", replicas=replicas), st.integers(1, MAX_MEMBERS - 1)),
    st.just(Spec(topology="standalone")),
)


def places(spec: Spec, index: int) -> dict[str, tuple[str, int]]:
    """Address and published port of each node by name."""
    return {n.name: (n.announced_address, n.host_port) for n in make_plan(spec, "shop", addressing(index)).nodes}


@given(SPECS, INDICES)
def test_no_two_nodes_of_a_stack_share_an_address_a_port_or_a_name(spec: Spec, index: int) -> None:
    plan = make_plan(spec, "shop", addressing(index))
    for values in (
        [node.announced_address for node in plan.nodes],
        [node.host_port for node in plan.nodes],
        [node.name for node in plan.nodes],
        [node.volume for node in plan.nodes],
    ):
        assert len(set(values)) == len(values) == spec.shard_count * (spec.replica_count + 1) + spec.sentinel_count


@given(SPECS, INDICES)
def test_every_node_lies_in_the_subnet_and_the_block_of_its_stack(spec: Spec, index: int) -> None:
    plan = make_plan(spec, "shop", addressing(index))
    reserved = {plan.gateway, str(IPv4Network(plan.subnet)[2]), str(IPv4Network(plan.subnet).broadcast_address)}
    for node in plan.nodes:
        assert IPv4Address(node.announced_address) in IPv4Network(plan.subnet)
        assert node.announced_address not in reserved
        assert FIRST_PORT + index * BLOCK <= node.host_port < FIRST_PORT + (index + 1) * BLOCK


@given(SPECS, SPECS, INDICES)
def test_a_node_keeps_its_address_and_port_when_the_stack_grows_or_shrinks(one: Spec, two: Spec, index: int) -> None:
    before, after = places(one, index), places(two, index)
    if (one.topology == "cluster") == (two.topology == "cluster"):
        assert before.keys() & after.keys()
    assert all(before[name] == after[name] for name in before.keys() & after.keys())


@given(SPECS, SPECS, INDICES, INDICES)
def test_stacks_of_different_indices_share_nothing(one: Spec, two: Spec, first: int, second: int) -> None:
    assume(first != second)
    mine, theirs = set(places(one, first).values()), set(places(two, second).values())
    assert not {address for address, _ in mine} & {address for address, _ in theirs}
    assert not {port for _, port in mine} & {port for _, port in theirs}
    assert not subnet_of(first).overlaps(subnet_of(second))


@given(SPECS, st.integers(1024, 65280))
def test_no_port_leaves_the_range_of_ports_whatever_the_base(spec: Spec, base: int) -> None:
    plan = make_plan(spec, "shop", addressing(0, "10.50.0.0/16", base))
    assert all(base < node.host_port <= 65535 for node in plan.nodes)


@given(st.text(min_size=1, max_size=30), st.sets(INDICES, max_size=INDEX_COUNT - 1))
def test_a_stack_gets_a_free_index_and_its_preferred_one_when_that_is_free(stack: str, taken: set[int]) -> None:
    chosen = choose_index(stack, taken)
    assert chosen not in taken
    assert (chosen == preferred_index(stack)) == (preferred_index(stack) not in taken)


def test_when_every_index_is_taken_the_message_names_the_way_out() -> None:
    with pytest.raises(InvalidInput, match=r"all 64 default subnets are taken .* set network.subnet and network.port_base"):
        choose_index("shop", range(INDEX_COUNT))


def test_the_stacks_out_of_the_box_prefer_different_indices() -> None:
    names = ("standalone", "replication", "sentinel", "cluster", "cluster-b")
    assert len({preferred_index(name) for name in names}) == len(names)


def test_the_address_tells_the_port() -> None:
    assert places(Spec(topology="cluster"), 7)["node-2-1"] == ("10.213.7.11", 13000 + 7 * 256 + 11)
    assert places(Spec(topology="sentinel"), 7)["sentinel-1"] == ("10.213.7.3", 13000 + 7 * 256 + 3)


@pytest.mark.parametrize(("shard", "member"), [(0, 1), (49, 1), (1, 0), (1, 6)])
def test_a_node_beyond_the_addresses_is_refused(shard: int, member: int) -> None:
    with pytest.raises(InvalidInput, match=f"shard {shard} with member {member} has no address"):
        Addressing.data_octet(shard, member)


def test_declared_subnet_and_ports_are_taken_as_they_are() -> None:
    plan = make_plan(Spec(topology="standalone"), "shop", addressing(7, "10.50.4.0/22", 31000))
    assert (plan.subnet, plan.gateway) == ("10.50.4.0/22", "10.50.4.1")
    assert (plan.nodes[0].announced_address, plan.nodes[0].host_port) == ("10.50.4.10", 31010)
