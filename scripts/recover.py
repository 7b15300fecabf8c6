#!/usr/bin/env python3
"""Repairs what an interrupted Pulumi left behind, so that the next `up` or `down` of the stack can go on.

usage: scripts/recover.py --stack STACK

Data volumes are never touched. A lock that is held by a running process is respected.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from operations.errors import Busy, ExitCode, ToolkitError
from operations.owner import FILE_SCHEME, backend_url, current_owner_id
from operations.surge import LABEL as SURGE
from scripts import leftovers, pulumi_cli
from scripts._command import StackOption, run
from scripts.leftovers import Found, Lock, LockState, PluginProcess, State
from topologies.engine import connect, looking_into
from topologies.plan import LABEL_PREFIX
from topologies.trial import LABEL as TRIAL

PROC = Path("/proc")
PLUGIN_EXIT_SECONDS = 5.0


def locks_of(stack: str) -> tuple[Lock, ...]:
    """Locks on the stack, for a backend of local files; other backends keep theirs where only Pulumi sees them."""
    url = backend_url()
    if not url.startswith(FILE_SCHEME):
        return ()
    folder = Path(url.removeprefix(FILE_SCHEME).partition("?")[0]).expanduser() / ".pulumi" / "locks"
    return tuple(
        leftovers.parse_lock(str(path), path.read_text())
        for path in sorted(folder.glob(f"*/{pulumi_cli.PROJECT}/{stack}/*.json"))
    )


def process_name(pid: int) -> str | None:
    """Name of a living process; None for one that is gone or only waits to be collected by its parent."""
    if not PROC.joinpath("self").exists():
        answer = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return answer.stdout.strip().rsplit("/", 1)[-1] or None
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    return None if rest.split()[0] == "Z" else name


def release_lock(stack: str) -> None:
    """Take away locks whose process is gone; raises Busy for one that is held."""
    locks = locks_of(stack)
    for lock in locks:
        verdict = leftovers.judge_lock(lock, socket.gethostname(), process_name(lock.pid))
        holder = f"{lock.username}@{lock.hostname}, process {lock.pid}, since {lock.timestamp}"
        if verdict is LockState.LIVE:
            raise Busy(f"stack {stack} is being changed right now ({holder}); wait for it, or end it with Ctrl-C there")
        if verdict is LockState.FOREIGN:
            raise Busy(
                f"stack {stack} is locked from another machine ({holder}); if that Pulumi no longer runs, "
                f"release it with `pulumi cancel --stack {stack}`"
            )
    for lock in locks:
        print(f"recover: the Pulumi that held stack {stack} is gone (process {lock.pid}); releasing its lock")
    if locks:
        pulumi_cli.query(["cancel", "--yes"], stack)


def plugin_processes() -> Iterator[PluginProcess]:
    """Pulumi's plugin processes of this user that work for this repository."""
    for entry in PROC.glob("[0-9]*"):
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            command = entry.joinpath("cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
            folder = str(entry.joinpath("cwd").readlink())
        except OSError:
            continue
        plugin = leftovers.parse_plugin(int(entry.name), command, folder)
        if plugin is not None and plugin.folder == str(pulumi_cli.ROOT):
            yield plugin


def answers(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except (OSError, ValueError):
        return False


def end_forsaken_plugins() -> None:
    """End plugins whose Pulumi was killed: they would stay for ever, and could still finish what they were asked for."""
    forsaken = [plugin for plugin in plugin_processes() if not answers(plugin.engine)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [plugin for plugin in forsaken if process_name(plugin.pid) is not None]
        for plugin in left:
            try:
                os.kill(plugin.pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + PLUGIN_EXIT_SECONDS
        while any(process_name(plugin.pid) for plugin in left) and time.monotonic() < deadline:
            time.sleep(0.05)
    if forsaken:
        print(f"recover: ended {len(forsaken)} processes that a killed Pulumi had left ({', '.join(p.name for p in forsaken)})")


def settle_pending(stack: str, state: State) -> State:
    """Let Pulumi look at what really exists, when operations were cut off; returns the state as it is afterwards."""
    if not state.pending:
        return state
    print(f"recover: an earlier run was cut off while {', '.join(state.pending)}; reading what really exists")
    code = pulumi_cli.visible(
        ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--non-interactive", "--suppress-outputs"], stack
    )
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code != ExitCode.OK:
        raise ToolkitError(
            f"Pulumi could not read back the state of stack {stack}, its reason stands above; once that is solved, "
            f"run the same command again"
        )
    return leftovers.parse_state(pulumi_cli.export(stack))


def labelled(stack: str) -> dict[str, list[str]]:
    return {"label": [f"{LABEL_PREFIX}.stack={stack}", f"{LABEL_PREFIX}.owner={current_owner_id(stack)}"]}


def volumes_of(client: docker.DockerClient, stack: str) -> tuple[str, ...]:
    """Volumes with the labels of this stack and this backend."""
    found = client.api.volumes(filters=labelled(stack)).get("Volumes") or ()
    return tuple(sorted(volume["Name"] for volume in found))


def find_objects(client: docker.DockerClient, stack: str) -> tuple[Found, ...]:
    """Containers and networks with the labels of this stack and this backend, but for temporary replicas.

    Those are never in the state, may hold a shard's only copy just now, and leave in order with the next `up`.
    """
    every = client.api.containers(all=True, filters=labelled(stack))
    containers = [one for one in every if SURGE not in (one.get("Labels") or {})]
    networks = client.api.networks(filters=labelled(stack))
    return (
        *(Found("container", one["Id"], one["Names"][0].lstrip("/")) for one in containers),
        *(Found("network", one["Id"], one["Name"]) for one in networks),
    )


def remove(client: docker.DockerClient, found: Found) -> None:
    """Stop in order, then remove; what vanished meanwhile is fine."""
    try:
        if found.kind == "network":
            client.networks.get(found.id).remove()
            return
        container = client.containers.get(found.id)
        if container.status == "running":
            # Its own stop time-out applies: a server gets the time that it needs to write its data.
            container.stop()
        container.remove(force=True, v=False)
    except NotFound:
        return
    except APIError as error:
        raise ToolkitError(
            f"the {found.kind} {found.name} was left by an interrupted run and cannot be removed: {error.explanation or error}"
        ) from None


def remove_unknown(stack: str, state: State, settled: bool) -> None:
    """Remove containers and networks of this stack that its state does not know; volumes stay.

    `settled` says that nobody else can be at work on the stack just now. On a backend whose locks cannot be seen from here, an
    object without an entry may be one that somebody is just creating: then it is only reported.
    """
    client = connect()
    unknown = leftovers.unknown_objects(find_objects(client, stack), state)
    if not unknown:
        return
    names = ", ".join(f"{one.kind} {one.name}" for one in unknown)
    if not settled:
        print(f"recover: not in the state of stack {stack}: {names}; remove them with docker if nobody is just creating them")
        return
    print(f"recover: removing what the state of stack {stack} does not know (data volumes stay): {names}")
    for one in unknown:
        remove(client, one)


def remove_forsaken(stack: str) -> None:
    """Remove containers in which a killed process looked into a volume, which would hold it, or tried parameters out."""
    client = connect()
    tried = {"label": [f"{TRIAL}={stack}", f"{LABEL_PREFIX}.owner={current_owner_id(stack)}"]}
    left = (
        *looking_into(client, volumes_of(client, stack)),
        *(entry["Id"] for entry in client.api.containers(all=True, filters=tried)),
    )
    for number in left:
        with contextlib.suppress(NotFound):
            client.api.remove_container(number, force=True, v=True)
    if left:
        print(f"recover: removed {len(left)} containers in which a killed process had looked something up")


def recover(stack: str) -> State:
    """All repairs in order; returns the state that the next command starts from.

    Raises Busy when somebody works on the stack, Unreachable for a wrong passphrase or a stack that does not exist.
    """
    release_lock(stack)
    end_forsaken_plugins()
    before = leftovers.parse_state(pulumi_cli.export(stack))
    state = settle_pending(stack, before)
    release_lock(stack)
    remove_forsaken(stack)
    remove_unknown(stack, state, settled=bool(before.pending) or backend_url().startswith(FILE_SCHEME))
    return state


def main(stack: StackOption) -> None:
    """Repair what an interrupted Pulumi left behind. Data volumes are never touched."""
    recover(stack)
    print(f"recover: stack {stack} can go on")


if __name__ == "__main__":
    run(main)
