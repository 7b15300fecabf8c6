"""Locks: histories by hand that pass and that fail, and an instance whose tokens a failover forgot."""

from pathlib import Path

from applications import lock as module
from applications.fenced import FencedCounter
from applications.lock import Tenure
from drills.checkers.base import Verdict
from drills.records import Event, decode
from drills.workload.uses.lock import Instance, LockUse
from drills.workload.uses.stage import Actor, Stage
from tests.unit.test_uses_stage import told
from tests.unit.uses import broken, event, judged

FAULT = (5.0, 10.0)


def test_holders_one_after_the_other_pass() -> None:
    events = [event("hold", "a", 1, 2, actor=1), event("hold", "a", 2, 19, actor=2), event("hold", "b", 1.5, 19, actor=3)]
    events += [event("write", "a", 1.5, other=0), event("write", "a", 2.5, other=1)]
    finding = judged("lock", events)
    assert finding.verdict is Verdict.TRUE
    assert finding.sentence.startswith("0 of 3 lock grants overlapped; 0 of 2 changes")


def test_two_holders_at_once_without_a_fault_are_an_overlap() -> None:
    finding = judged("lock", [event("hold", "a", 1, 3, actor=1), event("hold", "a", 2.5, 19, actor=2)])
    assert broken(finding) == {"overlaps without a fault"}
    assert finding.figures["longest_overlap_seconds"] == 0.5


def test_a_hold_within_a_longer_one_overlaps_for_all_of_its_time() -> None:
    finding = judged("lock", [event("hold", "a", 1, 19, actor=1), event("hold", "a", 2, 3, actor=2), event("hold", "a", 4, 5)])
    assert finding.figures["overlaps"] == 2
    assert finding.figures["longest_overlap_seconds"] == 1.0


def test_an_overlap_in_a_fault_is_measured_unless_replicas_confirmed() -> None:
    events = [event("hold", "a", 5.5, 8, actor=1), event("hold", "a", 7, 19, actor=2)]
    assert judged("lock", events, FAULT).verdict is Verdict.TRUE
    assert broken(judged("lock", events, FAULT, waits=True)) == {"overlaps"}


def test_two_changes_made_from_the_same_number_lose_one_of_them() -> None:
    events = [event("hold", "a", 1, 19), event("write", "a", 2, other=7), event("write", "a", 3, other=7, actor=2)]
    assert broken(judged("lock", events, FAULT)) == {"overwritten"}


def test_a_stale_holder_that_was_refused_lost_nothing() -> None:
    events = [event("hold", "a", 1, 19), event("write", "a", 2, other=7), event("write", "a", 3, other=7, outcome="fail")]
    finding = judged("lock", events)
    assert finding.verdict is Verdict.TRUE
    assert "1 of stale holders refused" in finding.sentence


def test_a_lock_that_nobody_gets_any_more_is_found() -> None:
    events = [event("hold", "a", 1, 2), event("hold", "b", 19, 19.5)]
    assert broken(judged("lock", events)) == {"locked for ever"}


def test_a_lock_is_not_called_dead_for_the_time_of_a_fault() -> None:
    assert judged("lock", [event("hold", "a", 4, 5)], FAULT, stopped=13).verdict is Verdict.TRUE


def test_without_a_grant_nothing_is_known() -> None:
    assert judged("lock", []).verdict is Verdict.UNKNOWN


class Forgetful:
    """A new primary that knows of no token yet, and of nobody who holds a lock."""

    def execute_command(self, _word: str, digest: str, _count: int, *rest: int) -> int:
        assert digest == module._ACQUIRE.digest
        return max(1, rest[-1] + 1)


def test_an_instance_that_was_refused_goes_on_above_the_token_that_the_resource_has_met(tmp_path: Path) -> None:
    resource = FencedCounter(tmp_path / "numbers.sqlite")
    resource.write("a", Tenure("before", 90, 0.0), 7)
    use = LockUse(Stage(told(), "lock"))
    actor = Actor(use, 1)
    actor._client, actor.state = Forgetful(), Instance(resource, grants=9)
    tokens, written = [], []
    for _ in range(2):
        lock = use.lock(actor, "a")
        tenure = lock.acquire()
        tokens.append(tenure.token)
        use.work(actor, lock, "a", tenure)
        written.append([event.outcome for event in map(decode, actor.stage.lines) if isinstance(event, Event)])
    assert (tokens, written) == ([1, 91], [["fail"], ["fail", "ok"]])
