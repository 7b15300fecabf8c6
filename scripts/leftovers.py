"""What an interrupted Pulumi leaves behind, and how to tell it from work that is going on: decisions alone, no effects.

A Pulumi that was killed leaves a lock in its file backend, operations marked as pending in the state, provider processes
without an engine, and Docker objects that the state does not know.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from operations.errors import InvalidInput

Kind = Literal["container", "network"]

CONTAINER_TYPE = "docker:index/container:Container"


@dataclass(frozen=True)
class Lock:
    """A lock of Pulumi's file backend: who holds it. `path` is the lock file."""

    path: str
    pid: int
    hostname: str
    username: str
    timestamp: str


class LockState(StrEnum):
    """`live`: its process works; `stale`: its process is gone; `foreign`: it was taken on another machine, so nobody can tell."""

    LIVE = "live"
    STALE = "stale"
    FOREIGN = "foreign"


def parse_lock(path: str, text: str) -> Lock:
    """Read a lock file; raises InvalidInput when it is not one (also when it is empty: the disk was full)."""
    try:
        data = json.loads(text)
        return Lock(path, int(data["pid"]), str(data["hostname"]), str(data["username"]), str(data["timestamp"]))
    except (ValueError, KeyError, TypeError):
        raise InvalidInput(f"the lock file {path} cannot be understood; if no Pulumi runs, delete it") from None


def judge_lock(lock: Lock, hostname: str, process_name: str | None) -> LockState:
    """`process_name` is that of the process with the lock's pid on this machine, None when there is none.

    A number may have been given to another process since: only one called pulumi can hold the lock.
    """
    if lock.hostname != hostname:
        return LockState.FOREIGN
    return LockState.LIVE if process_name == "pulumi" else LockState.STALE


@dataclass(frozen=True)
class State:
    """What matters of a stack's state: operations that were cut off, the ids of the Docker objects that it knows, and the names
    of the containers that are meant to run, by id."""

    pending: tuple[str, ...]
    ids: frozenset[str]
    running: Mapping[str, str] = field(default_factory=dict)


def parse_state(exported: Mapping[str, Any]) -> State:
    """Read what `pulumi stack export` printed; a stack that was never up has no deployment at all."""
    deployment = exported.get("deployment") or {}
    pending = tuple(
        f"{operation.get('type', 'unknown')} {str(operation.get('resource', {}).get('urn', '?')).rsplit('::', 1)[-1]}"
        for operation in deployment.get("pending_operations") or ()
    )
    resources = [resource for resource in deployment.get("resources") or () if resource.get("id")]
    running = {
        str(resource["id"]): str(resource.get("inputs", {}).get("name", resource["id"]))
        for resource in resources
        if resource.get("type") == CONTAINER_TYPE and resource.get("inputs", {}).get("mustRun", True)
    }
    return State(pending, frozenset(str(resource["id"]) for resource in resources), running)


def not_running(state: State, alive: Collection[str]) -> tuple[str, ...]:
    """Names of containers that the state takes for running and that are not among the ids `alive`."""
    return tuple(sorted(name for container, name in state.running.items() if container not in alive))


@dataclass(frozen=True)
class Found:
    """A Docker object that carries the labels of the stack and of its owner."""

    kind: Kind
    id: str
    name: str


def unknown_objects(found: Iterable[Found], state: State) -> tuple[Found, ...]:
    """Those that the state does not know; containers before the network that they hang on."""
    return tuple(sorted((one for one in found if one.id not in state.ids), key=lambda one: (one.kind != "container", one.name)))


@dataclass(frozen=True)
class PluginProcess:
    """A language host or provider process; `engine` is the address of the Pulumi engine that started it."""

    pid: int
    name: str
    engine: str
    folder: str


PLUGIN_PREFIXES = ("pulumi-language-", "pulumi-resource-")
DYNAMIC_PROVIDER = ("-m", "pulumi.dynamic")


def parse_plugin(pid: int, command: list[str], folder: str) -> PluginProcess | None:
    """The plugin that a command line belongs to, or None when it is something else."""
    if len(command) < 2 or ":" not in command[-1]:
        return None
    for word in command[:2]:
        name = word.rsplit("/", 1)[-1]
        if name.startswith(PLUGIN_PREFIXES):
            return PluginProcess(pid, name, command[-1], folder)
    if any(tuple(command[i : i + 2]) == DYNAMIC_PROVIDER for i in range(len(command) - 1)):
        return PluginProcess(pid, "pulumi.dynamic", command[-1], folder)
    return None
