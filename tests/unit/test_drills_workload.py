"""The clients of a drill: what they write, what they make of errors, how they keep their plan, how their history comes home."""

import io
import json
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from drills.history import parse
from drills.records import CHUNK, FinalRead, Lane, Operation, Record, Reserve, Shed, Stall, decode
from drills.workload import launcher
from drills.workload.agent import Agent
from drills.workload.asked import classify, error_word, instrument, this_thread
from drills.workload.audit import examine
from drills.workload.client import ClientThread, content, key_of, newest
from drills.workload.launcher import LoadFailed, Process, start_process, synchronise
from drills.workload.plan import KEY_PREFIX, Load, confirmations, feasible, lanes
from drills.workload.pulse import Pulse
from drills.workload.settings import LaneSettings, Mode, Settings, Target
from drills.workload.watch import node_flags, replicas_in_sync
from operations.errors import ToolkitError, UsageError
from tests.unit.states import inventory_of

SETTINGS = Settings("r1", "cluster", (Target("node-1-1", "10.0.0.1", 6379),), "app", "secret-word", read_every=0)
LANE = LaneSettings(3, 3, "drill:{a}:r1:3", 7, 1)


# --- what an error means ------------------------------------------------------------------------------------------------


def raised(make: Callable[[], Any]) -> BaseException:
    """The exception as it arrives, with everything that was being handled when it was raised."""
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def chain(first: Exception, second: Exception) -> Callable[[], None]:
    def fail() -> None:
        try:
            raise first
        except Exception:
            raise second  # noqa: B904 - as redis-py does while it looks for other nodes

    return fail


