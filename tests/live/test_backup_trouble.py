"""Backups in trouble: another password, a repository that is full, two at once: refused with the reason."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from docker.models.containers import Container

from operations.backup.launch import IMAGE, home_volume, repository_volume
from operations.backup.session import HOME
from operations.clients import application_client
from operations.inventory import Access
from tests.live.contents import contents
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import fill
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

SPEC: dict[str, Any] = {"topology": "standalone", "memory": {"maxmemory": "128mb"}, "replication": {"backlog": "4mb"}}
PASSPHRASE = "correct horse battery staple"
ROOM = "12m"


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("trouble", SPEC, tmp_path_factory.mktemp("trouble"), request.config) as made:
        made.up().ok()
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    access = stack.access()
    fill(access, "kept", 500)
    return access


def test_a_repository_with_another_password_is_not_written_to(stack: Stack, access: Access, tmp_path: Any) -> None:
    stack.script("backup", "create").ok()
    key = tmp_path / "key"
    key.write_text(stack.script("backup", "export-key", text=PASSPHRASE).ok().output)
    stack.script("backup", "secret", "password", text="quite another one").ok()
    stack.script("backup", "create").failed(69).says("has another password", "scripts/backup.py secret password")
    stack.script("restore", "--replace").failed(69).says("has another password")
    stack.script("backup", "import-key", str(key), text=PASSPHRASE).failed(65).says("another repository password")
    stack.script("backup", "import-key", str(key), "--replace", text=PASSPHRASE).ok()
    stack.script("backup", "verify").ok().says("500 keys loaded")
    assert len(contents(access)) == 500


@pytest.mark.usefixtures("access")
def test_two_jobs_do_not_change_a_repository_at_the_same_time(stack: Stack) -> None:
    holder = held(stack)
    try:
        stack.script("backup", "create").failed(75).says("another job is at work")
        stack.script("backup", "prune").failed(75)
        stack.script("backup", "list").ok()
    finally:
        holder.remove(force=True)
    stack.script("backup", "create").ok()


def held(stack: Stack) -> Container:
    """Somebody who holds the lock of a stack's backups."""
    container: Container = engine().containers.run(
        IMAGE, ["-c", f"flock {HOME}/lock -c 'echo held; sleep 300'"], entrypoint="sh", detach=True, network_mode="none",
        volumes={home_volume(stack.name): {"bind": str(HOME), "mode": "rw"}}, name=f"redis-{stack.name}-backup-holder",
    )  # fmt: skip
    wait_until("the lock", lambda: "" if b"held" in container.logs() else "not held", 20)
    return container


def test_a_full_repository_is_named_and_no_backup_is_listed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with throw_away_stack("full", SPEC, tmp_path_factory.mktemp("full"), request.config) as stack:
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={ROOM}"}
        engine().volumes.create(repository_volume(stack.name), driver="local", driver_opts=options)
        stack.up().ok()
        access = stack.access()
        client: Any = application_client(access, user="admin")
        for number in range(40):
            client.set(f"noise:{number}", os.urandom(1 << 19))
        before = client.dbsize()
        stack.script("backup", "create").failed(69).says("is full")
        assert client.dbsize() == before
        assert client.ping()
        client.close()
