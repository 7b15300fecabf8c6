"""The archive in the repository: what is stored when, what a moment is read from, merging, forgetting, a loss."""

import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.archive import segments as segments_module
from operations.archive.segments import (
    Catalogue,
    Piece,
    Segment,
    Shipped,
    holding,
    joined,
    mergeable,
    retained,
    superfluous,
    wanted,
)
from operations.archive.ship import Shipper
from operations.archive.store import Store
from operations.archive.timeline import Look, OutsideArchive, plan_stack
from operations.archive.upload import Uploader
from operations.backup.restic import NoRepository, Snapshot
from operations.backup.settings import beside
from operations.errors import CheckFailed, Unreachable
from tests.unit.test_archive import ARCHIVE, Server, command


class _Upload:
    def __init__(self, repository: "Memory", name: str, tags: Mapping[str, str]) -> None:
        self._repository, self._name, self._tags, self._data = repository, name, tags, b""

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self) -> str:
        return self._repository.keep(self._name, self._tags, self._data)

    def __enter__(self) -> "_Upload":
        return self

    def __exit__(self, *_: object) -> None:
        return


class Memory:
    """A repository of restic as far as an archive needs one."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[Snapshot, str, bytes]] = {}
        self.is_made = self.is_away = False
        self.said: list[tuple[str, ...]] = []

    def run(self, *words: str, **_: Any) -> str:
        self.said.append(words)
        if self.is_away:
            raise Unreachable("the repository is away")
        if words == ("cat", "config") and not self.is_made:
            raise NoRepository("none yet")
        self.is_made = self.is_made or words == ("init",)
        for entry in words[1:] if words[0] == "forget" else ():
            del self.entries[entry]
        return ""

    place = "/repository/point-in-time"

    def snapshots(self, _seconds: float, **tags: str) -> list[Snapshot]:
        return [one for one, _, _ in self.entries.values() if tags.items() <= one.tags.items()]

    def store(self, name: str, tags: Mapping[str, str], _seconds: float) -> _Upload:
        if self.is_away:
            raise Unreachable("the repository is away")
        return _Upload(self, name, tags)

    def keep(self, name: str, tags: Mapping[str, str], data: bytes) -> str:
        identity = f"e{len(self.entries)}-{'-'.join(tags.values())}"
        self.entries[identity] = (Snapshot(identity, datetime.now(UTC), dict(tags)), name, data)
        return identity

    def read(self, entry: str, name: str) -> Iterator[bytes]:
        _, stored, data = self.entries[entry]
        assert stored == name
        for start in range(0, len(data), 7):  # in pieces that fit nothing
            yield data[start : start + 7]


class Place:
    """A server, its archive on the agent's volume, and the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = int(time.time())
        self.memory = Memory()
        self.server = Server(folder / "data", self.now - 100)
        self.begin()

    def begin(self) -> None:
        """An agent starts, for the first time or again."""
        self.shipper = Shipper(self.folder / "data", self.folder / "archive" / "node-1")
        self.copy()
        self.shipper.look(Look(float(self.now), primary=True))
        self.store = Store(self.memory, "shop")  # type: ignore[arg-type]
        self.store.prepare()
        self.uploader = Uploader(self.store, self.folder / "archive", {"node-1": 1}, 3600, threading.Lock())

    def copy(self) -> None:
        self.shipper.step(float(self.now))

    def write(self, value: bytes) -> int:
        """Write something, let a second pass, and bring it into the repository; returns the second."""
        self.server.write(self.now, value)
        self.now += 1
        self.copy()
        self.uploader.step()
        self.uploader.store_bases()
        return self.now - 1

    def fetched(self, moment: int) -> dict[str, bytes]:
        """The files of a moment as whoever restores on another machine gets them."""
        store = Store(self.memory, "shop")  # type: ignore[arg-type]
        catalogue = store.load()
        plan = plan_stack(tuple(catalogue.archives.values()), moment)
        names = wanted(plan)
        target = self.folder / f"elsewhere-{time.monotonic_ns()}"
        bases = [f"{node.folder}/{node.base.name}" for node in plan.nodes]
        store.fetch_moment(names, bases, target, lambda _: None)
        return {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_was_stored_is_read_without_the_volume(place: Place) -> None:
    place.write(b"one")
    second = place.write(b"two")
    place.write(b"three")
    written = place.server.incr.read_bytes()
    base = (place.server.folder / "appendonly.aof.1.base.rdb").read_bytes()
    shutil.rmtree(place.folder / "archive")
    found = place.fetched(second)
    assert found == {"appendonly.aof.1.incr.aof": written, "appendonly.aof.1.base.rdb": base}


@pytest.mark.parametrize("is_merged", [True, False])
def test_what_is_merged_while_it_is_read_is_read_anew_and_what_cannot_be_read_is_told(
    is_merged: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(b"one")
    second = place.write(b"two")
    place.write(b"three")
    whole, read, reads = place.fetched(second), place.memory.read, list[str]()

    def disturbed(entry: str, name: str) -> Iterator[bytes]:
        reads.append(entry)
        if len(reads) == 3:  # after the catalogue for the plan, and that for the files
            if is_merged:
                found, stored, data = place.memory.entries.pop(entry)
                place.memory.keep(stored, {**found.tags, "merged": "1"}, data)
            raise Unreachable(f"snapshot {entry} cannot be read")
        return read(entry, name)

    monkeypatch.setattr(place.memory, "read", disturbed)
    if is_merged:
        assert place.fetched(second) == whole
    else:
        with pytest.raises(Unreachable, match="cannot be read"):
            place.fetched(second)
        assert len(reads) == 4, "it looked what is there, and did not begin anew"


def test_nothing_is_restorable_before_a_base_is_stored(place: Place) -> None:
    place.server.write(place.now, b"1")
    place.copy()
    place.uploader.step()
    assert (place.uploader.restorable(), place.uploader.current_until) == (None, 0.0)
    with pytest.raises(OutsideArchive):
        place.fetched(place.now)


def test_without_anything_new_nothing_is_stored_and_nothing_would_be_lost(place: Place) -> None:
    for value in (b"1", b"2"):
        place.write(value)
    place.uploader.step()
    count = len(place.memory.entries)
    place.now += 5
    place.copy()
    place.uploader.step()
    assert (len(place.memory.entries), place.uploader.current_until) == (count, place.now)


def test_a_repository_that_was_away_is_caught_up_with(place: Place) -> None:
    for value in (b"1", b"2"):
        place.write(value)
    before = place.uploader.current_until
    place.memory.is_away = True
    with pytest.raises(Unreachable):
        place.write(b"3")
    place.now += 1
    assert place.uploader.current_until == before
    place.memory.is_away = False
    second = place.write(b"4")
    assert place.uploader.current_until > before + 1
    assert place.fetched(second)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()


def test_an_entry_that_was_stored_unnoticed_counts_and_is_not_stored_under_its_number_again(place: Place) -> None:
    for value in (b"1", b"2"):
        place.write(value)
    keep = place.memory.keep

    def unheard(*told: Any) -> str:
        keep(*told)
        raise Unreachable("no answer")

    place.memory.keep = unheard  # type: ignore[method-assign,assignment]
    with pytest.raises(Unreachable):
        place.write(b"3")
    place.memory.keep = keep  # type: ignore[method-assign]
    place.now += 1
    place.shipper.close()
    place.begin()
    second = place.write(b"4")
    assert place.fetched(second)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()
    assert len({(one.first, one.last) for one in place.store.segments}) == len(place.store.segments)


def test_of_entries_that_were_stored_twice_the_later_counts_and_the_other_is_removed(place: Place) -> None:
    for value in (b"1", b"2"):
        place.write(value)
    for snapshot, name, data in list(place.memory.entries.values()):
        place.memory.keep(name, snapshot.tags, data)
    place.shipper.close()
    place.begin()
    count = len(place.memory.entries)
    assert len(place.store.strays) == count // 2
    second = place.write(b"3")
    place.uploader.tidy()
    assert len(place.memory.entries) == count // 2 + 1
    assert place.fetched(second)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()


def test_an_agent_that_was_killed_stores_nothing_twice(place: Place) -> None:
    place.write(b"1")
    place.shipper.close()
    place.begin()
    second = place.write(b"2")
    assert place.fetched(second)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()
    sizes = [piece["size"] for piece in all_pieces(place.memory)]
    assert sum(sizes) == place.server.incr.stat().st_size


def test_an_agent_that_lost_its_volume_goes_on_beside_what_is_stored(place: Place) -> None:
    first = place.write(b"1")
    place.write(b"2")
    place.shipper.close()
    shutil.rmtree(place.folder / "archive")
    time.sleep(0.002)  # the name of a chapter is its millisecond
    place.begin()
    last = [place.write(value) for value in (b"3", b"4", b"5")][-1]
    assert place.fetched(first)
    assert place.fetched(last)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()


def test_what_a_server_writes_without_times_is_not_taken_for_the_last_second(place: Place) -> None:
    for value in (b"1", b"2"):
        last = place.write(value)
    assert place.uploader.problems() == []
    place.now += 10
    place.copy()
    place.uploader._stored_at = 0.0
    place.uploader.step()
    with place.server.incr.open("ab") as file:
        file.write(command(b"SET", b"key", b"without a time"))
    place.now += 1
    place.copy()
    place.uploader.step()
    assert "has no times" in place.uploader.problems()[0]
    stretch = place.uploader.restorable()
    assert stretch is None or stretch[1] < last
    place.server.rewrite(place.now)
    for value in (b"3", b"4", b"5"):
        last = place.write(value)
    assert place.uploader.problems() == []
    assert place.fetched(last)


def test_more_than_fits_into_a_segment_goes_into_several(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.archive.upload.SEGMENT_BYTES", 100)
    for value in (b"1", b"2"):
        place.write(value)
    place.server.write(place.now, b"x" * 1000)
    place.now += 1
    place.copy()
    until = place.uploader.current_until
    assert place.uploader.step()
    assert place.uploader.current_until <= until
    while place.uploader.step():
        pass
    assert place.uploader.current_until > until
    assert place.fetched(place.now - 1)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()


def test_small_segments_are_merged_and_then_forgotten(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_module, "FANOUT", 4)
    monkeypatch.setattr("operations.archive.upload.FANOUT", 4)
    moments = []
    for number in range(40):
        moments.append(place.write(b"%d" % number))
        place.uploader.tidy()
    assert len(place.store.segments) < 14
    assert max(one.level for one in place.store.segments) == 2
    for moment in (moments[1], moments[20], moments[-1]):
        assert place.fetched(moment)["appendonly.aof.1.incr.aof"] == place.server.incr.read_bytes()


def test_what_no_second_of_the_window_needs_is_forgotten(place: Place) -> None:
    place.write(b"1")
    place.server.rewrite(place.now)
    for value in (b"2", b"3", b"4"):
        place.write(value)
    assert len(place.store.bases) == 2
    kept = retained(place.uploader.catalogue, place.now)
    assert [one.name for one in next(iter(kept.archives.values())).bases] == ["appendonly.aof.2.base.rdb"]
    assert list(kept.files) == [name for name in place.uploader.catalogue.files if "2.incr" in name]
    place.uploader._keep_seconds = -10.0  # a window that ends in the future
    place.write(b"5")
    place.uploader.tidy()
    assert [name.rpartition("/")[2] for name in place.store.bases] == ["appendonly.aof.2.base.rdb"]


def all_pieces(memory: Memory) -> list[dict[str, Any]]:
    lines = [data.split(b"\n", 1)[0] for _, name, data in memory.entries.values() if name == "segment"]
    return [piece for line in lines for piece in json.loads(line)["pieces"]]


def segments(*widths: tuple[int, int]) -> list[Segment]:
    return [Segment(f"s{first}-{last}", first, last) for first, last in widths]


def test_as_few_segments_as_possible_are_read_and_one_that_is_gone_is_named() -> None:
    catalogue = Catalogue(9, {}, {"f": Shipped(10, 2, 7)})
    known = segments((1, 4), (2, 2), (3, 3), (5, 5), (6, 7), (8, 8))
    assert [one.entry for one in holding(["f", "empty"], catalogue, known)] == ["s1-4", "s5-5", "s6-7"]
    with pytest.raises(CheckFailed, match="segment 5 of the archive is gone"):
        holding(["f"], catalogue, segments((1, 4), (6, 7)))


def test_segments_that_a_merged_one_holds_or_nobody_needs_are_superfluous_and_the_newest_never() -> None:
    catalogue = Catalogue(8, {ARCHIVE.folder: ARCHIVE}, {"f": Shipped(10, 3, 7)})
    found = superfluous(segments((1, 2), (3, 4), (3, 3), (4, 4), (5, 8), (8, 8)), catalogue)
    assert [one.entry for one in found] == ["s1-2", "s3-3", "s4-4"]


def test_only_segments_that_follow_each_other_and_can_be_read_are_merged() -> None:
    small = [Segment(f"s{number}", number, number) for number in range(1, 80)]
    assert [one.first for one in mergeable(small, range(1, 80), 79)] == list(range(1, 33))
    assert [one.first for one in mergeable(small, range(10, 80), 79)] == list(range(10, 42))
    assert mergeable(small[:32], range(1, 80), 32) == []
    without = [one for one in small if one.first != 20]
    assert [one.first for one in mergeable(without, range(1, 80), 79)] == list(range(21, 53))


def test_of_segments_with_the_same_content_one_stays() -> None:
    catalogue = Catalogue(9, {}, {"f": Shipped(10, 1, 9)})
    twice = [Segment("a", 1, 4), Segment("b", 1, 4), Segment("c", 2, 2), Segment("d", 9, 9)]
    assert [one.entry for one in superfluous(twice, catalogue)] == ["a", "c"]


def test_what_was_merged_is_not_merged_again_before_it_is_forgotten() -> None:
    small = [Segment(f"s{number}", number, number) for number in range(1, 40)]
    assert mergeable([*small, Segment("m", 1, 32)], range(1, 40), 40) == []


@given(st.lists(st.sampled_from(["add", "add", "add", "merge", "merge", "forget"]), max_size=120))
def test_whatever_the_lanes_do_in_whatever_order_every_number_is_held(steps: list[str]) -> None:
    known: list[Segment] = []
    newest = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "FANOUT", 3)
        for count, step in enumerate(steps):
            catalogue = Catalogue(newest, {}, {"f": Shipped(1, 1, newest)})
            if step == "add":
                newest += 1
                known.append(Segment(f"e{count}", newest, newest))
            elif step == "forget":
                gone = superfluous(known, catalogue)
                known = [one for one in known if one not in gone]
            elif run := mergeable(known, range(1, newest + 1), newest):
                known.append(Segment(f"e{count}", run[0].first, run[-1].last))
            held = {number for one in known for number in range(one.first, one.last + 1)}
            assert held == set(range(1, newest + 1))
            assert not newest or any((one.first, one.last) == (newest, newest) for one in known)


def test_pieces_that_touch_become_one() -> None:
    found = joined([Piece("b", 5, 5), Piece("a", 0, 2), Piece("b", 0, 5), Piece("b", 20, 1)])
    assert found == [Piece("a", 0, 2), Piece("b", 0, 10), Piece("b", 20, 1)]


@pytest.mark.parametrize(
    ("place_of", "expected"),
    [
        ("/srv/backups", "/srv/backups/point-in-time"),
        ("rest:https://host:8000/", "rest:https://host:8000/point-in-time/"),
        ("rest:https://host:8000/shop", "rest:https://host:8000/shop/point-in-time/"),
        ("s3:https://host/bucket", "s3:https://host/bucket/point-in-time"),
        ("azure:container:/", "azure:container:/point-in-time"),
        ("b2:bucket", "b2:bucket:point-in-time"),
        ("b2:bucket:folder", "b2:bucket:folder/point-in-time"),
    ],
)
def test_the_archive_lies_beside_the_backups(place_of: str, expected: str) -> None:
    assert beside(place_of) == expected
