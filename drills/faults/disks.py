"""Disks of the drill's own: a size-bounded ext4 that lies under a node's data volume while the drill runs.

ext4 can be told to stop as if the power were cut: what was not synced is dropped, and the next mount replays the journal. So a
drill puts an image (in a volume of its own, labelled) under each data node of the shards that it aims at, one node after the
other, before there is any load; the node keeps its container and its volume. `drills.faults.disk_agent` does it on the
engine's machine, in a helper container that may mount, and says how it survives being killed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from docker.errors import APIError, NotFound

from drills.faults.base import HELPER_IMAGE, LABEL, PART, Engine, FaultFailed
from drills.faults.process import ensure_running
from drills.targets import Roles
from operations.containers import run_script
from operations.errors import InvalidInput, ToolkitError, Undetermined
from operations.inventory import NodeEntry

AGENT = Path(__file__).with_name("disk_agent.py")
NODE = "redis-topologies.drill.node"
DATA = "/data"
CAPABILITIES = (
    "SYS_ADMIN",  # mounts, loop devices
    "SYS_PTRACE", "SYS_CHROOT",  # the engine's mount namespace
    "KILL", "CHOWN", "FOWNER", "FSETID", "DAC_OVERRIDE", "DAC_READ_SEARCH",
)  # fmt: skip
DEVICES = ("b 7:* rw", "c 10:237 rw")
"""Loop devices and their control; no other device of the machine."""
OPEN = ("apparmor=unconfined",)
"""Docker's own AppArmor profile forbids mounts whatever the capabilities."""
IMPOSSIBLE = 3

Tell = Callable[[str], None]


class Helper:
    """A container with just the privileges it needs on the engine's machine. It holds no volume, so it keeps no mount alive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        stack = engine.inventory.stack
        self._name = f"redis-{stack}-drill-disk"
        self._code = AGENT.read_text(encoding="utf-8")
        self.close()
        try:
            self._container: Any = engine.client.containers.run(
                HELPER_IMAGE, ["sleep", "infinity"], name=self._name, detach=True, init=True, auto_remove=True,
                cap_drop=["ALL"], cap_add=list(CAPABILITIES), device_cgroup_rules=list(DEVICES), security_opt=list(OPEN),
                pid_mode="host", network_mode="none", labels={LABEL: stack, PART: "disk"}, log_config={"Type": "none"},
                mem_limit="512m",
            )  # fmt: skip
        except APIError as error:
            self.close()
            raise Undetermined(
                f"not run: this needs a helper container that may mount, which the engine refuses: {error.explanation or error}"
            ) from None

    def ask(self, command: str, **told: Any) -> dict[str, Any]:
        """Run a command of the agent. Raises Undetermined when this machine cannot do it, FaultFailed when it went wrong."""
        place = f"/tmp/{uuid4().hex}"  # noqa: S108 - in the helper, which nobody else uses
        try:
            code, said = self._container.exec_run(["python3", "-c", self._code, command, json.dumps(told), place])
            out = run_script(self._container, f"cat {place}")[1]
        except (APIError, NotFound) as error:
            raise FaultFailed(f"the helper container {self._name} is gone: {error}") from None
        try:
            answer: dict[str, Any] = json.loads(out)
        except ValueError:
            raise FaultFailed(
                f"{command} of the drill's disk gave no answer, status {code}: {said.decode(errors='replace')}"
            ) from None
        if code == IMPOSSIBLE:
            raise Undetermined(f"not run: {answer['error']}")
        if code != 0:
            raise FaultFailed(f"{command} of the drill's disk failed: {answer.get('error', '')}".rstrip())
        return answer

    def close(self) -> None:
        try:
            self._engine.client.containers.get(self._name).remove(force=True)
        except (APIError, NotFound):
            return


@dataclass(frozen=True)
class Disk:
    """Where the drill's disk of a node is: folders as the engine's machine names them."""

    node: NodeEntry
    volume: str
    data: str
    image: str

    @property
    def told(self) -> dict[str, str]:
        return {"data": self.data, "image": self.image}


def disk_volume(node: NodeEntry) -> str:
    """The name of the volume that holds the image."""
    return f"{node.container}-drill-disk"


def ground(word: str, roles: Roles, targets: Sequence[NodeEntry]) -> tuple[str, tuple[NodeEntry, ...]]:
    """Which nodes get a disk, and the word for the target from then on.

    Putting a disk under a node changes roles, so every data node of the shards that were chosen gets one, the primary last, and
    the target is looked up again afterwards, in the same shard.
    """
    shards = {node.shard for node in targets if not node.is_sentinel}
    primaries = set(roles.primaries.values())
    nodes = sorted((n for n in roles.inventory.data_nodes if n.shard in shards), key=lambda n: (n.shard, n.name in primaries))
    if word.strip() in ("primary", "replica"):
        word = f"{word.strip()} of shard {targets[0].shard}"
    return word, tuple(nodes)


class Disks:
    """The drill's disks under some nodes. `attach` before the load, `detach` after it, on every way out."""

    def __init__(self, engine: Engine, nodes: Sequence[NodeEntry], megabytes: int, tell: Tell) -> None:
        self._engine = engine
        self._nodes = tuple(nodes)
        self._megabytes = megabytes
        self._tell = tell
        self._disks: dict[str, Disk] = {}
        self._touched: set[str] = set()
        self.helper = Helper(engine)

    def of(self, node: NodeEntry) -> Disk:
        """Raises FaultFailed for a node without a disk of the drill."""
        if node.name not in self._disks:
            raise FaultFailed(f"{node.name} has no disk of the drill's own")
        return self._disks[node.name]

    def has(self, node: NodeEntry) -> bool:
        return node.name in self._disks

    def attach(self, steady: Callable[[], None]) -> None:
        """Put a disk under every node; `steady` waits for the stack after each. Raises Undetermined before any node was
        touched when this machine cannot do it."""
        for node in self._nodes:
            self._disks[node.name] = disk = self._make(node)
            self.helper.ask("make", **disk.told, megabytes=self._megabytes)
        for node in self._nodes:
            disk = self._disks[node.name]
            self._tell(f"  a disk of the drill's own goes under {node.name}")
            self._touched.add(node.name)
            _stop(self._engine, node)
            device = self.helper.ask("attach", **disk.told)["device"]
            ensure_running(self._engine, node)
            self._require_seen(node, int(device))
            steady()

    def _make(self, node: NodeEntry) -> Disk:
        engine, name, stack = self._engine, disk_volume(node), self._engine.inventory.stack
        if left_disks(engine, name):
            raise InvalidInput(f"volume {name} was left by an earlier drill; run `scripts/drill.py heal --stack {stack}` first")
        mount = next((m for m in engine.container(node).attrs["Mounts"] if m["Destination"] == DATA), None)
        if mount is None or mount.get("Type") != "volume" or mount.get("Driver") != "local":
            raise Undetermined(f"not run: {DATA} of {node.container} is no local volume, so no disk can be put under it")
        volume = engine.client.volumes.create(name, labels={LABEL: stack, PART: "disk", NODE: node.name})
        return Disk(node, name, str(mount["Source"]), str(volume.attrs["Mountpoint"]))

    def _require_seen(self, node: NodeEntry, device: int) -> None:
        """That the container really got the drill's disk: the engine may live in a mount namespace that was not found."""
        seen = self._engine.run(node, f"stat -c %d {DATA}")
        if seen != str(device):
            raise Undetermined(f"not run: {node.container} does not see the drill's disk (device {seen} instead of {device})")

    def detach(self) -> None:
        """Give every node its own folder back, with what the disk holds now, and remove the disks. Raises FaultFailed."""
        problems = []
        for node in self._nodes:
            if node.name in self._disks:
                try:
                    if node.name in self._touched:
                        _undo(self._engine, self.helper, self._disks[node.name])
                    else:
                        _remove(self._engine, self._disks[node.name])
                    del self._disks[node.name]
                except ToolkitError as error:
                    problems.append(f"{node.name}: {error}")
        self.helper.close()
        if problems:
            raise FaultFailed("; ".join(problems))


