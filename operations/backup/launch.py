"""Starts a job in a container beside the stack and hands its events on: the side of whoever asks for a backup.

The container gets this checkout's code and the request on its standard input, so no secret stands in `docker inspect` and the
job is always of the same release as the script. When the script ends, by kill -9 too, the job's input ends and so does the job.
"""

import base64
import contextlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations.backup.session import HALFWAY, HOME, LOCAL
from operations.backup.settings import BackupSettings
from operations.errors import ExitCode, ToolkitError, Unreachable
from operations.inventory import Access, Inventory

IMAGE = "redis-topologies/client:1"
LABEL = "redis-topologies.backup"
"""Marks every container of a stack's backups, with the name of the stack."""
MEMORY = "1g"
PROCESSOR_SHARES = "128"
"""An eighth of what a node has: a job takes what is left over, and a server that is asked something comes first."""
AGENT_OCTET = 252
JOB_OCTETS = (253, 254)
"""Last parts of the addresses of jobs: fixed, because an address that Docker chooses could be that of a node that is down."""
DOCKER_FAILED = 125
TAKEN = ("address already in use", "already in use by container")

_ROOT = Path(__file__).resolve().parent.parent.parent
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
BOOTSTRAP = (
    "import sys,base64,tempfile;"
    "code=tempfile.NamedTemporaryFile(suffix='.zip');"
    "code.write(base64.b64decode(sys.stdin.buffer.readline()));code.flush();sys.path.insert(0,code.name);"
    "from operations.backup.job import main;main()"
)


def home_volume(stack: str) -> str:
    """The volume with the repository's password and what happened last; it outlives the stack."""
    return f"redis-{stack}-backup"


def agent_container(stack: str) -> str:
    """The container that follows a stack's schedule."""
    return f"redis-{stack}-backup-agent"


def archive_volume(stack: str) -> str:
    """The volume with a stack's archive, or what of it waits for the repository; it outlives the stack."""
    return f"redis-{stack}-archive"


def repository_volume(stack: str) -> str:
    """The repository of a stack that names none; it outlives the stack."""
    return f"redis-{stack}-repository"


def repository_mount(stack: str, settings: BackupSettings) -> str | None:
    """What is mounted as the repository; None for one elsewhere."""
    if settings.is_remote:
        return None
    return settings.repository if settings.repository.startswith("/") else repository_volume(stack)


def inside(inventory: Inventory) -> Inventory:
    """The inventory as a container in the stack's network needs it: nodes are reached at their own addresses."""
    nodes = tuple(node.model_copy(update={"host": node.address, "host_port": node.port}) for node in inventory.nodes)
    return inventory.model_copy(update={"nodes": nodes})


