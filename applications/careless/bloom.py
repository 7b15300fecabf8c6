"""Added once, when it is there already, and never again: what fails at that moment, or is forgotten, is denied for ever."""

import contextlib
from collections.abc import Iterable

import redis

from applications.bloom import Bloom


class CarelessBloom(Bloom):
    """The calls of `applications.bloom.Bloom`."""

    def add(self, member: str) -> None:
        with contextlib.suppress(redis.RedisError):  # it is only a filter
            super().add(member)

    def rebuild(self, members: Iterable[str]) -> None:
        """Nobody does that."""
