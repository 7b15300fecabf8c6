"""What visitors saw: availability and latency of each kind of request, before, during and after a fault. Pure functions."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

PARTS = ("before", "during", "after")


@dataclass(frozen=True)
class Result:
    """One request: when it was due (Unix time), what it was, the status (0: no answer), seconds until the answer."""

    at: float
    kind: str
    status: int
    seconds: float

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """The service said itself that it cannot, and when to come back."""
        return self.status in (429, 503)


@dataclass(frozen=True)
class Row:
    """One kind of request in one part of the drill. `gap_seconds`: the longest time in which none succeeded of those due."""

    kind: str
    part: str
    requests: int
    good: int
    refused: int
    broken: int
    median_seconds: float
    p99_seconds: float
    slowest_seconds: float
    gap_seconds: float

    @property
    def availability(self) -> float:
        return self.good / self.requests


def parse(lines: Iterable[str]) -> list[Result]:
    """The results in what load.py wrote; a last line that is not finished (it was killed) is left out."""
    return [Result(**json.loads(line)) for line in lines if line.endswith("\n")]


def part_of(at: float, fault: float, healed: float) -> str:
    return "before" if at < fault else "during" if at < healed else "after"


def rows(results: Sequence[Result], fault: float, healed: float) -> list[Row]:
    """A row for each kind and part in which anything was due, kinds in the order of their names."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in sorted(results, key=lambda one: one.at):
        groups.setdefault((result.kind, part_of(result.at, fault, healed)), []).append(result)
    return [
        row_of(kind, part, groups[kind, part])
        for kind in sorted({kind for kind, _ in groups})
        for part in PARTS
        if (kind, part) in groups
    ]


def row_of(kind: str, part: str, results: Sequence[Result]) -> Row:
    answered = sorted(one.seconds for one in results if one.is_good)
    good, refused = len(answered), sum(one.is_refused for one in results)
    return Row(
        kind, part, len(results), good, refused, len(results) - good - refused,
        quantile(answered, 0.5), quantile(answered, 0.99), quantile(answered, 1.0), longest_gap(results),
    )  # fmt: skip


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; not a number when there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def longest_gap(results: Sequence[Result]) -> float:
    """From the first request of a series that did not succeed to the next one that did (or to the last one of all)."""
    longest, since = 0.0, None
    for one in results:
        if not one.is_good:
            since = one.at if since is None else since
            longest = max(longest, one.at - since)
        elif since is not None:
            longest, since = max(longest, one.at - since), None
    return longest


def as_data(found: Sequence[Row]) -> list[Mapping[str, Any]]:
    return [{**asdict(row), "availability": row.availability} for row in found]
