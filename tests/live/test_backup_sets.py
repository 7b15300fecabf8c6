"""The set of a cluster's shards: one cut through all of them, one of them missing; and a repository that somebody has locked."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from operations.backup.launch import IMAGE, home_volume, repository_volume
from operations.backup.session import HOME, LOCAL
from operations.clients import application_client
from operations.sizes import MIB, write_bytes
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import Load, fill, lost
from tests.live.test_backup import listed, made
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

PAUSE_MILLISECONDS = 2000
SPEC: dict[str, Any] = {
    "topology": "cluster",
    "replicas": 0,
    "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "4mb"},
    "backup": {"pause_milliseconds": PAUSE_MILLISECONDS},
}


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("sets", SPEC, tmp_path_factory.mktemp("sets"), request.config) as made:
        made.up().ok()
        made.wait_healthy(made.access(), 60)
        yield made


def restic(stack: Stack, words: str) -> Any:
    """A container that works on the stack's repository without this toolkit."""
    volumes = {
        home_volume(stack.name): {"bind": str(HOME), "mode": "ro"},
        repository_volume(stack.name): {"bind": LOCAL, "mode": "rw"},
    }
    return engine().containers.run(
        IMAGE, ["-c", words], entrypoint="sh", detach=True, network_mode="none", volumes=volumes, user="0:0",
        environment={"RESTIC_REPOSITORY": LOCAL, "RESTIC_PASSWORD_FILE": f"{HOME}/password", "HOME": "/tmp"},  # noqa: S108
    )  # fmt: skip


def test_with_a_pause_the_shards_are_cut_at_once(stack: Stack) -> None:
    access = stack.access()
    with Load(access, "ordered", writers=1) as load:
        load.wait_for(300)
        told = made(stack, "--no-digest")
        load.wait_for(len(load.ledger.acknowledged) + 300)
    assert told["consistent"] and 0 < told["pause_seconds"] * 1000 <= PAUSE_MILLISECONDS
    stack.script("restore", "--from", told["id"], "--replace").ok()
    missing = set(lost(access, load.ledger))
    there = [key not in missing for key in load.ledger.acknowledged]
    assert any(there) and not all(there)
    assert there == sorted(there, reverse=True), "a write of one writer is there, and one before it on another shard is not"


def test_a_shard_that_is_missing_from_a_set_is_named_and_nothing_is_touched(stack: Stack) -> None:
    access = stack.access()
    ledger = fill(access, "kept", 500)
    whole, cut = made(stack)["id"], made(stack)
    snapshot = next(shard["snapshot"] for shard in cut["shards"] if shard["shard"] == 2)
    container = restic(stack, f"restic forget {snapshot}")
    assert container.wait()["StatusCode"] == 0, container.logs()
    container.remove(v=True)
    for words in (("backup", "verify"), ("restore", "--replace"), ("restore", "--replace", "--shard", "2")):
        stack.script(*words).failed(10).says("shard 2", "missing")
    assert lost(access, ledger) == []
    assert [row["state"] for row in listed(stack)][-2:] == ["complete", "damaged"]
    stack.script("restore", "--from", whole, "--replace").ok()
    assert lost(access, ledger) == []


FLIP = """
import pathlib
for kept in pathlib.Path("/backup/cache").glob("*/data/*/*"):
    file = pathlib.Path("/repository/data", kept.parent.name, kept.name)
    if file.exists():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.chmod(0o600)
        file.write_bytes(data)
        print("flipped", flush=True)
"""
"""Inverts a bit in every file of the repository of which restic keeps a copy: those that hold folders."""


def flip(stack: Stack) -> None:
    container = restic(stack, f"python3 -c '{FLIP}'")
    assert container.wait()["StatusCode"] == 0 and b"flipped" in container.logs(), container.logs()
    container.remove(v=True)


def test_a_verification_sees_the_damage_that_copies_on_this_machine_would_hide(stack: Stack) -> None:
    newest = made(stack)["id"]
    stack.script("backup", "verify").ok()
    flip(stack)
    try:
        stack.script("backup", "verify").failed(10).says(newest, "is damaged")
        assert listed(stack)[-1]["state"] == "damaged"
        stack.script("backup", "check").failed(10).says("BAD whole:", f"{newest} is damaged: its last verification failed")
    finally:
        flip(stack)
    stack.script("backup", "verify").ok()
    assert listed(stack)[-1]["state"] == "complete"


def test_a_repository_that_somebody_else_has_locked_takes_backups_and_is_not_pruned(stack: Stack) -> None:
    made(stack)
    holder = restic(stack, "sleep 300 | restic backup --stdin --stdin-filename somebody")
    try:

        def unlocked() -> str:
            found = restic(stack, "ls /repository/locks | grep . ")
            code = found.wait()["StatusCode"]
            found.remove(v=True)
            return "" if code == 0 else "no lock yet"

        wait_until("the lock", unlocked, 30)
        stack.configure(**{"backup.retention.last": "1", "backup.retention.daily": "0", "backup.retention.weekly": "0"})
        stack.configure(**{"backup.retention.monthly": "0"})
        stack.up().ok()
        made(stack)
        stack.script("backup", "prune").failed(75).says("locked by another process")
        stack.script("backup", "verify").ok()
    finally:
        holder.remove(force=True, v=True)


def test_a_rate_limit_holds_for_all_shards_together_and_replaces_no_container(stack: Stack) -> None:
    access, limit = stack.access(), MIB
    client: Any = application_client(access)
    for number in range(8):
        client.set(f"large:{number}", os.urandom(MIB))
    client.close()
    before = {one.name: one.id for one in stack.containers() if "node" in str(one.name)}
    stack.configure(**{"backup.rate_limit": write_bytes(limit)})
    stack.up().ok()
    assert {one.name: one.id for one in stack.containers() if "node" in str(one.name)} == before
    told = made(stack, "--no-digest")
    size = sum(shard["bytes"] for shard in told["shards"])
    assert size > 8 * MIB
    seconds = max(shard["ended"] for shard in told["shards"]) - min(shard["began"] for shard in told["shards"])
    assert seconds > size / limit * 0.8, f"{size} bytes in {seconds:.1f} s"
