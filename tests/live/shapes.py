"""Small stacks whose topology is changed, and what must hold of their containers and volumes."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.live.harness import ROOT, TAIL_CHARACTERS, Stack, engine
from topologies.engine import read_file

UP_LOG = "up.log"
IMAGE = "redis-topologies/node:redis-8.0"
SMALL = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"}}
CLUSTER: dict[str, Any] = {"topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 10}, **SMALL}


def data_containers(stack: Stack) -> dict[str, str]:
    """Container ids of the data nodes, which a change of topology must not replace."""
    return {str(found.name): str(found.id) for found in stack.containers() if "-node-" in str(found.name)}


def assert_kept(before: dict[str, str], after: dict[str, str]) -> None:
    """Nodes that were and are there run in the same containers."""
    assert {name: after[name] for name in before if name in after} == {name: before[name] for name in before if name in after}


def is_empty(stack: Stack, node: str) -> bool:
    """Nothing of what a data node leaves is on its volume."""
    volume = f"redis-{stack.name}-{node}-data"
    return not any(read_file(engine(), volume, IMAGE, path) for path in ("identity", "server.conf", "nodes.conf"))


def reshape(stack: Stack, **fields: Any) -> Any:
    """Give the stack another spec and bring it up."""
    stack.write_spec({**SMALL, **fields})
    return stack.up().ok()


def start_up(stack: Stack) -> subprocess.Popen[bytes]:
    """`pulumi up` in the background, in a session of its own; what it prints goes to a file (`told_by_up`)."""
    command = ["pulumi", "up", "--yes", "--skip-preview", "--suppress-outputs", "--non-interactive", "--stack", stack.name]
    with (stack.folder / UP_LOG).open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=stack.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def told_by_up(stack: Stack) -> str:
    """The last that a `pulumi up` in the background printed."""
    return (stack.folder / UP_LOG).read_text(errors="replace")[-TAIL_CHARACTERS:]


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """kill -9 of Pulumi alone, as a machine that runs out of memory does; False when it ended before."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def dynamic_providers(session: int) -> str:
    """Processes of a session that still run the convergence's provider; empty when there are none."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, NotADirectoryError):
            continue
        if int(fields[3]) == session and fields[0] != "Z" and "dynamic" in words:
            found.append(f"{entry.name}: {words}")
    return "; ".join(found)
