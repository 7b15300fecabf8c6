"""redis-py's client of a cluster, made to follow every redirection and to fail as other clients do; it needs nothing but
redis-py."""

from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, SlotNotCoveredError

TROUBLES = ("cannot be connected", "Cluster mode is not enabled")
"""In what redis-py says when no node of a cluster answers, or one answers with any error when it is asked for the slots."""


def trouble(error: RedisClusterException) -> redis.ConnectionError | None:
    """The error that other clients of redis-py raise when nobody answers; None for what is wrong with the request itself.

    redis-py (8.1) raises something that is no RedisError when no node answers, or none serves the slot: whoever goes on without
    Redis after a RedisError would stop instead.
    """
    if isinstance(error, SlotNotCoveredError) or any(words in str(error) for words in TROUBLES):
        return redis.ConnectionError(str(error))
    return None


class MappedCluster(RedisCluster):
    """redis-py's cluster client, able to follow an ASK while slots move key by key, whose troubles are RedisErrors.

    redis-py looks the address in an ASK up as it is: it neither maps it, as it does for the slot map and for MOVED, nor knows a
    shard that owns no slot yet, as every new shard does at first. In both cases it would end with an AttributeError.
    """

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        known = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if known is not None or not node_name:
            return known
        address, _, announced = node_name.rpartition(":")
        where = self.nodes_manager.remap_host_port(address, int(announced))
        cluster_node: Any = ClusterNode
        known = super().get_node(*where)  # type: ignore[no-untyped-call]
        return known or self.nodes_manager.nodes_cache.setdefault(f"{where[0]}:{where[1]}", cluster_node(*where, "primary"))

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]
        except RedisClusterException as error:
            raise trouble(error) or error from None
