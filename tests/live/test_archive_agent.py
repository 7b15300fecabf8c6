"""The agent archives into the repository, and a second is restored from there alone: after kill -9, an outage, a failover, moves
of slots."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from operations.backup.launch import archive_volume, repository_volume
from operations.connect import Fleet, node_client
from operations.inventory import Access
from operations.observe import observe
from operations.parse import text
from tests.live.harness import Stack, engine, throw_away_stack
from tests.live.ledger import Load, fill, lost
from tests.live.rest import RestServer, rest_server
from tests.live.test_point_in_time import flush, rewriting, servers_second, wait_for_second
from tests.waiting import wait_until

pytestmark = pytest.mark.live

FIELDS: dict[str, Any] = {
    "backup": {"point_in_time": True, "objectives": {"lag_seconds": 60}},
    "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "8mb", "replica_buffer": "16mb"},
}
CLIENT = "redis-topologies/client:1"
SHAPES: list[Any] = [
    {"topology": "standalone", **FIELDS},
    pytest.param({"topology": "cluster", "cluster": {"node_timeout_seconds": 2}, **FIELDS}, marks=pytest.mark.full),
    pytest.param({"topology": "sentinel", "replicas": 1, **FIELDS}, marks=pytest.mark.full),
]
OVER_REST = pytest.param(
    {"topology": "cluster", "cluster": {"node_timeout_seconds": 2}, **FIELDS, "over_rest": True}, marks=pytest.mark.full
)


def name_of(spec: dict[str, Any]) -> str:
    return f"{spec['topology']}{'-over-rest' if spec.get('over_rest') else ''}"


@pytest.fixture(scope="module", params=[*SHAPES, OVER_REST], ids=name_of)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = dict(request.param)
    return found


@pytest.fixture(scope="module")
def server(spec: dict[str, Any]) -> Iterator[RestServer | None]:
    """Where the repository is, unless it is a volume."""
    with ExitStack() as stack:
        yield stack.enter_context(rest_server()) if spec.get("over_rest") else None


@pytest.fixture(scope="module")
def stack(
    spec: dict[str, Any], server: RestServer | None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    told = {name: value for name, value in spec.items() if name != "over_rest"}
    if server:
        told["backup"] = {**told["backup"], "repository": server.place}
    with throw_away_stack("archive", told, tmp_path_factory.mktemp("archive"), request.config) as made:
        made.up().ok()
        made.wait_healthy(made.access(), 60)
        if server:
            server.tell(made)
        yield made


def archived(stack: Stack) -> int:
    """The last second that can be restored from the repository, as the agent noted it; 0 for none."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return int(noted(stack)["restorable"][1])
    return 0


def noted(stack: Stack) -> dict[str, Any]:
    """What the agent says of the archive."""
    told: Any = stack.container("backup-agent").exec_run(["cat", "/backup/archive.json"]).output
    found: dict[str, Any] = json.loads(told)
    return found


def wait_archived(stack: Stack, second: int) -> None:
    def missing() -> str:
        return "" if archived(stack) >= second else f"{archived(stack)} of {second}"

    wait_until(f"second {second} in the repository", missing, 90)


def moment_of(access: Access, name: str) -> tuple[int, Any]:
    """Write something and let its second pass; returns that second and what was written until then."""
    ledger = fill(access, name, 500)
    second = servers_second(access)
    wait_for_second(access, second)
    return second, ledger


def restore(stack: Stack, second: int) -> None:
    stack.script("restore", "--at", str(second), "--replace").ok().says("found the same", "apart")


def in_repository(stack: Stack, script: str) -> None:
    mounts = {repository_volume(stack.name): {"bind": "/repository", "mode": "rw"}}
    engine().containers.run(CLIENT, ["-c", script], entrypoint="sh", user="0:0", network_mode="none", remove=True, volumes=mounts)


def test_a_flushall_is_undone_from_the_repository_alone(stack: Stack) -> None:
    access = stack.access()
    second, ledger = moment_of(access, "before")
    flush(access)
    after = fill(access, "after", 100)
    wait_archived(stack, servers_second(access))
    stack.script("status").ok().says("archived from")
    stack.script("restore", "--at", str(second - 100_000), "--replace").failed(69).says("what can be is")

    agent = stack.container("backup-agent")
    agent.remove(force=True)
    engine().volumes.get(archive_volume(stack.name)).remove()
    restore(stack, second)
    assert lost(access, ledger) == []
    assert len(lost(access, after)) == 100
    stack.script("status").failed(10).says("the backup agent of stack")
    stack.up("--refresh").ok()


@contextmanager
def away(stack: Stack, server: RestServer | None) -> Iterator[None]:
    """The archive's repository cannot be reached."""
    if server:
        with server.down():
            yield
        return
    in_repository(stack, "mv /repository/point-in-time /repository/away")
    try:
        yield
    finally:
        in_repository(stack, "rm -rf /repository/point-in-time; mv /repository/away /repository/point-in-time")


