"""Backups during failovers; backups, restores and rehearsals that are killed at random instants: resumed or tidied up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis

from operations.backup.fetch import STAGE
from operations.clients import application_client
from operations.connect import Fleet, node_client
from operations.errors import ExitCode, ToolkitError
from operations.inventory import Access, NodeEntry
from operations.parse import info_fields, text
from tests.live.contents import contents
from tests.live.faults import kill_servers
from tests.live.harness import ROOT, Result, Stack, run, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.rest import rest_server
from tests.live.test_backup import jobs, listed, made
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "4mb"}}
CLUSTER: dict[str, Any] = {"topology": "cluster", "shards": 3, "replicas": 1, "cluster": {"node_timeout_seconds": 2}, **SMALL}
SENTINEL: dict[str, Any] = {
    "topology": "sentinel", "replicas": 1, **SMALL,
    "sentinel": {"down_after_seconds": 1, "failover_timeout_seconds": 5},
}  # fmt: skip
STANDALONE: dict[str, Any] = {"topology": "standalone", **SMALL}
KEYS = 3000
LARGE_VALUES = 60
"""Of 1 MB: what a slow server needs seconds for."""
SLOW_MICROSECONDS = 2000
"""For each key of a snapshot: a backup lasts long enough to be met by a fault, whatever the machine."""


@pytest.fixture(scope="class")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    topology = request.param["topology"]
    with throw_away_stack(f"cut-{topology}", request.param, tmp_path_factory.mktemp("cut"), request.config) as stack:
        stack.up().ok()
        stack.wait_healthy(stack.access(), 60)
        yield stack


def begin(stack: Stack, script: str, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, f"scripts/{script}.py", *words, "--stack", stack.name]
    return subprocess.Popen(
        command, cwd=ROOT, env=env or stack.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def kill_after(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """kill -9 of a script after a while, unless it has ended; whether it was killed."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    finally:
        assert process.stdout is not None
        process.stdout.close()
    return False


def slow_snapshots(access: Access, microseconds: int) -> None:
    with Fleet(access, access.inventory.data_nodes) as fleet:
        fleet.each(lambda link: link.ask("CONFIG", "SET", "rdb-key-save-delay", microseconds))


def saving(access: Access) -> list[NodeEntry]:
    """Nodes that make a snapshot now."""
    with Fleet(access, access.inventory.data_nodes) as fleet:
        found = fleet.each(lambda link: info_fields(text(link.ask("INFO"))))
    return [
        access.inventory.node(name)
        for name, fields in found.items()
        if isinstance(fields, dict) and fields.get("rdb_bgsave_in_progress") == "1"
    ]


def primary_of(access: Access, shard: int) -> NodeEntry:
    for node in access.inventory.data_nodes:
        client: Any = node_client(access, node)
        role = client.role()[0]
        client.close()
        if node.shard == shard and role == b"master":
            return node
    raise AssertionError(f"shard {shard} has no primary")


@pytest.mark.parametrize("stack", [SENTINEL, CLUSTER], indirect=True, ids=lambda spec: str(spec["topology"]))
class TestFailover:
    """Nothing is listed as restorable that is not whole, and the stack keeps everything."""

    def test_a_source_that_dies_is_named_and_the_backup_made_again(self, stack: Stack) -> None:
        access = stack.access()
        ledger = fill(access, "kept", KEYS)
        stack.script("backup", "create", "--no-digest").ok()
        known = [row["id"] for row in listed(stack)]
        slow_snapshots(access, SLOW_MICROSECONDS)
        process = begin(stack, "backup", "create", "--no-digest")
        wait_until("a snapshot under way", lambda: "" if saving(access) else "none", 60, poll_seconds=0.02)
        source = saving(access)[0]
        kill_servers(stack, [source])
        said = process.communicate(timeout=120)[0].decode()
        assert process.returncode == ExitCode.OK, said
        assert source.name in said and "the backup is made again" in said, said
        stack.wait_healthy(access, 60)
        slow_snapshots(access, 0)
        assert [row["state"] for row in listed(stack) if row["id"] not in known] == ["failed", "complete"]
        assert lost(access, ledger) == []
        stack.script("backup", "verify", "latest").ok()

    def test_a_primary_that_dies_meanwhile_costs_time_and_no_backup(self, stack: Stack) -> None:
        access = stack.access()
        ledger = fill(access, "more", KEYS)
        victim = primary_of(access, 1)
        slow_snapshots(access, SLOW_MICROSECONDS)
        process = begin(stack, "backup", "create", "--no-digest")
        wait_until("a snapshot under way", lambda: "" if saving(access) else "none", 60, poll_seconds=0.02)
        assert victim.name not in {node.name for node in saving(access)}
        container = stack.container(victim.name)
        container.kill()
        said = process.communicate(timeout=180)[0].decode()
        assert process.returncode == 0, said
        container.start()
        stack.wait_healthy(access, 60)
        assert primary_of(access, 1).name != victim.name
        slow_snapshots(access, 0)
        stack.script("backup", "verify", "latest").ok()
        assert lost(access, ledger) == []
        stack.script("restore", "--from", "latest", "--replace").ok()
        assert lost(access, ledger) == []


