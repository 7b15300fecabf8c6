"""The process of the simulated applications, inside the client container. It speaks the protocol of `drills.workload.agent`:
settings on the first line, then `clock`, `start`, `stop`, `audit`, `tidy`, `quit`.

    {"do": "stop"}   -> {"events": recorded so far, "threads": still running, "broken": what went wrong in this process, or null}
    {"do": "audit"}  -> {"unread": uses that could not be read back}
    {"do": "tidy"}   -> {"left": keys that could not be removed}
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from applications.origin import OriginDown
from drills.history import CHUNK_SECONDS
from drills.workload.agent import answer, serve, write_all
from drills.workload.uses.repertoire import REPERTOIRE
from drills.workload.uses.stage import Actor, Stage, Use, UseSettings

JOIN_SECONDS = 15.0
RETRY_SECONDS = 0.2


class Company:
    """All uses of one process, and the thread that hands over their lines."""

    def __init__(self, settings: UseSettings, emit: Callable[[bytes], None]) -> None:
        self._main = settings.client.side == "main"
        self._emit = emit
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._uses: list[Use] = [REPERTOIRE[name](Stage(settings, name)) for name in settings.uses]
        self._actors: list[Actor] = [actor for use in self._uses for actor in use.cast()]

    def flush(self) -> None:
        with self._sending:
            for use in self._uses:
                lines = use.stage.lines
                waiting = [lines.popleft() for _ in range(len(lines))]
                if waiting:
                    self._emit("".join(f"{line}\n" for line in waiting).encode())

    def _flush_regularly(self) -> None:
        while not self._ended.wait(CHUNK_SECONDS / 2):
            self.flush()

    def start(self, origin: int) -> dict[str, Any]:
        for use in self._uses:
            use.stage.origin = origin
            if self._main:
                try:
                    use.prepare(use.stage.connect(patient=True))
                except OriginDown as error:
                    raise SystemExit(f"the origin of {use.name} does not answer: {error}") from None
        threading.Thread(target=self._flush_regularly, daemon=True).start()
        for actor in self._actors:
            actor.start()
            actor.begin.set()
        return {"actors": len(self._actors)}

    def stop(self) -> dict[str, Any]:
        for actor in self._actors:
            actor.halt.set()
        deadline = time.monotonic() + JOIN_SECONDS
        for actor in self._actors:
            actor.join(max(0.0, deadline - time.monotonic()))
        self.flush()
        broken = next((actor.broken for actor in self._actors if actor.broken), None)
        running = sum(actor.is_alive() for actor in self._actors)
        return {"events": sum(use.stage.events for use in self._uses), "threads": running, "broken": broken}

    def audit(self, seconds: float) -> dict[str, Any]:
        """Read back what is left; the tally comes last. A use that cannot be read back gets no tally."""
        unread = []
        for use in self._uses:
            audited = self._main or use.audited_on_both_sides
            if not audited or self._patiently(lambda actor, use=use: use.audit(actor), use, seconds):
                use.stage.tally()
            else:
                unread.append(use.name)
        self.flush()
        return {"unread": unread}

    def tidy(self) -> dict[str, Any]:
        left: list[int] = []
        for use in self._uses if self._main else []:
            if not self._patiently(lambda actor, use=use: left.append(use.tidy(actor.client)), use, PATIENCE_SECONDS):
                left.append(1)
        return {"left": sum(left)}

    def _patiently(self, job: Callable[..., Any], use: Use, seconds: float) -> bool:
        """Do it, again and again while Redis or the origin does not answer; whether it was done."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                job(_Auditor(use))
            except (redis.RedisError, OriginDown):
                if time.monotonic() > deadline:
                    return False
                time.sleep(RETRY_SECONDS)
            else:
                return True

    def end(self) -> None:
        self._ended.set()
        for actor in self._actors:
            actor.halt.set()


PATIENCE_SECONDS = 20.0
AUDITOR = 999


class _Auditor(Actor):
    """Reads back with patience; never started as a thread."""

    def __init__(self, use: Use) -> None:
        super().__init__(use, AUDITOR)
        self._client = use.stage.connect(patient=True)


def main() -> None:
    """Serve commands until standard input ends."""
    company = Company(UseSettings.from_data(json.loads(sys.stdin.readline())), write_all)
    answer({"ready": True})
    serve(
        {
            "start": lambda told: company.start(told["origin"]),
            "stop": lambda _told: company.stop(),
            "audit": lambda told: company.audit(told["seconds"]),
            "tidy": lambda _told: company.tidy(),
        }
    )
    company.end()


if __name__ == "__main__":
    main()
