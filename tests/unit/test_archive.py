"""Points in time: which files lead to a second, what is refused, and files that are followed while they are written."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.archive import job
from operations.archive.job import ask
from operations.archive.scan import made, scan
from operations.archive.ship import Shipper, read_archive
from operations.archive.timeline import (
    BadManifest,
    Base,
    Increment,
    Look,
    NodeArchive,
    OutsideArchive,
    chain,
    file_ranges,
    obsolete,
    of_data,
    parse_manifest,
    plan_node,
    plan_stack,
    ranges,
    restorable,
    write_manifest,
)
from operations.errors import Unreachable
from operations.inventory import Access, Credentials
from tests.unit.test_backup_parts import inventory


def base(sequence: int, made_at: int, first: int) -> Base:
    return Base(f"b{sequence}", sequence, made_at, first)


def increment(sequence: int, first: int | None, last: int | None, leads: bool = True) -> Increment:
    return Increment(f"i{sequence}", sequence, first, last, leads)


ARCHIVE = NodeArchive(
    "node-1",
    1,
    (base(1, 100, 1), base(2, 200, 2), base(3, 300, 3)),
    (increment(1, 101, 199), increment(2, 200, 299), increment(3, 301, 350)),
    (Look(90.0, primary=True),),
    covered=400.5,
)


def names(archive: NodeArchive, moment: int) -> list[str]:
    plan = plan_node(archive, moment)
    return [plan.base.name, *(one.name for one in plan.increments)]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (100, ["b1", "i1"]),
        (150, ["b1", "i1"]),
        (200, ["b2", "i2"]),
        (299, ["b2", "i2"]),
        (300, ["b3", "i3"]),
        (399, ["b3", "i3"]),
    ],
)
def test_the_newest_base_before_a_moment_is_taken(moment: int, expected: list[str]) -> None:
    assert names(ARCHIVE, moment) == expected


@pytest.mark.parametrize("moment", [99, 400, 1000])
def test_a_moment_outside_the_archive_is_refused_with_the_range(moment: int) -> None:
    with pytest.raises(OutsideArchive, match="100 to 399"):
        plan_node(ARCHIVE, moment)
    with pytest.raises(OutsideArchive, match="nearest is"):
        plan_stack([ARCHIVE], moment)


def test_without_a_newer_base_several_increments_are_taken() -> None:
    one = replace(ARCHIVE, bases=ARCHIVE.bases[:1])
    assert names(one, 250) == ["b1", "i1", "i2"]
    assert names(one, 350) == ["b1", "i1", "i2", "i3"]


def test_what_stands_before_the_first_annotation_belongs_to_the_second_before() -> None:
    one = replace(ARCHIVE, bases=ARCHIVE.bases[:1], increments=(increment(1, 101, 199), increment(2, 205, 299, leads=False)))
    assert names(one, 198) == ["b1", "i1"]
    assert names(one, 199) == ["b1", "i1", "i2"]


def test_a_missing_increment_ends_what_a_base_leads_to() -> None:
    one = replace(ARCHIVE, increments=(ARCHIVE.increments[0], ARCHIVE.increments[2]))
    assert file_ranges(one) == ((100, 198), (300, 399))
    with pytest.raises(OutsideArchive, match="100 to 198, 300 to 399"):
        plan_node(one, 250)


def test_a_damaged_increment_ends_what_a_base_leads_to() -> None:
    one = replace(ARCHIVE, increments=(*ARCHIVE.increments[:2], replace(ARCHIVE.increments[2], damaged=True)))
    assert file_ranges(one) == ((100, 349),)
    with pytest.raises(OutsideArchive):
        plan_node(one, 350)


def test_a_clock_that_was_set_back_names_no_moment() -> None:
    one = replace(ARCHIVE, increments=(replace(ARCHIVE.increments[0], clock_back=(120, 140)), *ARCHIVE.increments[1:]))
    assert names(one, 119) == ["b1", "i1"]
    with pytest.raises(OutsideArchive, match="119 or 141"):
        plan_node(one, 130)


def looks(*rows: tuple[float, bool]) -> tuple[Look, ...]:
    return tuple(Look(at, primary) for at, primary in rows)


def test_a_failover_is_followed_and_its_window_refused() -> None:
    old = replace(ARCHIVE, looks=looks((90.0, True)), covered=250.5)
    new = replace(ARCHIVE, node="node-2", looks=looks((90.0, False), (254.2, True)))
    assert ranges([old, new]) == ((100, 249), (255, 399))
    assert [plan_stack([old, new], at).nodes[0].node for at in (200, 249, 255, 399)] == ["node-1", "node-1", "node-2", "node-2"]
    with pytest.raises(OutsideArchive, match=r"nearest is 249 \(1970-01-01T00:04:09Z\) or 255 \("):
        plan_stack([old, new], 252)


def test_of_two_that_thought_they_were_primary_the_later_counts() -> None:
    old = replace(ARCHIVE, looks=looks((90.0, True)))
    new = replace(ARCHIVE, node="node-2", looks=looks((90.0, False), (254.2, True)))
    assert plan_stack([old, new], 300).nodes[0].node == "node-2"


LOW, HIGH = ((0, 8000),), ((8001, 16383),)


def test_all_shards_are_brought_to_the_same_second() -> None:
    one = replace(ARCHIVE, looks=(Look(90.0, True, LOW),))
    other = replace(
        ARCHIVE, node="node-2", shard=2, bases=(base(1, 180, 1),), looks=(Look(90.0, True, HIGH),), covered=380.0,
        clock_offset_seconds=0.25,
    )  # fmt: skip
    plan = plan_stack([one, other], 379 - 1)
    assert [(node.shard, node.at) for node in plan.nodes] == [(1, 378), (2, 378)]
    assert plan.skew_seconds == pytest.approx(0.35)
    with pytest.raises(OutsideArchive, match="180 to 379"):
        plan_stack([one, other], 150)


def test_shards_that_came_or_went_do_not_limit_what_others_served_alone() -> None:
    alone = replace(ARCHIVE, looks=(Look(90.0, True, ((0, 16383),)), Look(250.2, True, LOW)))
    seen = (Look(240.0, False), Look(250.4, True, HIGH))
    later = replace(ARCHIVE, node="node-2", shard=2, bases=(base(1, 240, 1),), looks=seen)
    assert restorable([alone, later]) == ((100, 249), (251, 399))
    assert [node.node for node in plan_stack([alone, later], 200).nodes] == ["node-1"]
    assert [node.node for node in plan_stack([alone, later], 300).nodes] == ["node-1", "node-2"]
    with pytest.raises(OutsideArchive):
        plan_stack([alone], 300)  # half of the slots were served by somebody of whom nothing is known


def test_a_move_of_slots_is_refused_with_the_nearest_moments() -> None:
    every = ((0, 16383),)
    moving = (Look(90.0, True, every), Look(210.5, True, every, moving=True), Look(220.1, True, every))
    one = replace(ARCHIVE, looks=moving)
    with pytest.raises(OutsideArchive, match=r"on the move.*nearest is 209 \(.*\) or 221 "):
        plan_stack([one], 215)
    assert plan_stack([one], 230).nodes[0].base.name == "b2"


def test_nothing_archived_is_said() -> None:
    with pytest.raises(OutsideArchive, match=r"archive\.py run"):
        plan_stack([], 1)


def test_only_files_before_the_newest_base_out_of_the_window_are_obsolete() -> None:
    assert obsolete(ARCHIVE, 250) == ["b1", "i1"]
    assert obsolete(ARCHIVE, 50) == []


@given(st.integers(80, 420))
def test_every_second_in_the_ranges_has_a_plan_and_no_other(moment: int) -> None:
    one = replace(ARCHIVE, increments=(ARCHIVE.increments[0], ARCHIVE.increments[2]))
    if any(low <= moment <= high for low, high in ranges([one])):
        plan = plan_stack([one], moment).nodes[0]
        assert plan.base.made <= moment
        assert plan.increments == chain(one, plan.base)[: len(plan.increments)]
    else:
        with pytest.raises(OutsideArchive):
            plan_stack([one], moment)


def test_archives_survive_json() -> None:
    one = replace(
        ARCHIVE, looks=(Look(1.0, True, ((0, 5),), True),), increments=(replace(ARCHIVE.increments[0], clock_back=(1, 2)),)
    )
    assert of_data(json.loads(json.dumps(asdict(one)))) == one


def test_manifests_are_read_and_written() -> None:
    text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.4.incr.aof seq 4 type i\n"
    assert [(one.sequence, one.kind) for one in parse_manifest(text)] == [(2, "b"), (4, "i")]
    assert write_manifest(plan_node(ARCHIVE, 150)) == "file b1 seq 1 type b\nfile i1 seq 1 type i\n"
    with pytest.raises(BadManifest, match="no line of a manifest"):
        parse_manifest("file x\n")


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def test_annotations_are_told_from_values_that_look_like_them(tmp_path: Path) -> None:
    path = tmp_path / "x.incr.aof"
    text = command(b"SET", b"a", b"#TS:5\r\n") + b"#TS:100\r\n" + command(b"SET", b"a", b"\r\n#TS:900\r\n") + b"#TS:101\r\n"
    path.write_bytes(text + command(b"SET", b"a", b"1")[:-4])
    found = scan(path)
    assert (found.first, found.last, found.leads, found.clock_back, found.whole) == (100, 101, False, None, len(text))
    assert not found.damaged
    path.write_bytes(text + b"garbage\r\n" + command(b"PING"))
    assert (scan(path).damaged, scan(path).whole) == (True, len(text))
    path.write_bytes(b"#TS:100\r\n" + command(b"PING") + b"#TS:90\r\n" + b"#TS:95\r\n")
    found = scan(path)
    assert (found.first, found.leads, found.clock_back) == (100, True, (90, 100))


def rdb(second: int) -> bytes:
    aux = b"\xfa\x09redis-ver\x058.0.2" + b"\xfa\x0aredis-bits\xc0\x40" + b"\xfa\x05ctime\xc2" + second.to_bytes(4, "little")
    return b"REDIS0012" + aux + b"\xfa\x08used-mem\xc2abcd\xff"


@pytest.mark.parametrize(
    ("data", "second"), [(rdb(1700000000), 1700000000), (b"#TS:1700000001\r\n", 1700000001), (b"*1\r\n", None)]
)
def test_a_base_tells_when_it_was_made(tmp_path: Path, data: bytes, second: int | None) -> None:
    (tmp_path / "base").write_bytes(data)
    assert made(tmp_path / "base") == second


class Server:
    """A folder that changes as a server's does."""

    def __init__(self, folder: Path, second: int = 1000) -> None:
        self.folder = folder / "appendonlydir"
        self.folder.mkdir(parents=True)
        self.number = 0
        self.rewrite(second)

    @property
    def incr(self) -> Path:
        return self.folder / f"appendonly.aof.{self.number}.incr.aof"

    def write(self, second: int, value: bytes) -> None:
        with self.incr.open("ab") as file:
            file.write(b"#TS:%d\r\n" % second + command(b"SET", b"key", value))

    def rewrite(self, second: int) -> None:
        self.number += 1
        (self.folder / f"appendonly.aof.{self.number}.base.rdb").write_bytes(rdb(second))
        self.incr.touch()
        lines = f"file appendonly.aof.{self.number}.base.rdb seq {self.number} type b\n"
        lines += f"file appendonly.aof.{self.number}.incr.aof seq {self.number} type i\n"
        (self.folder / "appendonly.aof.manifest").write_text(lines)
        for path in self.folder.glob(f"appendonly.aof.{self.number - 1}.*"):
            path.unlink()


