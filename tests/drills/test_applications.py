"""Uses of Redis through drills: careful ones hold, every careless twin is caught, and keys of strangers stay as they are.

Drills with uses are part of the full run, but for one: several instances of every use take a processor of their own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import docker
import pytest
import redis

from applications.bloom import Bloom
from applications.board import Board
from applications.broadcast import Channel
from applications.flags import Flags
from applications.lock import FencedLock
from applications.queue import StreamQueue
from applications.series import Series
from applications.session import Sessions
from applications.visits import Visits
from drills import journal as journals
from drills.definition import find
from drills.journal import UseEntry, worst_uses
from drills.uses.catalogue import CAREFUL, CARELESS
from drills.workload.plan import KEY_PREFIX
from operations.clients import application_client
from operations.connect import node_client
from operations.errors import ExitCode
from operations.inventory import Access, Topology
from operations.observe import observe
from tests.conftest import FIGURE
from tests.drills.breaking import seed, take_back
from tests.drills.drilling import FAST, run_drill
from tests.drills.seeded import Setting
from tests.live.harness import ROOT, Stack, throw_away_stack
from tests.postgres import MISSING, Server

SURE = (
    "lock-careless", "lock-redis-py", "queue-careless", "write-behind-careless", "visits-careless", "leaderboard-careless",
    "time-series-careless",
)  # fmt: skip
"""Twins that break without any luck: what breaks them happens at counted turns."""
LOSERS = ("leaderboard", "broadcast")
"""Uses that write often enough behind a partition to lose seconds of it when the old primary steps down."""
ELSEWHERE: dict[Topology, set[str]] = {
    "sentinel": set(), "cluster": {"near-cache-careless", "broadcast-careless", "leaderboard-total"},
}  # fmt: skip
"""Twins that are caught on another topology, and here only with luck or not at all: `scripts/_matrix_page.py` says why."""
HEALTHY_SECONDS = 90
COMMAND_BYTES = 25
"""More than the PING that a primary sends to its replicas, less than any command with a key."""
STEPS = f"{KEY_PREFIX}:steps"
STRANGERS = {f"stranger:{number}": f"value {number}" for number in range(50)}


class Playing:
    """A stack of its own for each topology, and drills with workloads on it."""

    topology: ClassVar[Topology]

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        spec = ROOT / "configs" / f"{cls.topology}.yaml"
        folder = tmp_path_factory.mktemp("stacks")
        with throw_away_stack(f"uses-{cls.topology}", spec, folder, request.config, **FAST.get(cls.topology, {})) as made:
            made.up().ok()
            yield made

    def play(
        self, stack: Stack, drill: str, names: tuple[str, ...], report: Path, tell: Any, *arguments: str
    ) -> dict[str, UseEntry]:
        """One drill with these workloads; what became of each. What the drill says of the stack itself is for other tests."""
        stack.wait_healthy(stack.access(), HEALTHY_SECONDS)
        result = run_drill(stack, drill, report, "--no-up", "--workload", ",".join(names), *arguments)
        assert result.code in (ExitCode.OK, ExitCode.MISSED, ExitCode.UNKNOWN), result.told()
        journal = journals.load(report)
        assert not journal.problems, result.told()
        found = {use.name: use for use, _ in worst_uses(journal)}
        for use in found.values():
            tell(FIGURE, f"{self.topology}, {drill}, {use.name}: {use.verdict}: {use.sentence}")
        assert set(found) == set(names)
        return found


class Applications(Playing):
    """Subclassed for each topology that fails over by itself."""

    def test_careful_uses_hold_and_strangers_are_not_touched(self, stack: Stack, tmp_path: Path, record_property: Any) -> None:
        access = stack.access()
        stack.wait_healthy(access, HEALTHY_SECONDS)
        put_strangers(access)
        found = self.play(stack, "crash-primary", CAREFUL, tmp_path, record_property)
        assert [f"{use.name}: {use.sentence}" for use in found.values() if use.verdict == "false"] == []
        stack.wait_healthy(access, HEALTHY_SECONDS)
        strangers, ours = keys(access)
        assert strangers == STRANGERS
        assert ours == []

    @pytest.mark.full
    def test_careless_uses_are_caught(self, stack: Stack, tmp_path: Path, record_property: Any) -> None:
        found = self.play(stack, "crash-primary", SURE, tmp_path, record_property)
        assert [name for name, use in found.items() if use.verdict != "false"] == []

    def test_what_is_repeated_writes_again_so_that_wait_has_something_to_wait_for(self, stack: Stack) -> None:
        access = stack.access()
        stack.wait_healthy(access, HEALTHY_SECONDS)
        client = application_client(access)
        silent = []
        for word, do in steps(client).items():
            do()
            before = offset(access)
            do()
            if offset(access) - before < COMMAND_BYTES:
                silent.append(word)
        for key in client.scan_iter(match=f"{STEPS}:*"):
            client.delete(key)
        assert silent == []

    def test_a_refusal_is_never_taken_for_done(self, stack: Stack) -> None:
        """A replica refuses every write, also one in the middle of a script."""
        access = stack.access()
        stack.wait_healthy(access, HEALTHY_SECONDS)
        replica = next(node for node in access.inventory.data_nodes if not observe(access).of(node.name).is_primary)
        taken = []
        for word, do in steps(node_client(access, replica, user="app")).items():
            try:
                do()
            except redis.RedisError:
                continue
            taken.append(word)
        assert taken == []

    @pytest.mark.full
    def test_every_careless_use_is_caught_by_a_drill(self, stack: Stack, tmp_path: Path, record_property: Any) -> None:
        missing = set(CARELESS) - ELSEWHERE[self.topology]
        for number, drill in enumerate(("hang-primary", "isolate-primary", "crash-primary")):
            if missing:
                names = tuple(sorted(missing))
                found = self.play(stack, drill, names, tmp_path / str(number), record_property)
                missing -= {name for name, use in found.items() if use.verdict == "false"}
        assert missing == set()

    @pytest.mark.full
    @pytest.mark.parametrize("drill", ["hang-primary", "isolate-primary", "switchover", "rolling-restart", "reshard"])
    def test_careful_uses_hold_within_what_the_policy_promises(
        self, stack: Stack, drill: str, tmp_path: Path, record_property: Any
    ) -> None:
        if self.topology not in find(drill).topologies:
            pytest.skip(f"{drill} is for {', '.join(find(drill).topologies)}")
        found = self.play(stack, drill, CAREFUL, tmp_path, record_property)
        assert [f"{use.name}: {use.sentence}" for use in found.values() if use.verdict != "true"] == []

    @pytest.mark.full
    @pytest.mark.skipif(bool(MISSING), reason=MISSING)
    def test_caches_hold_before_a_postgresql_too_and_leave_no_table(
        self, stack: Stack, tmp_path: Path, record_property: Any
    ) -> None:
        network = docker.from_env().networks.get(stack.access().inventory.network.name)
        with Server(network.attrs["IPAM"]["Config"][0]["Gateway"]) as server:
            told = tmp_path / "origin"
            told.write_text(server.url)
            names = ("cache-aside", "write-behind")
            found = self.play(stack, "crash-primary", names, tmp_path / "report", record_property, "--origin", str(told))
            assert [f"{use.name}: {use.sentence}" for use in found.values() if use.verdict != "true"] == []
            assert server.ask("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'drill%'") == [[0]]
            assert server.ask("SELECT xact_commit > 100 FROM pg_stat_database WHERE datname = current_database()") == [[True]]
        written = (file.read_text() for file in (tmp_path / "report").iterdir())
        assert not any(server.password in text for text in written)

    @pytest.mark.full
    @pytest.mark.parametrize("drill", ["crash-primary", "isolate-primary"])
    def test_nothing_is_lost_when_the_application_waits_for_every_replica(
        self, stack: Stack, drill: str, tmp_path: Path, record_property: Any
    ) -> None:
        replicas = str(stack.access().inventory.replicas)
        names = ("lock", "queue", "session", "leaderboard", "broadcast", "write-behind", "visits")
        found = self.play(stack, drill, names, tmp_path, record_property, "--mode", "wait", "--acks", replicas)
        assert [f"{use.name}: {use.sentence}" for use in found.values() if use.verdict != "true"] == []


class TestSentinel(Applications):
    topology = "sentinel"

    @pytest.mark.full
    def test_where_nothing_limits_what_a_cut_off_primary_takes_careful_uses_fail_with_what_they_lost(
        self, stack: Stack, tmp_path: Path, record_property: Any
    ) -> None:
        access = stack.access()
        stack.wait_healthy(access, HEALTHY_SECONDS)
        undo = seed(access, (Setting("data", "min-replicas-to-write", "0"),))
        try:
            found = self.play(stack, "isolate-primary", CAREFUL, tmp_path, record_property)
        finally:
            take_back(access, undo)
        broken = {name: use.sentence for name, use in found.items() if use.verdict == "false"}
        assert set(LOSERS) <= set(broken), broken


@pytest.mark.full
class TestCluster(Applications):
    topology = "cluster"

    def test_a_workload_whose_keys_have_no_slot_in_common_is_refused_before_anything_is_touched(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        access = stack.access()
        stack.wait_healthy(access, HEALTHY_SECONDS)
        names = "leaderboard,leaderboard-total"
        before = keys(access)
        result = run_drill(stack, "crash-primary", tmp_path / "report", "--no-up", "--workload", names)
        result.failed(ExitCode.INVALID).says("leaderboard-total cannot be played", "give all one {hash tag}")
        assert keys(access) == before
        assert all(observe(access).of(node.name).reachable for node in access.inventory.data_nodes)
        assert not (tmp_path / "report").exists()


@pytest.mark.full
class TestReplication(Playing):
    topology = "replication"

    @pytest.mark.parametrize("drill", ["crash-takeover", "hang-takeover"])
    def test_careful_uses_find_the_replica_that_was_promoted_by_hand(
        self, stack: Stack, drill: str, tmp_path: Path, record_property: Any
    ) -> None:
        found = self.play(stack, drill, CAREFUL, tmp_path, record_property)
        assert [f"{use.name}: {use.sentence}" for use in found.values() if use.verdict != "true"] == []


def steps(client: Any) -> dict[str, Callable[[], object]]:
    """One step of every use that takes something as done when it is answered."""
    name = "step"
    lock = FencedLock(client, name, 60, prefix=f"{STEPS}:lock")
    return {
        "lock": lock.acquire,
        "queue": lambda: StreamQueue(client, name, prefix=f"{STEPS}:queue").put("1"),
        "board": lambda: Board(client, name, prefix=f"{STEPS}:board").add("player", 1, "1"),
        "broadcast": lambda: Channel(client, name, prefix=f"{STEPS}:broadcast").publish("1"),
        "flags": lambda: Flags(client, name, {"flag": "off"}, prefix=f"{STEPS}:flags").declare("flag", "on", 1),
        "session start": lambda: Sessions(client, 60, prefix=f"{STEPS}:session").start(name, {"user": "1"}),
        "time series": lambda: Series(client, name, prefix=f"{STEPS}:series").add(1, 1),
        "bloom": lambda: Bloom(client, name, 100, prefix=f"{STEPS}:bloom").add("member"),
        "visits": lambda: Visits(client, name, prefix=f"{STEPS}:visits").visit(1),
    }


def put_strangers(access: Access) -> None:
    """Keys of somebody else, on whichever node takes each."""
    clients = primaries(access)
    for key, value in STRANGERS.items():
        for client in clients:
            try:
                client.set(key, value)
                break
            except Exception as error:
                if "MOVED" not in str(error) and type(error).__name__ != "MovedError":
                    raise


def keys(access: Access) -> tuple[dict[str, str], list[str]]:
    """Keys of strangers with their values, and keys of drills, on all primaries; probes of writability are not counted."""
    strangers: dict[str, str] = {}
    ours: list[str] = []
    for client in primaries(access):
        for key in client.scan_iter(count=1000):
            if key.startswith("stranger:"):
                strangers[key] = client.get(key)
            elif key.startswith(KEY_PREFIX) and "probe" not in key:
                ours.append(key)
    return strangers, ours


def offset(access: Access) -> int:
    """How far all primaries have written, in bytes of replication."""
    return sum(int(client.info("replication")["master_repl_offset"]) for client in primaries(access))


def primaries(access: Access) -> list[Any]:
    seen = observe(access)
    nodes = [node for node in access.inventory.data_nodes if seen.of(node.name).is_primary]
    return [node_client(access, node, decode_responses=True) for node in nodes]
