"""What the lifecycle tests do to servers of their own stacks, and the proof that it happened."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from operations.connect import Fleet, Link, Refused
from operations.errors import ToolkitError, Unreachable
from operations.hung import given_up
from operations.inventory import Access, NodeEntry
from operations.observe import observe
from operations.parse import role
from tests.live.harness import Stack
from tests.waiting import wait_until

SERVERS = ("redis-server", "valkey-server")


def _children() -> dict[int, list[int]]:
    """Process ids by parent, over the whole machine."""
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            tree.setdefault(int(fields[1]), []).append(int(entry.name))
    return tree


def server_process(stack: Stack, node: str, tree: dict[int, list[int]] | None = None) -> int:
    """The process id, on this machine, of the server in a node's container; certainly in that container."""
    container = stack.container(node)
    below = tree or _children()
    waiting = [int(container.attrs["State"]["Pid"])]
    while waiting:
        pid = waiting.pop()
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue  # the scripts around a server start commands that end at any moment
        if name in SERVERS:
            assert str(container.id) in Path(f"/proc/{pid}/cgroup").read_text(), f"process {pid} is not in {container.name}"
            return pid
        waiting += below.get(pid, [])
    raise AssertionError(f"no server runs in {container.name}")


def stop_together(stack: Stack, nodes: Iterable[str]) -> float:
    """`docker stop` of all nodes at the same moment; returns the seconds until the last one has ended."""
    containers = [stack.container(name) for name in nodes]
    began = time.monotonic()
    with ThreadPoolExecutor(len(containers)) as pool:
        list(pool.map(lambda container: container.stop(), containers))
    return time.monotonic() - began


def kill_servers(stack: Stack, nodes: Iterable[NodeEntry]) -> float:
    """kill -9 of the servers of `nodes`, one right after the other; returns the seconds between the first and the last."""
    tree = _children()
    victims = [server_process(stack, node.name, tree) for node in nodes]
    began = time.monotonic()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    took = time.monotonic() - began

    def alive() -> str:
        return ", ".join(str(pid) for pid in victims if Path(f"/proc/{pid}").exists() and not _is_zombie(pid))

    wait_until("the end of the killed servers", alive, 5)
    return took


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def roles(access: Access) -> dict[str, str]:
    """Who is primary and who is replica now, by node, as each node says itself."""
    found: dict[str, str] = {}
    for node in observe(access).nodes:
        if node.replication is not None:
            found[node.name] = node.replication.role
    return found


def role_of(link: Link) -> str:
    """What a server says it is now, or "silent"."""
    try:
        return role(link.ask("ROLE")).role
    except (Refused, Unreachable):
        return "silent"


def switch(stack: Stack, access: Access, seconds: float = 30) -> tuple[str, str]:
    """Let a replica of shard 1 take over, as the topology does it; returns (old primary, new primary), proven by ROLE."""
    inventory, before = access.inventory, roles(access)
    shard = [node for node in inventory.data_nodes if node.shard == inventory.shards[0]]
    old = next(node for node in shard if before[node.name] == "primary")
    replicas = [node for node in shard if before[node.name] == "replica"]
    if inventory.topology == "cluster":
        assert Link(access, replicas[0]).ask("CLUSTER", "FAILOVER") == "OK"
    elif inventory.sentinel:
        assert Link(access, inventory.sentinels[0]).ask("SENTINEL", "FAILOVER", inventory.sentinel.service) == "OK"
    else:
        # Nothing fails over by itself here: the start script hands over when its node is stopped.
        stack.container(old.name).restart(timeout=30)

    def missing() -> str:
        now = roles(access)
        promoted = [node.name for node in replicas if now.get(node.name) == "primary"]
        return "" if promoted and now.get(old.name) == "replica" else f"roles are {now}"

    wait_until(f"a takeover from {old.name}", missing, seconds)
    now = roles(access)
    return old.name, next(node.name for node in replicas if now[node.name] == "primary")


def answering(access: Access) -> set[str]:
    """Nodes that answer now."""
    try:
        return {node.name for node in observe(access).answering}
    except ToolkitError:
        return set()


def hang(access: Access, node: str) -> None:
    """Keep a cluster's server busy with a script that never ends, so that it answers nobody; back once the others gave it up."""
    with Fleet(access, (access.inventory.node(node),)) as fleet:
        fleet.links[node].ask("CONFIG", "SET", "busy-reply-threshold", 0)
        with contextlib.suppress(Unreachable):
            fleet.links[node].ask("EVAL", "while true do end", 0)

    def missing() -> str:
        found = given_up(observe(access), access.inventory)
        return "" if found == (node,) else f"given up: {found}"

    wait_until(f"the cluster has given {node} up", missing, 20)
