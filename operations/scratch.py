"""A server of its own, away from every stack, that loads a snapshot: to take its digest, to replay it elsewhere.

It runs in a container of the node image, without a volume, reachable on loopback only, with a password that nobody else knows.
Files are streamed into the container, so that any Docker engine will do and memory stays flat.
"""

import contextlib
import io
import secrets
import socket
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import docker
import redis
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from redis.backoff import NoBackoff
from redis.retry import Retry

from operations.connect import Refused
from operations.errors import InvalidInput, Unreachable

T = TypeVar("T")

LABEL = "redis-topologies.scratch"
"""Marks scratch containers with what they belong to, so that a later run can remove those of one that was killed."""
SOURCE = "redis-topologies.scratch.source"
"""Says which snapshot a scratch container holds."""
FOLDER = "scratch"
SETTINGS = "server.conf"
SNAPSHOT = "dump.rdb"
AOF_FOLDER, AOF_MANIFEST = "appendonlydir", "appendonly.aof.manifest"
ARCHIVE = "/archive"
USER_ID = 65534
PORT = 6379
START_SECONDS = 30.0
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.05
DIRECT_SECONDS = 0.5
CHUNK_BYTES = 1 << 20
BLOCK = 512
LOG_LINES = 30
KILLED = 128 + 9
"""How a container ends whose process somebody killed: the kernel, for want of memory."""
DATABASES = 1024
NOTES_DATABASE = DATABASES - 1
"""Where who works with a scratch server may keep notes about that; snapshots have none of their keys there."""


@dataclass(frozen=True)
class Snapshot:
    """An RDB file that comes from anywhere. `name` is short and plain; `source` identifies the content, for example by checksum;
    `read` gives its bytes in pieces, from the beginning each time that it is called."""

    name: str
    source: str
    size_bytes: int
    read: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class ArchivedMoment:
    """Append-only files in a Docker volume, cut at the end of second `at`. `files` stand in `folder` of the volume, each with
    the number of bytes that count (None: all)."""

    name: str
    source: str
    volume: str
    folder: str
    files: tuple[tuple[str, int | None], ...]
    manifest: str
    at: int


Content = Snapshot | ArchivedMoment


def snapshot_file(path: Path, name: str) -> Snapshot:
    """A file of this machine; raises InvalidInput when it cannot be read."""
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None

    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    return Snapshot(name, f"{path.resolve()}/{found.st_size}/{found.st_mtime_ns}", found.st_size, read)


@dataclass(frozen=True)
class Scratch:
    """A scratch server that has loaded its snapshot."""

    name: str
    host: str
    port: int
    _password: str = field(repr=False)

    def client(self, seconds: float = COMMAND_SECONDS) -> redis.Redis:
        """A client without retries whose replies are bytes."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            password=self._password,
            socket_connect_timeout=2.0,
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def connection(self) -> "Session":
        """A connection of its own; close it."""
        return Session(self.client(), self.name)

    def ask_once(self, question: "Callable[[Session], T]") -> "T":
        """What `question` finds out on a connection of its own."""
        session = self.connection()
        try:
            return question(session)
        finally:
            session.close()


class Session:
    """One connection to a scratch server; errors are those of the toolkit."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client, self._name = client, name
        self._connection: Any = client.connection_pool.get_connection()

    def ask(self, *command: str | bytes | int) -> Any:
        """The reply; raises Refused with the server's own words, Unreachable when it is gone."""
        self.send(*command)
        return self.receive()

    def send(self, *command: str | bytes | int) -> None:
        """Send a command whose reply is received later, after those to earlier ones; raises Unreachable."""
        try:
            self._connection.send_command(*command)
        except redis.RedisError as error:
            raise Unreachable(f"scratch server {self._name} does not answer: {error}") from None

    def receive(self) -> Any:
        """The next reply; raises as `ask` does."""
        try:
            return self._connection.read_response()
        except redis.exceptions.ResponseError as error:
            raise Refused(str(error)) from None
        except redis.RedisError as error:
            raise Unreachable(f"scratch server {self._name} does not answer: {error}") from None

    def skip(self, replies: int) -> None:
        """Take in replies that nobody wants any more; raises nothing."""
        with contextlib.suppress(Unreachable):
            for _ in range(replies):
                with contextlib.suppress(Refused):
                    self.receive()

    def close(self) -> None:
        self._client.close()


