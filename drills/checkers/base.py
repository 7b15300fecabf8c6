"""What every checker shares: a verdict with its reasons, and one pass over the history for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from drills.records import Damage, End, Operation, Record

SECOND = 1_000_000_000
EXAMPLES = 10
"""So many examples are kept of whatever a checker found; the counts are always complete."""

Figure = int | float | str | bool | None


class Verdict(StrEnum):
    """`unknown` is never a success: something that was needed for the answer could not be seen."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """The answer of one checker. `summary` is one sentence; times in `figures` are seconds, by their names."""

    name: str
    verdict: Verdict
    summary: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    details: tuple[str, ...] = ()


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """False before unknown before true; nothing at all is unknown."""
    seen = set(verdicts)
    if Verdict.FALSE in seen:
        return Verdict.FALSE
    return Verdict.TRUE if seen == {Verdict.TRUE} else Verdict.UNKNOWN


class Fold(Protocol):
    """Reads a history record by record. `wants_review` after the first pass asks for a second one."""

    def see(self, record: Record) -> None: ...
    def wants_review(self) -> bool: ...
    def review(self, record: Record) -> None: ...


class OnePass:
    """A fold that never needs a second pass."""

    def wants_review(self) -> bool:
        return False

    def review(self, record: Record) -> None:
        """Never called."""


class Quality(OnePass):
    """Whether the history itself can be trusted: ended properly, no line damaged, every operation there."""

    def __init__(self) -> None:
        self.operations = 0
        self.missing = 0
        self.damaged = 0
        self.torn = False
        self.ended = False
        self.first_reason = ""

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            self.operations += 1
        elif isinstance(record, Damage):
            self.torn |= record.torn
            if not record.torn:
                self.damaged += 1
                self.first_reason = self.first_reason or f"line {record.line}: {record.reason}"
        elif isinstance(record, End):
            self.ended = True
            self.missing = record.operations - self.operations

    @property
    def complete(self) -> bool:
        return self.ended and not (self.damaged or self.torn or self.missing)

    def check(self) -> Check:
        if self.complete:
            return Check("history", Verdict.TRUE, "the history is complete")
        reasons = []
        if not self.ended:
            reasons.append("it stops in the middle")
        if self.torn:
            reasons.append("its last line is torn")
        if self.damaged:
            reasons.append(f"{self.damaged} lines are damaged ({self.first_reason})")
        if self.missing:
            reasons.append(f"its operations do not add up ({self.missing:+,} against its own count)")
        return Check("history", Verdict.UNKNOWN, f"the history is not complete: {', '.join(reasons)}")


def run(history: Iterable[Record], folds: Sequence[Fold]) -> None:
    """Feed `history` to all `folds`; it is read a second time only if one of them asks (then it must be re-iterable)."""
    for record in history:
        for fold in folds:
            fold.see(record)
    reviewers = [fold for fold in folds if fold.wants_review()]
    if reviewers:
        for record in history:
            for fold in reviewers:
                fold.review(record)


def plural(count: int, word: str) -> str:
    """`1 write`, `2 writes`, `12,345 writes`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
