"""One node, at one address."""

import redis
from common import no_retry, settings, side

node = redis.Redis.from_url(side["url"], retry=no_retry, **settings)


def client() -> redis.Redis:
    return node