@pytest.mark.parametrize("stack", [STANDALONE, CLUSTER], indirect=True, ids=lambda spec: str(spec["topology"]))
class TestKilledRestore:
    def test_a_restore_killed_at_any_instant_leaves_the_old_data_or_a_closed_stack_and_is_repeated(
        self, stack: Stack, instants: list[float]
    ) -> None:
        access = stack.access()
        fill(access, "kept", KEYS)
        before = contents(access)
        newest = made(stack)["id"]
        whole = stack.script("restore", "--from", newest, "--replace").ok().seconds
        for share in instants:
            fill(access, "later", 10)
            instant = share * whole
            killed = kill_after(begin(stack, "restore", "--from", newest, "--replace"), instant)
            wait_until("the end of the jobs", lambda: " ".join(jobs(stack)), 60)
            told = f"killed after {instant:.2f} of {whole:.2f} s" if killed else "it had ended"
            print(told)
            assert visible_keys(access) in (None, len(before), len(before) + 10), told
            stack.script("restore", "--from", newest, "--replace").ok()
            assert contents(access) == before, told
            stack.wait_healthy(access, 60)
            assert visible_keys(access) == len(before)


def visible_keys(access: Access) -> int | None:
    """How many keys applications see now, on all primaries; None where they are not let in, or get no answer from a shard."""
    client: Any = None
    try:
        client = application_client(access)
        return sum(1 for _ in client.scan_iter(count=1000))
    except (redis.RedisError, ToolkitError, OSError):
        return None
    finally:
        if client is not None:
            client.close()


@pytest.mark.parametrize("stack", [STANDALONE], indirect=True, ids=lambda spec: str(spec["topology"]))
class TestKilledRehearsal:
    def test_a_rehearsal_killed_at_any_instant_is_tidied_up_by_the_next_one(self, stack: Stack, instants: list[float]) -> None:
        access = stack.access()
        ledger = fill(access, "kept", KEYS)
        made(stack)
        whole = stack.script("backup", "rehearse").ok().seconds
        for share in instants:
            instant = share * whole
            killed = kill_after(begin(stack, "backup", "rehearse"), instant)
            print(f"killed after {instant:.2f} of {whole:.2f} s" if killed else "it had ended")
            stack.script("backup", "rehearse").ok()
            assert [name for name in stack.leftovers() if "rehearsal" in name] == []
            left = stack.stack_file.parent.glob(f"*{stack.name}-rehearsal*")
            assert [path.name for path in left if path.suffix != ".lock"] == []
        assert lost(access, ledger) == []
        stack.wait_healthy(access, 10)


