"""Who was in charge of what at a second, when nodes serve for another shard than their own; and whose the archive is."""

from dataclasses import replace
from pathlib import Path

import pytest

from operations.archive.store import Store
from operations.archive.timeline import Look, OutsideArchive, plan_stack, restorable
from operations.errors import CheckFailed
from tests.unit.test_archive import ARCHIVE, HIGH, LOW
from tests.unit.test_archive_upload import Place


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


def test_the_archive_of_another_stack_is_left_alone_and_one_that_was_there_before_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(b"1")
    other = Store(place.memory, "other")  # type: ignore[arg-type]
    place.memory.said.clear()
    with pytest.raises(CheckFailed, match="is that of stack shop; give stack other a "):
        other.prepare()
    assert ("unlock", "--remove-all") not in place.memory.said
    place.memory.keep("segment", {"stack": "other"}, b"")
    place.store.prepare()