@pytest.mark.full
def test_an_agent_that_is_killed_and_a_flushall_while_the_repository_is_away_leave_no_hole(
    stack: Stack, server: RestServer | None
) -> None:
    access = stack.access()
    wait_archived(stack, servers_second(access))
    first, early = moment_of(access, "early")
    with Load(access, "meanwhile") as load:
        load.wait_for(200)
        stack.container("backup-agent").exec_run(["kill", "-9", "-1"])
        load.wait_for(400)
        with away(stack, server):
            load.wait_for(1000)
            wait_until("a problem with the repository", lambda: "" if problems(stack) else "none yet", 90)
            known, last = load.ledger, servers_second(access)
            wait_for_second(access, last)
            flush(access)
    wait_archived(stack, last)
    wait_until("the end of the problems", lambda: " ".join(problems(stack)), 30)
    restore(stack, last)
    assert lost(access, early) == []
    assert lost(access, known) == []
    restore(stack, first)
    assert lost(access, early) == []


def problems(stack: Stack) -> list[str]:
    return list(noted(stack)["problems"])


@pytest.mark.full
def test_rewrites_and_failovers_are_followed(stack: Stack) -> None:
    access = stack.access()
    moments = []
    for number in range(3):
        wait_archived(stack, servers_second(access))  # seconds of a failover are refused
        moments.append(moment_of(access, f"round{number}"))
        wait_archived(stack, moments[-1][0])
        if number == 0:
            rewrite(access)
        elif access.inventory.replicas:
            victim = next(node.name for node in access.inventory.data_nodes if node.shard == 1 and is_primary(access, node.name))
            stack.container(victim).kill()
            stack.wait_promoted(access, victim, 30)
            stack.container(victim).start()
            stack.wait_healthy(access, 60)
    wait_archived(stack, servers_second(access))
    for number, (second, _) in enumerate(moments):
        restore(stack, second)
        for other, (_, ledger) in enumerate(moments):
            assert len(lost(access, ledger)) == (0 if other <= number else 500)


def rewrite(access: Access) -> None:
    for node in access.inventory.data_nodes:
        client: Any = node_client(access, node)
        client.bgrewriteaof()
        wait_until("the rewrite to end", lambda: "running" if rewriting(client) else "", 30)  # noqa: B023
        client.close()


def is_primary(access: Access, name: str) -> bool:
    return observe(access).of(name).is_primary


@pytest.mark.full
def test_slots_that_moved_are_followed_and_seconds_with_an_open_slot_are_refused(stack: Stack) -> None:
    access = stack.access()
    if access.inventory.topology != "cluster":
        pytest.skip("only a cluster has slots")
    wait_archived(stack, servers_second(access))
    before, early = moment_of(access, "home")
    stack.script("reshard", "--weights", "1=0.2").ok()
    try:
        wait_archived(stack, servers_second(access))  # seconds in which slots are on the move are refused
        after, late = moment_of(access, "moved")
        opened = hold_a_slot_open(access)
        wait_archived(stack, moment_of(access, "closed")[0])
        flush(access)
        told = stack.script("restore", "--at", str(opened), "--replace").failed(69).says("what can be is", "nearest")
        print(told.errors)
        restore(stack, after)
        assert lost(access, early) == []
        assert lost(access, late) == []
        restore(stack, before)
        assert lost(access, early) == []
        assert len(lost(access, late)) == 500
    finally:
        stack.script("reshard").ok()


def hold_a_slot_open(access: Access) -> int:
    """Half a move of a slot, as a tool that was killed leaves it, for three seconds; returns the one in the middle."""
    seen = observe(access)
    giver, taker = [node for node in access.inventory.data_nodes if seen.of(node.name).is_primary][:2]
    views = {node.name: seen.of(node.name).cluster for node in (giver, taker)}
    own = views[giver.name]
    assert own is not None and views[taker.name] is not None
    slot = own.slots[0][0]
    with Fleet(access, (giver, taker)) as fleet:
        ids = {name: text(link.ask("CLUSTER", "MYID")) for name, link in fleet.links.items()}
        fleet.links[taker.name].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[giver.name])
        fleet.links[giver.name].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[taker.name])
        wait_for_second(access, servers_second(access))
        middle = servers_second(access)
        wait_for_second(access, middle + 1)
        for link in fleet.links.values():
            link.ask("CLUSTER", "SETSLOT", slot, "STABLE")
    return middle


@pytest.mark.full
def test_what_is_written_after_a_restore_by_files_comes_back_with_them_and_not_with_what_was_before(stack: Stack) -> None:
    access = stack.access()
    for _ in range(2):
        rewrite(access)
        fill(access, "rewritten", 10)
        wait_archived(stack, servers_second(access))
    kept = fill(access, "kept", 100)
    stack.script("backup", "create", "--no-digest").ok()
    late = fill(access, "late", 100)
    wait_archived(stack, servers_second(access))
    forget = "rm -f /archive/agent/*/*/appendonly.aof.1.*"  # as an hour later
    assert stack.container("backup-agent").exec_run(["sh", "-c", forget]).exit_code == 0
    stack.script("restore", "--from", "latest", "--replace").ok()
    second, after = moment_of(access, "after")
    wait_archived(stack, second)
    flush(access)
    restore(stack, second)
    assert [*lost(access, kept), *lost(access, after)] == []
    assert len(lost(access, late)) == 100


def test_a_check_looks_at_the_archive_too(stack: Stack, server: RestServer | None) -> None:
    wait_archived(stack, servers_second(stack.access()))
    stack.script("backup", "check", "--read-data").failed(10).says("ok archive: its repository is whole and holds every second")
    if server:
        return
    in_repository(stack, "cd /repository/point-in-time/data && mkdir /tmp/data && cp -a . /tmp/data && rm */*")
    stack.script("backup", "check").failed(10).says("BAD archive: the repository at /repository/point-in-time is damaged")
