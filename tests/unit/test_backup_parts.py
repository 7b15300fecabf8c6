"""The parts of a backup that decide: sources, manifests, the catalogue, settings, restic's failures, the stream of a snapshot."""

import dataclasses
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from operations.backup import create
from operations.backup.catalogue import entries, find
from operations.backup.manifest import Manifest, ShardRecord, gaps, make_id, skew_seconds, taken_away
from operations.backup.pace import Pace
from operations.backup.rdb import CHUNK_BYTES, LINE_BYTES, SnapshotStream, StreamBroken
from operations.backup.restic import NoRepository, Repository, Snapshot, parse_snapshot
from operations.backup.session import STATUS, Home, Session
from operations.backup.settings import BackupSettings
from operations.backup.sources import Seen, choose, slot_map
from operations.errors import Busy, CheckFailed, InvalidInput, ToolkitError, Unreachable
from operations.inventory import Inventory, NodeEntry
from operations.parse import Persistence, Replication, ServerInfo
from operations.sizes import MIB
from topologies import outputs
from topologies.addresses import addressing
from topologies.plan import make_plan
from topologies.spec import Spec

REPOSITORY = Repository("/repository", Path("/nowhere/password"), Path("/nowhere/cache"))


def inventory(topology: str, **fields: object) -> Inventory:
    plan = make_plan(Spec.model_validate({"topology": topology, **fields}), "shop", addressing(7), "0123456789ab")
    return Inventory.model_validate(outputs.inventory(plan, "sha256:feed", "8.0.2"))


def node(role: str, slots: Any = (), primary: NodeEntry | None = None, offset: int = 100, **more: Any) -> Seen:
    link = Replication(
        role="primary" if role == "primary" else "replica",
        offset=offset,
        replication_id="a" * 40,
        primary_address=primary.address if primary else None,
        primary_port=primary.port if primary else None,
        link_up=more.get("link_up", True),
        sync_in_progress=False,
    )
    persistence = Persistence(more.get("loading", False), True, True, True, True, False, False, 0)
    info = ServerInfo("redis", "8.0.2", "r", 9, 10, 1000, 0, "noeviction", persistence, link)
    return Seen(info, slots, more.get("silent", 0), more.get("moving", False))


def one_shard(**replica: Any) -> tuple[Inventory, dict[str, Seen | ToolkitError]]:
    shop = inventory("replication", replicas=1)
    head = shop.node("node-1")
    return shop, {"node-1": node("primary"), "node-2": node("replica", primary=head, **replica)}


def test_a_replica_in_sync_is_read_and_not_its_primary() -> None:
    shop, seen = one_shard(offset=90)
    source = choose(seen, shop, "replica", 10)[0]
    assert (source.node.name, source.role, source.lag_bytes) == ("node-2", "replica", 10)


@pytest.mark.parametrize("fault", [{"link_up": False}, {"silent": 11}, {"loading": True}])
def test_the_primary_is_read_when_its_replica_is_not_fit(fault: dict[str, Any]) -> None:
    shop, seen = one_shard(**fault)
    source = choose(seen, shop, "replica", 10)[0]
    assert (source.node.name, source.role, source.lag_bytes) == ("node-1", "primary", 0)


def test_a_spec_can_ask_for_the_primary() -> None:
    shop, seen = one_shard()
    assert choose(seen, shop, "primary", 10)[0].node.name == "node-1"


def test_a_replica_of_somebody_else_is_not_read() -> None:
    shop, seen = one_shard()
    stranger = shop.node("node-2")
    seen["node-2"] = node("replica", primary=stranger)
    assert choose(seen, shop, "replica", 10)[0].node.name == "node-1"


def test_two_primaries_of_one_shard_are_no_source() -> None:
    shop, seen = one_shard()
    seen["node-2"] = node("primary")
    with pytest.raises(CheckFailed, match="one primary, and there are 2"):
        choose(seen, shop, "replica", 10)