@contextmanager
def scratch_server(
    owner: str, purpose: str, image: str, snapshot: Content | None = None, watch: Callable[[str], None] = lambda _: None
) -> Iterator[Scratch]:
    """A running scratch server that holds the data of `snapshot`; removed at the end.

    `owner` is usually a stack; with `purpose` it makes the container's name. One of the same name left by a killed run is used
    again when it holds the same snapshot, else removed first. Raises InvalidInput when the server cannot load the snapshot,
    Unreachable when there is no engine or no image.
    """
    name = f"redis-{owner}-scratch-{purpose}"
    source = snapshot.source if snapshot else ""
    password = secrets.token_urlsafe(24)
    try:
        engine = docker.from_env(timeout=60)
        known = _left_behind(engine, name, source)
        if known is not None:
            container, password = known
            with _removed_at_the_end(engine, name):
                watch("found loaded already")
                yield _loaded(container, password, watch)
            return
        remove(engine, name)
        container = engine.containers.create(
            image,
            ["-ec", _script(snapshot)],
            entrypoint="sh",
            name=name,
            user=f"{USER_ID}:{USER_ID}",
            labels={LABEL: owner, SOURCE: source},
            volumes={snapshot.volume: {"bind": ARCHIVE, "mode": "ro"}} if isinstance(snapshot, ArchivedMoment) else {},
            ports={f"{PORT}/tcp": ("127.0.0.1", 0)},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            init=True,
        )
    except ImageNotFound:
        raise Unreachable(f"there is no image {image} to load a snapshot with; run `make images`") from None
    except DockerException as error:
        raise Unreachable(f"no scratch server can be made: {error}") from None
    with _removed_at_the_end(engine, name):
        watch("copying the snapshot")
        container.put_archive("/", archive(_settings(password, snapshot), snapshot))
        container.start()
        yield _loaded(container, password, watch)


@contextmanager
def _removed_at_the_end(engine: docker.DockerClient, name: str) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(DockerException):
            remove(engine, name)
        engine.close()


def _left_behind(engine: docker.DockerClient, name: str, source: str) -> tuple[Container, str] | None:
    """A running scratch server of this name that holds this snapshot, and its password."""
    try:
        container = engine.containers.get(name)
    except NotFound:
        return None
    if not source or container.labels.get(SOURCE) != source or container.status != "running":
        return None
    stream, _ = container.get_archive(f"/{FOLDER}/{SETTINGS}")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as packed:
        member = packed.extractfile(SETTINGS)
        words = member.read().decode().split() if member else []
    return (container, words[words.index("requirepass") + 1]) if "requirepass" in words else None


def remove(engine: docker.DockerClient, name: str) -> None:
    """Remove a scratch container; one that is not there is fine, one that is none of ours is not touched."""
    try:
        container = engine.containers.get(name)
        if LABEL in container.labels:
            container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if "already in progress" not in str(error):
            raise


def _script(content: Content | None) -> str:
    """What the container runs: it takes the files of an archive, cuts them, and becomes the server."""
    lines = []
    if isinstance(content, ArchivedMoment):
        here = f"/{FOLDER}/{AOF_FOLDER}"
        check = "$(command -v redis-check-aof || command -v valkey-check-aof)"
        for name, size in content.files:
            copy = "cat" if size is None else f"head -c {size}"
            lines.append(f"{copy} {ARCHIVE}/{content.folder}/{name} > {here}/{name}")
        lines.append(f"{check} --truncate-to-timestamp {content.at} {here}/{AOF_MANIFEST}")
    server = "$(command -v redis-server || command -v valkey-server)"
    return "\n".join([*lines, f"exec {server} /{FOLDER}/{SETTINGS}"])


def _settings(password: str, content: Content | None) -> bytes:
    values = {
        "port": PORT,
        "bind": "* -::*",
        "protected-mode": "no",
        "requirepass": password,
        "dir": f"/{FOLDER}",
        "dbfilename": SNAPSHOT,
        "save": '""',
        "appendonly": "yes" if isinstance(content, ArchivedMoment) else "no",
        "auto-aof-rewrite-percentage": 0,
        "databases": DATABASES,
        "maxmemory": 0,
    }
    return "".join(f"{name} {value}\n" for name, value in values.items()).encode()


