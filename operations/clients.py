"""The ready redis-py client of a topology, used from the host: nodes announce addresses inside their network, and these are
mapped to the published ports."""

from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException
from redis.sentinel import Sentinel

from operations.cluster_client import MappedCluster
from operations.connect import Fleet, Timeouts, endpoint, node_client
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Access, Inventory
from operations.parse import role

TopologyClient = redis.Redis | RedisCluster


def mapped(inventory: Inventory, address: str, port: int) -> tuple[str, int]:
    """Where this machine reaches the node that announces `address:port`; unknown addresses are left as they are."""
    node = inventory.at(address, port)
    return endpoint(node) if node else (address, port)


class MappedSentinel(Sentinel):
    """redis-py's Sentinel client, whose discovered addresses are mapped to where this machine reaches the nodes."""

    def __init__(self, access: Access, user: str = "app", timeouts: Timeouts | None = None, **options: Any) -> None:
        self._inventory = access.inventory
        limits = timeouts or Timeouts()
        common: dict[str, Any] = {
            "username": user,
            "password": access.credentials.password(user),
            "socket_connect_timeout": limits.connect_seconds,
            "socket_timeout": limits.command_seconds,
        }
        sentinels = [endpoint(node) for node in access.inventory.sentinels]
        details = {**common, "decode_responses": True}
        super().__init__(sentinels, sentinel_kwargs=details, **common, **options)  # type: ignore[no-untyped-call]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        address, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        return mapped(self._inventory, address, port)

    def discover_slaves(self, service_name: str) -> list[tuple[str, int]]:
        found = super().discover_slaves(service_name)  # type: ignore[no-untyped-call]
        return [mapped(self._inventory, address, port) for address, port in found]


def application_client(access: Access, user: str = "app", timeouts: Timeouts | None = None, **options: Any) -> TopologyClient:
    """A client that reads and writes the topology as an application does; `options` go to redis-py.

    Raises Unreachable when no node answers, CheckFailed when there is no primary or more than one (without Sentinel nobody
    decides between two).
    """
    inventory = access.inventory
    limits = timeouts or Timeouts()
    try:
        if inventory.topology == "cluster":
            cluster_node: Any = ClusterNode  # carries no type hints
            return MappedCluster(
                startup_nodes=[cluster_node(*endpoint(node)) for node in inventory.data_nodes],
                address_remap=lambda where: mapped(inventory, *where),
                username=user,
                password=access.credentials.password(user),
                require_full_coverage=False,
                socket_connect_timeout=limits.connect_seconds,
                socket_timeout=limits.command_seconds,
                **options,
            )
        if inventory.sentinel:
            sentinel: Any = MappedSentinel(access, user, timeouts, **options)
            client: redis.Redis = sentinel.master_for(inventory.sentinel.service)
            return client
        return node_client(access, inventory.node(primary_name(access, timeouts)), user, timeouts, **options)
    except (redis.RedisError, RedisClusterException) as error:
        raise Unreachable(f"stack {inventory.stack} does not serve clients: {error}") from None


def primary_name(access: Access, timeouts: Timeouts | None = None) -> str:
    """The name of the only node that says it is primary, asked with ROLE; for topologies without cluster."""
    inventory = access.inventory
    with Fleet(access, inventory.data_nodes, timeouts=timeouts) as fleet:
        answers = fleet.each(lambda link: role(link.ask("ROLE")))
    primaries = [name for name, answer in answers.items() if not isinstance(answer, Exception) and answer.role == "primary"]
    if len(primaries) == 1:
        return primaries[0]
    failures = [answer for answer in answers.values() if isinstance(answer, Exception)]
    if len(failures) == len(answers):
        raise Unreachable(f"no node of stack {inventory.stack} answers: {failures[0]}")
    if primaries:
        raise CheckFailed(
            f"stack {inventory.stack} has {len(primaries)} primaries: {', '.join(primaries)}; see scripts/status.py"
        )
    raise CheckFailed(f"stack {inventory.stack} has no primary that answers; see `scripts/status.py --stack {inventory.stack}`")