CLUSTER_SLOTS = (((0, 5460),), ((5461, 10922),), ((10923, 16383),))


def cluster() -> tuple[Inventory, dict[str, Seen | ToolkitError]]:
    shop = inventory("cluster", replicas=0)
    return shop, {f"node-{shard}-1": node("primary", CLUSTER_SLOTS[shard - 1]) for shard in (1, 2, 3)}


def test_a_shard_that_cannot_be_read_is_named_instead_of_left_out() -> None:
    shop, seen = cluster()
    seen["node-2-1"] = Unreachable("node-2-1 did not answer")
    with pytest.raises(Unreachable, match="shard 2 cannot be read"):
        choose(seen, shop, "replica", 10)


def test_a_shard_that_is_down_is_not_missed_where_a_node_of_another_one_serves_its_slots() -> None:
    shop, seen = cluster()
    shop = inventory("cluster", replicas=1)
    seen |= {"node-2-1": Unreachable("gone"), "node-2-2": Unreachable("gone"), "node-3-2": node("primary", CLUSTER_SLOTS[1])}
    assert [source.node.name for source in choose(seen, shop, "replica", 10)] == ["node-1-1", "node-3-1", "node-3-2"]


def test_a_shard_without_slots_needs_no_snapshot() -> None:
    shop, seen = cluster()
    seen["node-3-1"] = node("primary", ())
    assert [source.node.name for source in choose(seen, shop, "replica", 10)] == ["node-1-1", "node-2-1"]


def test_no_backup_is_begun_while_slots_move() -> None:
    _, seen = cluster()
    assert slot_map(seen) == CLUSTER_SLOTS
    seen["node-1-1"] = node("primary", CLUSTER_SLOTS[0], moving=True)
    with pytest.raises(CheckFailed, match="node-1-1 are on the move"):
        slot_map(seen)


def record(shard: int, slots: Any = (), began: float = 100.0, cut: float = 100.5) -> ShardRecord:
    return ShardRecord(
        shard=shard, slots=slots, source=f"node-{shard}-1", source_role="replica", lag_bytes=0, replication_id="a", offset=1,
        began=began, cut=cut, ended=cut + 1, keys=5, used_memory_bytes=10, bytes=7, sha256="0" * 64, snapshot=f"snap{shard}",
    )  # fmt: skip


def manifest(shards: tuple[ShardRecord, ...], **more: Any) -> Manifest:
    values: dict[str, Any] = {
        "id": "20260101T000000.000Z", "state": "complete", "stack": "shop", "topology": "cluster", "engine": "redis",
        "version": "8.0.2", "began": 100.0, "ended": 103.0, "skew_seconds": 0.1, "consistent": False, "shards": shards,
        "shard_count": 3,
    }  # fmt: skip
    return Manifest(**{**values, **more})


def test_a_whole_set_has_no_gaps_and_a_missing_shard_is_named() -> None:
    whole = tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3))
    assert gaps(manifest(whole)) == []
    assert gaps(manifest((whole[0], whole[2]))) == ["shard 2 of 3 is missing from backup 20260101T000000.000Z"]


def test_a_shard_whose_snapshot_is_gone_from_the_repository_is_named() -> None:
    one = manifest(tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3)))
    there = {shard.snapshot for shard in one.shards}
    assert taken_away(one, there) == []
    assert "shard 1 of 3 is missing from backup 20260101T000000.000Z" in taken_away(one, set())[0]


def test_slots_in_no_shard_or_in_two_are_gaps() -> None:
    lost = (record(1, ((0, 5000),)), record(2, CLUSTER_SLOTS[1]), record(3, CLUSTER_SLOTS[2]))
    assert gaps(manifest(lost)) == ["slots 5001-5460 are in no shard of backup 20260101T000000.000Z"]
    doubled = (record(1, ((0, 6000),)), record(2, CLUSTER_SLOTS[1]), record(3, CLUSTER_SLOTS[2]))
    assert "540 slots are in two shards" in gaps(manifest(doubled))[0]


