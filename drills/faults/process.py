"""Faults of the server process and its container: killed, killed and held down, hung, paused, stopped."""

import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from docker.errors import APIError

from drills.bounds import FaultKind
from drills.faults.base import EVIDENCE_SECONDS, Engine, Fault, FaultFailed, wait_for
from operations.inventory import NodeEntry

START_SECONDS = 30.0
PROVEN_SECONDS = 10.5
"""Docker starts a container that ran for less than 10 s after a delay that doubles each time; after that at once again
(`restartmanager.go`). A second drill soon after a first must not measure that."""
FIND_SERVER = (
    "for p in /proc/[0-9]*; do read -r c < $p/comm 2>/dev/null || continue; "
    'case "$c" in redis-server|valkey-server|redis-sentinel|valkey-sentinel) echo ${p#/proc/};; esac; done'
)
"""Prints the process ids of the servers in a container; official images have no procps."""


TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def server_pids(engine: Engine, node: NodeEntry) -> tuple[int, ...]:
    """Process ids, as the container counts them, of its server."""
    return tuple(int(word) for word in engine.run(node, FIND_SERVER).split())


def signal_server(engine: Engine, node: NodeEntry, signal: str) -> str:
    """Send a signal to the server of a node, from inside its container, so that Docker does not count it as its own doing.

    Returns the ids of the processes. With the server the container may end before the shell that killed it does (status 137).
    """
    script = f'pids=$({FIND_SERVER}); [ -n "$pids" ] || {{ echo no server runs; exit 1; }}; echo $pids; kill -{signal} $pids'
    return engine.run(node, script, may_die=signal == "KILL")


def ensure_running(engine: Engine, node: NodeEntry) -> bool:
    """Start (or unpause) the container of a node unless it runs; whether something had to be done."""
    done = False

    def look() -> str | None:
        nonlocal done
        state = engine.state(node)
        try:
            if state["Paused"]:
                engine.container(node).unpause()
                done = True
            elif state["Status"] in ("exited", "created", "dead"):
                engine.container(node).start()
                done = True
            elif state["Running"] and not state["Restarting"]:
                return "running"
        except APIError as error:
            if error.response is None or error.response.status_code != 409:  # 409: it changed meanwhile
                raise FaultFailed(f"{node.container} cannot be started: {error.explanation or error}") from None
        return None

    wait_for(f"{node.container} running", look, START_SECONDS)
    return done


def up_seconds(engine: Engine, node: NodeEntry) -> float:
    """How long the container of a node has been running, by the clock of the engine's machine."""
    now, started = engine.client.info()["SystemTime"], engine.state(node)["StartedAt"]
    return (moment(now) - moment(started)).total_seconds()


def moment(text: str) -> datetime:
    """A time as Docker writes it, in nanoseconds, with an offset or a Z."""
    found = TIME.fullmatch(text)
    if found is None:
        raise FaultFailed(f"Docker told the time {text!r}, which is none")
    return datetime.fromisoformat(f"{found[1]}{(found[2] or '')[:7]}{'+00:00' if found[3] == 'Z' else found[3]}")


class _ProcessFault(Fault):
    """Heals by making sure that the containers run."""

    def heal(self) -> str:
        done = self.engine.each(self.targets, lambda node: ensure_running(self.engine, node))
        started = [node.name for node, did in zip(self.targets, done, strict=True) if did]
        return f"{', '.join(started)} started again" if started else "all containers run"


class Kill(_ProcessFault):
    """SIGKILL to the server, with the container's restart policy in force: it may be back before anybody noticed."""

    name: ClassVar[str] = "kill"
    gone_by_itself: ClassVar[bool] = True

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "restart") -> None:
        super().__init__(engine, targets, kind)
        self._started: dict[str, str] = {}

    def prepare(self) -> None:
        def proven(node: NodeEntry) -> str | None:
            return "up" if up_seconds(self.engine, node) >= PROVEN_SECONDS else None

        for node in self.targets:
            wait_for(f"{node.name} up for {PROVEN_SECONDS} s", lambda node=node: proven(node), START_SECONDS)  # type: ignore[misc]
            self._started[node.name] = self.engine.state(node)["StartedAt"]

    def inject(self) -> str:
        pids = self.engine.each(self.targets, lambda node: signal_server(self.engine, node, "KILL"))
        told = ", ".join(f"process {pid} of {node.name}" for node, pid in zip(self.targets, pids, strict=True))
        return f"SIGKILL to {told}"

    def evidence(self) -> str:
        def ended(node: NodeEntry) -> str | None:
            state = self.engine.state(node)
            if state["Running"] and not state["Restarting"] and state["StartedAt"] == self._started.get(node.name):
                return None
            return f"{node.name} ended" + (" and was started again" if state["Running"] else f" with {state['ExitCode']}")

        found = self.engine.each(
            self.targets, lambda node: wait_for(f"the end of {node.name}", lambda: ended(node), EVIDENCE_SECONDS)
        )
        return "; ".join(found)


