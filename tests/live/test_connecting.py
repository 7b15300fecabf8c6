"""The examples of docs/guide/connecting.md work inside the network and on the host, and ride out what the guide says they do."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from docker.models.containers import Container

from applications.lock import FencedLock
from applications.session import Sessions
from operations.clients import application_client
from operations.inventory import Access
from tests.conftest import FIGURE
from tests.live.faults import roles
from tests.live.harness import ROOT, Stack, throw_away_stack
from tests.live.lifecycle import FAST, RECOVERY_SECONDS, UP_SECONDS, Record
from tests.live.riding.place import Place, in_the_network, no_node, on_the_host, printed
from tests.live.riding.rider import Rider
from tests.waiting import wait_until

LIBRARIES = ("python", "node-redis", "ioredis")
PLACES = ("inside", "host")
STEADY_WRITES = 30
WRITES_AFTER = 100
START_SECONDS = 90
FAULT_SECONDS = 4
NOTICED_SECONDS = 0.5
SLOW_MACHINE = 4
"""A busy machine stretches everything; what is tested is that calls succeed, not when."""

Act = Callable[[], object]

needs_node = pytest.mark.skipif(bool(no_node()), reason=no_node())
libraries = pytest.mark.parametrize(
    "library", [pytest.param(name, marks=() if name == "python" else needs_node) for name in LIBRARIES]
)


@dataclass(frozen=True)
class Stage:
    """A stack that is up, and the places where clients run."""

    stack: Stack
    access: Access
    connection: dict[str, Any]
    places: dict[str, Place]

    def riders(self) -> list[tuple[Place, str]]:
        """Every library that can run here, in every place."""
        can = [name for name in LIBRARIES if name == "python" or not no_node()]
        return [(place, name) for place in self.places.values() for name in can]


class Examples:
    """Subclassed by each topology."""

    topology: ClassVar[str]
    fails_over: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def stage(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
        folder = tmp_path_factory.mktemp("connecting")
        spec = ROOT / "configs" / f"{cls.topology}.yaml"
        with throw_away_stack(f"connect-{cls.topology}", spec, folder, request.config, **FAST.get(cls.topology, {})) as stack:
            stack.up().ok()
            connection = stack.outputs()["connection"]
            connection["timing"]["patience_seconds"] *= SLOW_MACHINE  # failovers, too, take longer on a busy machine
            access = stack.access()
            stack.wait_healthy(access, UP_SECONDS)
            (folder / "host").mkdir()
            with ExitStack() as exits:
                host = exits.enter_context(on_the_host(folder / "host", connection))
                inside = exits.enter_context(in_the_network(stack, connection, not no_node()))
                yield Stage(stack, access, connection, {"inside": inside, "host": host})

    @libraries
    @pytest.mark.parametrize("place", PLACES)
    def test_the_example_writes_and_reads(self, stage: Stage, library: str, place: str) -> None:
        assert printed(stage.places[place], library, self.topology, "hello") == "hello"

    @needs_node
    @pytest.mark.parametrize("library", ["node-redis", "ioredis"])
    def test_the_shop_in_node_caches_limits_locks_and_ends_sessions(self, stage: Stage, library: str) -> None:
        told = json.loads(printed(stage.places["host"], library, self.topology, "shop"))
        assert told["pages"] == ["load 1", "load 1"]
        assert (told["user"], told["afterLogout"]) == ("ann", None)
        assert told["passed"] == [True, True, True, False]
        assert told["tokens"] == [1, 2, 13] and told["refused"] is None

    @needs_node
    @pytest.mark.parametrize("library", ["node-redis", "ioredis"])
    def test_python_and_node_share_sessions_and_locks(self, stage: Stage, library: str) -> None:
        client = application_client(stage.access, decode_responses=True)
        name = f"shared-{library}"
        Sessions(client, 60).start(name, {"user": "bob"})
        lock = FencedLock(client, name, ttl_seconds=60)
        held = lock.acquire()
        assert held is not None
        script = f"""
            const {{ client, close }} = await import("./{library}/{self.topology}.mjs");
            const {{ commands }} = await import("./{library}/commands.mjs");
            const {{ patiently }} = await import("./common.mjs");
            const {{ locked, sessionUser }} = await import("./uses.mjs");
            const redis = commands(client);
            await patiently(() => redis.get("connected?"));
            const user = await sessionUser(redis, "{name}");
            const inside = await locked(redis, "{name}", 1000, async (token) => token);
            console.log(JSON.stringify([user, inside]));
            await close();
            process.exit();
        """
        told = stage.places["host"].node_script(script)
        assert json.loads(told) == ["bob", None], "a session of Python is one in Node, and a lock that is held is held there"
        assert lock.release()
        assert json.loads(stage.places["host"].node_script(script)) == ["bob", held.token + 1]
        client.close()

    def ride(self, stage: Stage, record: Record, what: str, break_it: Act, heal: Act | None = None) -> None:
        """All libraries in all places write on through what is done; none may see an error.

        They have to go on before it is healed where something takes over or nothing is broken for long (`heal` is None).
        """
        patience = stage.connection["timing"]["patience_seconds"]
        with ExitStack() as exits:
            riders = [exits.enter_context(Rider(place, library, self.topology)) for place, library in stage.riders()]
            for rider in riders:
                rider.wait_for(STEADY_WRITES, START_SECONDS)
            try:
                break_it()
                if heal and not self.fails_over:
                    pass_by(FAULT_SECONDS)
                else:
                    go_on(riders, patience)
            finally:
                if heal:
                    heal()
            go_on(riders, patience)
            ends = {rider.name: rider.finish() for rider in riders}
        stage.stack.wait_healthy(stage.access, RECOVERY_SECONDS)
        assert not [end for end in ends.values() if "error" in end], ends
        for name, end in ends.items():
            lost = end["writes"] - end["read"]
            figure = f"{what}, {name}: slowest call {end['longest']:.2f} s, {lost} of {end['writes']} lost"
            record(FIGURE, f"{stage.stack.name}: {figure}")
        if heal:
            assert all(end["longest"] > NOTICED_SECONDS for end in ends.values()), f"the fault was not noticed: {ends}"
        else:
            assert all(end["read"] == end["writes"] for end in ends.values()), ends

    def primary(self, stage: Stage) -> Container:
        return stage.stack.container(next(name for name, role in sorted(roles(stage.access).items()) if role == "primary"))

    @pytest.mark.full
    def test_they_ride_out_a_hang(self, stage: Stage, record_property: Record) -> None:
        victim = self.primary(stage)
        self.ride(stage, record_property, "primary hangs", victim.pause, victim.unpause)


class SwitchesOver(Examples):
    """There is a replica to switch to."""

    @pytest.mark.full
    def test_they_ride_out_a_switchover(self, stage: Stage, record_property: Record) -> None:
        self.ride(stage, record_property, "switchover", lambda: stage.stack.script("switchover").ok())


class FailsOver(SwitchesOver):
    """A replica takes over by itself."""

    fails_over = True
    patient_by_itself: ClassVar[tuple[str, ...]] = ()
    """Libraries that try again without being told to, for longer than a failover takes."""

    def test_they_ride_out_a_crash_of_the_primary(self, stage: Stage, record_property: Record) -> None:
        victim = self.primary(stage)
        self.ride(stage, record_property, "primary killed", victim.kill, victim.start)

    def test_without_patience_a_crash_is_seen(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """The riders can fail: it is the patience of the examples that rides a failover out."""
        monkeypatch.setenv("RIDE_PATIENCE", "0")
        victim = self.primary(stage)
        with ExitStack() as exits:
            libraries = [name for place, name in stage.riders() if place.name == "host" and name not in self.patient_by_itself]
            hasty = [Rider(stage.places["host"], library, self.topology) for library in libraries]
            for rider in hasty:
                exits.enter_context(rider)
            for rider in hasty:
                rider.wait_begun(START_SECONDS)
            victim.kill()
            try:
                for rider in hasty:
                    rider.wait_failed(RECOVERY_SECONDS)
                    assert rider.writes > 0 and "error" in rider.told, rider.told
            finally:
                victim.start()
        stage.stack.wait_healthy(stage.access, RECOVERY_SECONDS)


class TestSentinel(FailsOver):
    topology = "sentinel"
    patient_by_itself = ("node-redis",)


class TestCluster(FailsOver):
    topology = "cluster"


class ComesBack(Examples):
    """Nothing takes over: the node itself comes back."""

    @pytest.mark.full
    def test_they_ride_out_a_crash_that_ends(self, stage: Stage, record_property: Record) -> None:
        victim = self.primary(stage)
        self.ride(stage, record_property, "primary killed and started", victim.kill, victim.start)


class TestReplication(ComesBack, SwitchesOver):
    topology = "replication"


@pytest.mark.full
class TestStandalone(ComesBack):
    topology = "standalone"


def go_on(riders: list[Rider], patience_seconds: float) -> None:
    for rider in riders:
        rider.wait_for(WRITES_AFTER, patience_seconds + START_SECONDS)


def pass_by(seconds: float) -> None:
    """Let a fault last."""
    until = time.monotonic() + seconds
    wait_until("the end of the fault", lambda: "" if time.monotonic() > until else "it lasts", seconds + START_SECONDS)
