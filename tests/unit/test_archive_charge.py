"""Who was in charge of what at a second, when nodes serve for another shard than the one that they were made for."""

from dataclasses import replace

import pytest

from operations.archive.timeline import Look, OutsideArchive, plan_stack, restorable
from tests.unit.test_archive import ARCHIVE, HIGH, LOW


def test_a_replica_that_came_from_another_shard_and_was_promoted_is_taken_beside_its_old_primary() -> None:
    """Shard 1 lost its nodes one after the other, and one of shard 2 took over (cluster-allow-replica-migration)."""
    lost = replace(ARCHIVE, looks=(Look(90.0, True, LOW), Look(200.0, False)))
    head = replace(ARCHIVE, node="node-2-1", shard=2, looks=(Look(90.0, True, HIGH),))
    came = replace(ARCHIVE, node="node-2-3", shard=2, looks=(Look(90.0, False), Look(210.0, True, LOW)))
    every = [lost, head, came]
    assert restorable(every) == ((100, 199), (210, 399))
    assert {node.shard: node.node for node in plan_stack(every, 150).nodes} == {1: "node-1", 2: "node-2-1"}
    assert {node.shard: node.node for node in plan_stack(every, 300).nodes} == {2: "node-2-1", 3: "node-2-3"}


def test_a_stale_claim_counts_for_nothing_also_where_its_slots_were_shared_out_since() -> None:
    stale = replace(ARCHIVE, looks=(Look(90.0, True, LOW),))
    head = replace(ARCHIVE, node="node-2", looks=(Look(90.0, False), Look(200.0, True, ((0, 4000),))))
    other = replace(ARCHIVE, node="node-3", shard=2, looks=(Look(90.0, True, ((4001, 16383),)),))
    assert {node.shard: node.node for node in plan_stack([stale, head, other], 300).nodes} == {1: "node-2", 2: "node-3"}


def test_a_second_about_which_nodes_disagreed_is_refused() -> None:
    later = replace(ARCHIVE, looks=(Look(90.0, False), Look(200.0, True, ((4000, 9000),))))
    low = replace(ARCHIVE, node="node-2", looks=(Look(90.0, True, LOW),))
    high = replace(ARCHIVE, node="node-3", looks=(Look(90.0, True, HIGH),))
    with pytest.raises(OutsideArchive, match="disagreed about who served slots 0-3999, 9001-16383"):
        plan_stack([later, low, high], 300)