class KillHeld(_ProcessFault):
    """SIGKILL to everything in the container, which then stays down: Docker does not restart what it was told to kill."""

    name: ClassVar[str] = "kill-held"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "crash") -> None:
        super().__init__(engine, targets, kind)

    def inject(self) -> str:
        def kill(node: NodeEntry) -> None:
            try:
                self.engine.container(node).kill("SIGKILL")
            except APIError as error:
                raise FaultFailed(f"{node.container} cannot be killed: {error.explanation or error}") from None

        self.engine.each(self.targets, kill)
        return f"SIGKILL to everything in {', '.join(self.names)}, held down"

    def evidence(self) -> str:
        def down(node: NodeEntry) -> str | None:
            state = self.engine.state(node)
            return None if state["Running"] else f"{node.name} is down with {state['ExitCode']}"

        return "; ".join(wait_for(f"the end of {node.name}", lambda node=node: down(node), EVIDENCE_SECONDS)  # type: ignore[misc]
                         for node in self.targets)  # fmt: skip


class Hang(Fault):
    """SIGSTOP to the server: connections stay open, nothing is answered.

    Healed by SIGCONT; without `revive` the node is killed and started instead, because a primary that somebody has replaced by
    hand would go on as primary if it were merely resumed.
    """

    name: ClassVar[str] = "hang"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "hang", revive: bool = True) -> None:
        super().__init__(engine, targets, kind)
        self._revive = revive

    def inject(self) -> str:
        pids = self.engine.each(self.targets, lambda node: signal_server(self.engine, node, "STOP"))
        return f"SIGSTOP to {', '.join(f'process {p} of {n.name}' for n, p in zip(self.targets, pids, strict=True))}"

    def evidence(self) -> str:
        def stopped(node: NodeEntry) -> str | None:
            states = stopped_states(self.engine, node)
            return f"{node.name} is in state {states}" if states and set(states) == {"T"} else None

        return "; ".join(wait_for(f"state T of {node.name}", lambda node=node: stopped(node), EVIDENCE_SECONDS)  # type: ignore[misc]
                         for node in self.targets)  # fmt: skip

    def heal(self) -> str:
        if not self._revive:
            return self._restart()
        done = self.engine.each(self.targets, lambda node: resume_server(self.engine, node))
        return f"SIGCONT to {', '.join(n.name for n, did in zip(self.targets, done, strict=True) if did) or 'nobody'}"

    def _restart(self) -> str:
        def restart(node: NodeEntry) -> bool:
            state = self.engine.state(node)
            frozen = state["Running"] and "T" in stopped_states(self.engine, node)
            if frozen:
                self.engine.container(node).kill("SIGKILL")
                wait_for(
                    f"the end of {node.name}", lambda: None if self.engine.state(node)["Running"] else "ended", START_SECONDS
                )
            return ensure_running(self.engine, node) or frozen

        done = self.engine.each(self.targets, restart)
        started = [node.name for node, did in zip(self.targets, done, strict=True) if did]
        return f"{', '.join(started)} killed and started again" if started else "all servers run"


def stopped_states(engine: Engine, node: NodeEntry) -> str:
    """State letters of the servers in a container (T: stopped by a signal); empty when none runs."""
    script = f"for p in $({FIND_SERVER}); do sed 's/.*) //' /proc/$p/stat | cut -c 1; done"
    return "".join(engine.run(node, script, check=False).split())


def resume_server(engine: Engine, node: NodeEntry) -> bool:
    """SIGCONT to the server of a node if it is stopped; whether it was."""
    state = engine.state(node)
    if not state["Running"] or state["Paused"] or "T" not in stopped_states(engine, node):
        return False
    signal_server(engine, node, "CONT")
    wait_for(f"{node.name} running on", lambda: None if "T" in stopped_states(engine, node) else "runs", EVIDENCE_SECONDS)
    return True


class Pause(_ProcessFault):
    """The whole container frozen: like a machine that stands still."""

    name: ClassVar[str] = "pause"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "hang") -> None:
        super().__init__(engine, targets, kind)

    def inject(self) -> str:
        def pause(node: NodeEntry) -> None:
            try:
                self.engine.container(node).pause()
            except APIError as error:
                raise FaultFailed(f"{node.container} cannot be paused: {error.explanation or error}") from None

        self.engine.each(self.targets, pause)
        return f"{', '.join(self.names)} frozen"

    def evidence(self) -> str:
        running = [node.name for node in self.targets if not self.engine.state(node)["Paused"]]
        if running:
            raise FaultFailed(f"{', '.join(running)} is not frozen")
        return f"Docker reports {', '.join(self.names)} as paused"


class Stop(_ProcessFault):
    """`docker stop`: SIGTERM, and as much time as the container was given. A primary hands over first."""

    name: ClassVar[str] = "stop"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "stop") -> None:
        super().__init__(engine, targets, kind)
        self._took: dict[str, float] = {}

    def inject(self) -> str:
        def stop(node: NodeEntry) -> None:
            began = time.monotonic()
            try:
                self.engine.container(node).stop()
            except APIError as error:
                raise FaultFailed(f"{node.container} cannot be stopped: {error.explanation or error}") from None
            self._took[node.name] = time.monotonic() - began

        self.engine.each(self.targets, stop)
        return f"docker stop of {', '.join(f'{name} ({took:.1f} s)' for name, took in self._took.items())}"

    def evidence(self) -> str:
        states = {node.name: self.engine.state(node) for node in self.targets}
        running = [name for name, state in states.items() if state["Running"]]
        if running:
            raise FaultFailed(f"{', '.join(running)} still runs")
        return ", ".join(f"{name} ended with {state['ExitCode']}" for name, state in states.items())
