"""The drill that moves slots away and back: what it proves, and what it puts back when it was cut off."""

from types import SimpleNamespace
from typing import Any

import pytest

from drills.faults import planned
from drills.faults.base import Engine, FaultFailed
from drills.faults.planned import Reshard
from operations.inventory import Access, Credentials
from operations.reshard.plan import Move
from operations.reshard.proposal import Unfinished
from operations.reshard.run import Done
from tests.unit.states import inventory_of

HOME = {slot: f"node-{1 + slot % 3}-1" for slot in range(12)}
AWAY = {slot: "node-2-1" if owner == "node-1-1" else owner for slot, owner in HOME.items()}


class Cluster:
    """Owners of slots; `propose` and `carry_out` of the toolkit in their shortest form."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.owners = dict(HOME)
        self.asked: list[Any] = []
        self.unfinished = False
        monkeypatch.setattr(planned, "propose", self.propose)
        monkeypatch.setattr(planned, "carry_out", self.carry_out)
        monkeypatch.setattr(planned, "abort", self.abort)
        monkeypatch.setattr(Reshard, "_live", lambda _self: SimpleNamespace(owners=self.owners))

    def propose(self, _access: Access, weights: Any = None, placement: Any = None) -> Any:
        if self.unfinished:
            raise Unfinished("a move began and has not ended")
        self.asked.append(weights or "back")
        wanted = placement or AWAY
        slots = tuple(slot for slot, owner in wanted.items() if self.owners[slot] != owner)
        moves = (Move("node-1-1", "node-2-1", slots),) if slots else ()
        return SimpleNamespace(owners=dict(self.owners), moves=moves, emptied=("node-1-1",), wanted=wanted)

    def carry_out(self, _access: Access, proposal: Any, report: Any) -> Done:
        report("moving")
        self.owners = dict(proposal.wanted)
        return Done(4, 100, 1000, 1.5, 0.0)

    def abort(self, _access: Access, back: bool, report: Any) -> Done:
        assert back
        report("going back")
        self.unfinished, self.owners = False, dict(HOME)
        return Done(2, 50, 500, 0.5, 0.0)


def reshard() -> tuple[Reshard, list[str]]:
    inventory, told = inventory_of("cluster"), list[str]()
    access = Access(inventory=inventory, credentials=Credentials.of({"admin": "secret"}))
    return Reshard(Engine(inventory), access, [inventory.nodes[0]], told.append), told


def test_all_slots_of_the_shard_go_away_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    fault, told = reshard()
    assert fault.inject() == "all slots of node-1-1 given away: 4 slots with 100 keys in 1.5 s"
    assert fault.evidence() == "4 slots are now served by node-2-1, as these say themselves"
    assert cluster.owners == AWAY
    assert fault.heal().startswith("moved back: 4 slots")
    assert cluster.owners == HOME
    assert fault.heal() == "all slots are where they were"
    assert cluster.asked[0] == {"1": 0.0}
    assert told == ["moving", "moving"]


def test_slots_that_stayed_are_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    fault, _ = reshard()
    fault.inject()
    cluster.owners[3] = "node-1-1"
    with pytest.raises(FaultFailed, match="slots 3 were not moved"):
        fault.evidence()


def test_a_move_that_was_cut_off_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    fault, _ = reshard()
    assert fault.heal() == "nothing to heal: no slot was moved"
    fault.inject()
    cluster.unfinished = True
    assert fault.heal() == "the move that was interrupted went back: 2 slots with 50 keys in 0.5 s"
    assert cluster.owners == HOME
