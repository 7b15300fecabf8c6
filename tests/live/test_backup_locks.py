"""Locks that restic leaves in a repository when its job is killed: the next job takes them away, and none of anybody else."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from operations.backup.create import SAMPLE_BYTES
from operations.backup.launch import IMAGE, JOB_OCTETS, home_volume, repository_volume
from operations.backup.session import HOME, LOCAL
from operations.clients import application_client
from operations.errors import ExitCode
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.rest import USER, RestServer, rest_server
from tests.live.test_backup import jobs, listed, made
from tests.live.test_backup_interrupted import STANDALONE, begin, saving, slow_snapshots
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

LARGE_KEYS, LARGE_BYTES = 1000, 4 * SAMPLE_BYTES // 1000
"""restic is started, and locks, when so much of a snapshot has come that it is known whether to compress it."""
SLOW_MICROSECONDS = 20_000
"""For each key of a snapshot: it lasts until the job is killed, also where a look at the locks takes long."""
ONE = {"backup.retention.last": "1", **{f"backup.retention.{name}": "0" for name in ("daily", "weekly", "monthly")}}


@pytest.fixture(scope="module", params=["volume", "rest"])
def server(request: pytest.FixtureRequest) -> Iterator[RestServer | None]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(rest_server()) if request.param == "rest" else None


@pytest.fixture(scope="module")
def stack(server: RestServer | None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("locks", STANDALONE, tmp_path_factory.mktemp("locks"), request.config) as made:
        made.configure(**ONE, **({"backup.repository": server.place} if server else {}))
        made.up().ok()
        made.wait_healthy(made.access(), 60)
        if server:
            server.tell(made)
        client: Any = application_client(made.access(), user="admin")
        for number in range(LARGE_KEYS):
            client.set(f"large:{number}", os.urandom(LARGE_BYTES))
        client.close()
        yield made


def locks(stack: Stack, server: RestServer | None) -> list[str]:
    """The names of the locks in the repository."""
    mounts = [f"{home_volume(stack.name)}:{HOME}"]
    environment = {"RESTIC_REPOSITORY": LOCAL, "RESTIC_PASSWORD_FILE": f"{HOME}/password"}
    if server:
        login = {"RESTIC_REST_USERNAME": USER, "RESTIC_REST_PASSWORD": server.password}
        environment |= {"RESTIC_REPOSITORY": server.place, **login}
    else:
        mounts.append(f"{repository_volume(stack.name)}:{LOCAL}")
    told: bytes = engine().containers.run(
        IMAGE, ["list", "locks", "--no-lock", "--no-cache", "--quiet"], entrypoint="restic", network_mode="host", remove=True,
        user="0:0", volumes=mounts, environment=environment,
    )  # fmt: skip
    return told.decode().split()


def kill_job(stack: Stack) -> None:
    """kill -9 of the container in which restic works."""
    names = {f"redis-{stack.name}-backup-job-{number}" for number, _ in enumerate(JOB_OCTETS, start=1)}
    for container in engine().containers.list():
        if container.name in names:
            container.kill()
    wait_until("the end of the jobs", lambda: " ".join(jobs(stack)), 60)


def test_what_a_killed_backup_has_locked_can_be_pruned_at_once(stack: Stack, server: RestServer | None) -> None:
    access = stack.access()
    ledger = fill(access, "kept", 500)
    for _ in range(2):
        made(stack, "--no-digest")
    slow_snapshots(access, SLOW_MICROSECONDS)
    process = begin(stack, "backup", "create", "--no-digest")
    wait_until("a snapshot under way", lambda: "" if saving(access) else "none", 60, poll_seconds=0.02)
    wait_until("a lock", lambda: "" if locks(stack, server) else f"the script: {process.poll()}", 60)
    kill_job(stack)
    assert process.communicate(timeout=60)[0] and process.returncode != 0
    slow_snapshots(access, 0)
    assert locks(stack, server), "else there is nothing to take away"
    stack.script("backup", "prune").ok()
    assert locks(stack, server) == []
    assert [row["state"] for row in listed(stack)].count("complete") == 1
    assert lost(access, ledger) == []


def test_a_prune_killed_at_any_instant_lets_the_next_backup_through(
    stack: Stack, server: RestServer | None, instants: list[float]
) -> None:
    access = stack.access()
    ledger = fill(access, "more", 500)
    for _ in range(2):
        made(stack, "--no-digest")
    whole = stack.script("backup", "prune").ok().seconds
    for number, share in enumerate(instants):
        made(stack, "--no-digest")
        process = begin(stack, "backup", "prune")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(share * whole)
        if number % 2:
            process.kill()  # the script; its job notices that nobody listens any more
            wait_until("the end of the jobs", lambda: " ".join(jobs(stack)), 60)
        else:
            kill_job(stack)
        process.communicate(timeout=60)
        left = len(locks(stack, server))
        print(f"{'script' if number % 2 else 'job'} killed after {share * whole:.2f} of {whole:.2f} s, left {left} locks")
        told = stack.script("backup", ("create", "prune", "check")[number % 3])
        assert told.code in (ExitCode.OK, ExitCode.MISSED), told.told()  # a check asks for more than this
        assert ("of a job that was killed" in told.text) == bool(left), told.told()
        assert locks(stack, server) == []
        stack.script("backup", "verify").ok()
    assert lost(access, ledger) == []
