"""A reader and writer that run while something else is measured, in their own process: how long do clients wait, and for what?

They reach nodes at the addresses that these announce, as applications in the stack's network do, without a proxy in between.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.cluster import ClusterNode, RedisCluster

from operations.inventory import Access

PAUSE_SECONDS = 0.001
KEYS = 500
REFRESH_EVERY = 1000
"""MOVED answers after which redis-py reads the whole slot map again. It closes all of its connections for that; its default of 5
makes that the longest wait of all while thousands of slots move, see docs/guide/reshard.md."""
Waits = list[tuple[float, float, bool]]
"""When a request began (seconds, monotonic clock), how long it took, and whether it was redirected."""


class _Client(RedisCluster):
    """redis-py's cluster client, which follows an ASK to a node that owns no slot yet, and says when it was redirected."""

    asked = 0

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        known = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if node_name:
            self.asked += 1
        if known is not None or not node_name:
            return known
        address, _, announced = node_name.rpartition(":")
        cluster_node: Any = ClusterNode
        return self.nodes_manager.nodes_cache.setdefault(node_name, cluster_node(address, int(announced), "primary"))


def _requests(access: Access, refresh_every: int, ready: Any, stop: Any, out: Any) -> None:
    cluster_node: Any = ClusterNode
    client: Any = _Client(
        startup_nodes=[cluster_node(node.address, node.port) for node in access.inventory.data_nodes],
        username="app",
        password=access.credentials.password("app"),
        socket_connect_timeout=2.0,
        socket_timeout=5.0,
        reinitialize_steps=refresh_every,
    )
    for number in range(KEYS):
        client.set(f"observer:{number}", number)
    ready.set()
    waits: Waits = []
    number = 0
    while not stop.is_set():
        number += 1
        key = f"observer:{number % KEYS}"
        seen = client.asked + client.reinitialize_counter
        began = time.perf_counter()
        if number % 2:
            client.set(key, number)
        else:
            client.get(key)
        waits.append((began, time.perf_counter() - began, client.asked + client.reinitialize_counter != seen))
        time.sleep(PAUSE_SECONDS)
    out.send(waits)


@contextmanager
def observed(access: Access, figures: dict[str, float], refresh_every: int = REFRESH_EVERY) -> Iterator[None]:
    """Adds p50, p99 and the longest wait of a client, in ms, to `figures`, and how many requests and redirections there were."""
    context = multiprocessing.get_context("spawn")
    stop, ready, (receive, send) = context.Event(), context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=_requests, args=(access, refresh_every, ready, stop, send), daemon=True)
    process.start()
    if not ready.wait(30):
        raise TimeoutError("the client that observes did not connect within 30 s")
    began = time.perf_counter()
    try:
        yield
    finally:
        stop.set()
        waits: Waits = receive.recv() if receive.poll(10) else []
        process.join(5)
        figures.update(summarised([wait for wait in waits if wait[0] >= began]))


def summarised(waits: Waits) -> dict[str, float]:
    """Figures of all requests together, and the longest wait of those that were not redirected."""
    took = sorted(seconds for _, seconds, _ in waits) or [float("nan")]
    straight = [seconds for _, seconds, redirected in waits if not redirected] or [float("nan")]
    return {
        "requests": len(waits),
        "redirected": len(waits) - len(straight),
        "p50_ms": _ms(took[len(took) // 2]),
        "p99_ms": _ms(took[max(0, int(len(took) * 0.99) - 1)]),
        "longest_ms": _ms(took[-1]),
        "longest_straight_ms": _ms(max(straight)),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