def followed(tmp_path: Path) -> tuple[Server, Shipper]:
    server = Server(tmp_path / "data")
    shipper = Shipper(tmp_path / "data", tmp_path / "archive" / "node-1")
    shipper.step(1010.0, 0.0)
    shipper.look(Look(1010.0, primary=True))
    return server, shipper


def the_archive(tmp_path: Path) -> list[NodeArchive]:
    return list(read_archive(tmp_path / "archive", {"node-1": 1}))


def test_a_file_that_is_deleted_after_a_rewrite_is_still_copied_to_its_end(tmp_path: Path) -> None:
    server, shipper = followed(tmp_path)
    server.write(1020, b"1")
    shipper.step(1021.0, 0.0)
    server.write(1030, b"2")
    server.rewrite(1031)
    server.write(1040, b"3")
    shipper.step(1041.0, 0.1)
    (found,) = the_archive(tmp_path)
    assert [(one.made, one.first_increment) for one in found.bases] == [(1000, 1), (1031, 2)]
    assert [(one.first, one.last) for one in found.increments] == [(1020, 1030), (1040, 1040)]
    assert ranges([found]) == ((1010, 1040),)
    assert names(found, 1025) == ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"]
    assert names(found, 1035) == ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]


def test_an_archiver_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    server, _ = followed(tmp_path)
    server.write(1020, b"1")
    again = Shipper(tmp_path / "data", tmp_path / "archive" / "node-1")
    again.step(1022.0, 0.0)
    copied = tmp_path / "archive" / "node-1" / str(again.chapter) / server.incr.name
    assert copied.read_bytes() == server.incr.read_bytes()
    assert len(the_archive(tmp_path)) == 1


