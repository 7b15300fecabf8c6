"""A primary and its replicas, and nobody to ask which is which: the nodes themselves are asked, again after every error."""

import redis
from common import no_retry, settings, side

nodes = [redis.Redis(host=host, port=port, retry=no_retry, **settings) for host, port in side["nodes"]]


def client() -> redis.Redis:
    """The node that says it is primary; raises ConnectionError when none does."""
    for node in nodes:
        try:
            if node.execute_command("ROLE")[0] == "master":
                return node
        except (redis.ConnectionError, redis.TimeoutError):
            continue
    raise redis.ConnectionError("no node says that it is the primary")
