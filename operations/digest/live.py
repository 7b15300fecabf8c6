"""The digest of a running stack, shard by shard, from its primaries or from replicas of them."""

import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

from operations.connect import Fleet
from operations.digest.definition import Digest, boundaries_from
from operations.digest.reader import Reader, Watch
from operations.errors import Undetermined, Unreachable
from operations.inventory import Access, NodeEntry
from operations.observe import Observation, look
from operations.reshard.live import live_of, require_whole
from operations.reshard.wire import LOOPBACK, KeyLink

Source = Literal["primary", "replica"]


@dataclass(frozen=True)
class StackDigest:
    """Digests by the node that was read. `libraries_differ`: not all shards have the same function libraries."""

    stack: str
    nodes: Mapping[str, Digest]
    seconds: float
    longest_seconds: float
    """The longest call of all, seen from here."""
    longest_processor_seconds: float | None = None
    """The most processor time of a server that a call took; None where an engine cannot tell."""

    @property
    def total(self) -> Digest:
        return reduce(add, self.nodes.values())

    @property
    def libraries_differ(self) -> bool:
        return len({digest.libraries for digest in self.nodes.values()}) > 1


def digest_stack(
    access: Access,
    boundaries_ms: tuple[int, ...] | None = None,
    source: Source = "primary",
    watch: Watch = lambda _: None,
    only: Collection[str] | None = None,
    gently: bool = True,
) -> StackDigest:
    """Read every shard, each in small calls; writes nothing. `gently` leaves the clients of the stack room: see `width`.

    `boundaries_ms` are those of a digest that this one is compared with; `only` names the nodes to read, of those that would be.
    Raises Unreachable when a shard has no node to read, or
    one fails meanwhile; CheckFailed when two primaries claim a slot; Undetermined when keys come and go all the time.
    """
    began = time.monotonic()
    with Fleet(access, access.inventory.data_nodes) as fleet:
        names = [name for name in nodes_to_read(look(fleet, access.inventory), access, source) if only is None or name in only]
    boundaries = boundaries_ms or boundaries_from(time.time_ns() // 1_000_000)
    lock, readers, stop = threading.Lock(), list[Reader](), threading.Event()

    def told(keys: int) -> None:
        if stop.is_set():
            raise Undetermined("the digest of another shard failed")
        with lock:
            watch(keys)

    def read(name: str) -> Digest:
        link = links[name]
        link.ensure_ours()
        if source == "replica" and access.inventory.topology == "cluster":
            link.ask("READONLY")
        reader = Reader(link.ask, boundaries, watch=told)
        readers.append(reader)
        return reader.read()

    links = {name: KeyLink(access, access.inventory.node(name)) for name in names}
    try:
        at_once = width([access.inventory.node(name) for name in names], os.cpu_count() or 1) if gently else len(names)
        with ThreadPoolExecutor(at_once, thread_name_prefix="digest") as pool:
            try:
                digests = dict(zip(names, pool.map(read, names), strict=True))
            except BaseException:
                stop.set()  # the other shards end at their next call
                raise
    finally:
        for link in links.values():
            link.close()
    longest = max((reader.longest_seconds for reader in readers), default=0.0)
    worked = [seconds for reader in readers if (seconds := reader.longest_processor_seconds) is not None]
    return StackDigest(access.inventory.stack, digests, time.monotonic() - began, longest, max(worked, default=None))


def width(nodes: Sequence[NodeEntry], processors: int) -> int:
    """How many nodes to read at the same time. Pure.

    All of them, but of a stack on this machine only as many as leave one of its processors: three servers that hash on two
    processors keep each other waiting in the middle of a call, and their clients with them (seen: 11 ms for a call of 1 ms).
    """
    if any(node.host != LOOPBACK for node in nodes):
        return len(nodes)
    return max(1, min(len(nodes), processors - 1))


def nodes_to_read(observation: Observation, access: Access, source: Source) -> list[str]:
    """One node of each shard, in the order of the inventory. Pure. A primary without slots holds nothing and is left out."""
    inventory = access.inventory
    if inventory.topology == "cluster":
        live = live_of(observation, inventory)
        require_whole(live)
        owners = set(live.owners.values())
        primaries = [name for name in live.primaries if name in owners]
        replicas = {name: live.replicas_of(name) for name in primaries}
    else:
        primaries = [node.name for node in observation.nodes if node.is_primary and not node.is_unplaced]
        if len(primaries) != 1:
            raise Unreachable(
                f"stack {inventory.stack} has {len(primaries)} primaries that answer ({', '.join(primaries) or 'none'}); "
                "a digest needs exactly one; look with scripts/status.py"
            )
        replicas = {primaries[0]: tuple(n.name for n in observation.nodes if n.info and not n.is_primary)}
    if source == "primary":
        return primaries
    chosen = []
    for primary in primaries:
        links = ((name, observation.of(name).replication) for name in replicas[primary])
        online = [(link.offset, name) for name, link in links if link and link.link_up]
        if not online:
            raise Unreachable(f"{primary} has no replica in sync to read; read the primary instead")
        chosen.append(max(online)[1])
    return chosen
