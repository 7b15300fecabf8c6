"""Any image will do: one laid out as the official ones, pulled from a registry that the engine does not know yet.

Another user id, programs under /usr/local/bin, an entrypoint script that wants to run as root, no procps, no iproute2.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import docker
import pytest
from docker.errors import ImageNotFound

from tests.conftest import FIGURE
from tests.live.harness import Stack, engine, run_infra, throw_away_stack
from tests.waiting import wait_until

BASE = "redis-topologies/node:redis-8.0"
USER_ID = 5432
DOCKERFILE = f"""
FROM {BASE}
USER root
RUN set -eu; \\
    for program in /usr/bin/redis-*; do mv "$program" /usr/local/bin/; done; \\
    for program in ps pgrep pkill top free uptime vmstat ss ip netstat ifconfig; do \\
        while found=$(command -v "$program"); do rm -f "$found"; hash -r; done; done; \\
    groupmod --gid {USER_ID} redis; usermod --uid {USER_ID} redis; chown -R redis:redis /data; \\
    printf '%s\\n' '#!/bin/sh' 'echo "this entrypoint must not run" >&2' 'exit 1' > /usr/local/bin/docker-entrypoint.sh; \\
    chmod 755 /usr/local/bin/docker-entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 6379
CMD ["redis-server"]
"""


@dataclass(frozen=True)
class Registry:
    """A registry on loopback, which engines accept without TLS."""

    address: str


def require_registry() -> str:
    """The program of Debian's docker-registry; installed when missing, since nothing else can stand in for a registry."""
    if shutil.which("docker-registry") is None:
        command = ["apt-get", "install", "-qy", "--no-install-recommends", "docker-registry"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        assert done.returncode == 0, f"docker-registry is missing and cannot be installed: {done.stderr[-500:]}"
    program = shutil.which("docker-registry")
    assert program is not None
    return program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {folder}/data}}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([require_registry(), "serve", str(config)], stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:

            def missing() -> str:
                with socket.socket() as probe:
                    return "" if probe.connect_ex(("127.0.0.1", port)) == 0 else (folder / "log").read_text()[-300:] or "silence"

            wait_until("the registry", missing, 15)
            yield Registry(f"127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an image that only the registry has; gone from engine and registry afterwards."""
    client, name = engine(), f"{registry.address}/t-official/redis:8.0"
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    built, _ = client.images.build(path=str(folder), tag=name, rm=True, network_mode="none")
    try:
        for line in client.images.push(name, stream=True, decode=True):
            assert "error" not in line, line
        client.images.remove(name, force=True)
        with pytest.raises(ImageNotFound):
            client.images.get(name)
        yield name
    finally:
        for reference in (name, built.id or name):
            try:
                client.images.remove(reference, force=True)
            except docker.errors.APIError:
                continue


@pytest.fixture(scope="module", params=["cluster", "sentinel"])
def stack(request: pytest.FixtureRequest, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    spec = {"topology": request.param, "engine": {"name": "redis", "version": "8.0", "image": image}}
    with throw_away_stack(f"image-{request.param}", spec, tmp_path_factory.mktemp("official"), request.config) as made:
        yield made


def test_an_image_laid_out_as_the_official_ones_is_pulled_and_passes_every_check(
    stack: Stack, image: str, record_property: Callable[[str, object], None]
) -> None:
    came = stack.up().ok()
    access = stack.access()
    assert access.inventory.engine.image == image
    assert engine().images.get(image).id == access.inventory.engine.image_id
    result, counts = run_infra(stack)
    result.ok()
    assert counts.passed > 100 and counts.others == 0, counts
    record_property(FIGURE, f"{stack.name}: pull and pulumi up {came.seconds:.1f} s, {counts.passed} checks passed")


def test_the_server_has_the_user_id_of_that_image(stack: Stack) -> None:
    container = stack.container("node-1-1" if "cluster" in stack.name else "node-1")
    code, output = container.exec_run(["id", "-u"])
    assert (code, output) == (0, f"{USER_ID}\n".encode())
    code, _ = container.exec_run(["sh", "-c", "command -v ps || command -v ss || command -v ip"])
    assert code != 0, "the image still has procps or iproute2, so this proves nothing"


def test_a_restart_of_every_node_keeps_its_data_under_that_user_id(stack: Stack) -> None:
    access = stack.access()
    for node in access.inventory.nodes:
        stack.container(node.name).restart(timeout=30)
    stack.wait_healthy(access, 60)
