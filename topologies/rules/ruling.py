"""A finding and what follows from it: refused, or only shown."""

from dataclasses import dataclass
from typing import Any

from topologies.findings import Finding


@dataclass(frozen=True)
class Ruling:
    """One finding of one rule."""

    finding: Finding
    refused: bool


def refuse(path: str, value: Any, reason: str, remedy: str, *about: str) -> Ruling:
    """A problem: the spec is refused. `about` names further fields that the reason speaks of."""
    return Ruling(Finding(path, value, reason, remedy, about), refused=True)


def warn(path: str, value: Any, reason: str, remedy: str, *about: str) -> Ruling:
    """Something that works and may not be meant."""
    return Ruling(Finding(path, value, reason, remedy, about), refused=False)


def counted(count: int, noun: str) -> str:
    """'1 replica', '2 replicas'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
