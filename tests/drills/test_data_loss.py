"""Drills that lose all data of a stack with backups: nodes and volumes, the newest backup as well, or by a FLUSHALL."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from drills.checkers.base import Verdict
from operations.errors import ExitCode
from operations.inventory import Topology
from tests.drills.drilling import FAST, answers, journal_of, run_drill
from tests.live.harness import ROOT, Stack, throw_away_stack

pytestmark = pytest.mark.full

RPO_SECONDS, RTO_SECONDS = 60, 120
PROMISED = {
    "backup.objectives.rpo_seconds": str(RPO_SECONDS),
    "backup.objectives.rto_seconds": str(RTO_SECONDS),
    "parameters.aof-timestamp-enabled": "yes",
}


class DataLoss:
    """Subclassed for each topology."""

    topology: ClassVar[Topology]

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        spec, folder = ROOT / "configs" / f"{cls.topology}.yaml", tmp_path_factory.mktemp("stacks")
        settings = {**FAST.get(cls.topology, {}), **PROMISED}
        with throw_away_stack(f"loss-{cls.topology}", spec, folder, request.config, **settings) as made:
            made.up().ok()
            made.wait_healthy(made.access(), 60)
            yield made

    @pytest.mark.parametrize("name", ["lose-everything", "corrupt-backup", "point-in-time"])
    def test_what_was_acknowledged_before_the_cut_is_there_again(self, stack: Stack, name: str, tmp_path: Path) -> None:
        result = run_drill(stack, name, tmp_path, seconds=420)
        journal = journal_of(result, tmp_path)
        assert result.code == ExitCode.OK, result.told()
        found = answers(journal)
        assert found["check before-cut"][0] is Verdict.TRUE
        assert found["check lost"][0] is Verdict.FALSE, "else nothing was lost at all, and nothing brought back"
        stages = [mark["stage"] for mark in journal.repetitions[0].drawing["marks"] if mark["what"] == "fault"]
        assert stages[:2] == ["cut", "inject"]

    def test_a_stack_that_promises_nothing_is_left_alone(self, stack: Stack, tmp_path: Path) -> None:
        stack.configure(**{"backup.objectives.rto_seconds": "null"})
        stack.up().ok()
        result = run_drill(stack, "lose-everything", tmp_path)
        result.failed(ExitCode.INVALID).says("has none; set rpo_seconds and rto_seconds there")


class TestStandalone(DataLoss):
    topology = "standalone"


class TestReplication(DataLoss):
    topology = "replication"


class TestSentinel(DataLoss):
    topology = "sentinel"


class TestCluster(DataLoss):
    topology = "cluster"
