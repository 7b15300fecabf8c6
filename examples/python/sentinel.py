"""The sentinels are asked for the primary whenever a connection is opened."""

from typing import Any

import redis
from common import no_retry, reachable, settings, side
from redis.sentinel import Sentinel


class MappedSentinel(Sentinel):
    """The sentinels tell addresses inside the network; from outside these have to be mapped to published ports."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        return reachable(*super().discover_master(service_name))

    def discover_slaves(self, service_name: str) -> list[tuple[str, int]]:
        return [reachable(*address) for address in super().discover_slaves(service_name)]


options: dict[str, Any] = {**settings, "retry": no_retry}
sentinel = MappedSentinel([tuple(address) for address in side["sentinels"]], sentinel_kwargs=options, **options)
primary = sentinel.master_for(side["service"])


def client() -> redis.Redis:
    return primary