def archive(settings: bytes, snapshot: Content | None) -> Iterator[bytes]:
    """A tar stream of the server's folder, in pieces."""
    yield _header(FOLDER, tarfile.DIRTYPE, 0o700, 0)
    yield _header(f"{FOLDER}/{SETTINGS}", tarfile.REGTYPE, 0o600, len(settings)) + settings + _padding(len(settings))
    if isinstance(snapshot, ArchivedMoment):
        text = snapshot.manifest.encode()
        yield _header(f"{FOLDER}/{AOF_FOLDER}", tarfile.DIRTYPE, 0o700, 0)
        yield _header(f"{FOLDER}/{AOF_FOLDER}/{AOF_MANIFEST}", tarfile.REGTYPE, 0o600, len(text)) + text + _padding(len(text))
    if isinstance(snapshot, Snapshot):
        yield _header(f"{FOLDER}/{SNAPSHOT}", tarfile.REGTYPE, 0o600, snapshot.size_bytes)
        sent = 0
        for chunk in snapshot.read():
            sent += len(chunk)
            yield chunk
        if sent != snapshot.size_bytes:
            raise InvalidInput(f"snapshot {snapshot.name} has {sent:,} bytes and should have {snapshot.size_bytes:,}")
        yield _padding(sent)
    yield b"\0" * (2 * BLOCK)


def _header(name: str, kind: bytes, mode: int, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, int(time.time())
    entry.uid = entry.gid = USER_ID
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % BLOCK)


def _loaded(container: Container, password: str, watch: Callable[[str], None]) -> Scratch:
    """Wait until the server has loaded its snapshot and answers."""
    deadline = time.monotonic() + START_SECONDS
    last = "it has not answered yet"
    scratch: Scratch | None = None
    while True:
        container.reload()
        if container.status == "exited":
            if container.attrs["State"]["ExitCode"] == KILLED:  # which says nothing about the snapshot
                raise Unreachable(f"scratch server {container.name} was killed while it loaded; has this machine enough memory?")
            raise InvalidInput(f"the snapshot cannot be loaded: {_last_words(container)}")
        binding = (container.attrs["NetworkSettings"]["Ports"] or {}).get(f"{PORT}/tcp")
        if binding and scratch is None:
            scratch = Scratch(str(container.name), "127.0.0.1", int(binding[0]["HostPort"]), password)
        if scratch is not None:
            try:
                with scratch.client(2.0) as client:
                    info: Any = client.info("persistence")
                if not info["loading"]:
                    return nearest(scratch, container.attrs["NetworkSettings"]["Networks"])
                deadline = max(deadline, time.monotonic() + START_SECONDS)  # it answers, so it is getting on
                last = f"loading, {info.get('loading_loaded_perc', '?')} % done"
                watch(last)
            except redis.RedisError as error:
                last = str(error)
        if time.monotonic() > deadline:
            raise Unreachable(f"scratch server {container.name} is not ready after {START_SECONDS:g} s; at last: {last}")
        time.sleep(POLL_SECONDS)


def nearest(scratch: Scratch, networks: Mapping[str, Mapping[str, Any]]) -> Scratch:
    """The same server at its own address where this machine reaches it: what comes through a port that Docker publishes passes a
    proxy, which takes as much processor time as the server."""
    for network in networks.values():
        try:
            with socket.create_connection((network["IPAddress"], PORT), DIRECT_SECONDS):
                direct = replace(scratch, host=network["IPAddress"], port=PORT)
            with direct.client(DIRECT_SECONDS) as client:
                client.ping()  # the password shows that it is the same
            return direct
        except (OSError, redis.RedisError):
            continue
    return scratch


def _last_words(container: Container) -> str:
    lines = container.logs(tail=LOG_LINES).decode(errors="replace").splitlines()
    telling = [line for line in lines if any(word in line for word in ("rror", "Fatal", "FATAL", "wrong", "orrupt", "Can't"))]
    return (telling or lines or ["it said nothing"])[-1]
