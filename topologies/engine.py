"""What stands on the Docker engine now, read at the edge and handed to pure rules as one value."""

import contextlib
import dataclasses
import io
import os
import socket
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.errors import DockerException, NotFound
from docker.models.containers import Container

from operations.errors import Unreachable
from topologies.plan import LABEL_PREFIX, Plan

LOOK_LABEL = f"{LABEL_PREFIX}.looks-into"
TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ANSWER_SECONDS = 120
"""Longest time for one answer of the engine: stopping a node takes up to its stop time-out."""
LOCAL_SCHEMES = ("unix://", "npipe://")


@dataclass(frozen=True)
class FoundContainer:
    """A container, running or not; `published` are its ports on the Docker host."""

    name: str
    labels: Mapping[str, str]
    image_id: str
    published: frozenset[int]
    running: bool


@dataclass(frozen=True)
class FoundNetwork:
    name: str
    subnets: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class FoundVolume:
    """A volume; `identity` is what the start script left in it (stack, topology, shards, engine, version), if anything."""

    name: str
    labels: Mapping[str, str]
    identity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineState:
    """The engine as seen once. `busy_ports` are ports of the asked range on which something listens on loopback."""

    address: str
    containers: tuple[FoundContainer, ...] = ()
    networks: tuple[FoundNetwork, ...] = ()
    volumes: tuple[FoundVolume, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    busy_ports: frozenset[int] = frozenset()
    memory_bytes: int = 0
    primaries: frozenset[str] = frozenset()
    """Containers whose server notes in its own file that it is primary; read only where an order of replacement asks for it."""


def connect() -> docker.DockerClient:
    """A client of the engine that DOCKER_HOST names; raises Unreachable with the way out."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        client = docker.from_env(timeout=ANSWER_SECONDS)
        client.ping()
    except DockerException as error:
        text = str(error)
        if "Permission denied" in text or "PermissionError" in text:
            raise Unreachable(
                f"the Docker engine at {address} does not admit this user; run as root or join the group that owns the socket"
            ) from None
        raise Unreachable(
            f"no Docker engine answers at {address}; start it with `make setup`, or set DOCKER_HOST to one that runs"
        ) from None
    return client


def is_local(address: str) -> bool:
    return address.startswith(LOCAL_SCHEMES)


def listening(ports: Iterable[int]) -> frozenset[int]:
    """Those of `ports` on which something listens on loopback or on all addresses of this machine."""
    tables = [path.read_text() for path in TCP_TABLES if path.exists()]
    if tables:
        heard = frozenset().union(*(listeners(table) for table in tables))
        return frozenset(port for port in ports if port in heard)
    return frozenset(port for port in ports if not _can_bind(port))


def listeners(table: str) -> frozenset[int]:
    """Ports in state LISTEN (0A) in a table of /proc/net/tcp; its addresses are hexadecimal."""
    rows = (line.split() for line in table.splitlines()[1:])
    return frozenset(int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == "0A")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def read_state(client: docker.DockerClient, ports: Iterable[int] = ()) -> EngineState:
    """Read containers, networks, volumes and images; on a local engine also who listens on `ports`."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    api = client.api
    containers = tuple(
        FoundContainer(
            name=entry["Names"][0].lstrip("/"),
            labels=entry.get("Labels") or {},
            image_id=entry["ImageID"],
            published=frozenset(port["PublicPort"] for port in entry.get("Ports") or () if port.get("PublicPort")),
            running=entry["State"] == "running",
        )
        for entry in api.containers(all=True)
    )
    networks = tuple(
        FoundNetwork(
            name=entry["Name"],
            subnets=tuple(config["Subnet"] for config in (entry["IPAM"].get("Config") or ()) if config.get("Subnet")),
            labels=entry.get("Labels") or {},
        )
        for entry in api.networks()
    )
    volumes = tuple(
        FoundVolume(name=entry["Name"], labels=entry.get("Labels") or {}) for entry in (api.volumes().get("Volumes") or ())
    )
    images = {tag: entry["Id"] for entry in api.images() for tag in entry.get("RepoTags") or ()}
    return EngineState(
        address=address,
        containers=containers,
        networks=networks,
        volumes=volumes,
        images=images,
        busy_ports=listening(ports) if is_local(address) else frozenset(),
        memory_bytes=int(client.info().get("MemTotal", 0)),
    )


def stack_of(labels: Mapping[str, str]) -> str | None:
    return labels.get(f"{LABEL_PREFIX}.stack")


def index_of(labels: Mapping[str, str]) -> int | None:
    text = labels.get(f"{LABEL_PREFIX}.index")
    return int(text) if text is not None and text.isdecimal() else None


@contextlib.contextmanager
def _created(client: docker.DockerClient, image: str, volume: str) -> Iterator[Container]:
    """A container that is never started, only to look into `volume`; its label tells which, should we be killed meanwhile."""
    container = client.containers.create(
        image,
        ["true"],
        entrypoint=["true"],
        volumes={volume: {"bind": "/data", "mode": "ro"}},
        network_disabled=True,
        labels={LOOK_LABEL: volume},
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def looking_into(client: docker.DockerClient, volumes: Collection[str]) -> tuple[str, ...]:
    """Ids of containers that a killed process left while it looked into one of `volumes`: nobody could remove that volume."""
    found = client.api.containers(all=True, filters={"label": LOOK_LABEL})
    return tuple(entry["Id"] for entry in found if entry["Labels"][LOOK_LABEL] in volumes)


def read_file(client: docker.DockerClient, volume: str, image: str, path: str) -> str | None:
    """A text file of a volume; None when it is not there."""
    with _created(client, image, volume) as container:
        return _data_file(container, path)


def read_identity(client: docker.DockerClient, volume: str, image: str) -> dict[str, str]:
    """What the start script wrote into a data volume: key=value lines; empty for a volume that was never used."""
    return _identity(read_file(client, volume, image, "identity"))


def _identity(text: str | None) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (text or "").splitlines() if "=" in line)


def _data_file(container: Container, path: str) -> str | None:
    """A small text file of a node's data volume; None when it is not there."""
    try:
        chunks, _ = container.get_archive(f"/data/{path}")
    except NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.extractfile(path.rpartition("/")[2])
        return member.read().decode() if member else None


def notes_primary(topology: str, noted: str) -> bool:
    """Whether a server's own file (nodes.conf of a cluster, else server.conf) says that it serves as primary."""
    if topology != "cluster":
        return bool(noted) and not any(line.startswith(("replicaof ", "slaveof ")) for line in noted.splitlines())
    # "<id> <address> myself,master - 0 0 <epoch> connected 0-5460": slots begin at the ninth word.
    return any("myself,master" in line and len(line.split()) > 8 for line in noted.splitlines())


def with_standing_data(client: docker.DockerClient, state: EngineState, plan: Plan) -> EngineState:
    """The state with what the standing data nodes note about themselves: who is primary, and which engine wrote their data."""
    topology, standing = plan.spec.topology, {container.name for container in state.containers}
    noted_in = "nodes.conf" if topology == "cluster" else "server.conf"
    nodes = {node.volume: node for node in plan.data_nodes if node.container in standing}
    found = {volume: client.containers.get(node.container) for volume, node in nodes.items()}
    primaries = frozenset(
        node.container for volume, node in nodes.items() if notes_primary(topology, _data_file(found[volume], noted_in) or "")
    )
    volumes = tuple(
        dataclasses.replace(volume, identity=_identity(_data_file(found[volume.name], "identity")))
        if volume.name in found
        else volume
        for volume in state.volumes
    )
    return dataclasses.replace(state, volumes=volumes, primaries=primaries)


def some_image(state: EngineState, plan: Plan) -> str | None:
    """An image of which a container can be created to look into a volume."""
    return next((state.images[name] for name in (plan.image, *sorted(state.images)) if name in state.images), None)


def with_identities(client: docker.DockerClient, state: EngineState, plan: Plan) -> EngineState:
    """The state with what the stack's own volumes tell about themselves; looked into only where no container uses them."""
    standing = {container.name for container in state.containers}
    planned = {node.volume: node.container for node in plan.data_nodes}
    image = some_image(state, plan)
    if image is None:
        return state

    def looked(volume: FoundVolume) -> FoundVolume:
        holds_data = volume.labels.get(f"{LABEL_PREFIX}.shard", "0") != "0"
        ours = volume.name in planned or (stack_of(volume.labels) == plan.stack and holds_data)
        if not ours or planned.get(volume.name, volume.name.removesuffix("-data")) in standing:
            return volume
        return dataclasses.replace(volume, identity=read_identity(client, volume.name, image))

    return dataclasses.replace(state, volumes=tuple(looked(volume) for volume in state.volumes))
