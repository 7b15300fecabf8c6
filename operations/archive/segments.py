"""What is in the repository of an archive: segments, each with what was new when it was stored, and whole bases. Pure.

The newest segment carries the catalogue of all of them. Small segments are merged into larger ones, so that there are never many.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from operations.archive.timeline import NodeArchive, NodePlan, StackPlan, obsolete, of_data
from operations.errors import CheckFailed

FANOUT = 32
LEVELS = 2
"""Segments of one level that become one of the next. At one in 2 s: of a minute, and then of half an hour."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a file of the archive; `name` is its path below the archive's folder."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Segment:
    """An entry of the repository that holds what the segments `first` to `last` held."""

    entry: str
    first: int
    last: int

    @property
    def level(self) -> int:
        width, found = self.last - self.first + 1, 0
        while width >= FANOUT:
            width, found = width // FANOUT, found + 1
        return found


@dataclass(frozen=True)
class Shipped:
    """How many bytes of a file are in the repository, and in which segments."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Catalogue:
    """All that is in the repository with segment `sequence`; `archives` by their folder, `files` (increments) by path."""

    sequence: int = 0
    archives: Mapping[str, NodeArchive] = field(default_factory=dict)
    files: Mapping[str, Shipped] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "archives": [asdict(one) for one in self.archives.values()],
            "files": {name: asdict(one) for name, one in self.files.items()},
        }

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> "Catalogue":
        archives = [of_data(one) for one in data["archives"]]
        files = {name: Shipped(**one) for name, one in data["files"].items()}
        return cls(int(data["sequence"]), {one.folder: one for one in archives}, files)


def bases_of(archives: Iterable[NodeArchive]) -> set[str]:
    """Paths of all bases."""
    return {f"{archive.folder}/{base.name}" for archive in archives for base in archive.bases}


def with_history(now: NodeArchive, before: NodeArchive | None) -> NodeArchive:
    """What is known of a folder: files that went from the disk after they were stored still count."""
    if before is None:
        return now
    bases = {one.name: one for one in (*before.bases, *now.bases)}
    increments = {one.name: one for one in (*before.increments, *now.increments)}
    return replace(
        now,
        bases=tuple(sorted(bases.values(), key=lambda one: one.sequence)),
        increments=tuple(sorted(increments.values(), key=lambda one: one.sequence)),
    )


def retained(catalogue: Catalogue, since: float) -> Catalogue:
    """The catalogue without what no second from `since` on needs."""
    newest = {archive.node: archive.folder for archive in sorted(catalogue.archives.values(), key=lambda one: one.covered)}
    kept = {}
    for folder, archive in catalogue.archives.items():
        if archive.covered < since and newest[archive.node] != folder:
            continue
        gone = set(obsolete(archive, since))
        kept[folder] = replace(
            archive,
            bases=tuple(one for one in archive.bases if one.name not in gone),
            increments=tuple(one for one in archive.increments if one.name not in gone),
        )
    named = {f"{folder}/{one.name}" for folder, archive in kept.items() for one in archive.increments}
    files = {name: shipped for name, shipped in catalogue.files.items() if name in named}
    return Catalogue(catalogue.sequence, kept, files)


def outdone(segments: Sequence[Segment]) -> list[Segment]:
    """Segments whose content another one holds too; of those with the same content all but the last."""

    def is_outdone(place: int, one: Segment) -> bool:
        return any(
            other.first <= one.first
            and one.last <= other.last
            and (other.last - other.first > one.last - one.first or later > place)
            for later, other in enumerate(segments)
            if later != place
        )

    return [one for place, one in enumerate(segments) if is_outdone(place, one)]


def superfluous(segments: Sequence[Segment], catalogue: Catalogue) -> list[Segment]:
    """Segments whose content another one holds too, or that nothing in the catalogue needs. Never the newest."""
    needed = [(one.first, one.last) for one in catalogue.files.values()]
    twice = set(outdone(segments))
    return [
        one
        for one in segments
        if one.last < catalogue.sequence
        and (one in twice or not any(low <= one.last and one.first <= high for low, high in needed))
    ]


def mergeable(segments: Sequence[Segment], known: Iterable[int], newest: int) -> list[Segment]:
    """The oldest segments that follow each other and are enough for one of the next level; empty for none.

    `known` are the numbers of those whose pieces can still be read. The newest is left alone: it has the catalogue.
    """
    readable, twice = set(known), set(outdone(segments))
    for level in range(LEVELS):
        run: list[Segment] = []
        candidates = (one for one in segments if one.level == level and one not in twice)
        for one in sorted(candidates, key=lambda one: one.first):
            usable = one.last < newest and all(number in readable for number in range(one.first, one.last + 1))
            run = ([*run, one] if run and run[-1].last + 1 == one.first else [one]) if usable else []
            if len(run) == FANOUT:
                return run
    return []


def mergeable_numbers(segments: Iterable[Segment]) -> set[int]:
    """Numbers in segments that may still be merged."""
    return {number for one in segments if one.level < LEVELS for number in range(one.first, one.last + 1)}


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces by file and place, those that touch made one."""
    found: list[Piece] = []
    for one in sorted(pieces, key=lambda one: (one.name, one.offset)):
        if found and found[-1].name == one.name and found[-1].offset + found[-1].size == one.offset:
            found[-1] = Piece(one.name, found[-1].offset, found[-1].size + one.size)
        else:
            found.append(one)
    return found


def wanted(plan: StackPlan) -> dict[str, int]:
    """The increments that a plan takes, with the number of bytes of each that count."""
    return {path: size for node in plan.nodes for path, size in _increments(node)}


def _increments(node: NodePlan) -> Iterator[tuple[str, int]]:
    for one in node.increments:
        yield f"{node.folder}/{one.name}", one.whole_bytes


def holding(names: Iterable[str], catalogue: Catalogue, segments: Sequence[Segment]) -> list[Segment]:
    """As few segments as hold these files; raises CheckFailed naming one that is gone."""
    found: dict[str, Segment] = {}
    for name in names:
        if name not in catalogue.files:
            continue  # it is empty
        shipped = catalogue.files[name]
        number = shipped.first
        while number <= shipped.last:
            fitting = [one for one in segments if one.first <= number <= one.last]
            if not fitting:
                raise CheckFailed(f"segment {number} of the archive is gone from the repository, and {name} needs it")
            best = max(fitting, key=lambda one: one.last)
            found[best.entry] = best
            number = best.last + 1
    return sorted(found.values(), key=lambda one: one.first)
