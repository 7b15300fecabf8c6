"""Where examples run: on this machine, or in a container on the stack's network, with this machine's Node.js carried along."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from drills.workload.launcher import IMAGE, LABEL
from tests.live.harness import ROOT, Stack, engine

EXAMPLES = ROOT / "examples"
RIDERS = Path(__file__).resolve().parent
APP = "/app"
"""The folder of everything in the container."""
HOST_OCTET = 240
"""The container's place in the stack's subnet; an address that Docker chooses could be that of a node that is down."""
OLDEST_NODE = 20
COPY_SECONDS = 300
"""For the hundred megabytes of Node.js, on a busy disk."""


def no_node() -> str:
    """Why the examples for Node.js cannot run here; empty when they can."""
    node = shutil.which("node")
    if node is None:
        return "Node.js is not installed; bash toolchain/steps/node.sh installs it"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        return f"Node.js is {version}; the examples need {OLDEST_NODE} or newer"
    if not (EXAMPLES / "node" / "node_modules" / ".complete").exists():
        return "examples/node/node_modules is missing; bash toolchain/steps/node.sh installs it"
    return ""


@dataclass(frozen=True)
class Place:
    """One way to run the examples: `run` is put before a command, `python` and `node` begin one, `folder` holds the files."""

    name: str
    run: tuple[str, ...]
    python: tuple[str, ...]
    node: tuple[str, ...]
    folder: str

    def command(self, library: str, topology: str, script: str) -> list[str]:
        """Run `script` (ride, or one of the examples) with a client of `library`."""
        examples = f"{self.folder}/{'python' if library == 'python' else 'node'}"
        where = f"{self.folder}/riding" if script == "ride" else examples
        folder = [examples] if script == "ride" else []
        if library == "python":
            return [*self.run, *self.python, f"{where}/{script}.py", *folder, topology]
        return [*self.run, *self.node, f"{where}/{script}.mjs", *folder, library, topology]

    def node_script(self, script: str) -> str:
        """Run a module that is written down in a test, beside the examples; returns what it printed."""
        command = [*self.run, *self.node, "--input-type=module", "--eval", script]
        return output(command, cwd=f"{self.folder}/node")


@contextmanager
def on_the_host(folder: Path, connection: dict[str, Any]) -> Iterator[Place]:
    """On this machine, through the published ports."""
    for name in ("python", "node"):
        (folder / name).symlink_to(EXAMPLES / name)
    (folder / "riding").symlink_to(RIDERS)
    told = folder / "connection.json"
    told.touch(mode=0o600)
    told.write_text(json.dumps(connection))
    run = ("env", f"CONNECTION={told}", "PLACE=host")
    yield Place("host", run, (sys.executable,), (shutil.which("node") or "node",), str(folder))


@contextmanager
def in_the_network(stack: Stack, connection: dict[str, Any], with_node: bool) -> Iterator[Place]:
    """In a container of the client image on the stack's network, as an application would be."""
    network = engine().networks.get(connection["network"])
    subnet = network.attrs["IPAM"]["Config"][0]["Subnet"]
    address = f"{subnet.rpartition('.')[0]}.{HOST_OCTET}"
    name = f"redis-{stack.name}-application"
    create = ["docker", "run", "--detach", "--init", "--name", name, "--network", connection["network"], "--ip", address]
    options = ["--label", f"{LABEL}={stack.name}", "--cap-drop", "ALL", "--memory", "1g", "--stop-timeout", "1"]
    subprocess.run([*create, *options, IMAGE, "sleep", "infinity"], check=True, capture_output=True)
    try:
        container = docker.from_env(timeout=COPY_SECONDS).containers.get(name)
        container.put_archive("/", bundle(connection, with_node))
        run = ("docker", "exec", "--interactive", "--env", f"CONNECTION={APP}/connection.json", "--env", "PLACE=inside", name)
        node = (f"{APP}/nodejs/loader", "--library-path", f"{APP}/nodejs", f"{APP}/nodejs/node")
        yield Place("inside", run, ("python3",), node, APP)
    finally:
        engine().containers.get(name).remove(force=True)


def bundle(connection: dict[str, Any], with_node: bool) -> bytes:
    """Examples, riders, the stack's output, and this machine's Node.js with its libraries, as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        archive.add(EXAMPLES / "python", f"{APP}/python", filter=no_caches)
        archive.add(RIDERS, f"{APP}/riding", filter=no_caches)
        told = json.dumps(connection).encode()
        entry = tarfile.TarInfo(f"{APP}/connection.json")
        entry.size, entry.mode = len(told), 0o600
        archive.addfile(entry, io.BytesIO(told))
        if with_node:
            archive.add(EXAMPLES / "node", f"{APP}/node", filter=no_caches)
            node = Path(shutil.which("node") or "").resolve()
            archive.add(node, f"{APP}/nodejs/node")
            for name, library in libraries(node):
                archive.add(library, f"{APP}/nodejs/{name}")
    return buffer.getvalue()


def no_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry


def libraries(program: Path) -> Iterator[tuple[str, Path]]:
    """The shared libraries of a program by the name that it asks for, and the loader as `loader`."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    for name, path in re.findall(r"^\s*(\S+) => (/\S+)", told, re.MULTILINE):
        yield name, Path(path)
    loader = re.search(r"^\s*(/\S*ld-linux\S*|/\S*ld-musl\S*) \(", told, re.MULTILINE)
    if loader is None:
        raise AssertionError(f"no loader in what ldd says of {program}: {told}")
    yield "loader", Path(loader[1])


def printed(place: Place, library: str, topology: str, script: str) -> str:
    """Run one of the examples; returns what it printed."""
    return output(place.command(library, topology, script))


def output(command: Sequence[str], cwd: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()