def test_a_failed_set_is_never_whole() -> None:
    whole = tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3))
    assert "failed: the disk is full" in gaps(manifest(whole, state="failed", reason="the disk is full"))[0]


def test_the_skew_is_an_upper_bound_of_the_time_between_the_cuts() -> None:
    assert skew_seconds((record(1, began=10.0, cut=10.2), record(2, began=10.1, cut=11.0))) == pytest.approx(1.0)
    assert skew_seconds(()) == 0.0


def test_names_of_backups_sort_by_time() -> None:
    assert make_id(0) == "19700101T000000.000Z"
    assert make_id(1.5) < make_id(1.6) < make_id(86400)


def test_names_sort_in_the_order_of_making_also_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, clock = Home(tmp_path), iter((86400.0, 3600.0, 3600.0, 90000.0))
    monkeypatch.setattr("operations.backup.session.time.time", lambda: next(clock))
    made = [home.next_id() for _ in range(4)]
    assert made == ["19700102T000000.000Z", "19700102T000000.001Z", "19700102T000000.002Z", "19700102T010000.000Z"]
    home.write(STATUS, '{"last_success": {"id": "19700102T000000.999Z"}}')  # as an earlier release noted it
    monkeypatch.setattr("operations.backup.session.time.time", lambda: 0.0)
    assert home.next_id() == "19700102T000001.000Z"


def snapshot(number: int, identity: str, kind: str, **tags: str) -> Snapshot:
    return Snapshot(f"id{number}", datetime.fromtimestamp(number, UTC), {"stack": "shop", "set": identity, "kind": kind, **tags})


CATALOGUE = [
    snapshot(1, "20260101", "shard", shard="1"),
    snapshot(2, "20260101", "manifest", state="complete"),
    snapshot(3, "20260102", "shard", shard="1"),
    snapshot(4, "20260103", "shard", shard="1"),
    snapshot(5, "20260103", "manifest", state="failed"),
    snapshot(6, "20260101", "verification", state="passed"),
    snapshot(7, "20260101", "digest", state="passed"),
    dataclasses.replace(snapshot(8, "20260104", "manifest", state="complete"), tags={"stack": "other", "set": "20260104"}),
]


def test_the_catalogue_tells_complete_failed_and_unfinished_sets_apart() -> None:
    found = entries(CATALOGUE, "shop")
    assert [(entry.id, entry.state) for entry in found] == [
        ("20260101", "complete"), ("20260102", "unfinished"), ("20260103", "failed"),
    ]  # fmt: skip
    assert found[0].verified == datetime.fromtimestamp(6, UTC)
    assert found[1].verified is None
    assert [entry.digest for entry in found] == ["id7", None, None]


def test_a_backup_that_was_whole_once_and_is_damaged_now_does_not_count_as_verified() -> None:
    damaged = entries([*CATALOGUE, snapshot(9, "20260101", "verification", state="failed")], "shop")[0]
    assert (damaged.verified, damaged.is_refuted, damaged.is_proven) == (None, True, False)
    assert not entries(CATALOGUE, "shop")[0].is_refuted


def test_latest_is_the_newest_that_can_be_restored() -> None:
    found = entries(CATALOGUE, "shop")
    assert find(found, "latest").id == "20260101"
    with pytest.raises(CheckFailed, match="20260103 is failed"):
        find(found, "20260103")
    with pytest.raises(CheckFailed, match="20260102 is unfinished"):
        find(found, "20260102")
    with pytest.raises(InvalidInput, match="stands for 3 backups"):
        find(found, "2026")
    with pytest.raises(InvalidInput, match="no complete backup"):
        find([], "latest")


