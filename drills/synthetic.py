"""Histories written by hand or by rule, without a stack: for tests of the checkers, for the doctored-history control, and to see
what a report looks like before there is anything to break. Times are given in seconds."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from drills.records import (
    VERSION,
    Client,
    End,
    Fault,
    FinalRead,
    Lane,
    Marker,
    Operation,
    Outcome,
    Phase,
    Replicas,
    Role,
    RoleWord,
    Shed,
    Stage,
    Start,
    State,
)

DEFAULT_TOOK = 0.001


def ns(seconds: float) -> int:
    """Seconds as nanoseconds."""
    return round(seconds * 1e9)


class Story:
    """Builds a history record by record. One client and lane per call of `lane`; writes number themselves."""

    def __init__(self, topology: str = "cluster") -> None:
        start = Start(VERSION, "run-1", "example", topology, "synthetic", 0, "2026-01-01T00:00:00Z")
        self.records: list[Operation | Marker] = [start]
        self._lanes: list[Lane] = []
        self._values: dict[int, int] = {}
        self._ops = 0
        self._ended = 0
        self._audited = 0
        self._landed: dict[int, set[int]] = {}

    def lane(self, shard: int | None = 1, side: str = "main") -> int:
        """A new client with its lane; both have the number that is returned."""
        number = len(self._lanes)
        entry = Lane(number, number, f"drill:{{{number}}}:{number}", None, shard)
        self._lanes.append(entry)
        self._values[number] = 0
        self._landed[number] = set()
        self.records += [Client(number, f"client-{number}", side), entry]
        return number

    def write(
        self,
        lane: int,
        at: float,
        outcome: Outcome = "ok",
        node: str | None = "node-1-1",
        took: float = DEFAULT_TOOK,
        *,
        landed: bool | None = None,
        error: str | None = None,
        late: float = 0,
    ) -> int:
        """One write that starts at `at`; returns its number. `landed` says whether `audit` will find it (default: if ok)."""
        self._values[lane] += 1
        value = self._values[lane]
        if landed if landed is not None else outcome == "ok":
            self._landed[lane].add(value)
        self._operation("write", lane, value, at, took, outcome, node, error, late)
        return value

    def read(self, lane: int, at: float, value: int, node: str | None = "node-1-1", outcome: Outcome = "ok") -> None:
        """One read that showed `value` as the newest."""
        self._operation("read", lane, value, at, DEFAULT_TOOK, outcome, node, None, 0)

    def _operation(
        self, kind: Any, lane: int, value: int, at: float, took: float, outcome: Outcome, node: str | None,
        error: str | None, late: float,
    ) -> None:  # fmt: skip
        self._ops += 1
        end = ns(at + took)
        self.records.append(Operation(kind, lane, self._ops, lane, value, node, ns(at), end, ns(late), outcome, error))

    def shed(self, lane: int, writes: int, start: float, end: float) -> None:
        self.records.append(Shed(lane, lane, writes, ns(start), ns(end)))

    def phase(self, at: float, name: str, repetition: int = 1) -> None:
        self.records.append(Phase(ns(at), name, repetition))

    def fault(
        self, at: float, stage: Stage = "inject", targets: Sequence[str] = ("node-1-1",), shards: Sequence[int] = (1,),
        kind: str = "crash", text: str = "", name: str = "kill", took: float = 0.0,
    ) -> None:  # fmt: skip
        self.records.append(Fault(ns(at), ns(at + took), name, kind, stage, tuple(targets), tuple(shards), text))

    def role(self, at: float, node: str, role: RoleWord, shard: int = 1, seen_by: str | None = None) -> None:
        self.records.append(Role(ns(at), node, shard, role, seen_by or node))

    def state(
        self, node: str, shard: int = 1, role: str | None = "replica", writable: bool | None = False,
        claims: dict[str, str] | None = None, moment: str = "final", at: float = 60,
    ) -> None:  # fmt: skip
        self.records.append(State(ns(at), moment, node, shard, role, writable, claims))

    def replicas(self, at: float, in_sync: int | None, shard: int = 1, expected: int = 1) -> None:
        self.records.append(Replicas(ns(at), shard, in_sync, expected))

    def audit(self, at: float = 60, lost: Collection[tuple[int, int]] = (), unreadable: Collection[int] = ()) -> None:
        """The final read of every lane since the last audit: what landed, but for the `lost` pairs of lane and value."""
        lanes, self._audited = self._lanes[self._audited :], len(self._lanes)
        for lane in lanes:
            last = max(self._values[lane.lane], 1)
            if lane.lane in unreadable:
                self.records.append(FinalRead(ns(at), lane.lane, 1, last, (), (), None, "timeout"))
                continue
            values = sorted(value for value in self._landed[lane.lane] if (lane.lane, value) not in lost)
            self.records.append(FinalRead(ns(at), lane.lane, 1, last, runs(values)))

    def end(self, at: float = 61, repetition: int = 1) -> None:
        self.records.append(End(ns(at), self._ops - self._ended, repetition))
        self._ended = self._ops


def runs(values: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Sorted numbers as runs of neighbours: 1 2 3 7 8 -> (1, 3), (7, 8)."""
    found: list[tuple[int, int]] = []
    for value in values:
        if found and found[-1][1] == value - 1:
            found[-1] = (found[-1][0], value)
        else:
            found.append((value, value))
    return tuple(found)


