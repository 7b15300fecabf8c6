"""Asks what is archived of a stack, and runs an archiver in the foreground for one whose agent does not archive."""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from operations.archive.job import ARCHIVE, NODES
from operations.archive.segments import wanted
from operations.archive.timeline import NodeArchive, StackPlan, of_data, plan_stack, write_manifest
from operations.backup.launch import IMAGE, LABEL, Place, archive_volume, code, inside, run_job
from operations.backup.restore import WRITER_CAPABILITIES
from operations.errors import ExitCode, ToolkitError, Unreachable
from operations.inventory import Access
from operations.scratch import ArchivedMoment

CLUSTER_OCTET, OTHER_OCTET = 9, 249
"""Last part of the archiver's address: fixed, because one that Docker chooses could be that of a node that is down. A cluster has
no sentinels (.3 to .9), others have no such high nodes; the rest is taken by drills, the agent and jobs of backups."""
MEMORY = "256m"
END_SECONDS = 20
MOMENT = "redis-topologies.backup.moment"
"""Marks a volume with the files of one second; its value is the second."""
LEFT_SECONDS = 6 * 3600
"""Older than any restore that is still at work between its job and its scratch servers, when nothing holds its volume."""
FREE_SECONDS, POLL_SECONDS = 10.0, 0.2
"""A container that is being removed holds its volume for a moment longer."""
BOOTSTRAP = (
    "import sys,base64,tempfile;"
    "code=tempfile.NamedTemporaryFile(suffix='.zip');"
    "code.write(base64.b64decode(sys.stdin.buffer.readline()));code.flush();sys.path.insert(0,code.name);"
    "from operations.archive.job import main;main()"
)


