"""Brings an archive from the agent's own volume into the repository: what is new every two seconds, bases beside it.

The volume is where the archive waits while the repository is away; how far that is, it says itself (the catalogue in its newest
segment), so an agent that was killed goes on, on another machine too. Two lanes: new bytes never wait for a large base.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from operations.archive.scan import UNREAD, Annotations, scan
from operations.archive.segments import (
    FANOUT,
    Catalogue,
    Piece,
    Shipped,
    bases_of,
    joined,
    mergeable,
    mergeable_numbers,
    retained,
    superfluous,
    with_history,
)
from operations.archive.ship import annotations_of, increment_of, read_archive
from operations.archive.store import Store
from operations.archive.timeline import Increment, NodeArchive, obsolete, restorable

SEGMENT_BYTES = 128 << 20
IDLE_SECONDS = 30.0
"""Without anything new only so often is it noted that there was nothing."""
SPOOL_SECONDS = 3600.0
"""Files that were stored stay on the volume for so long: merged segments are made from them."""
PRUNE_SECONDS = 3600.0


class Uploader:
    """Stores what is new of the nodes in `shards` (name to shard), whose archives lie below `folder`.

    After a failure make another one: only the repository knows what of it was stored. `slow` is held while something large is.
    `current_until`: if all was lost now, what is lost was written after this moment of the servers' clocks; 0: everything.
    """

    def __init__(self, store: Store, folder: Path, shards: Mapping[str, int], keep_seconds: float, slow: threading.Lock) -> None:
        self._store, self._folder, self._shards, self._keep_seconds = store, folder, dict(shards), keep_seconds
        self.catalogue = store.load()
        self.current_until = 0.0
        self._bases_here: tuple[str, ...] = ()
        self._pieces: dict[int, Sequence[Piece]] = {}
        self._stored_at = self._pruned_at = time.monotonic()
        self._slow = slow

    def step(self) -> bool:
        """Store what is new; says whether there is more to store at once."""
        found, pieces, whole = self._collect()
        is_news = bool(pieces) or any(_differ(one, self.catalogue.archives.get(folder)) for folder, one in found.items())
        if is_news or time.monotonic() - self._stored_at > IDLE_SECONDS:
            self._add(found, pieces)
            self.current_until = (self.restorable() or (0, -1))[1] + 1.0
        elif self.restorable():
            self.current_until = max(self.current_until, self._covered(found.values()))
        return not whole

    def tidy(self) -> None:
        """Take away what is not needed any more, unless a base is just being stored."""
        if not self._slow.acquire(blocking=False):
            return
        try:
            segments = superfluous(self._store.segments, self.catalogue)
            waiting = {*bases_of(self.catalogue.archives.values()), *self._bases_here}
            bases = [name for name in self._store.bases if name not in waiting]
            if len(segments) >= FANOUT or bases or self._store.strays:
                self._store.forget(segments, bases)
                small = mergeable_numbers(self._store.segments)
                self._pieces = {number: pieces for number, pieces in self._pieces.items() if number in small}
                self._clear()
            if time.monotonic() - self._pruned_at > PRUNE_SECONDS:
                self._store.prune()
                self._pruned_at = time.monotonic()
        finally:
            self._slow.release()

    def store_bases(self) -> None:
        """What may take its time: store bases that are new, and merge small segments."""
        with self._slow:
            for name in self._bases_here:
                if name not in self._store.bases:
                    self._store.add_base(name, self._folder)
            run = mergeable(list(self._store.segments), list(self._pieces), self.catalogue.sequence)
            if not run:
                return
            numbers = range(run[0].first, run[-1].last + 1)
            pieces = joined(piece for number in numbers for piece in self._pieces[number])
            if all((self._folder / one.name).exists() for one in pieces):
                self._store.add(pieces, self._folder, numbers[0], numbers[-1], None)
            else:
                for number in numbers:
                    del self._pieces[number]

    def restorable(self) -> tuple[int, int] | None:
        """The last stretch of seconds that can be restored from the repository."""
        found = restorable(one for one in self.catalogue.archives.values() if one.node in self._shards)
        return found[-1] if found else None

    def problems(self) -> list[str]:
        """Nodes whose last files cannot be cut at a second."""
        return [
            f"what {node} wrote after second {archive.increments[-1].last} cannot be restored until its next rewrite: its file "
            "is damaged, or has no times (aof-timestamp-enabled)"
            for node, archive in self._newest().items()
            if node in self._shards and archive.increments and archive.increments[-1].damaged
        ]

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _collect(self) -> tuple[dict[str, NodeArchive], list[Piece], bool]:
        """What the archives will be once the pieces are stored, by folder; and whether there is nothing beyond them."""
        pieces: list[Piece] = []
        whole, found, here = True, dict[str, NodeArchive](), dict[str, NodeArchive]()
        for stored in read_archive(self._folder, self._shards, self._stored):
            archive = stored
            new = list(self._new(archive))
            taken = list(_up_to(new, SEGMENT_BYTES - sum(one.size for one in pieces)))
            pieces += taken
            here[archive.folder] = archive
            known = self.catalogue.archives.get(archive.folder)
            if taken != new:
                whole = False
                archive = replace(archive, covered=known.covered if known else archive.looks[0].at)
            found[archive.folder] = with_history(self._as_stored(archive, taken), known)
        self._bases_here = tuple(bases_of(self._retained(Catalogue(0, here)).archives.values()))
        return found, pieces, whole

    def _add(self, found: Mapping[str, NodeArchive], pieces: Sequence[Piece]) -> None:
        number = self.catalogue.sequence + 1
        files = dict(self.catalogue.files)
        for one in pieces:
            first = files[one.name].first if one.name in files else number
            files[one.name] = Shipped(one.offset + one.size, first, number)
        catalogue = self._retained(Catalogue(number, {**self.catalogue.archives, **found}, files))
        self._store.add(pieces, self._folder, number, number, catalogue)
        self.catalogue, self._pieces[number] = catalogue, pieces
        self._stored_at = time.monotonic()

    def _retained(self, catalogue: Catalogue) -> Catalogue:
        return retained(catalogue, time.time() - self._keep_seconds)

    def _new(self, archive: NodeArchive) -> Iterator[Piece]:
        for one in archive.increments:
            name = f"{archive.folder}/{one.name}"
            start = self.catalogue.files[name].size if name in self.catalogue.files else 0
            size = (self._folder / name).stat().st_size - start
            if size > 0:
                yield Piece(name, start, size)

    def _stored(self, path: Path) -> Annotations:
        """What stands in the part of an increment that is in the repository."""
        archive = self.catalogue.archives.get(str(path.parent.relative_to(self._folder)))
        known = [one for one in archive.increments if one.name == path.name] if archive else []
        return annotations_of(known[0]) if known else UNREAD

    def _as_stored(self, archive: NodeArchive, pieces: Sequence[Piece]) -> NodeArchive:
        """An archive with the bases that are in the repository, and its increments read up to where they will be there."""
        ends = {one.name: one.offset + one.size for one in pieces}

        def read(one: Increment) -> Increment:
            name = f"{archive.folder}/{one.name}"
            if name not in ends:
                return one
            seen = scan(self._folder / name, annotations_of(one), ends[name])
            return increment_of(one.name, replace(seen, damaged=seen.damaged or _is_untimed(annotations_of(one), seen, known)))

        known = self.catalogue.archives.get(archive.folder)
        bases = tuple(one for one in archive.bases if f"{archive.folder}/{one.name}" in self._store.bases)
        return replace(archive, bases=bases, increments=tuple(map(read, archive.increments)))

    def _covered(self, archives: Iterable[NodeArchive]) -> float:
        """Up to when the files of every shard are known, by the node that is known furthest."""
        furthest: dict[int, float] = {}
        for one in archives:
            furthest[one.shard] = max(furthest.get(one.shard, 0.0), one.covered)
        return min((furthest.get(shard, 0.0) for shard in set(self._shards.values())), default=0.0)

    def _newest(self) -> dict[str, NodeArchive]:
        """Of each node the archive that is known furthest."""
        return {one.node: one for one in sorted(self.catalogue.archives.values(), key=lambda one: one.covered)}

    def _clear(self) -> None:
        """Remove files from the volume that are in the repository and that no recent second needs."""
        since = time.time() - SPOOL_SECONDS
        newest = self._newest()
        for folder, archive in self.catalogue.archives.items():
            is_over = folder != newest[archive.node].folder and archive.covered < since
            names = obsolete(archive, since)
            if is_over:
                names = [*(one.name for one in archive.bases), *(one.name for one in archive.increments)]
            for name in names:
                path = self._folder / folder / name
                shipped = self.catalogue.files.get(f"{folder}/{name}")
                with contextlib.suppress(FileNotFoundError):
                    if f"{folder}/{name}" in self._store.bases or (shipped and shipped.size == path.stat().st_size):
                        path.unlink()


def _up_to(pieces: Iterable[Piece], room: int) -> Iterator[Piece]:
    """As much of the pieces as there is room for, in their order."""
    for one in pieces:
        if room <= 0:
            return
        yield replace(one, size=min(one.size, room))
        room -= one.size


def _is_untimed(before: Annotations, seen: Annotations, known: NodeArchive | None) -> bool:
    """Whether commands came after what is `known` was complete, and no second of then before them: the server writes none."""
    is_more = known is not None and seen.whole > before.whole and seen.clock_back == before.clock_back
    return is_more and known is not None and (seen.last or 0) < int(known.covered) - 1


def _differ(one: NodeArchive, known: NodeArchive | None) -> bool:
    """Whether more than the clock went on."""
    return known is None or replace(one, covered=0.0, clock_offset_seconds=0.0) != replace(
        known, covered=0.0, clock_offset_seconds=0.0
    )
