"""Who takes over from whom is decided from one look at the stack, or refused with the reason."""

import pytest

from operations.errors import CheckFailed, InvalidInput, UsageError
from operations.observe import NodeState, Observation
from operations.parse import Replication
from operations.switchover import decide, info_moment
from tests.unit.states import inventory_of, server, silent


def state(name: str, replication: Replication) -> NodeState:
    return NodeState(name, info=server(replication))


def primary(name: str, offset: int = 100) -> NodeState:
    return state(name, Replication(role="primary", offset=offset, replication_id="r"))


def replica(name: str, of: str, offset: int = 100, up: bool = True) -> NodeState:
    link = Replication(role="replica", offset=offset, replication_id="r", primary_address=of, primary_port=6379, link_up=up)
    return state(name, link)


def seen(topology: str, *nodes: NodeState) -> Observation:
    return Observation(stack="shop", topology=topology, at=0.0, took_seconds=0.0, nodes=nodes)  # type: ignore[arg-type]


FIRST = "10.213.7.10"


def test_the_most_advanced_replica_is_chosen() -> None:
    look = seen("replication", primary("node-1"), replica("node-2", FIRST, 90), replica("node-3", FIRST, 99))
    switch = decide(inventory_of("replication"), look, None, None, False)
    assert (switch.old and switch.old.name, switch.to.name, switch.named) == ("node-1", "node-3", False)


def test_a_named_replica_is_taken_when_it_is_fit() -> None:
    look = seen("replication", primary("node-1"), replica("node-2", FIRST, 90), replica("node-3", FIRST, 99))
    assert decide(inventory_of("replication"), look, None, "node-2", False).to.name == "node-2"


def test_a_replica_without_link_is_refused_unless_it_is_a_takeover() -> None:
    look = seen("replication", primary("node-1"), replica("node-2", FIRST, up=False), replica("node-3", FIRST))
    with pytest.raises(CheckFailed, match="node-2 cannot take over shard 1: its link to the primary is down"):
        decide(inventory_of("replication"), look, None, "node-2", False)
    assert decide(inventory_of("replication"), look, None, "node-2", True).to.name == "node-2"


def test_a_shard_without_primary_needs_a_takeover() -> None:
    look = seen("replication", silent("node-1"), replica("node-2", FIRST, up=False), silent("node-3"))
    with pytest.raises(CheckFailed, match="has no primary that answers; to promote a replica all the same, add --takeover"):
        decide(inventory_of("replication"), look, None, None, False)
    switch = decide(inventory_of("replication"), look, None, None, True)
    assert (switch.old, switch.to.name) == (None, "node-2")


def test_two_primaries_are_refused() -> None:
    look = seen("replication", primary("node-1"), primary("node-2"), replica("node-3", FIRST))
    with pytest.raises(CheckFailed, match="several primaries"):
        decide(inventory_of("replication"), look, None, None, False)


def test_the_primary_itself_a_sentinel_and_a_missing_shard_are_bad_usage() -> None:
    look = seen("replication", primary("node-1"), replica("node-2", FIRST), replica("node-3", FIRST))
    with pytest.raises(UsageError, match="node-1 is the primary of shard 1 already"):
        decide(inventory_of("replication"), look, None, "node-1", False)
    with pytest.raises(UsageError, match="no shard 4"):
        decide(inventory_of("replication"), look, 4, None, False)
    with pytest.raises(UsageError, match="sentinel-1 is a sentinel"):
        decide(inventory_of("sentinel"), look, None, "sentinel-1", False)


def test_standalone_has_nobody_to_switch_to() -> None:
    with pytest.raises(InvalidInput, match="there is no replica"):
        decide(inventory_of("standalone"), seen("standalone", primary("node-1")), None, None, False)


def test_in_a_cluster_a_replica_counts_for_the_shard_whose_primary_it_follows() -> None:
    second = "10.213.7.11"
    look = seen(
        "cluster",
        primary("node-1-1"),
        primary("node-2-1"),
        primary("node-3-1"),
        replica("node-1-2", second, 150),  # moved to shard 2 by the cluster itself
        replica("node-2-2", second, 100),
        replica("node-3-2", "10.213.7.12"),
    )
    assert decide(inventory_of("cluster"), look, 2, None, False).to.name == "node-1-2"
    with pytest.raises(CheckFailed, match="shard 1 has no replica"):
        decide(inventory_of("cluster"), look, 1, None, False)


def test_a_sentinel_is_asked_when_its_next_info_is_about_to_follow_the_promotion() -> None:
    assert info_moment([600, 590]) == (1_000, True)
    assert info_moment([300, 290]) == (1_000, False)  # INFO would come long after the promotion
    assert info_moment([900, 890]) == (1_000, False)  # INFO would come before the promotion, the next one a second later


def test_replicas_asked_at_different_moments_are_held_until_all_are_due_and_then_asked_together() -> None:
    assert info_moment([600, 100]) == (10_000, False)
    assert info_moment([1_700, 1_200]) == (1_000, False)


def test_a_sentinel_without_a_living_replica_is_not_asked_early() -> None:
    assert info_moment([]) == (1_000, False)