def _stop(engine: Engine, node: NodeEntry) -> None:
    try:
        container = engine.container(node)
        if container.attrs["State"]["Paused"]:
            container.unpause()
        container.stop()
    except APIError as error:
        raise FaultFailed(f"{node.container} cannot be stopped: {error.explanation or error}") from None


def _undo(engine: Engine, helper: Helper, disk: Disk) -> str:
    """Stop the node, give it its own folder back, start it. May be repeated after SIGKILL at any moment."""
    _stop(engine, disk.node)
    answer = helper.ask("detach", **disk.told)
    _remove(engine, disk)
    ensure_running(engine, disk.node)
    how = {"drop": "it had not been used", "put back": "it had not been used yet", "copy": "its content is back in the volume",
           "exchange": "its content, copied before, is back in the volume"}[answer["done"]]  # fmt: skip
    return f"the drill's disk under {disk.node.name}: removed, {how}"


def _remove(engine: Engine, disk: Disk) -> None:
    try:
        engine.client.volumes.get(disk.volume).remove()
    except NotFound:
        return
    except APIError as error:
        raise FaultFailed(f"volume {disk.volume} cannot be removed: {error.explanation or error}") from None


def left_disks(engine: Engine, name: str | None = None) -> list[Any]:
    """Volumes with disks that drills made beside this stack."""
    found = engine.client.volumes.list(filters={"label": [f"{LABEL}={engine.inventory.stack}", f"{PART}=disk"]})
    return [volume for volume in found if name is None or volume.name == name]


def undo_all(engine: Engine) -> list[str]:
    """Undo what a drill that was killed left; what was done, in sentences. Raises FaultFailed."""
    left = left_disks(engine)
    if not left:
        return []
    names: Mapping[str, NodeEntry] = {node.name: node for node in engine.inventory.data_nodes}
    helper, done = Helper(engine), []
    try:
        for volume in left:
            node = names.get(volume.attrs["Labels"].get(NODE, ""))
            if node is None:
                raise FaultFailed(f"volume {volume.name} belongs to no node of this stack; remove it with `docker volume rm`")
            source = next((m["Source"] for m in engine.container(node).attrs["Mounts"] if m["Destination"] == DATA), None)
            if source is None:
                raise FaultFailed(f"{node.container} has no volume at {DATA}")
            done.append(_undo(engine, helper, Disk(node, str(volume.name), str(source), str(volume.attrs["Mountpoint"]))))
    finally:
        helper.close()
    return done