@pytest.mark.parametrize("stack", [STANDALONE], indirect=True, ids=lambda spec: str(spec["topology"]))
class TestKilledReshape:
    def test_a_restore_into_another_shape_killed_at_any_instant_leaves_old_data_or_a_closed_stack_and_is_repeated(
        self, stack: Stack, instants: list[float], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        fill(stack.access(), "kept", KEYS)
        before = contents(stack.access())
        made(stack)
        spec = {**CLUSTER, "replicas": 0}
        with throw_away_stack("cut-other", spec, tmp_path_factory.mktemp("other"), request.config) as other:
            other.up().ok()
            access = other.access()
            words = ("--to", other.name, "--replace")

            def restore() -> Result:
                return run([sys.executable, "scripts/restore.py", "--stack", stack.name, *words], other.env).ok()

            whole = restore().seconds
            assert contents(access) == before
            for share in instants:
                later = len(before) + len(fill(access, "later", 10).acknowledged)
                instant = share * whole
                killed = kill_after(begin(stack, "restore", *words, env=other.env), instant)
                told = f"killed after {instant:.2f} of {whole:.2f} s" if killed else "it had ended"
                print(told)
                assert visible_keys(access) in (None, len(before), later), told
                restore()
                assert contents(access) == before, told
                other.wait_healthy(access, 60)
                assert visible_keys(access) == len(before)
            assert [name for name in (*stack.leftovers(), *other.leftovers()) if "scratch" in name or "job" in name] == []


class TestRepositoryGoesAway:
    """A REST server that is killed while a backup is written to it."""

    def test_a_backup_goes_on_when_it_is_back_and_one_that_was_given_up_is_tidied_up_by_the_next(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with rest_server() as server:
            spec = {**CLUSTER, "replicas": 0, "backup": {"repository": server.place}}
            with throw_away_stack("away", spec, tmp_path_factory.mktemp("away"), request.config) as stack:
                stack.up().ok()
                server.tell(stack)
                access = stack.access()
                ledger = fill(access, "kept", KEYS)
                made(stack)
                slow_snapshots(access, SLOW_MICROSECONDS)
                for given_up in (False, True):
                    process = begin(stack, "backup", "create", "--no-digest")
                    wait_until("a snapshot under way", lambda: "" if saving(access) else "none", 60, poll_seconds=0.02)
                    with server.down():
                        wait_until("the end of the snapshots", lambda: " ".join(n.name for n in saving(access)), 60)
                        if given_up:
                            os.kill(process.pid, signal.SIGINT)
                            assert process.wait(60) == ExitCode.INTERRUPTED
                            assert jobs(stack) == []
                    said = process.communicate(timeout=180)[0].decode()
                    assert given_up or process.returncode == 0, said
                slow_snapshots(access, 0)
                made(stack)
                states = [row["state"] for row in listed(stack)]
                assert (states.count("complete"), states.count("unfinished")) == (3, 0), states
                stack.script("backup", "verify", "latest").ok()
                stack.script("restore", "--replace").ok()
                assert lost(access, ledger) == []

    def test_a_restore_goes_on_when_it_is_back_and_one_that_was_given_up_leaves_no_half_file(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with rest_server() as server:
            spec = {**STANDALONE, "memory": {"maxmemory": "192mb"}, "backup": {"repository": server.place}}
            with throw_away_stack("back", spec, tmp_path_factory.mktemp("back"), request.config) as stack:
                stack.up().ok()
                server.tell(stack)
                ledger = fill(stack.access(), "kept", 300)
                client: Any = application_client(stack.access(), user="admin")
                for number in range(LARGE_VALUES):
                    client.set(f"large:{number}", os.urandom(1 << 20))
                keys = client.dbsize()
                client.close()
                made(stack, "--no-digest")
                with server.slow():
                    process = fetching(stack)
                    os.kill(process.pid, signal.SIGINT)
                    assert process.wait(60) == ExitCode.INTERRUPTED
                    assert staged_bytes(stack) == 0
                    stack.wait_healthy(stack.access(), 30)
                    process = fetching(stack)
                    with server.down():
                        print(f"{staged_bytes(stack)} bytes had come")
                        assert process.poll() is None
                said = process.communicate(timeout=240)[0].decode()
                assert process.returncode == ExitCode.OK, said
                client = application_client(stack.access(), user="admin")
                assert (client.dbsize(), lost(stack.access(), ledger)) == (keys, [])
                client.close()


def fetching(stack: Stack) -> "subprocess.Popen[bytes]":
    """A restore that has begun to fetch a file."""
    process = begin(stack, "restore", "--replace")
    wait_until("a file under way", lambda: "" if staged_bytes(stack) > 4 << 20 else "not yet", 120, poll_seconds=0.05)
    return process


def staged_bytes(stack: Stack) -> int:
    """How much of a file has come that a restore writes beside the old ones of the first node."""
    told: Any = stack.container("node-1").exec_run(["sh", "-c", f"du -sb /data/{STAGE} 2>/dev/null || echo 0"]).output
    return int(told.split()[0])
