"""Backups are made from running stacks and brought back: after everything is gone, after damage, after kill -9."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from operations.clients import application_client
from operations.inventory import Access
from tests.live.contents import contents, fill_all_types
from tests.live.harness import ROOT, Stack, engine, throw_away_stack
from tests.waiting import wait_until

pytestmark = pytest.mark.live

SMALL = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"}}
CLUSTER = {"topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 2}, **SMALL}
IMAGE = "redis-topologies/client:1"


def made(stack: Stack, *arguments: str) -> dict[str, Any]:
    """A new backup, as its manifest."""
    manifest: dict[str, Any] = json.loads(stack.script("backup", "create", "--json", *arguments).ok().output)
    return manifest


def listed(stack: Stack) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(stack.script("backup", "list", "--json").ok().output)
    return rows


def fill(access: Access, prefix: str) -> None:
    client = application_client(access)
    fill_all_types(client, prefix)
    client.close()


def lose_everything(stack: Stack) -> Access:
    """Every container and every data volume of the stack is gone; what comes up again is empty."""
    stack.destroy().ok()
    for name in stack.volumes():
        stack.remove_volume(name)
    stack.up().ok()
    access = stack.access()
    assert contents(access) == {}
    return access


class TestCluster:
    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        with throw_away_stack("backup", CLUSTER, tmp_path_factory.mktemp("backup"), request.config) as stack:
            stack.up().ok()
            yield stack

    def test_what_was_backed_up_is_back_after_everything_was_lost(self, stack: Stack) -> None:
        access = stack.access()
        fill(access, "kept")
        before = contents(access)
        manifest = made(stack)
        assert manifest["state"] == "complete"
        assert [shard["source_role"] for shard in manifest["shards"]] == ["replica"] * 3
        assert sum(shard["keys"] for shard in manifest["shards"]) == len(before)
        fill(access, "later")

        stack.script("restore").failed(64).says("which a restore would replace")
        access = lose_everything(stack)
        told = json.loads(stack.script("restore", "--from", "latest", "--json").ok().output)
        assert told["backup"] == manifest["id"]
        assert sum(told["keys"].values()) == len(before)
        assert contents(access) == before
        stack.wait_healthy(access, 30)
        client = application_client(access)
        assert client.set("written", "afterwards")
        client.close()

    @pytest.mark.full
    def test_a_run_killed_at_any_instant_leaves_no_backup_and_the_next_one_tidies_up(self, stack: Stack) -> None:
        known = len(listed(stack))
        command = [sys.executable, str(ROOT / "scripts" / "backup.py"), "create", "--stack", stack.name]
        process = subprocess.Popen(command, env=stack.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the job's container", lambda: "" if jobs(stack) else "no job yet", 60, poll_seconds=0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until("the end of the job", lambda: " ".join(jobs(stack)), 60)
        made(stack)
        states = [row["state"] for row in listed(stack)[known:]]
        assert states[-1] == "complete"
        assert "unfinished" not in states

    @pytest.mark.full
    def test_a_restore_that_was_cut_off_keeps_applications_out_and_goes_on(self, stack: Stack) -> None:
        access = stack.access()
        before = contents(access)
        newest = made(stack)["id"]
        command = [sys.executable, str(ROOT / "scripts" / "restore.py"), "--stack", stack.name, "--replace"]
        process = subprocess.Popen(command, env=stack.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        one = stack.container("node-1-1")

        def stopped() -> str:
            one.reload()
            return "" if one.status == "exited" else one.status

        wait_until("the nodes to be stopped", stopped, 60, poll_seconds=0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until("the end of the job", lambda: " ".join(jobs(stack)), 60)
        stack.script("restore", "--from", newest, "--replace").ok()
        assert contents(access) == before
        stack.wait_healthy(access, 30)


def jobs(stack: Stack) -> list[str]:
    names = (entry["Names"][0].lstrip("/") for entry in engine().api.containers())
    return [name for name in names if name.startswith(f"redis-{stack.name}-backup-job")]
