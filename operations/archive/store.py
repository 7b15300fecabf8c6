"""The repository of an archive: restic, beside that of the backups, so that neither waits for the other's locks.

An entry is a line of JSON (the pieces in it, and the catalogue) and then the pieces' bytes; a base is an entry of its own. Only
the agent of a stack writes here.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from operations.archive.segments import Catalogue, Piece, Segment, holding
from operations.backup.restic import PIPE_BYTES, NoRepository, Repository, Snapshot
from operations.errors import CheckFailed, ToolkitError

Report = Callable[[str], None]

SEGMENT_FILE, BASE_FILE = "segment", "base"
ANSWER_SECONDS = 60.0
STORE_SECONDS, STORE_BYTES_PER_SECOND = 30.0, 1e6
"""Within which an entry has to be stored. restic itself tries for a quarter of an hour to reach a server that is down."""
FETCH_TRIES = 3
NO_REPACK = ("prune", "--max-repack-size", "0")
"""Only removes what nothing refers to any more; a segment has files of its own, so nothing has to be written anew."""


class Store:
    """Segments and bases of one stack. `segments` and `bases` (path to entry) are what is known of the repository; `strays` are
    entries that were stored once more, because nobody learnt that they had been."""

    def __init__(self, repository: Repository, stack: str) -> None:
        self._repository = repository
        self._stack = stack
        self.segments: list[Segment] = []
        self.bases: dict[str, str] = {}
        self.strays: list[str] = []

    def prepare(self) -> None:
        """Make the repository where there is none, and take away the locks of runs that were killed. Raises CheckFailed for
        that of another stack, whose agent would lose what it is just storing."""
        try:
            self._repository.run("cat", "config", seconds=ANSWER_SECONDS)
        except NoRepository:
            self._repository.run("init", seconds=ANSWER_SECONDS)
        others = {one.tags["stack"] for one in self._repository.snapshots(ANSWER_SECONDS) if "stack" in one.tags}
        if others and self._stack not in others:
            raise CheckFailed(
                f"the archive at {self._repository.place} is that of stack {', '.join(sorted(others))}; give stack {self._stack} "
                "a backup.repository of its own, for which another folder is enough"
            )
        self._unlock()

    def _unlock(self) -> None:
        self._repository.run("unlock", "--remove-all", seconds=ANSWER_SECONDS)

    def load(self) -> Catalogue:
        """Look at what is there; returns the newest catalogue, an empty one for an archive without segments."""
        found = self._repository.snapshots(ANSWER_SECONDS, stack=self._stack)
        segments = {(one.first, one.last): one for one in map(_segment, _of_kind(found, "segment"))}
        self.segments = sorted(segments.values(), key=lambda one: one.last)
        self.bases = {one.tags["name"]: one.id for one in _of_kind(found, "base")}
        kept = {*(one.entry for one in self.segments), *self.bases.values()}
        self.strays = [one.id for one in found if one.id not in kept]
        if not self.segments:
            return Catalogue()
        newest = min((one for one in self.segments if one.last == self.segments[-1].last), key=lambda one: -one.first)
        with _Reader(self._repository.read(newest.entry, SEGMENT_FILE)) as reader:
            return Catalogue.of_data(reader.header()["catalogue"])

    def add(self, pieces: Sequence[Piece], folder: Path, first: int, last: int, catalogue: Catalogue | None) -> Segment:
        """Store these pieces of the files below `folder`; with a catalogue it is the newest segment."""
        header = {"pieces": [asdict(one) for one in pieces], "catalogue": catalogue.to_data() if catalogue else None}
        size = sum(one.size for one in pieces)
        tags = {"stack": self._stack, "kind": "segment", "first": str(first), "last": str(last)}
        with self._repository.store(SEGMENT_FILE, tags, _patience(size)) as upload:
            upload.write(json.dumps(header).encode() + b"\n")
            for one in pieces:
                for chunk in _read(folder / one.name, one.offset, one.size):
                    upload.write(chunk)
            made = Segment(upload.finish(), first, last)
        self.segments.append(made)
        return made

    def add_base(self, name: str, folder: Path) -> None:
        """Store a whole base."""
        size = (folder / name).stat().st_size
        tags = {"stack": self._stack, "kind": "base", "name": name}
        with self._repository.store(BASE_FILE, tags, _patience(size)) as upload:
            for chunk in _read(folder / name, 0, size):
                upload.write(chunk)
            self.bases[name] = upload.finish()

    def forget(self, segments: Sequence[Segment], bases: Sequence[str]) -> None:
        """Take entries away; their room is given back by `prune`. Nobody else may store anything meanwhile: locks are taken
        away first, those that an upload left that was given up."""
        self._unlock()
        entries = [*(one.entry for one in segments), *(self.bases[name] for name in bases), *self.strays]
        self._repository.run("forget", *entries, seconds=ANSWER_SECONDS)
        self.segments = [one for one in self.segments if one not in segments]
        for name in bases:
            del self.bases[name]
        self.strays = []

    def prune(self) -> None:
        """Give room back; nobody else may store anything meanwhile."""
        self._repository.run(*NO_REPACK, seconds=10 * ANSWER_SECONDS)

    def fetch_moment(self, wanted: Mapping[str, int], bases: Collection[str], folder: Path, report: Report) -> None:
        """As `fetch`, of the segments that are there; anew when the agent merged what was just being read and took it away."""
        for tries_left in reversed(range(FETCH_TRIES)):
            segments = holding(wanted, self.load(), self.segments)
            report(f"reading {len(segments)} segments and the bases out of the repository")
            try:
                self.fetch(segments, wanted, bases, folder)
            except ToolkitError:
                self.load()
                if not tries_left or {one.entry for one in segments} <= {one.entry for one in self.segments}:
                    raise
                report("what was just being read has been merged with others: beginning anew")
            else:
                return

    def fetch(self, segments: Iterable[Segment], wanted: Mapping[str, int], bases: Iterable[str], folder: Path) -> None:
        """Write files as they were: of `wanted` the first so many bytes, bases whole. Raises CheckFailed for one with a hole."""
        for name in (*wanted, *bases):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"")
        there = dict.fromkeys(wanted, 0)
        for segment in segments:
            with _Reader(self._repository.read(segment.entry, SEGMENT_FILE)) as reader:
                for told in reader.header()["pieces"]:
                    piece = Piece(**told)
                    if piece.name not in wanted or piece.offset >= wanted[piece.name]:
                        reader.skip(piece.size)
                        continue
                    with (folder / piece.name).open("r+b") as file:
                        file.seek(piece.offset)
                        for chunk in reader.take(piece.size):
                            file.write(chunk)
                    there[piece.name] += piece.size
        if missing := [name for name, size in there.items() if size < wanted[name]]:
            raise CheckFailed(f"the archive in the repository has not all of {', '.join(missing)}")
        for name in bases:
            if name not in self.bases:
                raise CheckFailed(f"{name} is gone from the repository")
            with (folder / name).open("wb") as file:
                for chunk in self._repository.read(self.bases[name], BASE_FILE):
                    file.write(chunk)


def _of_kind(found: Iterable[Snapshot], kind: str) -> list[Snapshot]:
    """In the order in which they were stored."""
    return [one for one in found if one.tags.get("kind") == kind]


def _segment(entry: Snapshot) -> Segment:
    return Segment(entry.id, int(entry.tags["first"]), int(entry.tags["last"]))


def _patience(size: int) -> float:
    return STORE_SECONDS + size / STORE_BYTES_PER_SECOND


def _read(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """Bytes of a file; raises CheckFailed when it ends earlier."""
    with path.open("rb") as file:
        file.seek(offset)
        while size:
            data = file.read(min(size, PIPE_BYTES))
            if not data:
                raise CheckFailed(f"{path.name} is shorter than it was")
            size -= len(data)
            yield data


class _Reader:
    """The line of JSON and the pieces of a segment, in the order in which they come."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def header(self) -> dict[str, Any]:
        parts = []
        while (end := self._rest.find(b"\n")) < 0:
            parts.append(self._rest)
            self._rest = self._next()
        parts.append(self._rest[:end])
        self._rest = self._rest[end + 1 :]
        found: dict[str, Any] = json.loads(b"".join(parts))
        return found

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            self._rest = self._rest or self._next()
            data, self._rest = self._rest[:size], self._rest[size:]
            size -= len(data)
            yield data

    def skip(self, size: int) -> None:
        for _ in self.take(size):
            pass

    def _next(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            raise CheckFailed("a segment of the archive ends before all of its pieces") from None

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.close()  # type: ignore[attr-defined]
