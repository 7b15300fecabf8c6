"""Cluster servers that turn in an endless loop, and starting them again.

Redis 8.0 has a fault in its bus: a message that its sender sent before it was promoted, and that arrives after the demoted
primary's news, makes both of them replicas of each other in the eyes of the receiver, which then looks for their primary for ever
(docs/decisions/0170; the same as valkey issues 609 and 1015). Its process works at full speed, answers nobody and never ends.
Starting it again is all that helps, and takes nothing away, since only a node is touched that the cluster holds for dead.
"""

import time
from collections.abc import Callable

from operations.containers import Containers
from operations.errors import ToolkitError
from operations.inventory import Inventory
from operations.observe import Observation

Report = Callable[[str], None]

SILENT_SECONDS = 5.0
"""Silence before a node's process is looked at; the cluster has given it up before that begins to count."""
BUSY_SHARE = 0.1
"""Of one processor. A server in a loop takes all that it gets; one that is frozen, or waits for a disk, next to none."""


def given_up(seen: Observation, inventory: Inventory) -> tuple[str, ...]:
    """Silent nodes of a cluster that every primary which answers holds for failed, and for the owner of no slot. Pure.

    None of them serves anybody: a replica, or a primary whose replica took over.
    """
    primaries = [node.cluster for node in seen.nodes if node.cluster and node.is_primary and node.cluster.slots]
    if not primaries:
        return ()
    found = []
    for node in inventory.data_nodes:
        if seen.of(node.name).reachable or seen.of(node.name).foreign:
            continue
        lines = [[line for line in view.others if (line.address, line.port) == (node.address, node.port)] for view in primaries]
        if all(any(line.is_failed for line in known) and not any(line.slots for line in known) for known in lines):
            found.append(node.name)
    return tuple(found)


class Revival:
    """Watches the looks of a loop that waits for a stack, and starts servers again that hang."""

    def __init__(self, inventory: Inventory, report: Report, now: Callable[[], float] = time.monotonic) -> None:
        self._inventory, self._report, self._now = inventory, report, now
        self._since: dict[str, float] = {}
        self._revived: set[str] = set()

    def consider(self, seen: Observation, containers: Callable[[Inventory], Containers] = Containers) -> None:
        """Start again what has been silent for long enough and hangs; the wait goes on either way.

        Each node once in a wait: one that is silent again works at something that takes its time, and would never end it.
        """
        now = self._now()
        self._since = {name: self._since.get(name, now) for name in given_up(seen, self._inventory)}
        due = [n for n, since in self._since.items() if now - since >= SILENT_SECONDS and n not in self._revived]
        if not due:
            return
        try:
            engine = containers(self._inventory)
            for name in due:
                self._since[name] = now
                if hangs(engine, name):
                    engine.restart(self._inventory.node(name), patience_seconds=0)
                    self._revived.add(name)
                    self._report(
                        f"{name} hung: it answered nobody while its process worked, and the cluster had given it up; it is "
                        "started again"
                    )
        except ToolkitError as error:
            self._report(f"{', '.join(due)}: whether the process hangs cannot be told: {error}")


def hangs(containers: Containers, name: str) -> bool:
    """Whether the processes of a node that answers nobody work all the same. Takes a second or two."""
    share = containers.processor_share(containers.inventory.node(name))
    return share is not None and share >= BUSY_SHARE
