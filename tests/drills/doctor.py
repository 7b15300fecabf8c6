"""Doctored histories: a true record of a drill that passed, with one thing changed that must not pass.

Pure: records in, records out. Each raises ValueError when the history gives no occasion for it, so nothing stays undoctored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from drills.checkers.base import Verdict
from drills.records import Damage, Fault, FinalRead, Operation, Record, State

Records: TypeAlias = Sequence[Record]
T = TypeVar("T", bound=Record)


@dataclass(frozen=True)
class Doctored:
    """One change, the check that has to notice it, and what it has to say."""

    name: str
    changed: str
    change: Callable[[Records], list[Record]]
    check: str
    verdict: Verdict


def without_an_acknowledged_write(history: Records) -> list[Record]:
    """The final read does not show a write that was acknowledged."""
    acknowledged = {(r.lane, r.value) for r in history if isinstance(r, Operation) and r.kind == "write" and r.outcome == "ok"}
    for place, record in enumerate(history):
        if isinstance(record, FinalRead):
            for low, high in record.present:
                victim = next((value for value in range(high, low - 1, -1) if (record.lane, value) in acknowledged), None)
                if victim is not None:
                    parts = ((low, victim - 1), (victim + 1, high))
                    rest = tuple(run for run in record.present if run != (low, high))
                    kept = tuple(sorted((*rest, *(part for part in parts if part[0] <= part[1]))))
                    return _replaced(history, place, record._replace(present=kept))
    raise ValueError("the final read shows no acknowledged write")


def with_a_phantom(history: Records) -> list[Record]:
    """The final read shows a value that nobody ever wrote."""
    for place, record in _last_of(history, FinalRead):
        most = max((r.value for r in history if isinstance(r, Operation) and r.lane == record.lane), default=0)
        phantom = most + 1_000_000
        return _replaced(history, place, record._replace(present=(*record.present, (phantom, phantom)), last=phantom))
    raise ValueError("there is no final read")


def with_a_read_that_goes_back(history: Records) -> list[Record]:
    """A read shows less than the same node had acknowledged before."""
    shown: dict[tuple[int, str], int] = {}
    for place, record in enumerate(history):
        if isinstance(record, Fault):
            break  # a node that was hit may show less
        if isinstance(record, Operation) and record.outcome == "ok" and record.node:
            before = shown.get((record.lane, record.node), 0)
            if record.kind == "read" and before > 1:
                return _replaced(history, place, record._replace(value=before - 1))
            shown[record.lane, record.node] = max(before, record.value)
    raise ValueError("no read after two writes before the fault")


def with_two_writable_primaries(history: Records) -> list[Record]:
    """At the end a replica accepts writes too."""
    for place, record in _last_of(history, State):
        if record.role == "replica" and record.writable is False:
            return _replaced(history, place, record._replace(writable=True))
    raise ValueError("no replica was asked at the end")


def with_another_view(history: Records) -> list[Record]:
    """At the end one node sees the stack otherwise than all the others."""
    for place, record in _last_of(history, State):
        if record.claims:
            subject = next(iter(record.claims))
            return _replaced(history, place, record._replace(claims={**record.claims, subject: "something else"}))
    raise ValueError("nobody was asked for a view at the end")


def cut_off(history: Records) -> list[Record]:
    """The history stops in the middle of a line."""
    if len(history) < 2:
        raise ValueError("too short to be cut off")
    half = len(history) // 2
    return [*history[:half], Damage(half + 1, "the last line is not finished", torn=True)]


def with_an_unreadable_set(history: Records) -> list[Record]:
    """A part of what was written could not be read back."""
    for place, record in _last_of(history, FinalRead):
        if record.present:
            return _replaced(history, place, record._replace(present=(), wrong=(), error="timed out"))
    raise ValueError("the final read shows nothing")


def without_its_operations(history: Records) -> list[Record]:
    """Some operations are missing, though the history ends in order."""
    place = next((place for place, record in enumerate(history) if isinstance(record, Operation) and record.kind == "read"), None)
    if place is None:
        raise ValueError("there is no read")
    return [*history[:place], *history[place + 1 :]]


DOCTORED: tuple[Doctored, ...] = (
    Doctored("lost-write", "an acknowledged write is gone at the end", without_an_acknowledged_write, "lost", Verdict.FALSE),
    Doctored("phantom", "a value is there that nobody wrote", with_a_phantom, "phantom", Verdict.FALSE),
    Doctored("stale-read", "a read goes back in time", with_a_read_that_goes_back, "stale", Verdict.FALSE),
    Doctored("two-primaries", "two primaries are writable at the end", with_two_writable_primaries, "one-primary", Verdict.FALSE),
    Doctored("other-view", "one node has another view at the end", with_another_view, "views", Verdict.FALSE),
    Doctored("cut-off", "the history is cut off in the middle of a line", cut_off, "history", Verdict.UNKNOWN),
    Doctored("unreadable", "a part of the data could not be read back", with_an_unreadable_set, "lost", Verdict.UNKNOWN),
    Doctored("missing", "an operation is missing", without_its_operations, "history", Verdict.UNKNOWN),
)


def _replaced(history: Records, place: int, record: Record) -> list[Record]:
    return [*history[:place], record, *history[place + 1 :]]


def _last_of(history: Records, kind: type[T]) -> list[tuple[int, T]]:
    """Records of one kind with their places, the last one first."""
    return [(place, record) for place, record in reversed(list(enumerate(history))) if isinstance(record, kind)]