def test_times_of_restic_are_read_with_nanoseconds_and_zones() -> None:
    told = {"id": "a", "time": "2026-11-26T23:34:26.123456789+01:00", "tags": ["stack=shop", "plain"]}
    assert parse_snapshot(told).time == datetime.fromisoformat("2026-11-26T23:34:26.123456+01:00")
    assert parse_snapshot({"id": "a", "time": "2026-11-26T23:34:26.1Z"}).time.microsecond == 100_000
    assert parse_snapshot({"id": "a", "time": "2026-11-26T23:34:26Z"}).time.tzinfo is not None


@pytest.mark.parametrize(
    ("code", "words", "doing", "kind"),
    [
        (10, "Fatal: repository does not exist", "cat", NoRepository),
        (11, "unable to create lock", "prune", Busy),
        (12, "wrong password or no key found", "cat", Unreachable),
        (1, "Fatal: write: no space left on device", "backup", Unreachable),
        (1, "Load(<data/0123>) returned error: ciphertext verification failed", "dump", CheckFailed),
        (1, '{"message_type":"error","error":{"message":"pack 0123 contains errors"}}', "check", CheckFailed),
        (1, "dial tcp: connection refused", "snapshots", Unreachable),
        (1, "Load(<data/01>) failed: unexpected EOF", "dump", CheckFailed),
        (1, "Load(<data/01>) returned error, retrying: unexpected EOF\ndial tcp: connection refused", "dump", Unreachable),
    ],
)
def test_a_failure_of_restic_becomes_a_sentence_and_a_code(code: int, words: str, doing: str, kind: type[ToolkitError]) -> None:
    error = REPOSITORY.explain(code, words, doing)
    assert type(error) is kind
    assert "/repository" in str(error)


def test_a_prune_that_finds_no_room_is_not_told_to_prune() -> None:
    words = "unable to create lock in backend: write: no space left on device"
    assert "or prune" in str(REPOSITORY.explain(1, words, "backup"))
    assert str(REPOSITORY.explain(1, words, "prune")).endswith("is full; free a few megabytes there by other means")


def test_a_damaged_object_is_named() -> None:
    assert "0123" in str(
        REPOSITORY.explain(1, '{"message_type":"error","error":{"message":"pack 0123 contains errors"}}', "check")
    )


def test_a_repository_whose_files_are_gone_is_damaged_too() -> None:
    said = "ReadFull(<data/0b>): no such file or directory; The repository is damaged and must be repaired."
    error = REPOSITORY.explain(1, json.dumps({"message_type": "error", "error": {"message": said}}), "check")
    assert type(error) is CheckFailed and "/repository is damaged: ReadFull(<data/0b>)" in str(error)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("schedule", "0 25 * * *", "no cron expression"),
        ("schedule", "daily", "no cron expression"),
        ("time_zone", "Berlin", "no time zone"),
        ("repository", "backups", "absolute path"),
        ("repository", "scp:joe@host:/backups", "absolute path"),
        ("repository", "rest:https://joe:secret@host/", "holds a password"),
        ("rate_limit", "40 boxes", "is not a size"),
        ("rate_limit", "1kb", "greater than or equal to 1048576"),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, value: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        BackupSettings.model_validate({field: value})


def test_settings_survive_the_way_through_the_inventory() -> None:
    given = {"schedule": "0 3 * * *", "repository": "rest:http://host:8000/", "rate_limit": "40mb"}
    settings = BackupSettings.model_validate(given)
    assert settings.rate_limit == 40 * 1024**2
    assert BackupSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert inventory("cluster").spec["backup"] == BackupSettings().model_dump(mode="json")


SMALL_BYTES = 4096
ASKED: list[bytes] = []
"""What servers of tests were asked."""


