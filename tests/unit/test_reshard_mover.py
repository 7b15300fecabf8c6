"""How the groups of a source overlap: carried by some, assigned together by another, and what a failure of either leaves."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from operations.errors import Unreachable
from operations.inventory import Access, Credentials
from operations.reshard import mover as module
from operations.reshard.calls import Call
from operations.reshard.live import live_of
from operations.reshard.mover import MOVED_GROUPS, Mover, Progress
from operations.reshard.pace import Limits
from operations.reshard.plan import Move, Size
from tests.unit.test_reshard_live import formed
from tests.waiting import wait_until

SLOTS = tuple(range(2400))
GROUPS = len(list(module.groups_of([Move("node-1-1", "node-2-1", SLOTS)], {})))


class Notes:
    """A journal that only numbers what is opened and remembers what was closed."""

    def __init__(self) -> None:
        self.count = 0
        self.closed_numbers: list[int] = []

    def closed(self, number: int) -> None:
        self.closed_numbers.append(number)


class Rig:
    """A mover whose keys move at once; `assign` of a batch calls `before` with its size."""

    def __init__(self, patch: pytest.MonkeyPatch, before: Callable[["Rig", int], None] = lambda *_: None) -> None:
        cluster = formed()
        self.before = before
        credentials = Credentials.of({"admin": "secret"})
        self.notes = Notes()
        self.carried = 0
        self.batches: list[int] = []
        self._mutex = threading.Lock()
        live = live_of(cluster.observe(), cluster.inventory)
        access = Access(inventory=cluster.inventory, credentials=credentials)
        self.progress = Progress(len(SLOTS), Size())
        notes: Any = self.notes
        self.mover = Mover(access, live, notes, self.progress, Limits())
        patch.setattr(module, "usual_wait", lambda *_: 0.0)
        patch.setattr(module, "watch_waits", lambda *_: None)
        patch.setattr(module, "assign", self._assign)
        patch.setattr(self.mover, "_move", self._move)

    def _move(self, *_: object) -> int:
        with self._mutex:
            self.carried += 1
            return self.carried

    def _assign(self, *arguments: Any) -> None:
        count = len(arguments[-1])
        self.before(self, count)
        self.batches.append(count)

    def run(self) -> None:
        threads = self.mover.start([Move("node-1-1", "node-2-1", SLOTS)], {})
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} did not end"
        self.mover.end()


def test_every_group_is_assigned_and_closed_once_however_they_are_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.run()
    assert rig.mover.failures == []
    assert sum(rig.batches) == GROUPS
    assert sorted(rig.notes.closed_numbers) == list(range(1, GROUPS + 1))
    assert rig.progress.slots == len(SLOTS)


def test_groups_that_wait_to_be_assigned_are_bounded_and_then_assigned_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def once_carriers_wait(rig: Rig, count: int) -> None:
        if not rig.batches:
            most = count + MOVED_GROUPS + module.WORKERS_PER_SOURCE
            wait_until("carriers that wait", lambda: "" if rig.carried == most else f"{rig.carried} of {most}", 10)

    rig = Rig(monkeypatch, once_carriers_wait)
    rig.run()
    assert rig.mover.failures == []
    assert rig.batches[1] > 1
    assert sum(rig.batches) == GROUPS


def test_a_failure_to_assign_stops_the_carriers_and_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Unreachable("the target is gone")

    rig = Rig(monkeypatch, fail)
    rig.run()
    assert [str(failure) for failure in rig.mover.failures] == ["the target is gone"]
    assert rig.notes.closed_numbers == []
    assert rig.progress.slots == 0


def test_a_failure_to_carry_leaves_what_has_moved_to_be_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    good = rig._move

    def move(*_: object) -> int:
        number = good()
        if number == 4:
            raise Unreachable("the source is gone")
        return number

    monkeypatch.setattr(rig.mover, "_move", move)
    rig.run()
    assert "the source is gone" in [str(failure) for failure in rig.mover.failures]
    assert 4 not in rig.notes.closed_numbers
    assert sum(rig.batches) == rig.carried - 1


def test_keys_that_come_to_an_empty_slot_before_it_is_marked_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the source would delete them when it hears that the slot is another's: acknowledged and lost (seen in a drill)."""
    there: list[Call] = []
    marked: list[str] = []
    carried: list[Call] = []

    def mark(_link: Any, _slots: Any, state: str, _node_id: str) -> None:
        if not marked:
            there.append(Call(7, 100, (b"session",)))  # a client that was served between the first look and the mark
        marked.append(state)

    def carry(_source: Any, _target: Any, calls: list[Call]) -> None:
        carried.extend(calls)
        there[:] = [call for call in there if call not in calls]

    rig = Rig(monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(module, "mark", mark)
    monkeypatch.setattr(module, "gather", lambda *_: list(there))
    monkeypatch.setattr(rig.mover, "_carry", carry)
    monkeypatch.setattr(rig.notes, "opening", lambda _group: 1, raising=False)
    link: Any = SimpleNamespace(ensure_ours=lambda: None)
    assert rig.mover._move({"node-1-1": link, "node-2-1": link}, Move("node-1-1", "node-2-1", (7,)), known_open=True) == 1
    assert marked == ["IMPORTING", "MIGRATING"]
    assert [call.keys for call in carried] == [(b"session",)]