def test_an_archiver_that_missed_a_rewrite_has_a_gap_and_says_so(tmp_path: Path) -> None:
    server, shipper = followed(tmp_path)
    server.write(1020, b"1")
    shipper.step(1021.0, 0.0)
    shipper.close()
    for second in (1030, 1040):
        server.rewrite(second)
        server.write(second + 1, b"2")
    again = Shipper(tmp_path / "data", tmp_path / "archive" / "node-1")
    again.step(1050.0, 0.0)
    again.look(Look(1050.0, primary=True))
    again.step(1060.0, 0.0)
    (found,) = the_archive(tmp_path)
    assert file_ranges(found) == ((1000, 1019), (1040, 1059))
    assert ranges([found]) == ((1010, 1019), (1050, 1059))


@pytest.mark.parametrize("damage", ["cut", "anew", "same name"])
def test_a_file_that_is_not_what_was_copied_begins_a_new_chapter(tmp_path: Path, damage: str) -> None:
    server, shipper = followed(tmp_path)
    server.write(1020, b"1")
    shipper.step(1022.0, 0.0)
    if damage == "cut":
        server.incr.write_bytes(b"#TS:1020\r\n")
    elif damage == "anew":
        server.incr.write_bytes(b"")
    else:
        server.incr.unlink()
    server.write(1030, b"another value that is longer")
    shipper.step(1032.0, 0.0)
    shipper.look(Look(1032.0, primary=True))
    first, second = the_archive(tmp_path)
    assert second.folder == f"node-1/{shipper.chapter}"
    assert ranges([first]) == ((1010, 1021),)
    assert ranges([second]) == ()  # what it covers ends before it was seen to be primary
    copied = tmp_path / "archive" / "node-1" / str(shipper.chapter) / server.incr.name
    assert copied.read_bytes() == server.incr.read_bytes()