@contextmanager
def server(answers: list[bytes], body: bytes) -> Iterator[tuple[str, int]]:
    """A server that answers each request with the next of `answers`, then sends `body` and closes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            for answer in answers:
                ASKED.append(connection.recv(4096))
                connection.sendall(answer)
            for at in range(0, min(len(body), SMALL_BYTES), 7):  # in small pieces, so that every boundary is cut somewhere
                connection.sendall(body[at : min(at + 7, SMALL_BYTES)])
            connection.sendall(body[SMALL_BYTES:])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        listening.close()
        thread.join(5)


OK = [b"+OK\r\n", b"+OK\r\n", b"+OK\r\n", b"+FULLRESYNC " + b"f" * 40 + b" 1234\r\n"]
NODE = inventory("standalone").node("node-1")
MARK = b"0123456789" * 4


def received(answers: list[bytes], body: bytes, pace: Pace | None = None) -> tuple[bytes, int]:
    with server(answers, body) as address, SnapshotStream(NODE, "backup", "secret", address, pace=pace) as stream:
        begun = stream.begin()
        return b"".join(bytes(chunk) for chunk in stream.chunks(lambda: None)), begun.offset


@pytest.mark.parametrize("content", [b"", b"REDIS0012", bytes(range(256)) * 9, os.urandom(3 * CHUNK_BYTES + 17)])
def test_a_snapshot_comes_whole_with_and_without_a_known_length(content: bytes) -> None:
    assert received(OK, b"\n\n$EOF:" + MARK + b"\r\n" + content + MARK) == (content, 1234)
    assert received(OK, b"\n$%d\r\n" % len(content) + content + b"*1\r\n") == (content, 1234)


def test_a_snapshot_that_is_paced_is_read_in_small_portions_and_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(Pace, "took", lambda _, size: sizes.append(size))
    pace, content = Pace(8 * MIB), os.urandom(MIB)
    assert received(OK, b"\n$EOF:" + MARK + b"\r\n" + content + MARK, pace) == (content, 1234)
    assert max(sizes) <= pace.portion_bytes
    assert sum(sizes) >= MIB - LINE_BYTES  # the head came together with the first bytes


@pytest.mark.parametrize("body", [b"$EOF:" + MARK + b"\r\nREDIS", b"$100\r\nREDIS", b"$EOF:short\r\nx", b"-LOADING\r\n", b""])
def test_a_snapshot_that_ends_early_is_broken(body: bytes) -> None:
    with pytest.raises(StreamBroken):
        received(OK, body)


def test_a_refusal_is_told_with_the_servers_words() -> None:
    with pytest.raises(StreamBroken, match="refused PSYNC: NOMASTERLINK"):
        received([*OK[:3], b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"], b"")


@pytest.mark.parametrize(
    ("place", "is_told"), [("sftp:joe@host:/backups", True), ("rest:https://host/", False), ("/repository", False)]
)
def test_only_a_host_that_is_known_is_spoken_to_over_sftp(place: str, is_told: bool) -> None:
    words = " ".join(Repository(place, Path("/backup/password"), Path("/backup/cache"))._command(["snapshots"]))
    told = ("StrictHostKeyChecking=yes", "UserKnownHostsFile=/backup/ssh_known_hosts", "-i /backup/ssh_key", "BatchMode=yes")
    assert all((word in words) == is_told for word in told)


@pytest.fixture
def patient_restic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restic that tries for longer than anybody waits."""
    (tmp_path / "restic").write_text("#!/bin/sh\necho 'Load(<config/>) failed: connection refused' >&2; exec sleep 30\n")
    (tmp_path / "restic").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("operations.backup.restic.REACH_SECONDS", 2.0)  # in which it has said so, also on a busy machine


@pytest.mark.usefixtures("patient_restic")
def test_a_repository_that_does_not_answer_is_given_up_and_named_with_its_last_word(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"rest:http://127\.0\.0\.1:1/ did not answer within 2 s: .*connection refused"):
        Repository("rest:http://127.0.0.1:1/", tmp_path / "password", tmp_path / "cache").exists()


@pytest.mark.usefixtures("patient_restic")
def test_a_bucket_that_does_not_exist_holds_no_repository_yet(tmp_path: Path) -> None:
    script = tmp_path / "restic"
    script.write_text(script.read_text().replace("connection refused", "The specified bucket does not exist"))
    assert not Repository("s3:http://127.0.0.1:1/bucket", tmp_path / "password", tmp_path / "cache").exists()


