"""Digests of real servers: held against the definition, over encodings, shards, large keys, and through a snapshot."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operations.digest.definition import Digest, boundaries_from, compare
from operations.digest.snapshot import digest_scratch, digest_snapshot
from operations.errors import InvalidInput
from operations.scratch import Scratch, scratch_server, snapshot_file
from tests.digest_reference import Hash, Stream, Value, reference
from tests.live.harness import engine, fresh_name
from tests.live.snapshots import DATA, HOUR_MS, LARGE, LIBRARY, NOW_MS, SMALL, client, fetch, write, write_stream

pytestmark = pytest.mark.live

IMAGES = [
    "redis-topologies/node:redis-8.0",
    pytest.param("redis-topologies/node:redis-7.0", marks=pytest.mark.full),
    pytest.param("redis-topologies/node:valkey-8.1", marks=pytest.mark.full),
    pytest.param("redis-topologies/node:valkey-9.1", marks=pytest.mark.full),
]
SHARDS = 3
BOUNDARIES = boundaries_from(NOW_MS)


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def servers(image: str) -> Iterator[list[Scratch]]:
    """Empty servers that nobody else uses."""
    name = fresh_name("digest")
    with ExitStack() as stack:
        yield [stack.enter_context(scratch_server(name, str(number), image)) for number in range(SHARDS)]


@pytest.fixture
def one(servers: list[Scratch]) -> Scratch:
    for server in servers:
        client(server).flushall()
        client(server).function_flush()
    return servers[0]


def named(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def digest(server: Scratch) -> Digest:
    return digest_scratch(server, BOUNDARIES)


def test_a_server_computes_what_the_definition_says(one: Scratch) -> None:
    write(client(one), DATA)
    found = digest(one)
    assert found.all.keys == len(DATA)
    assert found.all.total == reference(DATA)
    assert found.expiring == sum(1 for _, expiry in DATA.values() if expiry >= 0)
    assert found.changes == found.opaque == 0


def test_encodings_do_not_matter(one: Scratch) -> None:
    to = client(one)
    write(to, SMALL)
    before, seen = digest(one), {to.object("encoding", key) for key in SMALL}
    to.flushall()
    limits = to.config_get("*-max-listpack-entries")  # Redis 7.0 has none for sets
    for name in limits:
        to.config_set(name, 1)
    to.config_set("set-max-intset-entries", 1)
    try:
        write(to, SMALL)
    finally:
        for name, value in limits.items():
            to.config_set(name, value)
        to.config_set("set-max-intset-entries", 512)
    assert {to.object("encoding", key) for key in SMALL} != seen
    assert digest(one).all == before.all


def test_shards_and_the_order_of_writing_do_not_matter(servers: list[Scratch], one: Scratch) -> None:
    write(client(one), DATA)
    whole = digest(one)
    client(one).flushall()
    for number, (key, value) in enumerate(reversed(DATA.items())):
        write(client(servers[number % SHARDS]), {key: value})
    total = sum((digest(server) for server in servers[1:]), digest(one))
    assert total.all == whole.all
    assert compare(total, whole).equal


@pytest.mark.parametrize("key", [key for key in DATA if key not in (b"empty",)])
def test_one_changed_byte_is_seen(one: Scratch, key: bytes) -> None:
    data = {key: DATA[key]}
    to = client(one)
    write(to, data)
    before = digest(one)
    match DATA[key][0]:
        case bytes() as text:
            to.setrange(key, len(text) - 1, b"!")
        case list() as items:
            to.lset(key, len(items) - 1, b"!")
        case set() as members:
            to.srem(key, max(members))
            to.sadd(key, b"!")
        case dict() as ranks:
            to.zadd(key, {max(ranks): 0.1 + 2**-53})
        case Hash() as found:
            to.hset(key, max(found.fields), b"!")
    comparison = compare(before, digest(one))
    assert not comparison.equal
    assert "something in them differs" in comparison.differences[0]


def test_a_missing_key_and_a_changed_expiry_are_seen(one: Scratch) -> None:
    to = client(one)
    write(to, SMALL)
    before = digest(one)
    to.pexpireat(b"empty", NOW_MS + 2 * HOUR_MS + 1)
    assert not compare(before, digest(one)).equal
    to.pexpireat(b"empty", NOW_MS + 2 * HOUR_MS)
    assert compare(before, digest(one)).equal
    to.delete(b"string")
    assert "keys without expiry: 6 and 5" in compare(before, digest(one)).differences


def test_a_type_is_more_than_its_elements(one: Scratch) -> None:
    to = client(one)
    to.rpush("key", "a")
    before = digest(one)
    to.delete("key")
    to.sadd("key", "a")
    assert digest(one).all != before.all


def test_streams_with_groups_are_covered_whole(one: Scratch) -> None:
    to = client(one)
    for number in range(700):
        to.xadd("stream", {"field": str(number), "more": "x"}, id=f"{number + 1}-1")
    to.xdel("stream", "5-1")
    to.xgroup_create("stream", "group", "0")
    to.xgroup_create("stream", "idle", "$")
    to.xreadgroup("group", "reader", {"stream": ">"}, count=150)
    to.xgroup_createconsumer("stream", "group", "waiting")
    session = one.connection()
    found = named(session.ask("XINFO", "STREAM", "stream", "FULL", "COUNT", 0))
    session.close()
    groups, pending = [], []
    for group in map(named, found[b"groups"]):
        groups.append((group[b"name"], group[b"last-delivered-id"], group[b"entries-read"]))
        pending += [(group[b"name"], *row) for row in group[b"pel" if b"pel" in group else b"pending"]]
    entries = [(number, flat) for number, flat in found[b"entries"]]
    consumers = [(b"group", b"reader"), (b"group", b"waiting")]
    value = Stream(entries, b"700-1", b"5-1", 700, groups, consumers, pending)
    assert len(entries) == 699
    assert len(pending) == 150
    expected = reference({b"stream": (value, -1)})
    assert digest(one).all.total == expected
    to.xack("stream", "group", "100-1")
    assert digest(one).all.total != expected


def test_fields_that_expire_are_covered(one: Scratch) -> None:
    to = client(one)
    if not to.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "hpexpireat"):
        pytest.skip("this engine has no expiry of fields")
    data: dict[bytes, tuple[Value, int]] = {b"hash": (Hash({b"a": b"1", b"b": b"2"}), -1)}
    write(to, data)
    before = digest(one)
    assert before.all.total == reference(data)
    when = NOW_MS + 5 * HOUR_MS
    to.execute_command("HPEXPIREAT", "hash", when, "FIELDS", 1, "b")
    assert digest(one).all.total == reference({b"hash": (Hash({b"a": b"1", b"b": b"2"}, {b"b": when}), -1)})


def test_a_hash_is_the_same_before_and_after_fields_of_it_have_expired(one: Scratch) -> None:
    to = client(one)
    if not to.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "hpexpireat"):
        pytest.skip("this engine has no expiry of fields")
    many = {b"field %d" % number: b"x" * 10 for number in range(2000)}
    hashes: dict[bytes, tuple[Value, int]] = {
        b"small": (Hash({b"a": b"1", b"b": b"2", b"c": b"3"}), -1), b"large": (Hash(many), -1),
        b"short": (Hash({b"a": b"1"}), -1),
        b"key": (Hash({b"a": b"1", b"b": b"2"}), NOW_MS + 5 * HOUR_MS),
    }  # fmt: skip
    write(to, hashes)
    soon, late = NOW_MS + 20 * HOUR_MS, NOW_MS + 50 * HOUR_MS
    expiring = {
        b"small": {b"a": soon, b"b": late},
        b"large": dict.fromkeys(list(many)[:700], soon),
        b"short": {b"a": soon},
        b"key": {b"a": soon},
    }
    for key, times in expiring.items():
        for name, when in times.items():
            to.execute_command("HPEXPIREAT", key, when, "FIELDS", 1, name)
    before = digest(one)
    with_times: dict[bytes, tuple[Value, int]] = {
        key: (Hash(value.fields, expiring[key]), expiry) for key, (value, expiry) in hashes.items() if isinstance(value, Hash)
    }
    assert (before.all.total, before.all.keys, before.expiring) == (reference(with_times), 4, 2)
    for key, times in expiring.items():
        to.hdel(key, *(name for name, when in times.items() if when == soon))
    to.delete("key")
    after = replace(digest(one), ended_ms=soon)
    comparison = compare(before, after)
    assert comparison.equal and (comparison.compared, comparison.left_out) == (2, 2), comparison
    to.hset("large", next(reversed(many)), b"y")
    assert not compare(before, replace(digest(one), ended_ms=soon)).equal
    to.hset("large", next(reversed(many)), b"x" * 10)
    to.execute_command("HPEXPIREAT", "small", late + 1, "FIELDS", 1, "b")
    assert "fields of hashes" in compare(before, replace(digest(one), ended_ms=soon)).differences[0]


def test_other_databases_and_functions_are_covered(one: Scratch) -> None:
    to = client(one)
    before = digest(one)
    to.function_load(LIBRARY)
    assert "function libraries" in compare(before, digest(one)).differences[0]
    session = one.connection()
    session.ask("SELECT", 7)
    session.ask("SET", "key", "value")
    assert digest(one).all.total == reference({b"key": (b"value", -1)}, 7)
    session.close()


def test_a_snapshot_has_the_digest_of_its_source(one: Scratch, image: str, tmp_path: Path) -> None:
    to = client(one)
    write(to, DATA)
    write_stream(to)
    to.function_load(LIBRARY)
    source = digest(one)
    rdb = fetch(one, tmp_path / "dump.rdb")
    found = digest_snapshot(snapshot_file(rdb, "1"), image, fresh_name("digest"), BOUNDARIES)
    assert compare(source, found).equal
    assert found.all == source.all


def test_a_damaged_snapshot_is_refused(one: Scratch, image: str, tmp_path: Path) -> None:
    write(client(one), SMALL)
    rdb = fetch(one, tmp_path / "dump.rdb")
    data = bytearray(rdb.read_bytes())
    data[len(data) // 2] ^= 1
    rdb.write_bytes(data)
    name = fresh_name("digest")
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        digest_snapshot(snapshot_file(rdb, "1"), image, name)
    assert not [found for found in engine().containers.list(all=True, ignore_removed=True) if name in str(found.name)]


def test_no_call_reads_much_at_once(one: Scratch) -> None:
    to = client(one)
    write(to, LARGE | {b"key %d" % number: (b"x" * 100, -1) for number in range(20_000)})
    to.config_resetstat()
    assert digest(one).all.keys == 20_000 + len(LARGE)
    calls = to.info("commandstats")
    scripts = [calls[name]["calls"] for name in ("cmdstat_evalsha_ro", "cmdstat_eval_ro") if name in calls]
    assert sum(scripts) > 20_000 / 250  # 1 ms at the estimate of 5 us for a small key are 200; with a clock they are fewer