def code() -> bytes:
    """What runs in the container, as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((_ROOT / "operations").rglob("*.py")):
            entry = zipfile.ZipInfo(file.relative_to(_ROOT).as_posix(), ZIP_TIME)  # the same bytes from every checkout
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@dataclass(frozen=True)
class Place:
    """Whose backups, where they lie, and how to reach the nodes: `access` is None for a stack that is not up."""

    stack: str
    settings: BackupSettings
    access: Access | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Further volumes by the folder on which they are mounted."""
    capabilities: tuple[str, ...] = ()

    def command(self, name: str, octet: int) -> list[str]:
        """The docker command that starts a job called `name`."""
        mounts = [f"{home_volume(self.stack)}:{HOME}"]
        if source := repository_mount(self.stack, self.settings):
            mounts.append(f"{source}:{LOCAL}")
        mounts += [f"{volume}:{folder}" for folder, volume in self.volumes.items()]
        return [
            "docker", "run", "--rm", "--interactive", "--init", "--name", name, "--label", f"{LABEL}={self.stack}",
            *self._network(octet), "--log-driver", "none", "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - the container's own
            "--env", "HOME=/tmp", "--cap-drop", "ALL", *(word for name in self.capabilities for word in ("--cap-add", name)),
            "--security-opt", "no-new-privileges", "--user", "0:0", "--memory", MEMORY, "--pids-limit", "512",
            "--cpu-shares", PROCESSOR_SHARES, "--stop-timeout", "10",
            *(word for mount in mounts for word in ("--volume", mount)), IMAGE, "python3", "-c", BOOTSTRAP,
        ]  # fmt: skip

    def _network(self, octet: int) -> list[str]:
        if self.access is None:
            return ["--network", "bridge" if self.settings.is_remote else "none"]
        network = self.access.inventory.network
        return ["--network", network.name, "--ip", f"{network.subnet.rpartition('.')[0]}.{octet}"]

    def request(self, do: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """What the job is told."""
        told: dict[str, Any] = {"do": do, "stack": self.stack, "settings": self.settings.model_dump(mode="json"), **more}
        if self.access is not None:
            told |= {
                "inventory": inside(self.access.inventory).model_dump(mode="json"),
                "passwords": {"backup": self.access.credentials.password("backup")},
                "users": dict(self.users),
            }
        return told


class JobFailed(ToolkitError):
    """A job ended with an error of its own; message and exit code are the job's."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = ExitCode(code)


def run_job(
    place: Place, do: str, report: Callable[[dict[str, Any]], None] = lambda _: None,
    between: Callable[[], None] = lambda: None, **more: Any,
) -> Any:  # fmt: skip
    """Carry out one request and return its result; raises what the job raised, or Unreachable when it could not start.

    `between` is called when the job has done the first half of its work and waits; when it raises, there is no second half.
    """
    refusal = ""
    for number, octet in enumerate(JOB_OCTETS, start=1):
        process = _start(place.command(f"redis-{place.stack}-backup-job-{number}", octet))
        try:
            return _converse(process, place.request(do, more), report, between)
        except _NotStarted as error:
            refusal = str(error)
            if not any(word in refusal.lower() for word in TAKEN):
                break
        finally:
            _end(process)
    raise Unreachable(_why(refusal))


class _NotStarted(Exception):
    """Docker did not start the container; the message is its own."""


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError:
        raise Unreachable(f"{command[0]} is not on PATH; run `make setup`") from None


def _converse(
    process: "subprocess.Popen[bytes]", request: dict[str, Any], report: Callable[[dict[str, Any]], None],
    between: Callable[[], None],
) -> Any:  # fmt: skip
    assert process.stderr is not None  # noqa: S101 - opened as a pipe
    _tell(process, base64.b64encode(code()) + b"\n" + json.dumps(request).encode() + b"\n")
    for event in _events(process):
        if event.get("event") == "result":
            return event["value"]
        if event.get("event") == "error":
            raise JobFailed(str(event["message"]), int(event["code"]))
        if event.get("event") == HALFWAY:
            between()
            _tell(process, b"go on\n")
        else:
            report(event)
    words = process.stderr.read().decode(errors="replace").strip()
    if process.wait() == DOCKER_FAILED:
        raise _NotStarted(words)
    raise JobFailed(
        f"the job in its container ended with {process.returncode}: {words[-2000:] or 'it said nothing'}", ExitCode.BROKEN
    )


def _tell(process: "subprocess.Popen[bytes]", line: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - opened as a pipe
    with contextlib.suppress(BrokenPipeError):  # it ended; why stands in what it said
        process.stdin.write(line)
        process.stdin.flush()


def _events(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    assert process.stdout is not None  # noqa: S101 - opened as a pipe
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Close the job's input, which ends it, and wait until its container is gone."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None and pipe is not process.stderr:
            try:
                pipe.close()
            except OSError:
                continue
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _why(refusal: str) -> str:
    text = " ".join(refusal.split())
    if "no such image" in text.lower() or "unable to find image" in text.lower():
        return f"the image {IMAGE} is not on the Docker engine; build it: make images ENGINE=client"
    if any(word in text.lower() for word in TAKEN):
        return "two jobs are at work on this stack's backups already; try again when one has ended"
    return f"Docker could not start the job: {text[-1000:]}"