@pytest.mark.usefixtures("patient_restic")
def test_whoever_reads_a_repository_elsewhere_does_not_wait_for_a_quarter_of_an_hour_and_its_key_can_be_exported(
    tmp_path: Path,
) -> None:
    settings = BackupSettings(repository="rest:http://127.0.0.1:1/").model_dump(mode="json")
    session = Session({"stack": "shop", "settings": settings}, Home(tmp_path), lambda _: None)
    with session.home.ensured_password():
        pass
    with pytest.raises(Unreachable, match="did not answer within"):
        session.entries()
    session.require_password()


SILENT = Unreachable("node-1-1 does not answer")


@pytest.mark.parametrize(
    ("later", "stayed"),
    [
        ([{"node-1-1": SILENT, "node-1-2": node("primary", CLUSTER_SLOTS[0])}], True),
        ([{"node-1-1": SILENT, "node-1-2": node("replica")}] * 2 + [{"node-1-2": node("primary", CLUSTER_SLOTS[0])}], True),
        ([{"node-1-1": node("primary", ((0, 99),)), "node-1-2": node("replica")}], False),
        ([{"node-1-1": SILENT, "node-1-2": node("replica")}], False),
    ],
    ids=["taken over", "taken over after a while", "moved", "nobody takes over"],
)
def test_a_failover_while_a_backup_is_made_is_waited_for_and_a_move_of_slots_is_not(
    later: list[Any], stayed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = list(later)
    monkeypatch.setattr(create, "look", lambda *_: answers.pop(0) if len(answers) > 1 else answers[0])
    monkeypatch.setattr(create, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(create, "FAILOVER_SECONDS", 60.0 if stayed else 0.05)  # a busy machine is no failover that takes long
    fleet: Any = None
    assert create._slots_stayed(fleet, inventory("cluster"), (CLUSTER_SLOTS[0],)) is stayed


def test_a_source_that_stops_in_the_middle_costs_one_more_attempt_once_all_shards_can_be_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(create, "POLL_SECONDS", 0.001)
    made = manifest(tuple(record(number, CLUSTER_SLOTS[number - 1]) for number in (1, 2, 3)))
    attempts: list[Any] = [StreamBroken("node-2 closed the connection"), Unreachable("shard 1 cannot be read"), made]
    told: list[Any] = []

    def attempt() -> Manifest:
        found = attempts.pop(0)
        if isinstance(found, Exception):
            raise found
        return cast(Manifest, found)

    assert create.create_patiently(attempt, told.append) is made
    assert told == [{"event": "again", "reason": "node-2 closed the connection"}]
    for hopeless in ([StreamBroken("one"), StreamBroken("two")], [CheckFailed("two")]):
        attempts[:] = hopeless
        with pytest.raises(type(hopeless[-1]), match="two"):
            create.create_patiently(attempt, told.append)


def test_whoever_reads_a_primary_goes_by_the_name_of_a_replica_that_sentinels_know() -> None:
    shop = inventory("sentinel", replicas=1)
    head, other = shop.node("node-1"), shop.node("node-2")
    seen = {"node-1": node("primary"), "node-2": node("replica", primary=head, link_up=False)}
    primary = choose(seen, shop, "replica", 10)[0]
    assert create.known_replica(shop, primary) == (other.address, other.port)
    healthy = choose({**seen, "node-2": node("replica", primary=head)}, shop, "replica", 10)[0]
    assert create.known_replica(shop, healthy) is None
    assert create.known_replica(inventory("replication", replicas=1), primary) is None
    ASKED.clear()
    with server([OK[0], *OK], b"") as address, SnapshotStream(NODE, "backup", "secret", address, ("10.7.0.12", 6379)) as stream:
        stream.begin()
    assert b"ip-address\r\n$9\r\n10.7.0.12\r\n$14\r\nlistening-port\r\n$4\r\n6379" in ASKED[1]
