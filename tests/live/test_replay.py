"""Snapshots of three shards are replayed into stacks of other shapes; digests agree, and what does not fit is refused."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from operations.clients import application_client
from operations.digest.definition import Digest, boundaries_from, compare
from operations.digest.live import digest_stack
from operations.digest.snapshot import digest_scratch
from operations.errors import CheckFailed, InvalidInput, UsageError
from operations.inventory import Access
from operations.replay import stream
from operations.replay.run import replay
from operations.scratch import scratch_server, snapshot_file
from tests.live.harness import Stack, engine, fresh_name, throw_away_stack
from tests.live.snapshots import DATA, LIBRARY, NOW_MS, client, fetch, write, write_stream
from tests.waiting import wait_until

pytestmark = pytest.mark.live

IMAGE = "redis-topologies/node:redis-8.0"
BOUNDARIES = boundaries_from(NOW_MS)
SHARDS = 3
KEYS = 20_000
SMALL_BACKLOG = {"backlog": "8mb", "replica_buffer": "16mb"}
SHAPES: list[Any] = [
    {"topology": "cluster", "shards": 3, "replicas": 1, "memory": {"maxmemory": "64mb"}, "replication": SMALL_BACKLOG},
    pytest.param(
        {"topology": "cluster", "shards": 5, "replicas": 0, "memory": {"maxmemory": "64mb"}, "replication": SMALL_BACKLOG},
        marks=pytest.mark.full,
    ),
    pytest.param(
        {"topology": "standalone", "memory": {"maxmemory": "128mb"}, "replication": SMALL_BACKLOG}, marks=pytest.mark.full
    ),
    pytest.param(
        {"topology": "sentinel", "replicas": 1, "memory": {"maxmemory": "128mb"}, "replication": SMALL_BACKLOG},
        marks=pytest.mark.full,
    ),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Digest]:
    """Snapshots of three servers, and the digest of them together."""
    folder, name = tmp_path_factory.mktemp("source"), fresh_name("source")
    files, digests = [], []
    with ExitStack() as stack:
        servers = [stack.enter_context(scratch_server(name, str(number), IMAGE)) for number in range(SHARDS)]
        for number, item in enumerate(DATA.items()):
            write(client(servers[number % SHARDS]), dict([item]))
        write_stream(client(servers[0]))
        for number, server in enumerate(servers):
            write(client(server), {b"key:%d:%d" % (number, i): (b"value %d" % i, -1) for i in range(KEYS // SHARDS)})
            client(server).function_load(LIBRARY)
            files.append(fetch(server, folder / f"shard-{number}.rdb"))
            digests.append(digest_scratch(server, BOUNDARIES))
    return files, sum(digests[1:], digests[0])


@pytest.fixture(scope="module", params=SHAPES, ids=lambda spec: f"{spec['topology']}-{spec.get('shards', 1)}")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("replay", request.param, tmp_path_factory.mktemp("replay"), request.config) as made:
        made.up().ok()
        made.wait_healthy(made.access(), 60)
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    return stack.access()


def scratches(stack: Stack) -> list[str]:
    names = [str(found.name) for found in engine().containers.list(all=True, ignore_removed=True)]
    return [name for name in names if name.startswith(f"redis-{stack.name}-scratch")]


def test_three_shards_become_another_shape(
    stack: Stack, access: Access, source: tuple[list[Path], Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LARGE_BYTES", 20_000)  # so that the large ones are copied in parts
    files, expected = source
    done = replay(access, [snapshot_file(path, str(number)) for number, path in enumerate(files)], replace=False)
    assert done.keys == expected.all.keys
    found = digest_stack(access, BOUNDARIES)
    assert not found.libraries_differ
    assert compare(expected, found.total).equal
    assert digest_stack(access, BOUNDARIES, "replica").total.all == found.total.all if access.inventory.replicas else True
    assert scratches(stack) == []


def test_a_stack_with_data_is_not_touched_unless_it_is_given_up(
    stack: Stack, access: Access, source: tuple[list[Path], Digest], tmp_path: Path
) -> None:
    to: Any = application_client(access)
    to.set("mine", "1")
    arguments = [str(path) for path in source[0]]
    stack.script("replay", *arguments).failed(64).says("--replace gives them up")
    assert to.get("mine") == b"1"
    stack.script("replay", *arguments, "--replace").ok().says("the digest of", "found the same")
    assert to.get("mine") is None
    saved = tmp_path / "digest.json"
    saved.write_text(stack.script("digest", "--json").ok().output)
    stack.script("digest", "--against", str(saved)).ok().says("the same")
    to.append("key:0:1", "!")
    stack.script("digest", "--against", str(saved)).failed(10).says("DIFFERENT", "something in them differs")
    to.close()


def test_damaged_and_unfit_snapshots_are_refused_before_anything_is_touched(
    stack: Stack, access: Access, source: tuple[list[Path], Digest], tmp_path: Path
) -> None:
    to: Any = application_client(access)
    to.set("mine", "1")
    data = bytearray(source[0][0].read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.rdb").write_bytes(data)
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        replay(access, [snapshot_file(source[0][1], "1"), snapshot_file(tmp_path / "damaged.rdb", "2")], replace=True)
    with pytest.raises(InvalidInput, match="cannot be read"):
        snapshot_file(tmp_path / "missing.rdb", "1")
    assert to.get("mine") == b"1"
    assert scratches(stack) == []
    to.close()


@pytest.mark.full
def test_a_killed_replay_is_continued(access: Access, stack: Stack, source: tuple[list[Path], Digest]) -> None:
    snapshots = [(path, str(number)) for number, path in enumerate(source[0])]
    to: Any = application_client(access, user="admin")
    to.flushall()
    to.close()
    process = multiprocessing.get_context("spawn").Process(target=replay_files, args=(access, snapshots), daemon=True)
    process.start()
    wait_until("a replay under way", lambda: "" if keys_of(access) > 100 else f"{keys_of(access)} keys", 120, poll_seconds=0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(10)
    assert len(scratches(stack)) == SHARDS
    done = replay(access, [snapshot_file(path, name) for path, name in snapshots], replace=False)
    assert done.resumed
    assert compare(source[1], digest_stack(access, BOUNDARIES).total).equal
    assert scratches(stack) == []


def replay_files(access: Access, snapshots: list[tuple[Path, str]]) -> None:
    """What the child process does, slowly enough to be killed."""
    stream.SCAN_COUNT, stream.STEPS_PER_NOTE = 10, 1
    replay(access, [snapshot_file(path, name) for path, name in snapshots], replace=True)


def keys_of(access: Access) -> int:
    return digest_stack(access).total.all.keys


@pytest.mark.full
def test_a_target_that_is_too_small_is_refused(access: Access, tmp_path: Path) -> None:
    with scratch_server(fresh_name("source"), "big", IMAGE) as server:
        write(client(server), {b"key %d" % number: (os.urandom(1_000_000), -1) for number in range(400)})
        big = fetch(server, tmp_path / "big.rdb")
    with pytest.raises(CheckFailed, match="maxmemory"):
        replay(access, [snapshot_file(big, "1")], replace=True)
    with pytest.raises((UsageError, CheckFailed)):
        replay(access, [snapshot_file(big, "1")], replace=False)
