"""Debian's restic-rest-server for the time of a test: a backup repository elsewhere, behind a password."""

import base64
import contextlib
import hashlib
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from docker.errors import APIError, NotFound

from operations.backup.launch import IMAGE
from tests.live.harness import Stack, engine
from tests.waiting import wait_until

USER = "backups"
FOLDER = "/tmp/data"  # noqa: S108 - the container's own
SERVE = f"""
mkdir -p {FOLDER} && echo "$LOGIN" > {FOLDER}/.htpasswd || exit 1
exec restic-rest-server $OPTIONS --path {FOLDER} --listen "$LISTEN"
"""


@dataclass(frozen=True)
class RestServer:
    """`place` is the repository as a spec names it."""

    name: str
    place: str
    password: str

    def tell(self, stack: Stack) -> None:
        """Let a stack know user and password."""
        stack.script("backup", "secret", "RESTIC_REST_USERNAME", text=USER).ok()
        stack.script("backup", "secret", "RESTIC_REST_PASSWORD", text=self.password).ok()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        container = engine().containers.get(self.name)
        container.pause()
        try:
            yield
        finally:
            container.unpause()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """It has a twenty-fifth of a processor, also when it is started anew."""
        container = engine().containers.get(self.name)
        container.update(cpu_period=100_000, cpu_quota=4_000)
        try:
            yield
        finally:
            container.update(cpu_period=100_000, cpu_quota=-1)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens; what is stored is there again afterwards."""
        container = engine().containers.get(self.name)
        container.kill()
        try:
            yield
        finally:
            container.start()

    def remove(self) -> None:
        """From now on nobody answers; what is stored goes with it."""
        with contextlib.suppress(NotFound, APIError):
            engine().containers.get(self.name).remove(force=True, v=True)


def unused_place() -> tuple[str, int]:
    """An address of the engine's machine that containers of every network reach, with a port that nobody listens on."""
    config = engine().networks.get("bridge").attrs["IPAM"]["Config"]
    gateway = next(str(one["Gateway"]) for one in config if "Gateway" in one)
    with socket.socket() as probe:
        probe.bind((gateway, 0))
        return gateway, int(probe.getsockname()[1])


@contextmanager
def rest_server(checks_uploads: bool = True) -> Iterator[RestServer]:
    """A server that is gone afterwards, with what it stored. One that does not check uploads can be given damaged files."""
    (host, port), password = unused_place(), secrets.token_hex(8)
    login = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()  # noqa: S324 - the format of htpasswd
    server = RestServer(f"t-rest-{port}", f"rest:http://{host}:{port}/shop/", password)
    engine().containers.run(
        IMAGE, ["-c", SERVE], entrypoint="sh", detach=True, network_mode="host", name=server.name,
        environment={
            "LOGIN": f"{USER}:{{SHA}}{login}", "LISTEN": f"{host}:{port}",
            "OPTIONS": "" if checks_uploads else "--no-verify-upload",
        },
    )  # fmt: skip
    try:
        wait_until("the REST server", lambda: "" if listens(host, port) else "nobody listens", 20)
        yield server
    finally:
        server.remove()


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True