class Answering:
    """A link whose node answers INFO with these fields."""

    def __init__(self, **fields: object) -> None:
        self._fields = {"server_time_usec": 1_000_500_000, "role": "master", "loading": 0, "aof_pending_bio_fsync": 0} | fields

    def ask(self, *_command: str) -> str:
        return "".join(f"{name}:{value}\r\n" for name, value in self._fields.items())


@pytest.mark.parametrize(("pending", "covered"), [(0, 1000.5), (1, 998.5)])
def test_what_a_server_may_hold_back_while_it_syncs_is_not_counted_as_written(pending: int, covered: float) -> None:
    answer = ask(Answering(aof_pending_bio_fsync=pending))  # type: ignore[arg-type]
    assert (answer.now, answer.covered, answer.look.primary) == (1000.5, covered, True)


def test_a_primary_that_loads_serves_nothing() -> None:
    assert not ask(Answering(loading=1)).look.primary  # type: ignore[arg-type]


def test_a_node_that_does_not_answer_is_copied_and_covers_no_more(tmp_path: Path) -> None:
    server, shipper = followed(tmp_path)
    server.write(1020, b"1")
    shipper.step(None)
    (found,) = the_archive(tmp_path)
    assert (found.increments[0].last, found.covered) == (1020, 1010.0)


def test_reading_goes_on_where_it_ended_and_stops_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.incr.aof"
    parts = [b"#TS:100\r\n" + command(b"SET", b"a", b"1"), b"#TS:101\r\n" + command(b"SET", b"b", b"2" * 50), b"#TS:90\r\n"]
    path.write_bytes(b"".join(parts))
    whole = scan(path)
    for end in range(len(b"".join(parts)) + 1):
        first = scan(path, end=end)
        assert first.whole <= end
        assert scan(path, first) == whole
    assert scan(path, end=len(parts[0]) + 20).last == 101


class Fleets:
    """Nodes that answer what they are told to."""

    def __init__(self, *_: object, **__: object) -> None:
        self.answer: object = None

    def each(self, *_: object, **__: object) -> dict[str, object]:
        return {"node-1": self.answer}


def test_a_primary_that_fell_silent_is_not_taken_for_one_until_it_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "nodes" / "node-1")
    monkeypatch.setattr(job, "Fleet", Fleets)
    monkeypatch.setattr(job, "NODES", tmp_path / "nodes")
    archiver = job.Archiver(
        Access(inventory=inventory("standalone"), credentials=Credentials.of({})), folder=tmp_path / "archive"
    )

    def step(answer: object) -> None:
        archiver._fleet.answer = answer  # type: ignore[attr-defined]
        archiver.step()

    for second in (1001, 1010):
        step(job.Answer(second, second, Look(second, primary=True)))
    server.write(1011, b"the last word")
    for _ in range(2):
        step(Unreachable("it is gone"))
    step(job.Answer(1030, 1030, Look(1030, primary=False)))  # somebody else was promoted meanwhile, at a second nobody knows
    step(job.Answer(1040, 1040, Look(1040, primary=False)))
    (found,) = the_archive(tmp_path)
    assert [(look.at, look.primary) for look in found.looks] == [(1001, True), (1010, False), (1030, False)]
    assert ranges([found]) == ((1001, 1009),)
    assert found.increments[0].last == 1011
