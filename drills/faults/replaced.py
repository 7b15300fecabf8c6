"""A node that is gone with its container and its data: only provisioning brings it back."""

import contextlib
from collections.abc import Sequence
from typing import ClassVar

from docker.errors import APIError, NotFound
from docker.models.containers import Container

from drills.bounds import FaultKind
from drills.faults.base import Engine, Fault, FaultFailed
from drills.faults.process import ensure_running
from operations.apply import apply
from operations.backup.launch import agent_container
from operations.backup.rebuild import lost_shards
from operations.containers import absent
from operations.inventory import Inventory, NodeEntry


def make_anew(engine: Engine, nodes: Sequence[NodeEntry]) -> str | None:
    """Let `pulumi up --refresh` make the nodes anew whose containers are gone; what was done, None when all are there.

    Raises ToolkitError when that fails, FaultFailed when a container is missing all the same.
    """
    gone = absent(engine.client, nodes)
    if not gone:
        return None
    names = ", ".join(node.name for node in gone)
    told = apply(engine.inventory.stack, refresh=True)
    still = absent(engine.client, gone)
    if still:
        raise FaultFailed(f"`pulumi up --refresh` ended well ({told}), and {', '.join(n.name for n in still)} is still missing")
    return f"`pulumi up --refresh` made {names} anew ({told}){came_back_empty(engine.inventory, gone)}"


def came_back_empty(inventory: Inventory, gone: Sequence[NodeEntry]) -> str:
    """What to do when these nodes were all copies of a shard's data; nothing when they were not. Pure."""
    shards = ", ".join(str(node.shard) for node in lost_shards(inventory, gone))
    if not shards:
        return ""
    return (
        f"; they were all copies of shard {shards}, which is empty now: `scripts/restore.py --stack {inventory.stack} --replace`"
    )


def agents(engine: Engine) -> list[Container]:
    """The container of a stack's backup agent, running or not, if there is one."""
    name = f"^/{agent_container(engine.inventory.stack)}$"
    found: list[Container] = engine.client.containers.list(all=True, filters={"name": name})
    return found


def remove_agent(engine: Engine) -> None:
    """Remove the container of a stack's backup agent, if there is one; `pulumi up --refresh` makes it anew."""
    for container in agents(engine):
        try:
            container.remove(force=True)
        except APIError as error:
            raise FaultFailed(f"{container.name} cannot be removed: {error.explanation or error}") from None


class Remove(Fault):
    """Container and data volume are removed, like a machine that never comes back; healed by `pulumi up --refresh`.

    A backup agent that archives is made anew with them.
    """

    name: ClassVar[str] = "remove"
    redundancy_counts_healing: ClassVar[bool] = True

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "crash") -> None:
        super().__init__(engine, targets, kind)
        self._volumes: dict[str, str] = {}

    def prepare(self) -> None:
        for node in self.targets:
            mounts = self.engine.container(node).attrs["Mounts"]
            volume = next((str(mount["Name"]) for mount in mounts if mount.get("Destination") == "/data"), None)
            if volume is None:
                raise FaultFailed(f"{node.container} has no data volume that could be removed")
            self._volumes[node.name] = volume

    def inject(self) -> str:
        self.engine.each(self.targets, self._remove_container)
        if self.engine.inventory.spec.get("backup", {}).get("point_in_time"):
            remove_agent(self.engine)  # it reads the volumes, and Docker removes none that is in use
        self.engine.each(self.targets, self._remove_volume)
        return f"{', '.join(self.names)} removed, container and data volume"

    def _remove_container(self, node: NodeEntry) -> None:
        try:
            self.engine.container(node).remove(force=True)
        except APIError as error:
            raise FaultFailed(f"{node.container} cannot be removed: {error.explanation or error}") from None

    def _remove_volume(self, node: NodeEntry) -> None:
        try:
            self.engine.client.volumes.get(self._volumes[node.name]).remove(force=True)
        except APIError as error:
            raise FaultFailed(f"the volume of {node.container} cannot be removed: {error.explanation or error}") from None

    def evidence(self) -> str:
        left = [node.container for node in self.targets if node not in absent(self.engine.client, self.targets)]
        for volume in self._volumes.values():
            with contextlib.suppress(NotFound):
                left.append(str(self.engine.client.volumes.get(volume).name))
        if left:
            raise FaultFailed(f"{', '.join(left)} is still there")
        volumes = ", ".join(self._volumes.values())
        return f"Docker knows neither {', '.join(node.container for node in self.targets)} nor {volumes}"

    def heal(self) -> str:
        told = make_anew(self.engine, self.targets)
        self.engine.each(self.targets, lambda node: ensure_running(self.engine, node))
        return told or "all containers are there"
