"""Every drill of the catalogue on a stack of every topology, with default objectives: all that fit do run, and all pass.

With --full ten times each, and once more on Valkey 9.1.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from drills import journal as journals
from drills.checkers.base import Verdict
from drills.definition import catalogue
from drills.journal import Journal
from operations.errors import ExitCode
from operations.inventory import Topology
from tests.conftest import FIGURE
from tests.drills.drilling import FAST, drill, json_of
from tests.live.harness import ROOT, Stack, throw_away_stack

UP_SECONDS = 60
SECONDS_PER_DRILL = 120
REPETITIONS = 10
VALKEY = {"engine.name": "valkey", "engine.version": "9.1"}


class RunAll:
    """Subclassed by each topology and engine; those that take longest come first."""

    topology: ClassVar[Topology]
    engine: ClassVar[dict[str, str]] = {}
    repeated: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        settings = {**FAST.get(cls.topology, {}), **cls.engine}
        folder = tmp_path_factory.mktemp("stacks")
        with throw_away_stack(
            f"drills-{cls.topology}", ROOT / "configs" / f"{cls.topology}.yaml", folder, request.config, **settings
        ) as made:
            made.up().ok()
            made.wait_healthy(made.access(), UP_SECONDS)
            yield made

    def test_every_drill_that_fits_is_run_and_passes(
        self, stack: Stack, request: pytest.FixtureRequest, tmp_path: Path, record_property: Callable[[str, object], None]
    ) -> None:
        inventory = stack.access().inventory
        fitting = {one.name for one in catalogue().values() if one.fits(inventory) is None}
        repeat = REPETITIONS if self.repeated and request.config.getoption("--full") else 1
        result = drill(
            stack, "run-all", "--report", str(tmp_path), "--repeat", str(repeat), "--json",
            seconds=SECONDS_PER_DRILL * repeat * len(fitting),
        )  # fmt: skip
        found = {path.parent.name: journals.load(path.parent) for path in sorted(tmp_path.glob("*/journal.json"))}
        for name, journal in found.items():
            record_property(FIGURE, f"{stack.name}: {name}: {journal.result}; {figures(journal)}")
        assert result.code == ExitCode.OK, bad(found) or result.told()
        assert set(found) == fitting, f"not run: {sorted(fitting - set(found))}"
        assert {entry["drill"]: entry["result"] for entry in json_of(result)} == dict.fromkeys(fitting, "met")
        for name, journal in found.items():
            assert len(journal.repetitions) == repeat, name
            assert proven(journal) == [], f"{name}: {proven(journal)}"
        record_property(FIGURE, f"{stack.name}: {len(found)} drills, {repeat} times each, in {result.seconds:.0f} s")
        stack.wait_healthy(stack.access(), UP_SECONDS)
        stack.preview("--expect-no-changes").ok()


def figures(journal: Journal) -> str:
    """What was measured in seconds, as min / median / max."""
    return ", ".join(
        f"{one.name} {one.least:.3f} / {one.middle:.3f} / {one.most:.3f}{'' if one.limit is None else f' of {one.limit:.2f}'} s"
        for one in journal.figures
        if one.unit == "s" and one.name in ("writes refused", "gap on other shards", "two primaries", "time to redundancy")
    )


def proven(journal: Journal) -> list[str]:
    """What is missing for a proof: evidence of the fault, acknowledged writes, checks and objectives that are not true.

    Lost writes and two primaries are false as checks where an objective allows for some of them.
    """
    missing = [] if journal.result == "met" and not journal.problems else [journal.summary, *journal.problems]
    for repetition in journal.repetitions:
        marks = repetition.drawing["marks"]
        stages = {mark["stage"] for mark in marks if mark["what"] == "fault"}
        missing += [f"no {stage} of the fault" for stage in ("inject", "evidence", "heal") if stage not in stages]
        if not sum(window.acknowledged for window in repetition.windows):
            missing.append("no write was acknowledged")
        allowed = {"lost", "split-brain"}
        missing += [
            f"{check.name}: {check.summary}"
            for check in repetition.checks
            if check.verdict is not Verdict.TRUE and not (check.name in allowed and check.verdict is Verdict.FALSE)
        ]
        missing += [outcome.text for outcome in repetition.outcomes if outcome.verdict is not Verdict.TRUE]
        missing += [] if repetition.outcomes else ["nothing was compared with an objective"]
    return missing


def bad(found: dict[str, Journal]) -> str:
    return "\n".join(f"{name}: {journal.result}: {journal.summary}" for name, journal in found.items() if journal.result != "met")


class TestSentinel(RunAll):
    topology = "sentinel"


class TestCluster(RunAll):
    topology = "cluster"


class TestReplication(RunAll):
    topology = "replication"


class TestStandalone(RunAll):
    topology = "standalone"


@pytest.mark.full
class TestSentinelOnValkey(RunAll):
    topology, engine, repeated = "sentinel", VALKEY, False


@pytest.mark.full
class TestClusterOnValkey(RunAll):
    topology, engine, repeated = "cluster", VALKEY, False


@pytest.mark.full
class TestReplicationOnValkey(RunAll):
    topology, engine, repeated = "replication", VALKEY, False


@pytest.mark.full
class TestStandaloneOnValkey(RunAll):
    topology, engine, repeated = "standalone", VALKEY, False
