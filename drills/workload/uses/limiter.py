"""Rate limits: more requests than may pass.

admit   subject name, value the moment in microseconds of the server's clock (of the client's with `limits`)
refuse  subject name
ask     an attempt that failed, or whose end nobody knows
"""

import importlib
from typing import Any

import redis

from applications.careless.limiter import CarelessLimiter
from applications.limiter import FixedWindow, Limiter, SlidingWindow, TokenBucket
from drills.workload.uses.stage import Actor, Crashed, Stage, Use

NAMES = 3
LIMIT, WINDOW_SECONDS = 10, 1.0
DIES_EVERY = 3


class LimiterUse(Use):
    kind: type[Limiter]
    actors = 4
    turns_per_second = 20

    def limiter(self, actor: Actor) -> Any:
        return self.kind(actor.client, LIMIT, WINDOW_SECONDS, self.stage.prefix)

    def wake(self, actor: Actor) -> Any:
        return self.limiter(actor)

    def turn(self, actor: Actor) -> None:
        name = actor.random.choice(self.stage.tags[:NAMES])
        start = self.stage.now()
        try:
            answer = actor.state.ask(name)
        except redis.RedisError as error:
            actor.failed("ask", name, start, error)
            return
        actor.event("admit" if answer.admitted else "refuse", name, start, answer.at_microseconds)


class FixedUse(LimiterUse):
    name = "limiter-fixed"
    kind = FixedWindow


class SlidingUse(LimiterUse):
    name = "limiter-sliding"
    kind = SlidingWindow


class BucketUse(LimiterUse):
    name = "limiter-bucket"
    kind = TokenBucket


class LibraryUse(LimiterUse):
    """The library goes along with the code, and only where it is played. It takes a second to load: before the clock starts."""

    name = "limiter-limits"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._module: Any = importlib.import_module("applications.library_limiter")

    def limiter(self, actor: Actor) -> Any:
        return self._module.LibraryLimiter(actor.client, LIMIT, int(WINDOW_SECONDS), self.stage.prefix)


class _DyingClient:
    """A client whose process now and then dies between INCR and EXPIRE."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self.get, self.incr = actor.client.get, actor.client.incr

    def expire(self, key: str, seconds: int) -> None:
        self._actor.taken += 1
        if self._actor.taken % DIES_EVERY == 0:
            raise Crashed
        self._actor.client.expire(key, seconds)


class CarelessLimiterUse(LimiterUse):
    name = "limiter-careless"

    def limiter(self, actor: Actor) -> Any:
        return CarelessLimiter(_DyingClient(actor), LIMIT, WINDOW_SECONDS, self.stage.prefix)


LIMITERS: tuple[type[Use], ...] = (FixedUse, SlidingUse, BucketUse, LibraryUse, CarelessLimiterUse)
