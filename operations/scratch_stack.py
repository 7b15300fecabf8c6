"""A whole stack for the time of a rehearsal or a drill: from a Pulumi backend and passphrase of its own, in a network of its own.

It needs Pulumi's command line. Its name is nobody else's, so that whatever one that was killed has left is removed by the next.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import APIError, NotFound

from operations.apply import ROOT, failure
from operations.backup.launch import LABEL as BACKUP_LABEL
from operations.backup.launch import home_volume, repository_volume
from operations.errors import Busy, CheckFailed
from operations.inventory import Access, parse_access

LABEL = "redis-topologies"
PROJECT = "redis-topologies"
STACK_FILES = ROOT / ".stacks"
LONGEST_NAME = 40
UP_SECONDS = 600
END_SECONDS = 20.0
POLL_SECONDS = 0.1
PROC = Path("/proc")
LEFT_OUT = ("backup", "restore_from", "network", "data", "objectives", "change")
"""Parts of another stack's spec that a scratch stack must not have: addresses, agents, kept volumes."""
OF_ANY_SHAPE = ("engine", "memory", "persistence", "parameters", "limits")
BUFFERS = ("backlog", "replica_buffer")
"""They count against the memory of a node, also where nobody follows it."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class ScratchStack:
    """One that is up. Scripts reach it with `environment`, which names its backend and passphrase."""

    name: str
    access: Access
    environment: Mapping[str, str]


def scratch_name(stack: str, suffix: str) -> str:
    """The name of the scratch stack of another one: `shop` and `rehearsal` -> `shop-rehearsal`."""
    return stack[: LONGEST_NAME - len(suffix) - 1].rstrip("-") + f"-{suffix}"


def same_shape(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The topology, engine and sizes of a stack (`spec` as its inventory has it), on addresses of its own. Pure."""
    others = {"sentinel", "cluster"} - {spec["topology"]}
    kept = {name: value for name, value in spec.items() if name not in (*LEFT_OUT, *others)}
    return {**kept, "data": {"on_destroy": "delete"}}


def other_shape(spec: Mapping[str, Any], shards: int) -> dict[str, Any]:
    """A cluster of `shards` primaries with the engine and sizes of a stack, so that every key finds room. Pure."""
    kept = {name: spec[name] for name in OF_ANY_SHAPE if name in spec}
    buffers = {name: size for name, size in spec.get("replication", {}).items() if name in BUFFERS}
    return {
        **kept,
        "replication": buffers,
        "topology": "cluster",
        "shards": shards,
        "replicas": 0,
        "data": {"on_destroy": "delete"},
    }


@contextmanager
def scratch_stack(name: str, spec: Mapping[str, Any], say: Say) -> Iterator[ScratchStack]:
    """A stack that is up for the time of the context, and gone afterwards whatever happens.

    Raises Busy while another process of this machine has it.
    """
    stack_file = STACK_FILES / f"Pulumi.{name}.yaml"
    home = _home(name)
    with _alone(name) as lock:
        _remove(name)
        home.mkdir(mode=0o700)
        (home / "state").mkdir()
        (home / "passphrase").touch(mode=0o600)
        (home / "passphrase").write_text(secrets.token_hex(16))
        (home / "spec.yaml").write_text(yaml.safe_dump(dict(spec)))
        environment = {
            **{key: value for key, value in os.environ.items() if key != "PULUMI_CONFIG_PASSPHRASE"},
            "PULUMI_BACKEND_URL": f"file://{home}/state",
            "PULUMI_CONFIG_PASSPHRASE_FILE": f"{home}/passphrase",
        }
        try:
            _pulumi(["stack", "init", name], name, environment, lock)
            settings = yaml.safe_load(stack_file.read_text()) if stack_file.exists() else None
            settings = {**(settings or {}), "config": {f"{PROJECT}:spec": str(home / "spec.yaml")}}
            stack_file.write_text(yaml.safe_dump(settings))
            say(f"bringing up the scratch stack {name}")
            _pulumi(["up", "--yes", "--skip-preview", "--stack", name], name, environment, lock)
            outputs = _pulumi(["stack", "output", "--json", "--show-secrets", "--stack", name], name, environment, lock)
            yield ScratchStack(name, parse_access(json.loads(outputs), name), environment)
        finally:
            say(f"removing the scratch stack {name}")
            _remove(name)


def tidy(name: str) -> bool:
    """Remove what a killed process has left of a scratch stack; whether there was anything. Raises Busy as `scratch_stack`."""
    with _alone(name):
        return _remove(name)


def _home(name: str) -> Path:
    """Where its backend, passphrase and spec lie: always the same place, so that the next one finds what a killed one left."""
    return STACK_FILES / f"{name}.scratch"


@contextmanager
def _alone(name: str) -> Iterator[int]:
    """Hold the lock of a scratch stack; raises Busy while another process does.

    Pulumi and its plugins inherit the lock. When whoever started them was killed they go on, or idle: they are ended by whoever
    asks next, for the scratch stack that they work on is removed anyway.
    """
    STACK_FILES.mkdir(mode=0o700, exist_ok=True)
    path = STACK_FILES / f"{name}.lock"
    with path.open("a+") as file:
        deadline = time.monotonic() + END_SECONDS
        while not _locked(file.fileno()):
            if owner_of(path) in (found := holders(path)) or time.monotonic() > deadline:
                raise Busy(f"another process works with the scratch stack {name}; try again when it has ended")
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def owner_of(path: Path) -> int | None:
    """The process that took this lock last; its children inherited it."""
    text = path.read_text()
    return int(text) if text.isdigit() else None


def holders(path: Path) -> list[int]:
    """Other processes that have this file open; none where there is no /proc to tell."""
    found = []
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            if int(entry.name) != os.getpid() and any(one.readlink() == path for one in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return found


def _pulumi(arguments: list[str], stack: str, environment: Mapping[str, str], lock: int) -> str:
    command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
    try:
        answer = subprocess.run(
            command, cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=UP_SECONDS, pass_fds=(lock,),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"`pulumi {arguments[0]}` did not end within {UP_SECONDS} s") from None
    if answer.returncode != 0:
        raise failure(stack, answer.stdout + answer.stderr)
    return answer.stdout


def _remove(name: str) -> bool:
    """Remove every Docker object of a scratch stack and its file, with its own backups; whether there was anything."""
    found = False
    client = docker.from_env(timeout=120)
    own: dict[str, str | list[str] | bool] = {"label": f"{LABEL}.stack={name}"}
    jobs: dict[str, str | list[str] | bool] = {"label": f"{BACKUP_LABEL}={name}"}
    for filters in (own, jobs):
        for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
            found = True
            with contextlib.suppress(NotFound):
                container.remove(force=True, v=True)
    for kind in (client.networks, client.volumes):
        for one in kind.list(filters=own):
            found = True
            with contextlib.suppress(NotFound, APIError):
                one.remove()
    for volume in (home_volume(name), repository_volume(name)):
        with contextlib.suppress(NotFound, APIError):
            client.volumes.get(volume).remove()
    (STACK_FILES / f"Pulumi.{name}.yaml").unlink(missing_ok=True)
    shutil.rmtree(_home(name), ignore_errors=True)
    return found
