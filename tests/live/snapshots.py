"""Scratch servers with data of all kinds, and snapshots of them as files."""

import io
import tarfile
import time
from pathlib import Path
from typing import Any

from operations.scratch import Scratch
from tests.digest_reference import Hash, Value
from tests.live.harness import engine

HOUR_MS = 3_600_000
NOW_MS = time.time_ns() // 1_000_000
LIBRARY = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"

SMALL: dict[bytes, tuple[Value, int]] = {
    b"string": (b"value", -1),
    b"empty": (b"", NOW_MS + 2 * HOUR_MS),
    b"number": (b"12345", -1),
    b"binary \x00\xff\r\n": (bytes(range(256)), -1),
    b"list": ([b"a", b"", b"a", b"17"], -1),
    b"set": ({b"x", b"y", b"\xfe"}, NOW_MS + 48 * HOUR_MS),
    b"numbers": ({b"1", b"2", b"300"}, -1),
    b"zset": ({b"one": 1.0, b"tenth": 0.1, b"much": float("inf"), b"little": -1e-300}, -1),
    b"hash": (Hash({b"field": b"value", b"": b"\x00"}), NOW_MS + 400 * 24 * HOUR_MS),
}
LARGE: dict[bytes, tuple[Value, int]] = {
    b"large string": (bytes(range(256)) * 2048 + b"end", -1),
    b"exact string": (b"x" * (4 * 65536), NOW_MS + HOUR_MS),
    b"large list": ([b"element %d" % number for number in range(3000)], -1),
    b"large set": ({b"member %d" % number for number in range(3000)}, -1),
    b"large zset": ({b"member %d" % number: number / 7 for number in range(3000)}, -1),
    b"large hash": (Hash({b"field %d" % number: b"v" * (number % 50) for number in range(3000)}), NOW_MS + 3 * HOUR_MS),
    b"wide hash": (Hash({b"a": b"x" * 200_000, b"b": b"y"}), -1),
}
DATA = SMALL | LARGE


def client(server: Scratch) -> Any:
    return server.client()


def write(to: Any, data: dict[bytes, tuple[Value, int]]) -> None:
    """Write keys with their expiries."""
    pipe = to.pipeline(transaction=False)
    for key, (value, expiry_ms) in data.items():
        match value:
            case bytes():
                pipe.set(key, value)
            case list():
                pipe.rpush(key, *value)
            case set():
                pipe.sadd(key, *sorted(value))
            case dict():
                pipe.zadd(key, value)
            case Hash():
                pipe.hset(key, mapping=dict(value.fields))
        if expiry_ms >= 0:
            pipe.pexpireat(key, expiry_ms)
    pipe.execute()


def write_stream(to: Any) -> None:
    """A stream with a group, a consumer and a pending entry."""
    to.xadd("stream", {"a": "b"}, id="1-1")
    to.xgroup_create("stream", "group", "0")
    to.xreadgroup("group", "reader", {"stream": ">"})


def fetch(server: Scratch, path: Path) -> Path:
    """The server's data as a snapshot on this machine."""
    client(server).save()
    stream, _ = engine().containers.get(server.name).get_archive("/scratch/dump.rdb")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        member = archive.extractfile("dump.rdb")
        assert member is not None
        path.write_bytes(member.read())
    return path
