"""The process inside the client container. Standard input: one line of settings, then one command per line. Standard output: the
history, live. Standard error: one line of JSON per answer.

    {"do": "clock"}                  -> {"now": nanoseconds of this machine's monotonic clock}
    {"do": "start", "origin": …}     -> {"clients": how many}; times count from `origin` on that clock
    {"do": "stop"}                   -> {"operations": recorded so far, "threads": still running}
    {"do": "audit", "seconds": 60}   -> {"chunks": read}
    {"do": "tidy"}                   -> {"left": keys that could not be removed}
    {"do": "seen"}                   -> {"lanes": {lane: start of its last acknowledged write}}
    {"do": "count"}                  -> {"operations": …, "acknowledged": …, "cpu_seconds": of this process}

When standard input ends, whoever started this is gone: the load stops.
"""

import gc
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from drills.history import CHUNK_SECONDS
from drills.records import FinalRead, encode
from drills.workload.asked import instrument
from drills.workload.audit import audit_lane, tidy_lane
from drills.workload.client import ClientThread
from drills.workload.pulse import Pulse
from drills.workload.settings import Settings

SWITCH_SECONDS = 0.001
JOIN_SECONDS = 10.0
WARM_SECONDS = 5.0
AUDIT_THREADS = 8


class Agent:
    """All clients of one process, and the thread that hands over their lines."""

    def __init__(self, settings: Settings, emit: Callable[[bytes], None]) -> None:
        self._settings = settings
        self._origin = 0
        self._emit = emit
        self._ended = threading.Event()
        self._sending = threading.Lock()
        count = len(settings.lanes)
        self.clients = [ClientThread(settings, lane, number / max(count, 1)) for number, lane in enumerate(settings.lanes)]
        self._stalls: deque[str] = deque()
        self._flusher = threading.Thread(target=self._flush_regularly, name="flusher", daemon=True)

    def _flush_regularly(self) -> None:
        while not self._ended.wait(CHUNK_SECONDS / 2):
            self.flush()

    def flush(self) -> None:
        """Hand over what is there; lines of one client keep their order."""
        with self._sending:
            for lines in (*(client.lines for client in self.clients), self._stalls):
                waiting = [lines.popleft() for _ in range(len(lines))]
                if waiting:
                    waiting.append("")
                    self._emit("\n".join(waiting).encode())

    def start(self, origin: int) -> dict[str, Any]:
        self._origin = origin
        for client in self.clients:
            client.declare(origin)
        self.flush()
        self._flusher.start()
        Pulse("clients", origin, self._ended, self._stalls.append).start()
        for client in self.clients:
            client.start()
        deadline = time.monotonic() + WARM_SECONDS
        for client in self.clients:
            client.warm.wait(max(0.0, deadline - time.monotonic()))
        now = time.monotonic_ns()
        for client in self.clients:
            client.start_at = now
            client.begin.set()
        return {"clients": len(self.clients)}

    def stop(self) -> dict[str, Any]:
        for client in self.clients:
            client.stop.set()
        deadline = time.monotonic() + JOIN_SECONDS
        for client in self.clients:
            client.join(max(0.0, deadline - time.monotonic()))
        self.flush()
        running = sum(client.is_alive() for client in self.clients)
        return {"operations": self._operations, "threads": running}

    @property
    def _operations(self) -> int:
        return sum(client.operations for client in self.clients)

    def count(self) -> dict[str, Any]:
        acknowledged = sum(client.acknowledged for client in self.clients)
        return {"operations": self._operations, "acknowledged": acknowledged, "cpu_seconds": time.process_time()}

    def audit(self, seconds: float) -> dict[str, Any]:
        """Read every lane back, several at a time."""
        chunks = 0

        def emit(read: FinalRead) -> None:
            nonlocal chunks
            with self._sending:
                chunks += 1
                self._emit(encode(read).encode() + b"\n")

        self._for_all(lambda client: audit_lane(self._settings, client.lane, client.reserved, self._origin, seconds, emit))
        return {"chunks": chunks}

    def tidy(self) -> dict[str, Any]:
        """Remove what all lanes wrote."""
        left: list[int] = []
        self._for_all(lambda client: left.append(tidy_lane(self._settings, client.lane, client.reserved)))
        return {"left": sum(left)}

    def _for_all(self, job: Callable[[ClientThread], None]) -> None:
        waiting = deque(self.clients)

        def work() -> None:
            while waiting:
                try:
                    client = waiting.popleft()
                except IndexError:
                    return
                job(client)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(AUDIT_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def end(self) -> None:
        self._ended.set()
        for client in self.clients:
            client.stop.set()


def write_all(data: bytes) -> None:
    """To standard output, whole."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def answer(data: dict[str, Any]) -> None:
    """To standard error, whole and at once."""
    os.write(2, json.dumps(data).encode() + b"\n")


def serve(commands: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Answer one command per line, `clock` beside those given, until `quit` or the end of standard input."""
    for line in sys.stdin:
        told = json.loads(line)
        word = told["do"]
        if word == "quit":
            return
        if word == "clock":
            answer({"now": time.monotonic_ns()})
        elif word in commands:
            answer(commands[word](told))
        else:
            answer({"error": f"unknown command {word!r}"})


def main() -> None:
    """Serve commands until standard input ends."""
    told = json.loads(sys.stdin.readline())
    settings = Settings.from_data(told)
    if settings.record:
        instrument()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    agent = Agent(settings, write_all)
    answer({"ready": True, "python": sys.version.split()[0]})
    serve(
        {
            "start": lambda told: agent.start(told["origin"]),
            "stop": lambda _told: agent.stop(),
            "seen": lambda _told: {"lanes": {client.lane.lane: client.last_good for client in agent.clients}},
            "count": lambda _told: agent.count(),
            "audit": lambda told: agent.audit(told["seconds"]),
            "tidy": lambda _told: agent.tidy(),
        }
    )
    agent.end()


if __name__ == "__main__":
    main()