class ArchiverFailed(ToolkitError):
    """The archiver's container ended with an error of its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = ExitCode(code)


def command(access: Access, what: str) -> list[str]:
    """The docker command of an archiver (`run`) or of whoever looks into its archive (`list`)."""
    inventory = access.inventory
    running = what == "run"
    mounts = [f"{archive_volume(inventory.stack)}:{ARCHIVE}"]
    if running:
        mounts += [f"{node.volume}:{NODES}/{node.name}:ro" for node in inventory.data_nodes]
        octet = CLUSTER_OCTET if inventory.topology == "cluster" else OTHER_OCTET
        address = f"{inventory.network.subnet.rpartition('.')[0]}.{octet}"
        place = ["--name", f"redis-{inventory.stack}-archiver", "--network", inventory.network.name, "--ip", address]
    else:
        place = ["--network", "none"]
    rights = [word for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER") for word in ("--cap-add", name)]
    return [
        "docker", "run", "--rm", "--interactive", "--init", *place, "--label", f"{LABEL}={inventory.stack}",
        "--log-driver", "none", "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - the container's own
        "--cap-drop", "ALL", *rights, "--security-opt", "no-new-privileges", "--user", "0:0", "--memory", MEMORY,
        *(word for mount in mounts for word in ("--volume", mount)), IMAGE, "python3", "-c", BOOTSTRAP,
    ]  # fmt: skip


@contextmanager
def job(access: Access, what: str, **told: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """A running job's events; it ends when the context is left. Raises ArchiverFailed or Unreachable."""
    try:
        process = subprocess.Popen(
            command(access, what), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError:
        raise Unreachable("docker is not on PATH; run `make setup`") from None
    assert process.stdin is not None  # noqa: S101 - opened as a pipe
    try:
        try:
            process.stdin.write(base64.b64encode(code()) + b"\n" + json.dumps({"do": what, **told}).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended; why stands in what it said
        yield _events(process)
    finally:
        try:
            process.stdin.close()
        except OSError:
            process.kill()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _events(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    assert process.stdout is not None and process.stderr is not None  # noqa: S101 - opened as pipes
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "error":
            raise ArchiverFailed(event["message"], event["code"])
        if event["event"] == "result":
            return
        yield event
    words = process.stderr.read().decode(errors="replace").strip()
    if "already in use by container" in words:
        raise ArchiverFailed("another archiver is at work on this stack", ExitCode.BUSY)
    if "no such image" in words.lower() or "unable to find image" in words.lower():
        raise Unreachable(f"the image {IMAGE} is not on the Docker engine; build it: make images ENGINE=client")
    raise ArchiverFailed(f"the archiver ended: {words[-1000:] or 'it said nothing'}", ExitCode.BROKEN)


def run_archiver(access: Access, keep_seconds: float, report: Callable[[dict[str, Any]], None]) -> None:
    """Archive until interrupted."""
    told = {
        "inventory": inside(access.inventory).model_dump(mode="json"),
        "passwords": {"admin": access.credentials.password("admin")},
        "keep_seconds": keep_seconds,
    }
    with job(access, "run", **told) as events:
        for event in events:
            report(event)


def archives(access: Access) -> list[NodeArchive]:
    """All that is archived of a stack."""
    with job(access, "list", shards={node.name: node.shard for node in access.inventory.data_nodes}) as events:
        return [of_data(event["archive"]) for event in events]


@contextmanager
def moment(place: Place, at: int, report: Callable[[dict[str, Any]], None]) -> Iterator[tuple[StackPlan, list[ArchivedMoment]]]:
    """What `scratch_server` needs to become each shard of a stack as it was at the end of second `at`; good within the context.

    With `backup.point_in_time` it comes out of the repository, onto a volume that is removed at the end; else from the volume of
    an archiver in the foreground. Raises OutsideArchive.
    """
    plan = plan_stack(archived(place), at)
    if not place.settings.point_in_time:
        yield plan, _contents(plan, archive_volume(place.stack))
        return
    with moment_volume(place.stack, at, lambda text: report({"event": "phase", "text": text})) as volume:
        reader = replace(place, volumes={str(ARCHIVE): volume}, capabilities=WRITER_CAPABILITIES)
        run_job(reader, "moment", report, wanted=wanted(plan), bases=[f"{one.folder}/{one.base.name}" for one in plan.nodes])
        yield plan, _contents(plan, volume)


def archived(place: Place) -> list[NodeArchive]:
    """All that is archived of a stack: in its repository, or on this machine by an archiver in the foreground."""
    if place.settings.point_in_time:
        return [of_data(one) for one in run_job(place, "archive")]
    if place.access is None:
        raise Unreachable(f"stack {place.stack} is not up, and its spec has no backup.point_in_time: no archive")
    return archives(place.access)


@contextmanager
def moment_volume(stack: str, at: int, say: Callable[[str], None]) -> Iterator[str]:
    """A volume for the files of second `at`, gone at the end; and with it those that restores that were killed have left.

    One that cannot be removed is named through `say`: it holds data in the clear.
    """
    name = f"{archive_volume(stack)}-{at}"
    try:
        client = docker.from_env(timeout=60)
        client.volumes.create(name, labels={LABEL: stack, MOMENT: str(at)})
    except DockerException as error:
        raise Unreachable(f"no volume can be made for the files of the archive: {error}") from None
    try:
        yield name
    finally:
        try:
            others = client.volumes.list(filters={"label": [f"{LABEL}={stack}", MOMENT]})
            for volume in (one for one in others if one.name == name or age_seconds(one.attrs["CreatedAt"]) > LEFT_SECONDS):
                _remove(volume, say)
        except DockerException as error:
            say(f"volume {name} may be there still, with data in the clear: {error}")
        finally:
            client.close()


def age_seconds(created: str) -> float:
    """How old a Docker object is, by what Docker says of it."""
    return time.time() - datetime.fromisoformat(created).timestamp()


def _remove(volume: Any, say: Callable[[str], None]) -> None:
    """Remove a volume once its last container is gone."""
    deadline = time.monotonic() + FREE_SECONDS
    while True:
        try:
            volume.remove()
        except NotFound:
            return
        except APIError as error:
            if time.monotonic() > deadline:
                say(f"volume {volume.name} holds data in the clear and cannot be removed: {error.explanation or error}")
                return
            time.sleep(POLL_SECONDS)
        else:
            return


def _contents(plan: StackPlan, volume: str) -> list[ArchivedMoment]:
    contents = []
    for node in plan.nodes:
        files = ((node.base.name, None), *((one.name, one.whole_bytes) for one in node.increments))
        source = f"{volume}/{node.folder}/{files}/{plan.at}"
        contents.append(ArchivedMoment(str(node.shard), source, volume, node.folder, files, write_manifest(node), plan.at))
    return contents
