"""The history: written as it happens, read back whole, torn or damaged."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drills.history import HistoryFile, Recorder, parse, read_history, write_history
from drills.records import (
    Damage,
    End,
    Event,
    Fault,
    FinalRead,
    Lane,
    Operation,
    Reserve,
    Start,
    State,
    Tally,
    decode,
    encode,
)
from drills.synthetic import Failover, failover

WRITE = Operation("write", 12, 345, 14, 345, "node-1-2", 5_000_000_000, 5_000_250_000, 1200, "ok")
words = st.text("abcdefghij-0123456789 :", max_size=20)
whole = st.integers(0, 2**62)
operations = st.builds(
    lambda kind, ints, node, took, outcome, error: Operation(
        kind, ints[0], ints[1], ints[2], ints[3], node, ints[4], ints[4] + took, ints[5], outcome, error
    ),
    st.sampled_from(["write", "read"]),
    st.tuples(*[st.integers(0, 2**53)] * 6),
    st.none() | words,
    st.integers(0, 2**40),
    st.sampled_from(["ok", "fail", "info"]),
    st.none() | words,
)
markers = st.one_of(
    st.builds(Lane, whole, whole, st.text(max_size=30), st.none() | whole, st.none() | whole),
    st.builds(Reserve, whole, whole),
    st.builds(
        Fault, whole, whole, words, words, st.sampled_from(["inject", "evidence", "heal", "healed"]),
        st.lists(words).map(tuple), st.lists(whole).map(tuple), st.text(),
    ),
    st.builds(
        State, whole, words, words, whole, st.none() | words, st.none() | st.booleans(),
        st.none() | st.dictionaries(words, words),
    ),
    st.builds(
        FinalRead, whole, whole, whole, whole, st.lists(st.tuples(whole, whole)).map(tuple),
        st.lists(st.tuples(whole, words)).map(tuple), st.none() | words, st.none() | words,
    ),
    st.builds(
        Event, words, whole, words, words, whole, whole, whole, whole, st.sampled_from(["ok", "fail", "info"]), st.none() | words
    ),
    st.builds(Tally, whole, words, whole),
    st.builds(End, whole, whole),
)  # fmt: skip


@given(operations | markers)
def test_every_record_survives_being_written_and_read(record: Operation) -> None:
    assert decode(encode(record)) == record


def test_an_operation_takes_one_short_line() -> None:
    line = encode(WRITE)
    assert line == '["w",12,345,14,345,"node-1-2",5000000000,250000,1200,"ok"]'
    assert len(line) < 80


def test_the_recorder_writes_the_same_line_as_the_encoder() -> None:
    chunks: list[bytes] = []
    recorder = Recorder(chunks.append)
    recorder.operation("w", 12, 345, 14, 345, "node-1-2", 5_000_000_000, 5_000_250_000, 1200, "ok")
    recorder.operation("r", 12, 346, 14, 345, "node-1-2", 5_000_000_000, 5_000_250_000, 0, "info", "timeout")
    recorder.flush()
    first, second = b"".join(chunks).splitlines()
    assert decode(first) == WRITE
    assert decode(second) == WRITE._replace(kind="read", op=346, late=0, outcome="info", error="timeout")
    assert recorder.operations == 2


def test_the_recorder_sends_full_chunks_at_once_and_the_rest_after_a_moment() -> None:
    now = [0.0]
    chunks: list[bytes] = []
    recorder = Recorder(chunks.append, lambda: now[0])
    for number in range(600):
        recorder.operation("w", 1, number, 1, number, "n", 0, 1, 0, "ok")
    assert [chunk.count(b"\n") for chunk in chunks] == [512]
    recorder.tick()
    assert len(chunks) == 1, "nothing is sent before its time"
    now[0] = 0.25
    recorder.tick()
    assert [chunk.count(b"\n") for chunk in chunks] == [512, 88]


def test_a_torn_last_line_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_history(path, [WRITE, WRITE, WRITE])
    path.write_bytes(path.read_bytes()[:-20])
    assert list(read_history(path)) == [WRITE, WRITE, Damage(3, "the last line is not finished", torn=True)]


@given(st.integers(0, 2000))
def test_a_history_cut_anywhere_gives_a_prefix_and_at_most_one_torn_line(cut: int) -> None:
    records = failover(Failover(rate=1, seconds=12)).records
    whole_text = "".join(encode(record) + "\n" for record in records).encode()
    found = list(parse(whole_text[:cut].splitlines(keepends=True)))
    last = found[-1] if found else None
    if isinstance(last, Damage):
        assert last.torn
        found.pop()
    assert found == records[: len(found)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'["w",1,2]\n', "an operation has 10 or 11 fields, this line has 3"),
        (b'["x",1,1,1,1,"n",1,1,0,"ok"]\n', "unknown kind"),
        (b'["w",1,1,1,"1","n",1,1,0,"ok"]\n', "not whole numbers"),
        (b'["w",1,1,1,true,"n",1,1,0,"ok"]\n', "not whole numbers"),
        (b'["w",1,1,1,-1,"n",1,1,0,"ok"]\n', "negative"),
        (b'["w",1,1,1,1,"n",1,1,0,"maybe"]\n', "unknown kind, outcome or node"),
        (b'{"record":"lane","lane":1}\n', "lane: "),
        (b'{"record":"reserve","lane":"one","upto":5}\n', "reserve.lane is 'one'"),
        (b'{"record":"reserve","lane":1,"upto":5,"colour":1}\n', "unknown fields colour"),
        (b'{"record":"surprise"}\n', "unknown record 'surprise'"),
        (b'{"record":["x"]}\n', "unknown record"),
        (b"7\n", "neither an operation nor a record"),
        (b"\xff\xfe\n", "codec"),
        (b"\n", "Expecting value"),
        (b"[" * 100_000 + b"\n", "recursion"),
    ],
)
def test_a_damaged_line_is_named_with_its_reason_and_does_not_stop_the_reader(line: bytes, reason: str) -> None:
    good = encode(WRITE).encode() + b"\n"
    before, damage, after = parse([good, line, good])
    assert before == after == WRITE
    assert isinstance(damage, Damage)
    assert damage.line == 2
    assert not damage.torn
    assert reason in damage.reason


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_json_at_all_makes_the_reader_raise(data: object) -> None:
    (record,) = parse([json.dumps(data).encode() + b"\n"])
    assert isinstance(record, Damage)


def test_chunks_reach_the_file_at_once_and_survive_a_process_that_never_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    file = HistoryFile(path)
    file.add(Start(1, "r", "s", "cluster", "c", 0, "w"))
    file.append(encode(WRITE).encode() + b"\n")
    assert len(list(read_history(path))) == 2, "read while the writer is still open"
    with pytest.raises(ValueError, match="ends with a line end"):
        file.append(b"half a line")
    file.close()


def test_a_full_disk_is_an_error_at_the_write_that_failed() -> None:
    with HistoryFile(Path("/dev/full")) as file, pytest.raises(OSError, match="No space left"):
        file.add(WRITE)


def test_a_long_history_is_read_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryFile(path) as file:
        recorder = Recorder(file.append)
        for number in range(20_000):
            recorder.operation("w", 1, number, 1, number, "node-1-1", number * 1000, number * 1000 + 500, 0, "ok")
        recorder.flush()
    tracemalloc.start()
    try:
        count = sum(isinstance(record, Operation) for record in read_history(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 500_000
