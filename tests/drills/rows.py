"""What is told about a control: one row of the table that `make drill-controls` shows. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from drills.checkers.base import Verdict
from operations.errors import ExitCode
from tests.drills.seeded import Control, Refused

PROPERTY = "control"
"""Key of a row among the properties of a test."""
Answers = Mapping[str, tuple[Verdict, str]]


@dataclass(frozen=True)
class Row:
    """`seeded` is what was broken ("nothing" for the same drill on the whole stack); `by` says what found it, with figures."""

    topology: str
    seeded: str
    drill: str
    by: str
    caught: bool
    seconds: float

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> "Row":
        return cls(**json.loads(text))


def judge(control: Control, code: int, told: str, answers: Answers | None) -> tuple[bool, str]:
    """Whether the drill found the seeded fault for the reason that was stated, and what it found.

    `told` is what the drill printed, `answers` come from its journal; None when it left none.
    """
    if isinstance(control.expected, Refused):
        words = " ".join(told.split())
        refused = code == ExitCode.MISSED and answers is None and "steady state" in words and control.expected.reason in words
        return refused, f"refused before: {_reason(words)}" if refused else _failed(code, words)
    if answers is None or code != ExitCode.MISSED:
        return False, _failed(code, told)
    found = [answers.get(name, (Verdict.UNKNOWN, "not judged")) for name in control.expected.names]
    caught = all(verdict is Verdict.FALSE for verdict, _ in found)
    parts = [f"{name}: {text}" for name, (_, text) in zip(control.expected.names, found, strict=True)]
    return caught, "; ".join(parts)


def _reason(words: str) -> str:
    return words.partition("would prove nothing: ")[2].partition(". See ")[0] or words


def _failed(code: int, told: str) -> str:
    return f"ended with {code}: {' '.join(told.split())[-300:]}"
