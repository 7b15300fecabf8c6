"""redis-py clients as an application makes them: one of its own per thread, explicit time-outs, retries as declared."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from drills.workload.settings import Settings
from operations.cluster_client import MappedCluster, trouble

Client = Any
"""redis.Redis or redis.cluster.RedisCluster; neither has useful type hints for raw commands."""

_ClusterNode: Any = ClusterNode


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "username": settings.username,
        "password": settings.password,
        "socket_connect_timeout": settings.connect_timeout,
        "socket_timeout": settings.request_timeout,
        "retry": Retry(NoBackoff(), settings.retries),
    }


def reachable(settings: Settings, host: str, port: int) -> tuple[str, int]:
    """Where this process reaches what is announced as `host:port`."""
    return settings.remap.get(f"{host}:{port}", (host, port))


class _MappedSentinel(Sentinel):
    settings: Settings

    def discover_master(self, service_name: str) -> tuple[str, int]:
        host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        return reachable(self.settings, host, port)


def connect(settings: Settings, **more: Any) -> Client:
    """A client of the topology, made with `more` arguments of redis-py; raises redis.RedisError when nobody answers."""
    options = {**_options(settings), **more}
    if settings.way == "cluster":
        try:
            return MappedCluster(
                startup_nodes=[_ClusterNode(target.host, target.port) for target in settings.targets],
                require_full_coverage=False,
                address_remap=(lambda where: reachable(settings, *where)) if settings.remap else None,
                **options,
            )
        except RedisClusterException as error:
            raise trouble(error) or error from None
    if settings.way == "sentinel":
        asking = {**_options(settings), "decode_responses": True}
        sentinel: Any = _MappedSentinel(list(settings.sentinels), sentinel_kwargs=asking, **_options(settings))  # type: ignore[no-untyped-call]
        sentinel.settings = settings
        return sentinel.master_for(settings.service, **options)
    return DirectClient(settings)


class _ByRole(Sentinel):
    """Where there are no sentinels the nodes themselves are asked who is primary, whenever a connection is opened."""

    settings: Settings

    def discover_master(self, _service_name: str) -> tuple[str, int]:
        make: Client = redis.Redis
        for target in self.settings.targets:
            client = make(host=target.host, port=target.port, **_options(self.settings))
            try:
                if client.execute_command("ROLE")[0] in (b"master", "master"):
                    return target.host, target.port
            except (redis.ConnectionError, redis.TimeoutError):  # the second is no ConnectionError: a node that hangs
                continue
            finally:
                client.close()
        raise MasterNotFoundError("no primary answers")


def application(settings: Settings, **more: Any) -> Client:
    """A client with the whole interface of redis-py, which finds the primary again after an error, made with `more` arguments of
    redis-py. Raises redis.RedisError when nobody answers."""
    if settings.way != "direct":
        return connect(settings, **more)
    nodes: Any = _ByRole([])  # type: ignore[no-untyped-call]
    nodes.settings = settings
    return nodes.master_for("primary", **{**_options(settings), **more})


class DirectClient:
    """A client of single nodes without anybody to ask: it stays with the node that accepts writes, and after an error looks for
    another that says it is primary. That is what an application on plain replication has to do by itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        make: Client = redis.Redis
        self._clients: list[Client] = [
            make(host=target.host, port=target.port, **_options(settings)) for target in settings.targets
        ]
        self._current = 0
        self._look()

    def _look(self) -> None:
        for number, client in enumerate(self._clients):
            try:
                answer: Any = client.execute_command("ROLE")
            except redis.RedisError:
                continue
            if answer[0] in (b"master", "master"):
                self._current = number
                return

    def execute_command(self, *args: Any, **_options: Any) -> Any:
        try:
            return self._clients[self._current].execute_command(*args)
        except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError):
            if len(self._clients) > 1:
                self._look()
            raise

    def close(self) -> None:
        for client in self._clients:
            client.close()