@dataclass(frozen=True)
class Failover:
    """A rule for one repetition: which shard falls when, what the clients see. Seconds from the start of the repetition."""

    shards: int = 3
    clients_per_shard: int = 4
    rate: float = 100.0  # writes per second and client
    seconds: float = 16.0
    fault_at: float = 4.0
    detection: float = 2.3
    election: float = 0.9
    recovery: float = 0.15
    heal_at: float = 10.0
    lost: int = 0
    split_brain: float = 0.0  # seconds for which cut-off clients keep writing to the old primary
    seed: int = 1


def failover(rule: Failover = Failover(), start: float = 0.0, repetition: int = 1, story: Story | None = None) -> Story:
    """A cluster that loses the primary of shard 1, as `rule` says; appended to `story` when there is one."""
    random_ = random.Random(rule.seed + repetition)  # noqa: S311 - a made-up history, no secret
    story = story if story is not None else Story()
    fault = start + rule.fault_at
    back = fault + rule.detection + rule.election + rule.recovery
    story.phase(start, "begin", repetition)
    lanes = [(story.lane(shard), shard) for shard in range(1, rule.shards + 1) for _ in range(rule.clients_per_shard)]
    cut_off = story.lane(1, side="cut-off") if rule.split_brain else None
    story.phase(start + 0.5, "steady", repetition)
    marks = _Marks(story, rule, start, fault, back, repetition)
    writes: list[tuple[float, int, int]] = []
    for lane, shard in [*lanes, *([(cut_off, 0)] if cut_off is not None else [])]:
        phase = random_.random() / rule.rate
        writes += [(start + 0.5 + phase + step / rule.rate, lane, shard) for step in range(int((rule.seconds - 1) * rule.rate))]
    lost: list[tuple[int, int]] = []
    busy: dict[int, float] = {}
    for planned, lane, shard in sorted(writes):
        marks.until(planned)
        if busy.get(lane, 0) > planned + 0.5:
            story.shed(lane, 1, planned, busy[lane])
            continue
        at = max(planned, busy.get(lane, 0))
        took = random_.lognormvariate(-7.6, 0.35) + (0.004 if random_.random() < 0.004 else 0)
        late = at - planned
        if shard == 0:
            ok = at < fault + rule.split_brain
            value = story.write(lane, at, "ok" if ok else "fail", "node-1-1", took, late=late, landed=ok and at < fault,
                                error=None if ok else "readonly")  # fmt: skip
        elif shard == 1 and fault <= at < back:
            took = 0.5 if at - fault < rule.detection else 0.05
            story.write(lane, at, "info" if took == 0.5 else "fail", "node-1-1", took, late=late,
                        error="timeout" if took == 0.5 else "clusterdown")  # fmt: skip
        else:
            node = f"node-{shard}-{2 if shard == 1 and at >= back else 1}"
            dip = 0.03 if shard != 1 and 0 <= at - fault < 0.02 else 0
            value = story.write(lane, at, "ok", node, took + dip, late=late)
            if shard == 1 and len(lost) < rule.lost and fault - 0.2 < at < fault:
                lost.append((lane, value))
            elif at % 1 < 0.1:
                story.read(lane, at + took + dip, value, node)
        busy[lane] = at + took + 0.0002
    marks.until(start + rule.seconds)
    end = start + rule.seconds
    for shard in range(1, rule.shards + 1):
        claims = {f"primary of shard {n}": f"node-{n}-{2 if n == 1 else 1}" for n in range(1, rule.shards + 1)}
        for member in (1, 2):
            primary = member == (2 if shard == 1 else 1)
            role = "primary" if primary else "replica"
            story.state(f"node-{shard}-{member}", shard, role, primary, claims, at=end)
    story.phase(end, "audit", repetition)
    story.audit(end, lost)
    story.end(end + 0.5, repetition)
    return story


class _Marks:
    """Events of the rule, told in order of time between the writes."""

    def __init__(self, story: Story, rule: Failover, start: float, fault: float, back: float, repetition: int) -> None:
        heal = start + rule.heal_at
        failed, promoted = fault + rule.detection, fault + rule.detection + rule.election
        victim, heir = "node-1-1", "node-1-2"
        self._todo: list[tuple[float, Any]] = [
            (fault - 0.01, lambda: story.phase(fault - 0.01, "fault", repetition)),
            (fault, lambda: story.fault(fault, "inject", [victim], text="SIGKILL to the server of node-1-1", took=0.02)),
            (fault, lambda: story.replicas(fault + 0.1, 0)),
            *((fault, partial(story.replicas, fault + 0.1, 1, n)) for n in range(2, rule.shards + 1)),
            (fault + 0.05, lambda: story.fault(fault + 0.05, "evidence", [victim], text="process 17 is gone")),
            (fault + 0.1, lambda: story.role(fault + 0.1, victim, "down")),
            (failed, lambda: story.role(failed, victim, "failed", seen_by="node-2-1")),
            (promoted, lambda: story.role(promoted, heir, "primary")),
            (back, lambda: story.phase(back, "recovery", repetition)),
            (heal, lambda: story.fault(heal, "heal", [victim], text="node-1-1 started again")),
            (heal, lambda: story.fault(heal + 0.4, "healed", [victim], text="node-1-1 answers")),
            (heal + 0.9, lambda: story.role(heal + 0.9, victim, "replica")),
            *((heal + 1.3, partial(story.replicas, heal + 1.3, 1, n)) for n in range(1, rule.shards + 1)),
        ]

    def until(self, at: float) -> None:
        while self._todo and self._todo[0][0] <= at:
            self._todo.pop(0)[1]()