def just(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("make", "sends", "outcome", "word"),
    [
        (just(redis.ConnectionError("Error 111 connecting to 10.0.0.1:6379. Connection refused.")), 0, "fail", "refused"),
        (just(redis.TimeoutError("Timeout connecting to server")), 0, "fail", "timeout"),
        (just(redis.TimeoutError("Timeout reading from socket")), 1, "info", "timeout"),
        (just(redis.ConnectionError("Connection closed by server.")), 1, "info", "closed"),
        (chain(ConnectionResetError(104, "Connection reset by peer"), redis.ConnectionError("Error")), 1, "info", "reset"),
        (just(redis.AuthenticationError("WRONGPASS invalid username-password pair")), 0, "fail", "auth"),
        (just(redis.ReadOnlyError("You can't write against a read only replica.")), 1, "fail", "readonly"),
        (just(redis.ResponseError("NOREPLICAS Not enough good replicas to write.")), 1, "fail", "noreplicas"),
        (just(redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")), 1, "fail", "oom"),
        (just(redis.exceptions.ClusterDownError("Hash slot not served")), 1, "fail", "clusterdown"),
        (just(redis.BusyLoadingError("Redis is loading the dataset in memory")), 1, "fail", "loading"),
        (just(redis.exceptions.SlotNotCoveredError('Slot "7" not covered by the cluster.')), 0, "fail", "slot-not-covered"),
        (just(redis.sentinel.MasterNotFoundError("No master found for 'main'")), 0, "fail", "no-primary"),
        # Sentinel's connection turns READONLY into a connection error: still refused by a server.
        (chain(redis.ReadOnlyError("…"), redis.ConnectionError("The previous master is now a slave")), 1, "fail", "readonly"),
        # The write timed out; while looking for other nodes one of them said LOADING: the write remains unknown.
        (chain(redis.TimeoutError("Timeout reading from socket"), redis.BusyLoadingError("loading")), 1, "info", "timeout"),
        # The write was refused; then nobody answered: the write certainly did not happen.
        (chain(redis.exceptions.ClusterDownError("x"), redis.ConnectionError("cannot be connected")), 1, "fail", "clusterdown"),
        (just(ValueError("what is this?")), 1, "info", "valueerror"),
    ],
)  # fmt: skip
def test_an_error_is_a_failure_only_if_the_request_certainly_was_not_done(
    make: Callable[[], None], sends: int, outcome: str, word: str
) -> None:
    assert classify(raised(make), sends, retries=0) == (outcome, word)


def test_with_retries_an_earlier_attempt_may_have_been_done() -> None:
    refused = raised(
        just(redis.ResponseError("ERR The ID specified in XADD is equal or smaller than the target stream top item"))
    )
    assert classify(refused, sends=1, retries=3) == ("fail", "order")
    assert classify(refused, sends=2, retries=3) == ("info", "order")
    assert classify(refused, sends=2, retries=0) == ("fail", "order"), "without retries only a redirection sends twice"


@given(st.text())
def test_words_for_errors_never_break_a_line_of_the_history(text: str) -> None:
    for error in (redis.ResponseError(text), redis.ConnectionError(text), OSError(text)):
        word = error_word(error)
        assert word
        assert json.loads(f'"{word}"') == word


def test_the_request_knows_its_connection_and_whether_wait_used_the_same() -> None:
    """Against real connection objects, with only the socket taken away."""
    sent: list[bytes] = []

    class NoSocket(redis.Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ARG002
            sent.append(b"".join(command))

    plain: Any = redis.connection.AbstractConnection.send_command
    patched: Any = redis.connection.AbstractConnection
    instrument()
    try:
        make: Any = NoSocket
        one, other = make(host="10.0.0.1", port=6379), make(host="10.0.0.2", port=6379)
        asked = this_thread()
        asked.begin()
        assert (asked.where, asked.sends) == (None, 0)
        one.send_command("CLUSTER SLOTS")
        assert asked.sends == 0, "housekeeping is no request"
        one.send_command("XADD", "k", "1-0", "v", "x")
        one.send_command("WAIT", 1, 100)
        assert (asked.where, asked.sends, asked.same_connection) == (("10.0.0.1", 6379), 1, True)
        other.send_command("WAIT", 1, 100)
        assert not asked.same_connection
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(this_thread().sends))
        thread.start()
        thread.join()
        assert found == [0], "each thread has its own"
    finally:
        patched.send_command = plain
    assert len(sent) == 4


# --- what clients write -------------------------------------------------------------------------------------------------

SLOTS = {1: [(0, 5460)], 2: [(5461, 10922)], 3: [(10923, 16383)]}


@pytest.mark.parametrize("clients", [1, 3, 12, 50])
def test_lanes_are_dealt_evenly_to_the_shards_and_lie_in_their_slots(clients: int) -> None:
    found = lanes("r1", clients, SLOTS)
    assert len({lane.key for lane in found}) == len({lane.lane for lane in found}) == clients
    per_shard = Counter(lane.shard for lane in found)
    assert max(per_shard.values()) - min(per_shard.values(), default=0) <= 1
    for lane in found:
        assert key_slot(key_of(lane.key, 1).encode()) == key_slot(key_of(lane.key, 5000).encode()) == lane.slot
        low, high = SLOTS[lane.shard or 0][0]
        assert low <= (lane.slot or 0) <= high
        assert lane.key.startswith(KEY_PREFIX)


def test_lanes_of_one_shard_are_spread_over_its_slots() -> None:
    slots = sorted(lane.slot or 0 for lane in lanes("r1", 30, SLOTS) if lane.shard == 1)
    assert len(slots) == 10
    assert all(place * 546 - 1 <= slot <= (place + 1) * 547 for place, slot in enumerate(slots))


def test_without_slots_all_lanes_are_in_the_only_shard() -> None:
    assert {lane.shard for lane in lanes("r1", 5, {})} == {1}


def test_clients_of_a_second_process_get_other_numbers_and_only_the_shards_asked_for() -> None:
    found = lanes("r1", 4, SLOTS, first=100, shards=[2])
    assert [lane.lane for lane in found] == [100, 101, 102, 103]
    assert {lane.shard for lane in found} == {2}


def test_what_is_stored_names_the_one_write_and_can_be_padded() -> None:
    assert content("r1", 3, 7, 0) == "r1.3.7"
    assert len(content("r1", 3, 7, 64)) == 64
    assert key_of("p", 999) == "p:0"
    assert key_of("p", 1000) == "p:1"


def test_the_password_is_neither_printed_nor_public() -> None:
    assert "secret-word" not in repr(SETTINGS)
    assert "secret-word" not in json.dumps(SETTINGS.public())
    assert Settings.from_data(json.loads(json.dumps(SETTINGS.to_data()))) == SETTINGS


# --- one client ---------------------------------------------------------------------------------------------------------


class Server:
    """Stands in for redis-py: answers by rule, after a delay."""

    def __init__(self, rule: Callable[[int, tuple[Any, ...]], Any]) -> None:
        self.rule = rule
        self.calls: list[tuple[Any, ...]] = []

    def execute_command(self, *args: Any, **_options: Any) -> Any:
        self.calls.append(args)
        this_thread().sends += 1
        return self.rule(len(self.calls), args)

    def get_node_from_key(self, _key: str) -> str:
        return "node"


def run_client(settings: Settings, server: Server, seconds: float) -> list[Record]:
    client = ClientThread(settings, LANE, 0.0)
    client._client = server
    client.declare(time.monotonic_ns())
    client.start_at = time.monotonic_ns()
    client.start()
    client.begin.set()
    time.sleep(seconds)
    client.stop.set()
    client.join(5)
    assert not client.is_alive()
    return list(parse(f"{line}\n".encode() for line in client.lines))


def operations(records: list[Record]) -> list[Operation]:
    return [record for record in records if isinstance(record, Operation)]


def with_(**changes: Any) -> Settings:
    return Settings.from_data({**SETTINGS.to_data(), **changes})


def test_a_client_writes_numbered_entries_at_its_rate_and_records_each() -> None:
    server = Server(lambda _n, _args: b"ok")
    records = run_client(with_(rate=200.0), server, 0.5)
    found = operations(records)
    planned = [op.start - op.late for op in found]
    assert len(found) > 10
    assert {later - earlier for earlier, later in pairwise(planned)} == {5_000_000}, "whatever the machine does meanwhile"
    assert [op.value for op in found] == list(range(1, len(found) + 1))
    assert server.calls[0][0] == "EXISTS", "it connects before its plan begins"
    assert server.calls[1] == ("XADD", "drill:{a}:r1:3:0", "1-0", "v", "r1.3.1")
    assert {op.outcome for op in found} == {"ok"}
    assert isinstance(records[1], Lane)
    assert records[2] == Reserve(3, 1000), "numbers are reserved before they are used"


def test_a_stall_does_not_hide_latency() -> None:
    """One answer takes 0.2 s: the writes that were planned meanwhile are late, and that counts."""
    server = Server(lambda n, _args: time.sleep(0.2) if n == 10 else b"ok")
    found = operations(run_client(with_(rate=200.0), server, 0.6))
    late = [op for op in found if op.late > 20_000_000]
    assert len(late) >= 25
    assert max(op.latency for op in late) > 150_000_000


def test_requests_later_than_their_time_out_are_counted_and_not_sent() -> None:
    server = Server(lambda n, _args: time.sleep(0.4) if n == 10 else b"ok")
    records = run_client(with_(rate=200.0, request_timeout=0.1), server, 0.7)
    shed = [record for record in records if isinstance(record, Shed)]
    assert sum(record.writes for record in shed) >= 50
    sent = [op.start - op.late for op in operations(records)]
    dropped = [record.start + number * 5_000_000 for record in shed for number in range(record.writes)]
    assert {later - earlier for earlier, later in pairwise(sorted(sent + dropped))} == {5_000_000}, "each is sent or counted"


def test_numbers_are_reserved_ahead_of_their_use() -> None:
    server = Server(lambda _n, _args: b"ok")
    records = run_client(with_(rate=0.0), server, 0.5)
    reserved = 0
    for record in records:
        if isinstance(record, Reserve):
            reserved = record.upto
        elif isinstance(record, Operation):
            assert record.value + 400 < reserved
    assert reserved > 1000


def test_a_refused_number_is_never_used_again() -> None:
    def rule(n: int, _args: tuple[Any, ...]) -> Any:
        if n % 2:
            raise redis.ReadOnlyError("You can't write against a read only replica.")
        return b"ok"

    found = operations(run_client(with_(rate=200.0), Server(rule), 0.3))
    assert [op.value for op in found] == list(range(1, len(found) + 1))
    assert {(op.outcome, op.error) for op in found} == {("fail", "readonly"), ("ok", None)}


def test_reads_ask_for_the_chunk_of_the_last_acknowledged_write() -> None:
    server = Server(lambda _n, args: [[b"41-0", [b"v", b"x"]]] if args[0] == "XREVRANGE" else b"ok")
    found = operations(run_client(with_(rate=200.0, read_every=5), server, 0.3))
    reads = [op for op in found if op.kind == "read"]
    assert len(reads) == pytest.approx(len(found) / 5, abs=2)
    assert {op.value for op in reads} == {41}
    assert ("XREVRANGE", "drill:{a}:r1:3:0", "+", "-", "COUNT", 1) in server.calls


@pytest.mark.parametrize(
    ("mode", "answer", "same", "expected"),
    [
        ("wait", 2, True, ("ok", None)),
        ("wait", 1, True, ("info", "wait-1-of-2")),
        ("wait", 2, False, ("info", "wait-elsewhere")),
        ("waitaof", [1, 2], True, ("ok", None)),
        ("waitaof", [0, 2], True, ("info", "waitaof-0-2-of-1-2")),
        ("waitaof", [1, 0], True, ("info", "waitaof-1-0-of-1-2")),
    ],
)
def test_a_confirmation_that_falls_short_is_unknown_and_never_acknowledged(
    mode: str, answer: Any, same: bool, expected: tuple[str, str | None]
) -> None:
    def rule(_n: int, args: tuple[Any, ...]) -> Any:
        if args[0] == "XADD":
            return b"ok"
        this_thread().sends -= 1  # WAIT is no request of its own
        this_thread().same_connection = same
        return answer

    found = operations(run_client(with_(rate=50.0, mode=mode, acks=2), Server(rule), 0.2))
    assert {(op.outcome, op.error) for op in found} == {expected}


@pytest.mark.parametrize(("entries", "value"), [([], 0), (None, 0), ([[b"7-0", [b"v", b"x"]]], 7), ([("12-0", {"v": "x"})], 12)])
def test_the_newest_number_is_read_from_raw_and_parsed_answers(entries: Any, value: int) -> None:
    assert newest(entries) == value


# --- the audit ----------------------------------------------------------------------------------------------------------


def entry(number: int, text: str | None = None) -> list[Any]:
    return [f"{number}-0".encode(), [b"v", (text or f"r1.3.{number}").encode()]]


def test_the_final_read_finds_runs_and_holes() -> None:
    found = examine([entry(n) for n in (1, 2, 3, 7, 8, 10)], SETTINGS, 3, 0, 999, 5, "node-1-1")
    assert found == FinalRead(5, 3, 1, 999, ((1, 3), (7, 8), (10, 10)), (), "node-1-1", None)


@pytest.mark.parametrize(
    "strange",
    [
        entry(2, "r1.3.9"),
        entry(2, "r1.4.2"),
        entry(2, "r0.3.2"),
        [b"2-1", [b"v", b"r1.3.2"]],
        [b"2-0", [b"w", b"r1.3.2"]],
        [b"2-0", [b"v", b"r1.3.2", b"v", b"x"]],
        [b"2000-0", [b"v", b"r1.3.2000"]],
    ],
)
def test_an_entry_that_its_write_did_not_store_is_wrong(strange: list[Any]) -> None:
    found = examine([entry(1), strange, entry(3)], SETTINGS, 3, 0, 999, 5, None)
    assert found.present == ((1, 1), (3, 3))
    assert len(found.wrong) == 1


def test_the_second_chunk_begins_at_its_own_number() -> None:
    found = examine([entry(CHUNK), entry(CHUNK + 1)], SETTINGS, 3, CHUNK, 2 * CHUNK - 1, 5, None)
    assert (found.first, found.present) == (CHUNK, ((CHUNK, CHUNK + 1),))


# --- the process --------------------------------------------------------------------------------------------------------


class Kept:
    """Takes chunks as the history file does, and insists on whole lines."""

    def __init__(self) -> None:
        self.data = b""

    def __call__(self, chunk: bytes) -> None:
        assert chunk.endswith(b"\n")
        self.data += chunk


@pytest.fixture
def local() -> Iterator[tuple[Process, Kept]]:
    """A real client process on this machine whose only node does not listen."""
    settings = with_(
        targets=[{"name": "node-1", "host": "127.0.0.1", "port": 1}], way="direct", rate=50.0,
        lanes=[{"lane": 0, "client": 0, "key": "k", "slot": None, "shard": 1}],
    )  # fmt: skip
    kept = Kept()
    with start_process(settings.to_data(), kept, None) as process:
        yield process, kept


def test_a_client_process_streams_its_history_and_its_clock_can_be_read(local: tuple[Process, Kept]) -> None:
    process, kept = local
    offset, error = synchronise(process)
    assert abs(offset) <= error + 2_000_000, "the same machine has the same clock"
    process.ask("start", origin=time.monotonic_ns())
    deadline = time.monotonic() + 10
    while kept.data.count(b"\n") < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    told = process.ask("stop")
    process.close()
    found = operations(list(parse(kept.data.splitlines(keepends=True))))
    assert told == {"operations": len(found), "threads": 0}, "nothing that was counted is missing"
    assert {(op.outcome, op.error, op.node) for op in found} == {("fail", "refused", None)}


def test_a_final_read_that_nobody_answers_is_an_error_record(local: tuple[Process, Kept]) -> None:
    process, kept = local
    process.ask("start", origin=time.monotonic_ns())
    process.ask("stop")
    assert process.ask("audit", within=30, seconds=0.2)["chunks"] == 2
    process.close()
    finals = [record for record in parse(kept.data.splitlines(keepends=True)) if isinstance(record, FinalRead)]
    assert {final.error for final in finals} == {"refused"}
    assert max(final.last for final in finals) == 1000


def test_a_process_that_dies_is_told_in_one_sentence_with_its_last_words() -> None:
    process = Process(["sh", "-c", "echo no such image >&2; exit 125; "], "agent", Kept(), "the load")
    with pytest.raises(LoadFailed, match="the load ended: no such image"):
        process.wait_answer(5)
    process.close()


def test_a_process_that_does_not_answer_is_told_after_the_time_asked_for() -> None:
    process = Process(["sh", "-c", "exec sleep 60"], "agent", Kept(), "the load")
    with pytest.raises(LoadFailed, match=r"did not answer within 0\.1 s"):
        process.wait_answer(0.1)
    process._process.kill()
    process.close()


def test_a_full_disk_ends_the_load_and_says_so() -> None:
    def full(_chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    process = Process(["sh", "-c", "echo line; exec sleep 60"], "agent", full, "the load")
    with pytest.raises(LoadFailed, match="the history cannot be written: No space left on device"):
        process.wait_answer(5)
    process.close()


def test_a_torn_line_at_the_end_of_a_process_is_not_kept() -> None:
    kept = Kept()
    process = Process(["sh", "-c", "printf 'one\\ntwo\\nthr'; "], "agent", kept, "the load")
    with pytest.raises(LoadFailed):
        process.wait_answer(5)
    process.close()
    assert kept.data == b"one\ntwo\n"


def test_the_code_for_the_container_is_complete_and_needs_no_package_that_is_not_there() -> None:
    with zipfile.ZipFile(io.BytesIO(launcher.code())) as archive:
        names = archive.namelist()
        assert "drills/workload/agent.py" in names
        for name in names:
            if name.endswith(("launcher.py", "plan.py")):
                continue
            imported = set(re.findall(r"^(?:from|import) ([a-z_.]+)", archive.read(name).decode(), re.MULTILINE))
            assert not {"pydantic", "docker", "topologies"} & {module.partition(".")[0] for module in imported}, name
            toolkit = {f"{module.replace('.', '/')}.py" for module in imported if module.startswith("operations")}
            assert toolkit <= set(names), f"{name} needs {toolkit - set(names)}"


@pytest.mark.parametrize(
    ("libraries", "module"),
    [(launcher.LIMITS, "applications.library_limiter"), (launcher.POSTGRES, "applications.origin_postgres")],
    ids=["limits", "pg8000"],
)
def test_a_library_goes_along_where_it_is_needed_and_does_without_its_compiled_parts(
    libraries: tuple[str, ...], module: str, tmp_path: Path
) -> None:
    carried = tmp_path / "code.zip"
    carried.write_bytes(launcher.code(libraries))
    ask = f"import sys; sys.path.insert(0, sys.argv[1]); import {module}, {','.join(libraries)}; print({libraries[-1]}.__file__)"
    told = subprocess.run([sys.executable, "-I", "-c", ask, str(carried)], capture_output=True, text=True, check=False)
    assert told.stdout.startswith(str(carried)), told.stderr
    assert len(launcher.code()) < len(launcher.code(libraries))


def test_a_library_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(ToolkitError, match="no_such_library is not in this environment; run `make setup`"):
        launcher.code(["no_such_library"])


def test_the_container_gets_no_secret_in_its_arguments_and_a_fixed_address() -> None:
    command = launcher.Place("c", "redis-c", "10.213.0.2", "redis-c-drill-load").command()
    assert command[command.index("--ip") + 1] == "10.213.0.2"
    assert f"{launcher.LABEL}=c" in command
    assert not any("secret" in word or "password" in word.lower() for word in command)


def test_lines_of_all_clients_are_handed_over_whole() -> None:
    kept = Kept()
    settings = with_(lanes=[{"lane": n, "client": n, "key": f"k{n}", "slot": None, "shard": 1} for n in range(3)], rate=0.0)
    agent = Agent(settings, kept)
    for client in agent.clients:
        client._client = Server(lambda _n, _args: b"ok")
    agent.start(time.monotonic_ns())
    time.sleep(0.3)
    told = agent.stop()
    agent.end()
    found = operations(list(parse(kept.data.splitlines(keepends=True))))
    assert len(found) == told["operations"] > 100
    assert told["threads"] == 0
    for lane in range(3):
        values = [op.value for op in found if op.lane == lane]
        assert values == list(range(1, len(values) + 1))


# --- watching -----------------------------------------------------------------------------------------------------------


def test_flags_are_read_from_text_and_from_parsed_answers() -> None:
    text = (
        "a 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5\nb 10.0.0.2:6379@16379,host master,fail? - 0 0 2 connected\n"
    )
    assert node_flags(text) == [("10.0.0.1:6379", "myself,master"), ("10.0.0.2:6379", "master,fail?")]
    assert node_flags({"10.0.0.2:6379@16379": {"flags": "master,fail"}}) == [("10.0.0.2:6379", "master,fail")]


def test_only_replicas_that_are_online_and_reported_lately_are_in_sync() -> None:
    info = {
        "role": "master", "connected_slaves": 3,
        "slave0": {"ip": "a", "state": "online", "lag": 1},
        "slave1": {"ip": "b", "state": "online", "lag": 30},
        "slave2": {"ip": "c", "state": "wait_bgsave", "lag": 0},
    }  # fmt: skip
    assert replicas_in_sync(info) == 1


def test_a_load_says_in_one_line_what_it_is() -> None:
    assert Load(12, 600).summary == "12 clients, 600 requests/s, plain writes"
    assert Load(4, 0, "wait", 2).summary == "4 clients, as fast as answers come, WAIT 2 checked"


def test_waiting_for_disks_that_sync_once_a_second_is_given_time_and_a_rate_that_can_be_carried() -> None:
    stack = inventory_of("cluster")
    wanted = feasible(Load(clients=10, rate=600, mode="waitaof", acks=1), stack)
    assert (wanted.rate, wanted.acks_ms, wanted.request_timeout) == (4.0, 3000, 3.5)
    assert wanted.connect_timeout == 0.5
    plain = Load(clients=10, rate=600)
    assert feasible(plain, stack) == plain


def test_replicas_have_less_time_to_confirm_than_the_client_waits_for_an_answer() -> None:
    load = Load()
    assert load.acks_ms / 1000 < load.request_timeout


@pytest.mark.parametrize(("mode", "word"), [("wait", "WAIT"), ("waitaof", "WAITAOF")])
def test_a_refused_question_for_confirmation_does_not_mean_that_the_write_was_refused(mode: str, word: str) -> None:
    """A server that becomes a replica answers UNBLOCKED to the WAITAOF of a write that it, and its successor, have stored."""

    def answer(_number: int, args: tuple[Any, ...]) -> Any:
        if args[0] == word:
            raise redis.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed")
        return b"ok"

    records = run_client(with_(rate=200.0, mode=mode, acks=1), Server(answer), 0.3)
    assert {(op.outcome, op.error) for op in operations(records)} == {("info", "unblocked")}


def test_a_heartbeat_that_is_late_is_told_and_one_in_time_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, told = threading.Event(), list[str]()
    clock = iter([1_000_000_000, 1_020_500_000, 1_100_000_000, 1_200_000_000])
    beats = iter([False, False, True])
    monkeypatch.setattr(ended, "is_set", lambda: next(beats))
    monkeypatch.setattr("drills.workload.pulse.time.monotonic_ns", lambda: next(clock))
    monkeypatch.setattr("drills.workload.pulse.time.sleep", lambda _: None)
    Pulse("clients", 100_000_000, ended, told.append).run()
    assert [decode(line) for line in told] == [Stall(1_020_000_000, 1_100_000_000, "clients")]


@pytest.mark.parametrize(
    ("mode", "acks", "replicas", "wanted"),
    [
        ("plain", None, 2, 0),
        ("plain", 0, 2, 0),
        ("wait", None, 2, 2),
        ("wait", 1, 2, 1),
        ("waitaof", None, 2, 0),
        ("waitaof", 2, 2, 2),
    ],
)
def test_who_waits_without_saying_for_how_many_waits_for_every_replica(
    mode: Mode, acks: int | None, replicas: int, wanted: int
) -> None:
    assert confirmations(mode, acks, replicas) == wanted


@pytest.mark.parametrize(
    ("mode", "acks", "replicas", "reason"),
    [
        ("plain", 1, 2, "asks no replica"),
        ("wait", None, 0, "this stack has none"),
        ("wait", 0, 2, "waits for nobody"),
        ("wait", 3, 2, "each shard has 2 replicas"),
        ("waitaof", 1, 0, "each shard has 0 replicas"),
    ],
)
def test_a_load_that_would_wait_for_nobody_or_in_vain_is_refused(
    mode: Mode, acks: int | None, replicas: int, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        confirmations(mode, acks, replicas)
