"""Stacks broken on purpose: on each seeded fault the drill that is named has to fail, for the reason that is stated.

And the control of these controls: the same drills pass on the same stacks while whole. `make drill-controls` shows a table.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from drills import stack_view
from drills.checkers.base import Verdict
from drills.examine import examine
from drills.history import read_history
from drills.journal import EXIT_CODES, Journal, result_of
from operations.errors import ExitCode
from operations.inventory import Access, Topology
from tests.conftest import FIGURE
from tests.drills.breaking import Redeclare, Undo, seed, take_back
from tests.drills.doctor import DOCTORED, Doctored
from tests.drills.drilling import FAST, answers, heal, journal_of, run_drill, setup_of
from tests.drills.rows import PROPERTY, Row, judge
from tests.drills.seeded import PROMISED, Control, drills_of, of_topology
from tests.live.harness import ROOT, Result, Stack, throw_away_stack
from tests.waiting import wait_until

WHOLE_SECONDS = 60
ALONE = ("--no-up",)
"""Another `pulumi up` would be one more thing that meets the seeded fault."""
Tell = Callable[[Row], None]


@dataclass
class Patient:
    """A stack that is broken and put back, and what is left to be put back."""

    stack: Stack
    access: Access
    undo: list[Undo | Redeclare] = field(default_factory=list)

    def put_back(self) -> None:
        """As it was: settings by hand, what a drill may have left by `heal`, the memory of sentinels by a restart."""
        undo, self.undo = self.undo, []
        heal(self.stack).ok()
        take_back(self.access, undo)
        if undo:
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda node: self.stack.container(node.name).restart(timeout=5), self.access.inventory.sentinels))
        wait_until(f"{self.stack.name} whole again", lambda: stack_view.problem(self.access), WHOLE_SECONDS)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Adds a row to the table."""

    def add(row: Row) -> None:
        record_property(PROPERTY, row.text())
        record_property(FIGURE, f"{row.topology}, {row.seeded}: {row.drill} {'' if row.caught else 'NOT '}ok: {row.by}")

    return add


def skip_what_this_machine_cannot_do(result: Result) -> None:
    """Faults of the disk need an engine that lets a helper mount; a control that is not run is named, never passed."""
    if result.code == ExitCode.UNKNOWN and "not run: " in result.text:
        pytest.skip(result.text.partition("not run: ")[2].splitlines()[0])


class Controls:
    """Subclassed for each topology; tests run in the order in which they stand, first on the whole stack."""

    topology: ClassVar[Topology]

    @pytest.fixture(scope="class")
    @classmethod
    def patient(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
        settings = {**FAST.get(cls.topology, {}), **PROMISED.get(cls.topology, {})}
        folder = tmp_path_factory.mktemp("stacks")
        name = f"controls-{cls.topology}"
        with throw_away_stack(name, ROOT / "configs" / f"{cls.topology}.yaml", folder, request.config, **settings) as made:
            made.up().ok()
            access = made.access()
            made.wait_healthy(access, WHOLE_SECONDS)
            yield Patient(made, access)

    @pytest.fixture
    def whole(self, patient: Patient) -> Iterator[Patient]:
        """The stack as declared, before and after."""
        patient.put_back()
        yield patient
        patient.put_back()

    def test_the_drill_passes_on_the_whole_stack(self, patient: Patient, drill: str, tmp_path: Path, tell: Tell) -> None:
        patient.put_back()
        result = run_drill(patient.stack, drill, tmp_path, *ALONE)
        skip_what_this_machine_cannot_do(result)
        journal = journal_of(result, tmp_path)
        tell(Row(self.topology, "nothing", drill, journal.summary, result.code == ExitCode.OK, result.seconds))
        assert result.code == ExitCode.OK and journal.result == "met", result.told()

    def test_the_seeded_fault_is_caught(self, whole: Patient, control: Control, tmp_path: Path, tell: Tell) -> None:
        whole.undo = seed(whole.access, control.steps)
        result = run_drill(whole.stack, control.drill, tmp_path, *ALONE)
        skip_what_this_machine_cannot_do(result)
        found = answers(journal_of(result, tmp_path)) if (tmp_path / "journal.json").exists() else None
        caught, by = judge(control, result.code, result.text, found)
        tell(Row(self.topology, control.seeded, control.drill, by, caught, result.seconds))
        assert caught, f"{by}\n{result.told()}"


class TestStandalone(Controls):
    topology = "standalone"


class TestReplication(Controls):
    topology = "replication"


class TestSentinel(Controls):
    topology = "sentinel"


class TestCluster(Controls):
    topology = "cluster"

    @pytest.fixture(scope="class")
    @classmethod
    def passed(cls, patient: Patient, tmp_path_factory: pytest.TempPathFactory) -> tuple[Journal, Path]:
        """A drill that passed, with its history."""
        patient.put_back()
        folder = tmp_path_factory.mktemp("passed")
        result = run_drill(patient.stack, "stop-primary", folder, *ALONE)
        assert result.code == ExitCode.OK, result.told()
        return journal_of(result, folder), folder / "history.jsonl"

    def test_a_true_history_passes_again(self, patient: Patient, passed: tuple[Journal, Path], tell: Tell) -> None:
        journal, path = passed
        repetitions = examine(lambda: read_history(path), setup_of(journal, patient.access.inventory))
        verdicts = [repetition.verdict for repetition in repetitions]
        tell(Row(self.topology, "nothing", "stop-primary, examined again", f"{verdicts}", verdicts == [Verdict.TRUE], 0.0))
        assert verdicts == [Verdict.TRUE]

    @pytest.mark.parametrize("doctored", DOCTORED, ids=lambda one: one.name)
    def test_a_doctored_history_is_caught(
        self, patient: Patient, passed: tuple[Journal, Path], doctored: Doctored, tell: Tell
    ) -> None:
        journal, path = passed
        history = doctored.change(list(read_history(path)))
        (repetition,) = examine(lambda: history, setup_of(journal, patient.access.inventory))
        check = next(check for check in repetition.checks if check.name == doctored.check)
        code = EXIT_CODES[result_of([repetition.verdict])]
        wanted = ExitCode.MISSED if doctored.verdict is Verdict.FALSE else ExitCode.UNKNOWN
        caught = check.verdict is doctored.verdict and code == wanted
        by = f"{check.name} {check.verdict}: {check.summary}; exit code {code.value}"
        tell(Row(self.topology, f"history: {doctored.changed}", "stop-primary, examined again", by, caught, 0.0))
        assert caught, by


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each class gets the drills and controls of its topology."""
    topology: Topology | None = getattr(metafunc.cls, "topology", None)
    if topology is not None and "drill" in metafunc.fixturenames:
        metafunc.parametrize("drill", drills_of(topology))
    if topology is not None and "control" in metafunc.fixturenames:
        controls = of_topology(topology)
        metafunc.parametrize("control", controls, ids=[control.name for control in controls])
