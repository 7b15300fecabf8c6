"""redis-py's client of a cluster, made to follow every redirection; it needs nothing but redis-py."""

from typing import Any

from redis.cluster import ClusterNode, RedisCluster


class MappedCluster(RedisCluster):
    """redis-py's cluster client, able to follow an ASK while slots move key by key.

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
