"""Copies a node's append-only files into an archive while the server writes them.

Increments only grow and get a new number at every rewrite, so the copy follows them byte by byte; nothing has to be switched off.
A file that the server deletes after a rewrite stays readable through the open handle until its end was copied. When what was
copied is no longer a part of the file (the server cut a damaged end off, or began anew), or the numbers go back (a restore has
exchanged the files), a new chapter begins: a folder of its own that needs nothing of the one before.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from operations.archive.scan import Annotations, made, scan
from operations.archive.timeline import Base, Increment, Listed, Look, NodeArchive, parse_manifest

AOF_FOLDER = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
INDEX, LOOKS, STATUS = "bases.json", "looks.jsonl", "status.json"
INCREMENTS = "*.incr.aof"
CHUNK_BYTES = 1 << 20
BASE_BYTES_PER_STEP = 64 << 20
"""Bases are copied in between, so that increments do not have to wait."""
COMPARED_BYTES = 256
TRIES = 5


class Restarted(Exception):
    """What was copied is not what the file holds any more."""


@dataclass
class _Open:
    """A file that is followed: handles of both sides and how far it was copied."""

    listed: Listed
    source: int
    target: int
    position: int

    def step(self, most: int | None = None) -> bool:
        """Copy what is new, at most `most` bytes; says whether the end was reached. Raises Restarted."""
        before = min(COMPARED_BYTES, self.position)
        if os.pread(self.source, before, self.position - before) != os.pread(self.target, before, self.position - before):
            raise Restarted(self.listed.name)
        copied = 0
        while most is None or copied < most:
            data = os.pread(self.source, CHUNK_BYTES, self.position)
            if not data:
                return True
            os.pwrite(self.target, data, self.position)
            self.position += len(data)
            copied += len(data)
        return False

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


class Shipper:
    """Follows one node. `source` is its data folder, `target` its folder in the archive, whose files `owner` gets."""

    def __init__(self, source: Path, target: Path, owner: int | None = None) -> None:
        self._source = source / AOF_FOLDER
        self._target = target
        self._owner = owner
        self._open: dict[str, _Open] = {}
        self._bases: list[Base] = []
        self._first_increment: dict[str, int] = {}
        self._newest = 0
        self._same: set[str] = set()
        chapters = [int(path.name) for path in target.glob("[0-9]*")]
        self._chapter = max(chapters, default=0)
        if chapters:
            self._bases = _bases(self._folder)
            self._newest = max((_sequence(path.name) for path in self._folder.glob(INCREMENTS)), default=0)
            if (self._folder / STATUS).exists():  # what the node was since then nobody saw
                self.look(Look(json.loads((self._folder / STATUS).read_text())["covered"], primary=False))
        else:
            self._begin_chapter()

    @property
    def _folder(self) -> Path:
        return self._target / str(self._chapter)

    def step(self, covered: float | None, offset_seconds: float = 0.0) -> None:
        """Copy what is new. `covered` is a moment of the server's clock by which all that it wrote is in its files; None for a
        server that does not answer."""
        try:
            self._follow()
            done = self._copy()
        except Restarted:
            self._begin_chapter()
            self._follow()
            done = self._copy()
        if done and covered is not None:
            status = {"covered": covered, "clock_offset_seconds": offset_seconds}
            self._write(self._folder / STATUS, json.dumps(status))

    def look(self, look: Look) -> None:
        """Note what the node was found to be."""
        line = json.dumps(asdict(look)) + "\n"
        with (self._folder / LOOKS).open("a") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._give(self._folder / LOOKS)

    @property
    def chapter(self) -> int:
        """Changes when everything begins anew; looks have to be noted again then."""
        return self._chapter

    def close(self) -> None:
        for one in self._open.values():
            one.close()
        self._open.clear()

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Open what the manifest lists and was not open. Raises Restarted for files that began anew under their old names."""
        for attempt in range(TRIES):
            try:
                listed = parse_manifest((self._source / MANIFEST).read_text())
                increments = [one.sequence for one in listed if one.kind == "i"]
                self._require_onward(listed, max(increments, default=self._newest))
                for one in listed:
                    if one.kind == "b" and increments:
                        self._first_increment.setdefault(one.name, min(increments))
                    if one.kind == "i" and one.name in self._open:
                        self._require_same(self._open[one.name])
                    elif one.kind in "bi" and one.name not in self._open and one.name not in {b.name for b in self._bases}:
                        self._open[one.name] = self._handle(one)
            except FileNotFoundError:  # a rewrite ended between reading the manifest and opening
                if attempt == TRIES - 1:
                    raise
                continue
            self._listed = {one.name for one in listed if one.kind in "bi"}
            return

    def _require_same(self, one: _Open) -> None:
        if (self._source / one.listed.name).stat().st_ino != os.fstat(one.source).st_ino:
            raise Restarted(one.listed.name)

    def _require_onward(self, listed: Sequence[Listed], newest: int) -> None:
        """A server counts on, so lower numbers are files of another life, also where nothing is left here of those that had them;
        and a base never changes. Raises Restarted."""
        if newest < self._newest:
            raise Restarted(f"increment {newest}")
        known = {base.name: base.made for base in self._bases}
        for one in listed:
            if one.kind == "b" and one.name in known and one.name not in self._same:
                if made(self._source / one.name) != known[one.name]:
                    raise Restarted(one.name)
                self._same.add(one.name)
        self._newest = newest

    def _handle(self, listed: Listed) -> _Open:
        path = self._folder / listed.name
        source = os.open(self._source / listed.name, os.O_RDONLY)
        target = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._give(path)
        return _Open(listed, source, target, os.fstat(target).st_size)

    def _copy(self) -> bool:
        """Copy increments to their ends, then a piece of the base; says whether a base is complete."""
        for name, one in list(self._open.items()):
            if one.listed.kind == "i":
                one.step()
                os.fdatasync(one.target)
                if name not in self._listed:
                    one.close()
                    del self._open[name]
        for name, one in list(self._open.items()):
            if one.listed.kind == "b" and one.step(BASE_BYTES_PER_STEP):
                os.fsync(one.target)
                one.close()
                del self._open[name]
                self._add_base(one.listed)
        return bool(self._bases)

    def _add_base(self, listed: Listed) -> None:
        when = made(self._folder / listed.name)
        if when is not None and listed.name in self._first_increment:
            self._bases.append(Base(listed.name, listed.sequence, when, self._first_increment[listed.name]))
            self._write(self._folder / INDEX, json.dumps([asdict(base) for base in self._bases]))

    def _begin_chapter(self) -> None:
        self.close()
        self._chapter = max(self._chapter + 1, time.time_ns() // 1_000_000)  # a name that no other archive of this node has
        self._bases, self._first_increment, self._newest, self._same = [], {}, 0, set()
        self._folder.mkdir(parents=True)
        for path in (self._target, self._folder):
            self._give(path, 0o700)

    def _write(self, path: Path, text: str) -> None:
        draft = path.with_suffix(".new")
        draft.write_text(text)
        self._give(draft)
        draft.replace(path)

    def _give(self, path: Path, mode: int = 0o600) -> None:
        path.chmod(mode)
        if self._owner is not None:
            os.chown(path, self._owner, self._owner)


def _bases(folder: Path) -> list[Base]:
    path = folder / INDEX
    return [Base(**one) for one in json.loads(path.read_text())] if path.exists() else []


def read_archive(folder: Path, shards: Mapping[str, int], scanned: Callable[[Path], Annotations] = scan) -> Iterator[NodeArchive]:
    """What is archived below `folder` of every node in `shards` (name to shard), chapter by chapter.

    `scanned` tells what stands in an increment. Times are read before sizes, so that what they cover is in the files.
    """
    for node, shard in shards.items():
        for chapter in sorted((folder / node).glob("[0-9]*"), key=lambda path: int(path.name)):
            if (chapter / STATUS).exists() and (chapter / LOOKS).exists():
                yield _chapter(chapter, node, shard, scanned)


def _chapter(folder: Path, node: str, shard: int, scanned: Callable[[Path], Annotations]) -> NodeArchive:
    status = json.loads((folder / STATUS).read_text())
    looks = []
    for line in (folder / LOOKS).read_text().splitlines():
        found = json.loads(line)
        looks.append(Look(found["at"], found["primary"], tuple((low, high) for low, high in found["slots"]), found["moving"]))
    increments = [increment_of(path.name, scanned(path)) for path in folder.glob(INCREMENTS)]
    return NodeArchive(
        node,
        shard,
        tuple(base for base in _bases(folder) if (folder / base.name).exists()),
        tuple(sorted(increments, key=lambda one: one.sequence)),
        tuple(looks),
        status["covered"],
        status["clock_offset_seconds"],
        f"{node}/{folder.name}",
    )


def increment_of(name: str, seen: Annotations) -> Increment:
    """A file that was read, as the timeline knows it; its sequence stands in its name."""
    return Increment(name, _sequence(name), seen.first, seen.last, seen.leads, seen.clock_back, seen.whole, seen.damaged)


def _sequence(name: str) -> int:
    return int(name.split(".")[-3])


def annotations_of(one: Increment) -> Annotations:
    """The other way round."""
    return Annotations(one.first, one.last, one.leads, one.clock_back, one.whole_bytes, one.damaged)
