"""One simulated application instance: a thread that writes, now and then reads, and records how each request ended."""

import contextlib
import threading
import time
from collections import deque
from typing import Any

import redis

from drills.records import CHUNK, Client, Lane, Reserve, Shed, encode
from drills.workload import connections
from drills.workload.asked import Asked, classify, this_thread
from drills.workload.settings import LaneSettings, Settings

RESERVE = 1000
RESERVE_AHEAD = 500
"""Numbers are reserved this far ahead, so that the reservation has left the process before they are used."""
LONGEST_SLEEP = 0.2


def content(run: str, lane: int, value: int, payload_bytes: int) -> str:
    """What write `value` of a lane stores: attributable to this one write."""
    mark = f"{run}.{lane}.{value}"
    return mark if payload_bytes <= len(mark) else mark.ljust(payload_bytes, ".")


def key_of(prefix: str, value: int) -> str:
    """The stream that holds write `value`."""
    return f"{prefix}:{value // CHUNK}"


class ClientThread(threading.Thread):
    """Runs until `stop` is set. Lines for the history are put into `lines` and fetched by another thread.

    Open loop: request k is planned at `start + k / rate`. A client that is late sends at once and the lateness is recorded;
    requests that are later than the request time-out were given up by whoever waited for them: they are not sent but counted.
    """

    def __init__(self, settings: Settings, lane: LaneSettings, phase: float) -> None:
        super().__init__(name=f"client-{lane.client}", daemon=True)
        self._settings = settings
        self.lane = lane
        self._origin = 0
        self._phase = phase
        self._nodes = {(target.host, target.port): f'"{target.name}"' for target in settings.targets}
        self._client: connections.Client | None = None
        self._asked = Asked()
        self._op = 0
        self.lines: deque[str] = deque()
        self.warm = threading.Event()
        self.begin = threading.Event()
        self.stop = threading.Event()
        self.start_at = 0
        self.value = 0
        self.confirmed = 0
        self.reserved = 0
        self.operations = 0
        self.acknowledged = 0
        self.last_good = 0

    def declare(self, origin: int) -> None:
        """Record client and lane; before `begin`. Times count from `origin`."""
        self._origin = origin
        lane, settings = self.lane, self._settings
        self.lines.append(encode(Client(lane.client, f"client-{lane.client}", settings.side, settings.mode)))
        self.lines.append(encode(Lane(lane.lane, lane.client, lane.key, lane.slot, lane.shard)))
        self._reserve()

    def _reserve(self) -> None:
        self.reserved += RESERVE
        self.lines.append(encode(Reserve(self.lane.lane, self.reserved)))

    def run(self) -> None:
        self._asked = this_thread()
        self._warm_up()
        self.begin.wait()
        rate = self._settings.rate
        interval = int(1e9 / rate) if rate else 0
        planned = self.start_at + int(self._phase * interval)
        patience = int(self._settings.request_timeout * 1e9)
        read_every = self._settings.read_every
        clock = time.monotonic_ns
        while not self.stop.is_set():
            now = clock()
            if not interval:
                planned = now
            elif now < planned:
                time.sleep(min((planned - now) / 1e9, LONGEST_SLEEP))
                continue
            elif now - planned > patience:
                given_up = (now - planned - patience) // interval + 1
                self._shed(given_up, planned, planned + given_up * interval)
                planned += given_up * interval
                continue
            self._op += 1
            if read_every and (self._op + self.lane.client) % read_every == 0 and self.confirmed:
                self._read(planned)
            else:
                self._write(planned)
            planned += interval

    def _warm_up(self) -> None:
        """Connect before the first planned moment: how long that takes is no part of the drill."""
        with contextlib.suppress(redis.RedisError, OSError):
            self._ready().execute_command("EXISTS", key_of(self.lane.key, 1))
        self.warm.set()

    def _shed(self, count: int, start: int, end: int) -> None:
        lane = self.lane
        self.lines.append(encode(Shed(lane.client, lane.lane, count, start - self._origin, end - self._origin)))

    def _ready(self) -> connections.Client:
        if self._client is None:
            self._client = connections.connect(self._settings)
        return self._client

    def _write(self, planned: int) -> None:
        self.value += 1
        value = self.value
        if value > self.reserved - RESERVE_AHEAD:
            self._reserve()
        settings, lane = self._settings, self.lane
        outcome, word = "ok", None
        stored = False
        self._asked.begin()
        start = time.monotonic_ns()
        try:
            client = self._ready()
            text = content(settings.run, lane.lane, value, settings.payload_bytes)
            client.execute_command("XADD", key_of(lane.key, value), f"{value}-0", "v", text)
            stored = True
            if settings.mode != "plain":
                word = self._confirm(client, key_of(lane.key, value))
                outcome = "ok" if word is None else "info"
        except Exception as error:
            outcome, word = classify(error, self._asked.sends, self._settings.retries)
            if stored:
                outcome = "info"  # what was refused is the question for confirmation; the write itself was done
        end = time.monotonic_ns()
        if outcome == "ok":
            self.confirmed = value
            self.acknowledged += 1
            self.last_good = start - self._origin
            if self._asked.sends > 1:
                word = f"sent-{self._asked.sends}-times"
        self._record("w", value, start, end, planned, outcome, word)

    def _confirm(self, client: Any, key: str) -> str | None:
        """Ask whether enough replicas have the write; None if so. After a shortfall nobody knows what becomes of the write."""
        settings = self._settings
        options = {}
        if settings.way == "cluster":
            options["target_nodes"] = client.get_node_from_key(key)
        if settings.mode == "wait":
            confirmed = client.execute_command("WAIT", settings.acks, settings.acks_ms, **options)
            enough = confirmed >= settings.acks
            shortfall = f"wait-{confirmed}-of-{settings.acks}"
        else:
            local, confirmed = client.execute_command("WAITAOF", 1, settings.acks, settings.acks_ms, **options)
            enough = local >= 1 and confirmed >= settings.acks
            shortfall = f"waitaof-{local}-{confirmed}-of-1-{settings.acks}"
        if not self._asked.same_connection:
            return "wait-elsewhere"
        return None if enough else shortfall

    def _read(self, planned: int) -> None:
        """The newest entry of the chunk that holds the last acknowledged write; 0 when there is none."""
        lane = self.lane
        outcome, word, value = "ok", None, 0
        self._asked.begin()
        start = time.monotonic_ns()
        try:
            entries = self._ready().execute_command("XREVRANGE", key_of(lane.key, self.confirmed), "+", "-", "COUNT", 1)
            value = newest(entries)
        except Exception as error:
            outcome, word = "fail", classify(error, self._asked.sends, self._settings.retries)[1]
        self._record("r", value, start, time.monotonic_ns(), planned, outcome, word)

    def _record(self, letter: str, value: int, start: int, end: int, planned: int, outcome: str, word: str | None) -> None:
        self.operations += 1
        if not self._settings.record:
            return
        lane, origin = self.lane, self._origin
        asked = self._asked.connection
        node = "null" if asked is None else self._nodes.get((asked.host, asked.port), "null")
        tail = '"]' if word is None else f'","{word}"]'
        self.lines.append(
            f'["{letter}",{lane.client},{self._op},{lane.lane},{value},{node},{start - origin},{end - start},{start - planned},'
            f'"{outcome}{tail}'
        )


def newest(entries: Any) -> int:
    """The number of the first entry in an answer to XREVRANGE, which redis-py may have parsed; 0 when it is empty."""
    if not entries:
        return 0
    first = entries[0][0]
    text = first.decode() if isinstance(first, bytes) else str(first)
    return int(text.partition("-")[0])
