"""Backups in trouble: another password, a full or silent repository, two at once, a newer engine: refused with the reason."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from docker.models.containers import Container

from operations.backup.launch import IMAGE, home_volume, repository_volume
from operations.backup.session import HOME, LOCAL
from operations.clients import application_client
from operations.errors import ExitCode
from operations.inventory import Access
from tests.live.contents import contents
from tests.live.harness import LABEL, Stack, engine, run, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.rest import rest_server, unused_place
from tests.live.test_backup import listed
from tests.live.test_backup_interrupted import begin
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


def test_two_restores_at_once_into_one_stack_leave_what_was_backed_up(stack: Stack, access: Access) -> None:
    before = contents(access)
    stack.script("backup", "create").ok()
    fill(access, "later", 10)
    both = [begin(stack, "restore", "--replace") for _ in range(2)]
    told = [process.communicate(timeout=180)[0].decode() for process in both]
    codes = [process.returncode for process in both]
    print(codes)
    assert ExitCode.OK in codes and set(codes) <= {ExitCode.OK, ExitCode.BUSY}, told
    assert all("another restore of stack" in said for code, said in zip(codes, told, strict=True) if code)
    assert contents(access) == before
    stack.wait_healthy(access, 60)


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
        with kept_mounted(repository_volume(stack.name)) as holder:
            stack.script("backup", "create").failed(69).says("is full")
            assert client.dbsize() == before
            assert used_bytes(holder) > 1e6, "else there is nothing to give back"
            stack.script("backup", "prune").ok()
            assert used_bytes(holder) < 1e6
            for number in range(40):
                client.delete(f"noise:{number}")
            client.close()
            stack.script("backup", "create").ok()


@contextlib.contextmanager
def kept_mounted(volume: str) -> Iterator[Container]:
    """Memory for a volume loses what it holds when nobody has it mounted."""
    volumes = {volume: {"bind": LOCAL, "mode": "ro"}}
    holder: Container = engine().containers.run(
        IMAGE, ["600"], entrypoint="sleep", init=True, detach=True, network_mode="none", volumes=volumes
    )
    try:
        yield holder
    finally:
        holder.remove(force=True)


def used_bytes(holder: Container) -> int:
    """What the files of the repository take."""
    told: Any = holder.exec_run(["du", "-sb", LOCAL], user="0:0").output
    return int(told.split()[0])


PATIENCE_SECONDS = 60


@pytest.mark.usefixtures("access")
def test_a_repository_that_nobody_serves_is_named_within_a_minute_and_nothing_is_touched(stack: Stack) -> None:
    host, port = unused_place()
    place = f"rest:http://{host}:{port}/"
    stack.configure(**{"backup.repository": place})
    try:
        stack.up().ok()
        for words in (("backup", "create"), ("restore", "--replace")):
            told = stack.script(*words, seconds=PATIENCE_SECONDS).failed(69).says(place, "did not answer within", "refused")
            assert told.seconds < PATIENCE_SECONDS
        stack.script("backup", "check", seconds=PATIENCE_SECONDS).failed(10).says("BAD repository", "did not answer within")
        stack.script("backup", "export-key", text=PASSPHRASE).ok()
        assert len(contents(stack.access())) == 500
    finally:
        stack.configure(**{"backup.repository": "volume"})
        stack.up().ok()


def test_a_repository_elsewhere_that_goes_away_is_back_with_all_backups_when_it_is(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with rest_server() as server:
        spec = {**SPEC, "backup": {"repository": server.place}}
        with throw_away_stack("silent", spec, tmp_path_factory.mktemp("silent"), request.config) as stack:
            stack.up().ok()
            ledger = fill(stack.access(), "kept", 500)
            stack.script("backup", "create").failed(69).says("401")
            server.tell(stack)
            stack.script("backup", "create").ok()
            with server.asleep():
                stack.script("backup", "create", seconds=PATIENCE_SECONDS).failed(69).says("did not answer within")
            stack.script("backup", "verify", "latest").ok().says("500 keys loaded")
            stack.script("backup", "create").ok()
            stack.script("restore", "--replace").ok()
            assert lost(stack.access(), ledger) == []


def test_a_backup_of_a_newer_engine_is_refused_and_the_target_keeps_what_it_has(
    stack: Stack, access: Access, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stack.script("backup", "create").ok()
    older: list[dict[str, Any]] = [
        {**SPEC, "engine": {"version": "7.0"}},
        {**SPEC, "engine": {"version": "7.0"}, "topology": "cluster", "replicas": 0},
    ]
    for spec in older:
        with throw_away_stack("older", spec, tmp_path_factory.mktemp("older"), request.config) as target:
            target.up().ok()
            mine = fill(target.access(), "mine", 50)
            command = [sys.executable, "scripts/restore.py", "--stack", stack.name, "--to", target.name, "--replace"]
            run(command, target.env).failed(10).says(
                "the backup was made by redis 8.0", "newer than what redis 7.0", "nothing was touched"
            )
            assert lost(target.access(), mine) == []
    assert len(contents(access)) == 500


def test_a_target_with_too_little_disk_is_refused_and_keeps_what_it_has(
    stack: Stack, access: Access, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client: Any = application_client(access, user="admin")
    for number in range(40):
        client.set(f"noise:{number}", os.urandom(1 << 19))
    try:
        stack.script("backup", "create").ok()
        with throw_away_stack("small", SPEC, tmp_path_factory.mktemp("small"), request.config) as target:
            options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={ROOM},mode=1777"}
            labels = {f"{LABEL}.stack": target.name, f"{LABEL}.owner": target.owner}
            engine().volumes.create(f"redis-{target.name}-node-1-data", driver="local", driver_opts=options, labels=labels)
            target.up().ok()
            mine = fill(target.access(), "mine", 50)
            command = [sys.executable, "scripts/restore.py", "--stack", stack.name, "--to", target.name, "--replace"]
            run(command, target.env).failed(69).says("node-1: 23 MB of room are needed", "nothing was replaced")
            assert lost(target.access(), mine) == []
            assert target.container("node-1").attrs["State"]["Running"]
            target.script("status").ok()
    finally:
        for number in range(40):
            client.delete(f"noise:{number}")
        client.close()


AHEAD = """
import datetime, json, pathlib, time
home, later = pathlib.Path("/backup"), time.time() + 3600
told = json.loads((home / "status.json").read_text())
told["last_id"] = datetime.datetime.fromtimestamp(later, datetime.UTC).strftime("%Y%m%dT%H%M%S.000Z")
told["last_success"]["at"] = later
(home / "status.json").write_text(json.dumps(told))
agent = json.loads((home / "agent.json").read_text())
agent["served_until"] = datetime.datetime.fromtimestamp(later, datetime.UTC).isoformat()
(home / "agent.json").write_text(json.dumps(agent))
print(told["last_id"])
"""
"""What stands in the notes when the clock has gone back by an hour."""


def test_after_the_clock_went_back_the_next_backup_comes_by_schedule_and_counts_as_the_newest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    retention = {"last": 1, "daily": 0, "weekly": 0, "monthly": 0}
    spec = {**SPEC, "backup": {"schedule": "* * * * *", "retention": retention}}
    with throw_away_stack("clock", spec, tmp_path_factory.mktemp("clock"), request.config) as stack:
        stack.up().ok()
        agent = stack.container("backup-agent")

        def prunes() -> int:
            return int(agent.logs().count(b'"event": "pruned"'))

        wait_until("a backup by the agent", lambda: "" if prunes() else "none", 180)
        known = prunes()
        told: Any = agent.exec_run(["python3", "-c", AHEAD]).output
        noted = told.decode().strip()
        stack.script("status").failed(10).says("the clock went back")
        wait_until("the next backup by the agent", lambda: "" if prunes() > known else "none", 180)
        stack.script("status").ok()
        complete = [row["id"] for row in listed(stack) if row["state"] == "complete"]
        assert complete[-1] > noted
        assert len(complete) == 1, "one that was made before was kept for the newest"
