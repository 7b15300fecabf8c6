"""What every topology has to go through, in the order of a stack's life; a class of `test_*.py` names topology and engine.

The stack of a class is reused from test to test. Each test leaves it as declared; one that finds it otherwise says so.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from operations.connect import Link
from operations.inventory import Access
from tests.conftest import FIGURE
from tests.live.faults import kill_servers, roles, stop_together, switch
from tests.live.harness import ROOT, Stack, run_infra, throw_away_stack
from tests.live.ledger import Load, fill, lost

UP_SECONDS = 60
LOOK_SECONDS = 3  # for one look at all nodes, on a machine that may stand still for a moment
RECOVERY_SECONDS = 30
"""From the kill of every server until the stack is as declared: restart, load, and for clusters the rejoin delay."""
REPAIR_SECONDS = 60
STOP_SECONDS = 20
"""For all nodes at once: the 6 s that a handover may take at most (configs/node/handover.sh) and the server's own end, on a
machine that is busy with other tests."""
KEYS = 2000

Record = Callable[[str, object], None]

FAST: dict[str, dict[str, str]] = {
    "cluster": {"cluster.node_timeout_seconds": "2"},
    "sentinel": {"sentinel.down_after_seconds": "2"},
}
"""Tests set faster time-outs explicitly; the defaults are for production."""


class Lifecycle:
    """Subclassed by each topology; `settings` override single fields of the committed configs/<topology>.yaml."""

    topology: ClassVar[str]
    engine: ClassVar[dict[str, str]] = {}
    settings: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        settings = {**FAST.get(cls.topology, {}), **cls.engine, **cls.settings}
        topic = "-".join([cls.topology, *(value.replace(".", "") for value in cls.engine.values())])
        folder = tmp_path_factory.mktemp("stacks")
        with throw_away_stack(topic, ROOT / "configs" / f"{cls.topology}.yaml", folder, request.config, **settings) as made:
            yield made

    @pytest.fixture
    def access(self, stack: Stack) -> Access:
        return stack.access()

    @pytest.fixture
    def figure(self, record_property: Record, stack: Stack) -> Callable[[str], None]:
        """Report a measured figure, shown at the end of the run."""
        return lambda text: record_property(FIGURE, f"{stack.name}: {text}")

    # ---- up ---------------------------------------------------------------------------------------------------------

    def test_it_comes_up_from_nothing(self, stack: Stack, figure: Callable[[str], None]) -> None:
        came = stack.up().ok()
        took = stack.wait_healthy(stack.access(), UP_SECONDS)
        assert took < LOOK_SECONDS, f"`pulumi up` ended {took:.1f} s before the stack was as declared"
        figure(f"pulumi up {came.seconds:.1f} s")

    def test_the_state_of_the_stack_shows_no_password(self, stack: Stack, access: Access) -> None:
        exported = stack.pulumi("stack", "export", "--stack", stack.name).ok().output
        shown = stack.pulumi("stack", "output", "--json", "--stack", stack.name).ok().output
        stored = "".join(path.read_text(errors="replace") for path in (stack.folder / "state").rglob("*.json"))
        for user in access.credentials.passwords:
            password = access.credentials.password(user)
            assert password not in exported + shown + stored, f"the password of {user} stands in the clear"

    def test_the_suite_of_make_verify_is_green(self, stack: Stack, figure: Callable[[str], None]) -> None:
        result, counts = run_infra(stack)
        result.ok()
        assert counts.passed > 40 and counts.others == 0, counts
        figure(f"tests/infra {counts.passed} passed in {result.seconds:.1f} s")

    def test_a_second_preview_and_a_second_up_change_nothing(self, stack: Stack, figure: Callable[[str], None]) -> None:
        stack.preview("--expect-no-changes").ok()
        again = stack.up("--expect-no-changes").ok()
        figure(f"pulumi up without changes {again.seconds:.1f} s")

    # ---- roles belong to the running system -----------------------------------------------------------------------------

    def test_a_forced_takeover_shows_no_change_and_is_kept_by_the_next_up(self, stack: Stack, access: Access) -> None:
        if self.topology == "standalone":
            self.check_restart_keeps_data(stack, access)
            return
        ledger = fill(access, "before-takeover", KEYS)
        old, new = switch(stack, access)
        stack.wait_healthy(access, REPAIR_SECONDS)
        before = roles(access)
        assert (before[old], before[new]) == ("replica", "primary")
        stack.preview("--expect-no-changes").ok()
        stack.up("--refresh", "--expect-no-changes").ok()
        assert roles(access) == before
        assert lost(access, ledger) == []

    def check_restart_keeps_data(self, stack: Stack, access: Access) -> None:
        """One node has nobody to take over; its restart keeps what it had."""
        ledger = fill(access, "before-restart", KEYS)
        stack.container("node-1").restart(timeout=30)
        stack.wait_healthy(access, RECOVERY_SECONDS)
        stack.preview("--expect-no-changes").ok()
        assert lost(access, ledger) == []

    # ---- crashes ------------------------------------------------------------------------------------------------------

    def test_every_server_killed_at_the_same_instant_comes_back_and_loses_nothing(
        self, stack: Stack, access: Access, figure: Callable[[str], None]
    ) -> None:
        before = run_ids(access)
        with Load(access, "killed") as load:
            load.wait_for(500)
            spread = kill_servers(stack, access.inventory.nodes)
            at_kill = load.ledger
            back = stack.wait_healthy(access, RECOVERY_SECONDS)
            after_recovery = len(load.ledger.acknowledged)
            load.wait_for(after_recovery + 200)
        assert not set(before.items()) & set(run_ids(access).items()), "a server was not killed"
        ledger = load.ledger
        assert ledger.unknown > 0, "no write was interrupted"
        missing = lost(access, ledger)
        assert missing == [], f"{len(missing)} of {len(ledger.acknowledged)} acknowledged writes are lost: {missing[:5]}"
        figure(
            f"{len(before)} servers killed within {spread * 1000:.1f} ms, as declared again after {back:.1f} s, "
            f"0 of {len(ledger.acknowledged)} acknowledged writes lost ({len(at_kill.acknowledged)} before the kill)"
        )

    def test_a_stop_of_the_whole_stack_ends_in_bounded_time_and_loses_nothing(
        self, stack: Stack, access: Access, figure: Callable[[str], None]
    ) -> None:
        """As when the machine shuts down: nobody waits for a successor that is stopping too, and nobody has to be killed."""
        nodes = [node.name for node in access.inventory.nodes]
        with Load(access, "stopped") as load:
            load.wait_for(500)
            took = stop_together(stack, nodes)
            codes = {name: stack.container(name).attrs["State"]["ExitCode"] for name in nodes}
            for name in nodes:
                stack.container(name).start()
            stack.wait_healthy(access, RECOVERY_SECONDS)
            load.wait_for(len(load.ledger.acknowledged) + 200)
        assert not any(codes.values()), f"exit codes {codes}"
        assert took <= STOP_SECONDS, f"stopping {len(nodes)} nodes at once took {took:.1f} s"
        ledger = load.ledger
        missing = lost(access, ledger)
        assert missing == [], f"{len(missing)} of {len(ledger.acknowledged)} acknowledged writes are lost: {missing[:5]}"
        figure(f"{len(nodes)} nodes stopped at once in {took:.1f} s, 0 of {len(ledger.acknowledged)} acknowledged writes lost")

    def test_a_container_removed_by_hand_is_made_again_with_its_data(
        self, stack: Stack, access: Access, figure: Callable[[str], None]
    ) -> None:
        ledger = fill(access, "before-removal", KEYS)
        victim = next(name for name, role in sorted(roles(access).items()) if role == "primary")
        stack.container(victim).remove(force=True)
        healed = stack.up("--refresh").ok()
        stack.wait_healthy(stack.access(), REPAIR_SECONDS)
        assert lost(access, ledger) == []
        stack.preview("--expect-no-changes").ok()
        figure(f"container of {victim} removed, healed by pulumi up --refresh in {healed.seconds:.1f} s")

    def test_a_node_that_lost_container_and_volume_gets_its_data_from_its_shard(
        self, stack: Stack, access: Access, figure: Callable[[str], None]
    ) -> None:
        if self.topology == "standalone":
            self.check_lost_volume_comes_back_empty(stack)
            return
        ledger = fill(access, "before-loss", KEYS)
        for role in ("replica", "primary"):
            victim = next(name for name, found in sorted(roles(access).items()) if found == role)
            lose_node(stack, victim)
            if role == "primary":
                wait_for_takeover(stack, access, victim)
            healed = stack.up("--refresh").ok()
            stack.wait_healthy(stack.access(), REPAIR_SECONDS)
            assert lost(access, ledger) == []
            figure(f"{victim} ({role}) lost container and volume, repaired by pulumi up --refresh in {healed.seconds:.1f} s")
        stack.preview("--expect-no-changes").ok()

    def check_lost_volume_comes_back_empty(self, stack: Stack) -> None:
        """A single node has no other copy: it comes back empty, and takes writes."""
        lose_node(stack, "node-1")
        stack.up("--refresh").ok()
        access = stack.access()
        stack.wait_healthy(access, REPAIR_SECONDS)
        assert Link(access, access.inventory.nodes[0]).ask("DBSIZE") == 0
        assert lost(access, fill(access, "after-loss", 100)) == []

    # ---- down and up again ----------------------------------------------------------------------------------------------

    def test_destroy_keeps_the_data_and_the_next_up_adopts_it_with_new_passwords(
        self, stack: Stack, access: Access, figure: Callable[[str], None]
    ) -> None:
        ledger = fill(access, "before-destroy", KEYS)
        volumes = [entry.volume for entry in access.inventory.nodes]
        gone = stack.destroy().ok()
        assert stack.containers() == []
        assert set(stack.volumes()) == set(volumes)
        self.check_misfits_are_refused(stack)
        came = stack.up().ok()
        renewed = stack.access()
        stack.wait_healthy(renewed, UP_SECONDS)
        assert renewed.credentials.password("app") != access.credentials.password("app")
        assert lost(renewed, ledger) == []
        figure(f"pulumi destroy {gone.seconds:.1f} s, up on kept volumes {came.seconds:.1f} s, {KEYS} keys intact")

    def check_misfits_are_refused(self, stack: Stack) -> None:
        """Kept data that does not fit is refused with the choices, and nothing is made."""
        misfits: list[tuple[dict[str, str], str]] = [({"engine.version": "7.0"}, "it is newer")]
        if self.engine.get("engine.name", "redis") == "valkey":
            misfits = [({"engine.name": "redis", "engine.version": "8.0"}, "cannot read")]
        elif self.engine.get("engine.version", "8.0") == "7.0":
            misfits = []
        if self.topology == "cluster":
            misfits.append(({"shards": "4"}, "with 3 shards, the spec says 4"))
        before = dict(stack.settings)
        for overrides, reason in misfits:
            stack.settings = {**before, **overrides}
            stack.configure()
            try:
                refused = stack.up() if "shards" in overrides else stack.preview()
                refused.failed().says("does not fit", reason, "either change the spec to fit", "DATA=delete")
                assert stack.containers() == []
            finally:
                stack.settings = dict(before)
                stack.configure()

    def test_destroy_leaves_nothing_when_the_spec_says_delete(self, stack: Stack) -> None:
        stack.configure(**{"data.on_destroy": "delete"})
        stack.up().ok()
        stack.destroy().ok()
        assert stack.leftovers() == []


def run_ids(access: Access) -> dict[str, Any]:
    """The identity of each server process, new with every start."""
    found: dict[str, Any] = {}
    for node in access.inventory.nodes:
        link = Link(access, node)
        lines = str(link.ask("INFO", "server")).splitlines()
        found[node.name] = next(line for line in lines if line.startswith("run_id:"))
        link.close()
    return found


def lose_node(stack: Stack, node: str) -> None:
    """Remove a node's container and its data volume, as a broken disk does."""
    container = stack.container(node)
    volume = next(mount["Name"] for mount in container.attrs["Mounts"] if mount["Destination"] == "/data")
    assert volume.startswith(f"redis-{stack.name}-"), volume
    container.remove(force=True)
    stack.remove_volume(volume)


def wait_for_takeover(stack: Stack, access: Access, lost_node: str) -> None:
    """Wait until another node of the shard is primary; where nothing fails over by itself, promote one as its operator would."""
    if access.inventory.topology == "replication":
        target = next(name for name, role in sorted(roles(access).items()) if role == "replica")
        stack.script("switchover", "--takeover", "--to", target).ok()
    stack.wait_promoted(access, lost_node, RECOVERY_SECONDS)
