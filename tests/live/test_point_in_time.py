"""A FLUSHALL is undone: the stack is brought back to the second before it, from its archive."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from operations.archive.launch import archives
from operations.archive.timeline import ranges, restorable
from operations.clients import application_client
from operations.connect import node_client
from operations.inventory import Access
from tests.live.harness import ROOT, Result, Stack, run, throw_away_stack
from tests.live.ledger import fill, lost
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

PARAMETERS: dict[str, Any] = {
    "persistence": {"policy": "aof"},
    "parameters": {"aof-timestamp-enabled": "yes"},
    "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "8mb", "replica_buffer": "16mb"},
}
SHAPES = [
    {"topology": "standalone", **PARAMETERS},
    pytest.param(
        {"topology": "cluster", "cluster": {"node_timeout_seconds": 2}, **PARAMETERS},
        marks=pytest.mark.full,
    ),
    pytest.param({"topology": "sentinel", "replicas": 1, **PARAMETERS}, marks=pytest.mark.full),
]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda spec: str(spec["topology"]))
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("moment", request.param, tmp_path_factory.mktemp("moment"), request.config) as made:
        made.up().ok()
        made.wait_healthy(made.access(), 60)
        yield made


@pytest.fixture(scope="module")
def access(stack: Stack) -> Access:
    return stack.access()


@pytest.fixture(scope="module")
def archiver(stack: Stack, access: Access) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        [sys.executable, "scripts/archive.py", "run", "--stack", stack.name],
        cwd=ROOT, env=stack.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_until("an archive of all shards", lambda: "" if covered(access) or process.poll() is not None else "nothing yet", 60)
    assert process.poll() is None, process.communicate()
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 130


def covered(access: Access) -> int:
    """The last second that can be restored of all shards; 0 for none."""
    return max((high for _, high in restorable(archives(access))), default=0)


def servers_second(access: Access) -> int:
    client: Any = node_client(access, access.inventory.data_nodes[0])
    seconds = int(client.time()[0])
    client.close()
    return seconds


def wait_for_second(access: Access, second: int) -> None:
    wait_until(f"second {second}", lambda: "" if servers_second(access) > second else "not over", 10)


def script(stack: Stack, *arguments: str) -> Result:
    command, *others = arguments
    return run([sys.executable, "scripts/archive.py", command, "--stack", stack.name, *others], stack.env)


def rewriting(client: Any) -> bool:
    found = client.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])


def flush(access: Access) -> None:
    client: Any = application_client(access, user="admin")
    client.flushall()
    client.close()


@pytest.mark.usefixtures("archiver")
def test_a_flushall_is_undone(stack: Stack, access: Access) -> None:
    ledger = fill(access, "before", 2000)
    moment = servers_second(access)
    wait_for_second(access, moment)
    flush(access)
    after = fill(access, "after", 100)
    wait_until("the archive to have that second", lambda: "" if covered(access) > moment + 1 else f"{covered(access)}", 60)
    early = min(low for one in archives(access) for low, _ in ranges([one]))
    script(stack, "restore", "--at", str(early - 1000), "--replace").failed(69).says("what can be is")
    assert lost(access, after) == []
    script(stack, "restore", "--at", str(moment), "--replace").ok().says("found the same", "apart")
    assert lost(access, ledger) == []
    assert len(lost(access, after)) == 100


@pytest.mark.full
@pytest.mark.usefixtures("archiver")
def test_rewrites_and_failovers_between_are_followed(stack: Stack, access: Access) -> None:
    moments = []
    for number in range(3):
        ledger = fill(access, f"round{number}", 500)
        moment = servers_second(access)
        moments.append((moment, ledger))
        wait_for_second(access, moment)
        if number == 0:
            for node in access.inventory.data_nodes:
                client: Any = node_client(access, node)
                client.bgrewriteaof()
                wait_until("the rewrite to end", lambda: "running" if rewriting(client) else "", 30)  # noqa: B023
                client.close()
        elif access.inventory.replicas:
            stack.script("switchover").ok()
            time.sleep(3)
    last = servers_second(access)
    wait_until("the archive to have everything", lambda: "" if covered(access) > last else f"{covered(access)} of {last}", 60)
    for number, (moment, _) in enumerate(moments):
        script(stack, "restore", "--at", str(moment), "--replace").ok()
        for other, (_, ledger) in enumerate(moments):
            assert len(lost(access, ledger)) == (0 if other <= number else 500)
