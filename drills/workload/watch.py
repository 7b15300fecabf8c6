"""The process that watches roles: asks every node itself, many times a second, and records what changes.

It speaks the protocol of the load (`drills.workload.agent`): settings on the first line, then `clock`, `start`, `quit`.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from drills.records import Marker, Replicas, Role, RoleWord, encode
from drills.workload.agent import answer, serve, write_all
from drills.workload.pulse import Pulse

PERIOD_SECONDS = 0.05
FLUSH_SECONDS = 0.1
TIMEOUT_SECONDS = 0.3
REPLICAS_SECONDS = 0.25
REPEAT_SECONDS = 1.0
"""Replica counts are recorded when they change, and at least this often."""
FRESH_LAG = 2
"""A replica whose last report is older, in seconds, does not count as in sync."""


@dataclass(frozen=True)
class Watched:
    """A node to ask; `shard` 0 is a sentinel. `expected` is how many replicas its shard should have."""

    name: str
    host: str
    port: int
    shard: int
    expected: int = 0


@dataclass(frozen=True)
class WatchSettings:
    nodes: tuple[Watched, ...]
    cluster: bool
    username: str
    password: str = field(repr=False)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "WatchSettings":
        return cls(**{**data, "nodes": tuple(Watched(**node) for node in data["nodes"])})


def connection(node: Watched, settings: WatchSettings, timeout: float | None = TIMEOUT_SECONDS) -> Any:
    make: Any = redis.Redis
    return make(
        host=node.host,
        port=node.port,
        username=settings.username,
        password=settings.password,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


class Watcher:
    """Threads that ask, and the lines that they wrote."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._ended = threading.Event()
        self._lines: deque[str] = deque()
        self._by_address = {f"{node.host}:{node.port}": node for node in settings.nodes}
        self._origin = 0

    def start(self, origin: int) -> dict[str, Any]:
        self._origin = origin
        jobs = [(self._watch_sentinel if node.shard == 0 else self._watch_node, node) for node in self._settings.nodes]
        for job, node in jobs:
            threading.Thread(target=job, args=(node,), name=node.name, daemon=True).start()
        Pulse("watcher", origin, self._ended, self._lines.append).start()
        threading.Thread(target=self._flush_regularly, daemon=True).start()
        return {"watched": len(jobs)}

    def end(self) -> None:
        self._ended.set()
        self.flush()

    def _flush_regularly(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self.flush()

    def flush(self) -> None:
        waiting = [self._lines.popleft() for _ in range(len(self._lines))]
        if waiting:
            write_all("".join(f"{line}\n" for line in waiting).encode())

    def _tell(self, marker: Marker) -> None:
        self._lines.append(encode(marker))

    def _now(self) -> int:
        return time.monotonic_ns() - self._origin

    def _watch_node(self, node: Watched) -> None:
        """ROLE, the flags of the others as this node sees them, and its replicas while it is primary."""
        client = connection(node, self._settings)
        role: RoleWord | None = None
        flags: dict[str, RoleWord] = {}
        counted = _Counted(0.0, None)
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                now_role: RoleWord = "primary" if client.execute_command("ROLE")[0] == "master" else "replica"
                if self._settings.cluster:
                    flags = self._compare(node, flags, client.execute_command("CLUSTER NODES"))
                if now_role == "primary" and began - counted.at >= REPLICAS_SECONDS:
                    counted = self._count(node, client, counted, began)
            except (redis.RedisError, OSError, ValueError, IndexError, KeyError):
                now_role = "down"
            if now_role != role:
                role = now_role
                self._tell(Role(self._now(), node.name, node.shard, role, node.name))
            self._ended.wait(max(0.0, PERIOD_SECONDS - (time.monotonic() - began)))

    def _compare(self, observer: Watched, before: dict[str, RoleWord], reply: Any) -> dict[str, RoleWord]:
        """Record who is newly suspected or failed, as `observer` sees it."""
        now: dict[str, RoleWord] = {}
        for address, flags in node_flags(reply):
            node = self._by_address.get(address)
            if node is not None and node is not observer and "fail" in flags:
                now[node.name] = "suspect" if "fail?" in flags else "failed"
        for name, word in now.items():
            if before.get(name) != word:
                shard = next(node.shard for node in self._settings.nodes if node.name == name)
                self._tell(Role(self._now(), name, shard, word, observer.name))
        return now

    def _count(self, node: Watched, client: Any, before: "_Counted", at: float) -> "_Counted":
        in_sync = replicas_in_sync(client.info("replication"))
        told = before.told
        if in_sync != before.value or at - told >= REPEAT_SECONDS:
            self._tell(Replicas(self._now(), node.shard, in_sync, node.expected))
            told = at
        return _Counted(at, in_sync, told)

    def _watch_sentinel(self, node: Watched) -> None:
        """What a sentinel announces about the primary; its announcements come at once, so nothing is polled."""
        words: dict[str, RoleWord] = {"+sdown": "suspect", "+odown": "failed"}
        while not self._ended.is_set():
            try:
                channel = connection(node, self._settings, timeout=1.0).pubsub()
                channel.psubscribe(*words)
                while not self._ended.is_set():
                    message = channel.get_message(timeout=0.5)
                    if message and message["type"] == "pmessage":
                        self._announced(node, words[message["channel"]], message["data"])
            except (redis.RedisError, OSError):
                self._ended.wait(REPLICAS_SECONDS)

    def _announced(self, sentinel: Watched, word: RoleWord, text: str) -> None:
        """`master <service> <host> <port> …`; replicas and sentinels that are down are not of interest here."""
        parts = text.split()
        if len(parts) >= 4 and parts[0] == "master":
            node = self._by_address.get(f"{parts[2]}:{parts[3]}")
            if node is not None:
                self._tell(Role(self._now(), node.name, node.shard, word, sentinel.name))


@dataclass(frozen=True)
class _Counted:
    at: float
    value: int | None
    told: float = 0.0


def node_flags(reply: Any) -> list[tuple[str, str]]:
    """Address and flags of every node in an answer to CLUSTER NODES, as text or as redis-py parses it."""
    if isinstance(reply, dict):
        return [(address.partition("@")[0], str(fields["flags"])) for address, fields in reply.items()]
    lines = (line.split(" ", 3) for line in str(reply).splitlines())
    return [(parts[1].partition("@")[0], parts[2]) for parts in lines if len(parts) > 2]


def replicas_in_sync(info: Mapping[str, Any]) -> int:
    """How many replicas are online and reported lately."""
    slaves = (value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict))
    return sum(slave.get("state") == "online" and int(slave.get("lag", FRESH_LAG + 1)) <= FRESH_LAG for slave in slaves)


def main() -> None:
    """Serve commands until standard input ends."""
    watcher = Watcher(WatchSettings.from_data(json.loads(sys.stdin.readline())))
    answer({"ready": True})
    serve({"start": lambda told: watcher.start(told["origin"])})
    watcher.end()


if __name__ == "__main__":
    main()
