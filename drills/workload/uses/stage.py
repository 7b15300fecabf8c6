"""What every simulated application stands on: its settings, a client, a pace, and its lines in the history."""

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import redis

from applications.call import Confirm, NotConfirmed
from applications.origin import Origin, SqliteOrigin
from drills.records import Event, Outcome, Tally, encode
from drills.workload import connections
from drills.workload.asked import REFUSALS, error_word
from drills.workload.settings import Settings

CUT_OFF_ACTORS = 1000
"""Actors on the side that is cut off are numbered from here."""
PATIENT_SECONDS = 2.0
AGAIN_SECONDS = 0.1
SCAN_COUNT = 500


@dataclass(frozen=True)
class UseSettings:
    """What the process of the simulated applications is told. `client` says how Redis is reached; `tags` are hash tags that lie
    in all shards in turn; `confirm` is how many replicas must confirm (0: nobody is asked); `shared` is a folder on both
    sides; `origin_url` a PostgreSQL database that stands in for the SQLite files there."""

    client: Settings
    uses: tuple[str, ...]
    prefix: str
    tags: tuple[str, ...]
    seed: int
    shared: str
    confirm: int = 0
    origin_url: str = field(default="", repr=False)

    def to_data(self) -> dict[str, Any]:
        return {**asdict(self), "client": self.client.to_data()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "UseSettings":
        told = {**data, "client": Settings.from_data(data["client"]), "uses": tuple(data["uses"]), "tags": tuple(data["tags"])}
        return cls(**told)


class Crashed(BaseException):
    """The simulated process dies here: nothing that it would still have done is done."""


def outcome_of(error: BaseException) -> Outcome:
    """`fail` is certainly not done; NotConfirmed was done, and nobody knows whether it stays."""
    return "fail" if isinstance(error, REFUSALS) and not isinstance(error, NotConfirmed) else "info"


class Stage:
    """Where the actors of one use play. `lines` are fetched by the process and handed over to the drill."""

    def __init__(self, settings: UseSettings, use: str) -> None:
        self.settings = settings
        self.use = use
        self.prefix = f"{settings.prefix}:{use}"
        self.tags = settings.tags
        self.confirm = Confirm(settings.confirm, settings.client.acks_ms) if settings.confirm else None
        self.shared = Path(settings.shared)
        self.main = settings.client.side == "main"
        self.origin = 0
        self.events = 0
        self._counting = threading.Lock()
        self.lines: deque[str] = deque()

    def now(self) -> int:
        """This moment in the time of the history."""
        return time.monotonic_ns() - self.origin

    def moment(self, monotonic_seconds: float) -> int:
        """A reading of time.monotonic() in the time of the history."""
        return int(monotonic_seconds * 1e9) - self.origin

    def record(
        self, actor: int, verb: str, subject: str, start: int, end: int, value: int = 0, other: int = 0,
        outcome: Outcome = "ok", error: str | None = None,
    ) -> None:  # fmt: skip
        line = encode(Event(self.use, actor, verb, subject, value, other, start, end, outcome, error))
        with self._counting:
            self.events += 1
            self.lines.append(line)

    def origin_of_rows(self) -> Origin:
        """The database behind the caches of this use, a connection of its own for each caller."""
        if not self.settings.origin_url:
            return SqliteOrigin(self.shared / f"{self.use}.sqlite")
        from applications.origin_postgres import PostgresOrigin  # noqa: PLC0415 - its driver goes along only when it is needed

        return PostgresOrigin(self.settings.origin_url, re.sub(r"\W", "_", f"drill_{self.prefix.rpartition(':drill:')[2]}"))

    def tally(self) -> None:
        self.lines.append(encode(Tally(self.now(), self.use, self.events)))

    def connect(self, patient: bool = False, **more: Any) -> Any:
        """A client of its own for an actor: the whole interface of redis-py. `more` are arguments of redis-py."""
        settings = self.settings.client
        if patient:
            settings = replace(settings, connect_timeout=PATIENT_SECONDS, request_timeout=PATIENT_SECONDS)
        return connections.application(settings, **more)


class Actor(threading.Thread):
    """One simulated application instance. It can crash and come back as another process would: without memory, on a new
    connection."""

    def __init__(self, use: "Use", number: int) -> None:
        super().__init__(name=f"{use.name}-{number}", daemon=True)
        self.use = use
        self.stage = use.stage
        self.number = number
        self.random = random.Random(f"{self.stage.settings.seed}-{self.name}")  # noqa: S311 - choices that a seed repeats
        self.halt = threading.Event()
        self.begin = threading.Event()
        self.state: Any = None
        self.turns = self.taken = self.lives = 0
        self.broken: str | None = None
        self._client: Any = None

    @property
    def client(self) -> Any:
        """Connected when first needed; raises redis.RedisError."""
        if self._client is None:
            self._client = self.stage.connect()
        return self._client

    def chance(self, one_in: float) -> bool:
        return self.random.random() * one_in < 1

    def rest(self, seconds: float) -> None:
        """Wait, but not beyond the end of the load."""
        self.halt.wait(seconds)

    def event(self, verb: str, subject: str, start: int, value: int = 0, other: int = 0, end: int | None = None,
              outcome: Outcome = "ok", error: str | None = None) -> None:  # fmt: skip
        """Record what was done, by default until now."""
        self.stage.record(
            self.number, verb, subject, start, self.stage.now() if end is None else end, value, other, outcome, error
        )

    def failed(self, verb: str, subject: str, start: int, error: BaseException, value: int = 0, other: int = 0) -> None:
        """Record what was tried in vain, or with an unknown end."""
        self.event(verb, subject, start, value, other, outcome=outcome_of(error), error=error_word(error))

    def surely(self, verb: str, subject: str, do: Callable[[], object], value: int = 0, other: int = 0) -> bool:
        """Do what may be repeated until it is known to be done, and record it from the first attempt; whether it was."""
        start = self.stage.now()
        while True:
            try:
                do()
            except redis.RedisError as error:
                if self.halt.is_set():
                    self.event(verb, subject, start, value, other, outcome="info", error=error_word(error))
                    return False
                self.rest(AGAIN_SECONDS)
            else:
                self.event(verb, subject, start, value, other)
                return True

    def run(self) -> None:
        self.begin.wait()
        rate = self.use.turns_per_second
        self.rest(self.random.random() / rate)
        while not self.halt.is_set():
            began = time.monotonic()
            start = self.stage.now()
            try:
                if self.state is None:
                    self.state = self.use.wake(self)
                self.use.turn(self)
            except Crashed:
                self.event("crash", "", start)
                self.state = self._client = None
                self.lives += 1
            except (redis.RedisError, OSError) as error:
                self.failed("trouble", "", start, error)
            except Exception as error:
                self.broken = f"{self.name} broke: {type(error).__name__}: {error}"
                return
            self.rest(began + 1 / rate - time.monotonic())


class Use:
    """One use, played by several actors. `wake` gives an actor its state when it starts (again), `turn` is one thing that it
    does, `audit` reads back what is left when the load has stopped. All of them may raise redis.RedisError."""

    name: ClassVar[str]
    actors: ClassVar[int] = 4
    cut_off_actors: ClassVar[int] = 2
    turns_per_second: ClassVar[float] = 10.0
    audited_on_both_sides: ClassVar[bool] = False
    """Else on the main side alone: what is left there is what was left at all."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def cast(self) -> list[Actor]:
        """The actors on this side."""
        if self.stage.main:
            return [Actor(self, number) for number in range(self.actors)]
        return [Actor(self, CUT_OFF_ACTORS + number) for number in range(self.cut_off_actors)]

    def prepare(self, client: Any) -> None:
        """Once, on the main side, before anybody starts."""

    def wake(self, _actor: Actor) -> Any:
        """What an instance remembers; must not be None."""
        return ()

    def turn(self, actor: Actor) -> None:
        raise NotImplementedError

    def audit(self, actor: Actor) -> None:
        """Once, after everybody stopped."""

    def tidy(self, client: Any) -> int:
        """Remove every key of the use, and no other; how many are left."""
        for key in self._own(client):
            client.unlink(key)
        return len(self._own(client))

    def _own(self, client: Any) -> list[Any]:
        return list(client.scan_iter(match=f"{self.stage.prefix}:*", count=SCAN_COUNT))
