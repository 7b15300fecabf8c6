"""Any node tells which node serves which slots, and corrects a client that asks the wrong one."""

from functools import cache

from common import no_retry, reachable, settings, side
from redis.cluster import ClusterNode, RedisCluster


@cache  # connected at the first call, so that a start during a failover is ridden out, too
def client() -> RedisCluster:
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in side["startup_nodes"]],
        address_remap=lambda address: reachable(*address),
        require_full_coverage=False,  # while one shard fails over, the others go on
        retry=no_retry,
        **settings,
    )
