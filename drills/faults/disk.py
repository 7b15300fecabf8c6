"""Faults of the disk: no power, or no room. They happen to a disk of the drill's own (`drills.faults.disks`)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import redis
from docker.errors import APIError

from drills.bounds import FaultKind
from drills.faults import disk_agent
from drills.faults.base import Engine, Fault, FaultFailed, wait_for
from drills.faults.disks import Disks
from drills.faults.process import ensure_running
from operations.connect import node_client
from operations.inventory import Access, NodeEntry

FEEL_SECONDS = 10.0
"""A server notices a full disk with its next write; with `everysec` that may be a second later."""
WRITE_SECONDS = 20.0


class PowerLoss(Fault):
    """The power of some nodes is cut, and comes back with `heal`. Sentinels among the targets have no disk: they are killed."""

    name: ClassVar[str] = "power-loss"

    def __init__(self, engine: Engine, disks: Disks, targets: Sequence[NodeEntry], kind: FaultKind = "power-loss") -> None:
        super().__init__(engine, targets, kind)
        self._disks = disks
        self._cut: dict[str, dict[str, Any]] = {}

    @property
    def _stored(self) -> list[NodeEntry]:
        return [node for node in self.targets if not node.is_sentinel]

    def inject(self) -> str:
        nodes = [{**self._disks.of(node).told, "pid": self.engine.state(node)["Pid"]} for node in self._stored]
        answer = self._disks.helper.ask("cut", nodes=nodes) if nodes else {}
        self._cut = {node.name: answer[self._disks.of(node).data] for node in self._stored}

        def kill(node: NodeEntry) -> None:
            try:
                self.engine.container(node).kill("SIGKILL")
            except APIError as error:
                raise FaultFailed(f"{node.container} cannot be killed: {error.explanation or error}") from None

        self.engine.each(self.targets, kill)
        return f"{', '.join(self.names)} frozen, disks stopped without a sync, then SIGKILL"

    def evidence(self) -> str:
        def down(node: NodeEntry) -> str | None:
            return None if self.engine.state(node)["Running"] else node.name

        found = []
        for node in self.targets:
            wait_for(f"the end of {node.name}", lambda node=node: down(node), 5.0)  # type: ignore[misc]
            if node.is_sentinel:
                found.append(f"{node.name} is down")
                continue
            if not self._cut[node.name]["dead"]:
                raise FaultFailed(f"the disk of {node.name} still takes writes")
            found.append(f"{node.name} is down, and its disk answers every write with an input/output error")
        return "; ".join(found)

    def heal(self) -> str:
        told = [line for line in self.engine.each(self.targets, self._power_on) if line]
        return "; ".join(told) or "all nodes have power"

    def _power_on(self, node: NodeEntry) -> str:
        before = self._cut.get(node.name)
        if before is not None:
            answer = self._disks.helper.ask("revive", **self._disks.of(node).told)
            if answer["revived"]:
                ensure_running(self.engine, node)
                return f"{node.name} has power again; {account(before['before'], answer['after'], bool(answer['replayed']))}"
        return f"{node.name} was started" if ensure_running(self.engine, node) else ""


def account(before: Mapping[str, int], after: Mapping[str, int], replayed: bool) -> str:
    """What a power cut did to the files of a node."""
    lost = disk_agent.dropped(dict(before), dict(after))
    journal = "the journal was replayed" if replayed else "the journal held nothing to replay"
    if not lost:
        return f"{journal}, no file is shorter than it was"
    files = ", ".join(f"{name.rpartition('/')[2]} {count:,} of {before[name]:,} bytes" for name, count in lost.items())
    return f"{journal}, dropped: {files}"


class FillDisk(Fault):
    """Every block of the drill's own disk is taken."""

    name: ClassVar[str] = "fill-disk"

    def __init__(
        self, engine: Engine, disks: Disks, access: Access, targets: Sequence[NodeEntry], kind: FaultKind = "disk"
    ) -> None:
        super().__init__(engine, [node for node in targets if not node.is_sentinel], kind)
        self._disks = disks
        self._access = access
        self._started: dict[str, str] = {}

    def inject(self) -> str:
        self._started = {node.name: self.engine.state(node)["StartedAt"] for node in self.targets}

        def fill(node: NodeEntry) -> str:
            answer = self._disks.helper.ask("fill", **self._disks.of(node).told)
            return f"{answer['taken'] >> 20} of {answer['size'] >> 20} MiB of {node.name}'s disk taken"

        return "; ".join(self.engine.each(self.targets, fill))

    def evidence(self) -> str:
        def felt(node: NodeEntry) -> str:
            told = wait_for(f"a write error at {node.name}", lambda: self._felt(node), FEEL_SECONDS)
            free = self._disks.helper.ask("space", **self._disks.of(node).told)["free"]
            return f"{told}; {free} bytes are free"

        return "; ".join(self.engine.each(self.targets, felt))

    def _felt(self, node: NodeEntry) -> str | None:
        """With `fsync: always` a server ends itself on a write error; else it refuses writes and says so."""
        state = self.engine.state(node)
        if not state["Running"] or state["Restarting"] or state["StartedAt"] != self._started[node.name]:
            return f"{node.name} ended itself"
        client = node_client(self._access, node, decode_responses=True)
        try:
            info: Any = client.info("persistence")
        except redis.RedisError as error:
            return f"{node.name} answers {error}" if "MISCONF" in str(error) else None
        finally:
            client.close()
        for field in ("aof_last_write_status", "rdb_last_bgsave_status"):
            if info.get(field) == "err":
                return f"{node.name} reports {field}:err"
        return None

    def _mend(self, node: NodeEntry) -> str:
        """A server that could write only part of a record cuts that part off, but in a log that it began since its start it goes
        on after it: a hole of zeros, on which the next start ends. So the log is written anew, as an operator should."""
        client = node_client(self._access, node, decode_responses=True)

        def told(field: str, wanted: str) -> str | None:
            try:
                info: Any = client.info("persistence")
            except redis.RedisError:
                return None
            return wanted if str(info.get(field)) == wanted else None

        try:
            wait_for(f"a log of {node.name} that is written again", lambda: told("aof_last_write_status", "ok"), WRITE_SECONDS)
            found = self._holes(node)
            if not found:
                return ""
            client.bgrewriteaof()
            wait_for(f"a log of {node.name} without holes", lambda: None if self._holes(node) else "whole", WRITE_SECONDS)
        except redis.RedisError as error:
            raise FaultFailed(f"the log of {node.name} cannot be looked after: {error}") from None
        finally:
            client.close()
        names = ", ".join(f"{count} zeros in {name}" for name, count in found.items())
        return f"; the server left a hole in its log ({names}) on which its next start would have ended: written anew"

    def _holes(self, node: NodeEntry) -> Mapping[str, int]:
        found: Mapping[str, int] = self._disks.helper.ask("holes", **self._disks.of(node).told)["holes"]
        return found

    def heal(self) -> str:
        def free(node: NodeEntry) -> str:
            answer = self._disks.helper.ask("empty", **self._disks.of(node).told)
            if answer["emptied"] and self.engine.state(node)["Restarting"]:
                _restart(self.engine, node)  # else Docker waits longer and longer before it tries again
            started = ensure_running(self.engine, node)
            if not answer["emptied"]:
                return ""
            text = f"{answer['free'] >> 20} MiB of {node.name}'s disk are free again" + (", node started" if started else "")
            return text + self._mend(node)

        return "; ".join(line for line in self.engine.each(self.targets, free) if line) or "nothing is full"


def _restart(engine: Engine, node: NodeEntry) -> None:
    try:
        engine.container(node).restart()
    except APIError as error:
        raise FaultFailed(f"{node.container} cannot be restarted: {error.explanation or error}") from None
