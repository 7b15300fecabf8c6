"""Drills that lose all data of a stack with backups: nodes and volumes, the newest backup, the password, or by a FLUSHALL; with a
repository in a volume and one behind a REST server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from drills.checkers.base import Verdict
from drills.faults.elsewhere import kept_volume
from drills.journal import worst_uses
from drills.uses.catalogue import CAREFUL
from operations.backup.launch import home_volume
from operations.errors import ExitCode
from operations.inventory import Topology
from tests.drills.drilling import FAST, answers, heal, journal_of, run_drill
from tests.live.harness import ROOT, Stack, engine, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.rest import rest_server
from tests.waiting import wait_until

RPO_SECONDS, RTO_SECONDS = 120, 120
SHORT = ("lose-everything", "point-in-time")
LONG = ("lose-one-shard", "corrupt-backup", "restore-other-shape", "lose-the-machine")
NAMES = (*SHORT, *(pytest.param(name, marks=pytest.mark.full) for name in LONG))
PROMISED = {
    "backup.objectives.rpo_seconds": str(RPO_SECONDS),
    "backup.objectives.rto_seconds": str(RTO_SECONDS),
    "parameters.aof-timestamp-enabled": "yes",
}


class DataLoss:
    """Subclassed for each topology."""

    topology: ClassVar[Topology]
    remote: ClassVar[bool] = False
    more: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        spec, folder = ROOT / "configs" / f"{cls.topology}.yaml", tmp_path_factory.mktemp("stacks")
        settings = {**FAST.get(cls.topology, {}), **PROMISED, **cls.more}
        with ExitStack() as stack:
            server = stack.enter_context(rest_server(checks_uploads=False)) if cls.remote else None
            settings |= {"backup.repository": server.place} if server else {}
            made = stack.enter_context(throw_away_stack(f"loss-{cls.topology}", spec, folder, request.config, **settings))
            made.up().ok()
            made.wait_healthy(made.access(), 60)
            if server:
                server.tell(made)
            yield made

    @pytest.mark.parametrize("name", NAMES)
    def test_what_was_acknowledged_before_the_cut_is_there_again(self, stack: Stack, name: str, tmp_path: Path) -> None:
        result = run_drill(stack, name, tmp_path, seconds=420)
        if refused := self.refused(name):
            result.failed(ExitCode.INVALID).says(refused)
            return
        journal = journal_of(result, tmp_path)
        assert result.code == ExitCode.OK, result.told()
        found = answers(journal)
        assert found["check before-cut"][0] is Verdict.TRUE
        assert found["check lost"][0] is Verdict.FALSE, "else nothing was lost at all, and nothing brought back"
        stages = [mark["stage"] for mark in journal.repetitions[0].drawing["marks"] if mark["what"] == "fault"]
        assert stages[:2] == ["cut", "inject"]

    @pytest.mark.full
    def test_careful_uses_hold_while_everything_is_lost_and_restored(self, stack: Stack, tmp_path: Path) -> None:
        if self.remote:
            pytest.skip("where a backup comes from makes no difference to applications")
        result = run_drill(stack, "lose-everything", tmp_path, "--workload", "all", seconds=1200)  # a busy machine: four tries
        found = {use.name: use for use, _ in worst_uses(journal_of(result, tmp_path))}
        assert set(found) == set(CAREFUL)
        assert [f"{use.name}: {use.sentence}" for use in found.values() if use.verdict != "true"] == [], result.told()

    def refused(self, name: str) -> str:
        """Why a drill is not for such a stack, or nothing."""
        if name == "lose-one-shard" and self.topology == "standalone":
            return "lose-one-shard is for replication, sentinel, cluster"
        return ""

    def test_a_stack_that_promises_nothing_is_left_alone(self, stack: Stack, tmp_path: Path) -> None:
        stack.configure(**{"backup.objectives.rto_seconds": "null"})
        stack.up().ok()
        result = run_drill(stack, "lose-everything", tmp_path)
        result.failed(ExitCode.INVALID).says("has none; set rpo_seconds and rto_seconds there")


class TestStandalone(DataLoss):
    topology = "standalone"

    @pytest.mark.full
    def test_a_drill_that_was_killed_while_the_machine_was_lost_leaves_a_way_back(self, stack: Stack, tmp_path: Path) -> None:
        stack.configure(**PROMISED)
        stack.up().ok()
        ledger = fill(stack.access(), "kept", 1000)
        command = [
            sys.executable,
            "scripts/drill.py",
            "run",
            "lose-the-machine",
            "--stack",
            stack.name,
            "--report",
            str(tmp_path),
        ]
        process = subprocess.Popen(command, cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        volumes = engine().volumes

        def missing() -> str:
            names = {volume.name for volume in volumes.list()}
            return "" if kept_volume(stack.name) in names and home_volume(stack.name) not in names else "not lost yet"

        wait_until("the loss", missing, 120, poll_seconds=0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        heal(stack).ok().says("the password of the backups", "put back")
        stack.wait_healthy(stack.access(), 60)
        stack.script("restore", "--replace").ok().says("digest as in the catalogue")
        assert lost(stack.access(), ledger) == []
        assert [name for name in stack.leftovers() if "elsewhere" in name or "drill" in name] == []


@pytest.mark.full
class TestReplication(DataLoss):
    topology = "replication"


@pytest.mark.full
class TestSentinel(DataLoss):
    topology = "sentinel"


@pytest.mark.full
class TestCluster(DataLoss):
    topology = "cluster"


@pytest.mark.full
class TestStandaloneOverRest(TestStandalone):
    remote = True


class TestSentinelOverRest(TestSentinel):
    remote = True


class TestClusterOverRest(TestCluster):
    remote = True


class ThatArchives(DataLoss):
    """The backup agent reads the nodes' volumes, which are removed all the same."""

    more: ClassVar[Mapping[str, str]] = {"backup.point_in_time": "true", "backup.objectives.lag_seconds": "60"}


@pytest.mark.full
class TestStandaloneThatArchives(ThatArchives):
    topology = "standalone"


@pytest.mark.full
class TestSentinelThatArchives(ThatArchives):
    topology = "sentinel"


@pytest.mark.full
class TestClusterThatArchives(ThatArchives):
    topology = "cluster"


class TestClusterThatArchivesOverRest(TestClusterThatArchives):
    remote = True
