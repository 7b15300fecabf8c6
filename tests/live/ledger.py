"""A write load that remembers what the servers acknowledged, and the comparison with what they hold later."""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from operations.clients import TopologyClient, application_client
from operations.connect import Timeouts
from operations.errors import ToolkitError
from operations.inventory import Access
from tests.waiting import wait_until

WRITERS = 4
PAUSE_SECONDS = 0.002
"""Between two writes of one writer: the load is there to be interrupted, not to measure speed."""
BATCH = 500


@dataclass
class Ledger:
    """Keys whose SET was answered with OK, and how many writes ended without an answer (unknown: they may be there or not)."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    unknown: int = 0
    last_acknowledged: float = 0.0


class Load:
    """Writers on the published ports, each write a key of its own, never repeated; used as a context manager."""

    def __init__(self, access: Access, prefix: str, writers: int = WRITERS) -> None:
        self._access = access
        self._prefix = prefix
        self._stop = threading.Event()
        self._parts = [Ledger() for _ in range(writers)]
        self._threads = [
            threading.Thread(target=self._write, args=(number, part), daemon=True) for number, part in enumerate(self._parts)
        ]

    @property
    def ledger(self) -> Ledger:
        """All writers' parts together."""
        joined = Ledger()
        for part in self._parts:
            joined.acknowledged |= dict(part.acknowledged)
            joined.unknown += part.unknown
            joined.last_acknowledged = max(joined.last_acknowledged, part.last_acknowledged)
        return joined

    def wait_for(self, count: int, seconds: float = 30) -> None:
        """Wait until `count` writes were acknowledged in all."""

        def missing() -> str:
            acknowledged = sum(len(part.acknowledged) for part in self._parts)
            return "" if acknowledged >= count else f"{acknowledged} of {count}"

        wait_until("acknowledged writes", missing, seconds)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _write(self, number: int, part: Ledger) -> None:
        client: TopologyClient | None = None
        count = 0
        while not self._stop.is_set():
            count += 1
            key, value = f"{self._prefix}:{number}:{count}", f"{number}-{count}"
            try:
                client = client or plain_client(self._access)
                if client.set(key, value):
                    part.acknowledged[key] = value
                    part.last_acknowledged = time.monotonic()
                self._stop.wait(PAUSE_SECONDS)
            except (redis.RedisError, RedisClusterException, ToolkitError, OSError):
                part.unknown += 1
                with contextlib.suppress(Exception):
                    if client is not None:
                        client.close()
                client = None
                self._stop.wait(0.1)


def plain_client(access: Access) -> TopologyClient:
    """An application's client that never repeats a write."""
    return application_client(access, timeouts=Timeouts(1.0, 2.0), decode_responses=True, retry=Retry(NoBackoff(), 0))


def lost(access: Access, ledger: Ledger) -> list[str]:
    """Acknowledged keys that the stack does not hold any more, or holds with another value; read from the primaries."""
    client: Any = application_client(access, decode_responses=True)
    keys, missing = list(ledger.acknowledged), []
    for start in range(0, len(keys), BATCH):
        part = keys[start : start + BATCH]
        pipe = client.pipeline(transaction=False) if access.inventory.topology != "cluster" else client.pipeline()
        for key in part:
            pipe.get(key)
        missing += [key for key, value in zip(part, pipe.execute(), strict=True) if value != ledger.acknowledged[key]]
    client.close()
    return missing


def fill(access: Access, prefix: str, count: int = 2000) -> Ledger:
    """Write `count` keys, all acknowledged, and return them."""
    client: Any = application_client(access, decode_responses=True)
    ledger = Ledger()
    for start in range(0, count, BATCH):
        part = {f"{prefix}:{number}": f"value-{number}" for number in range(start, min(count, start + BATCH))}
        pipe = client.pipeline(transaction=False) if access.inventory.topology != "cluster" else client.pipeline()
        for key, value in part.items():
            pipe.set(key, value)
        assert all(pipe.execute())
        ledger.acknowledged |= part
    client.close()
    return ledger
