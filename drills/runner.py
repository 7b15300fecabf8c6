"""Runs a drill: steady state, fault, evidence, recovery, heal, steady state again, final read. Whoever breaks, heals."""

import contextlib
import platform
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from drills import journal as journals
from drills import junit, report, stack_view
from drills.bounds import FaultKind, failover_bound
from drills.crew import Crew, as_node, cut_off_place
from drills.definition import Drill
from drills.examine import Repetition, Setup, examine
from drills.faults.base import Engine, Fault
from drills.faults.network import Loss, Partition, SlowLink
from drills.faults.planned import Switchover
from drills.faults.process import Hang, Kill, KillHeld, Pause, Stop
from drills.history import HistoryFile, read_history
from drills.journal import Context, DrillEntry, Journal
from drills.lock import drill_lock
from drills.objectives import objectives_of, policy_of
from drills.records import VERSION, End, Note, Phase, Start
from drills.records import Fault as FaultRecord
from drills.targets import Roles, resolve
from drills.workload.plan import MAIN_OCTET, Load
from operations.errors import InvalidInput, ToolkitError
from operations.inventory import Access, Inventory, NodeEntry

HISTORY = "history.jsonl"
RECOVERY_SECONDS = 60.0
"""So long is waited for writes after a heal, and at least for the bound (times two) after a fault."""
STEADY_SECONDS = 90.0
POLL_SECONDS = 0.25

Progress = Callable[[str], None]


@dataclass
class Order:
    """What the user asks for. `inside`: clients run in the stack's network; else on this machine, through published ports.
    `patience_seconds`: so long may the stack take to reach its steady state before the drill is refused."""

    drill: Drill
    directory: Path
    load: Load = field(default_factory=Load)
    repetitions: int = 1
    seed: int = 0
    inside: bool = True
    patience_seconds: float = 0.0


class Runner:
    """One drill on one stack, all repetitions."""

    def __init__(self, access: Access, order: Order, progress: Progress) -> None:
        self._access = access
        self._inventory = access.inventory
        self._order = order
        self._drill = order.drill
        self._tell = progress
        self._engine = Engine(access.inventory)
        self._objectives = objectives_of(access.inventory, order.drill.objectives)
        self._load = load_of(order, access.inventory)
        self._policy = policy_of(access.inventory)
        self._chance = random.Random(order.seed)  # noqa: S311 - choices that a seed repeats
        self._run = f"{order.seed:x}-{int(time.time()):x}"
        self._origin: int | None = None
        self._lanes = 0
        self._problems: list[str] = []
        self._notes = list(self._drill.notes)
        self._interrupted = False

    def run(self) -> Journal:
        """Run all repetitions and write the report. Raises ToolkitError only before anything was broken: drill and stack do not
        fit, somebody else drills, the stack is not well, the directory cannot be used."""
        misfit = self._drill.fits(self._inventory)
        if misfit:
            raise InvalidInput(misfit)
        started = _now()
        directory = self._order.directory
        with drill_lock(self._engine, self._drill.name):
            self._wait_steady(self._order.patience_seconds)
            stack_view.require_steady(self._access)
            history = directory / HISTORY
            try:
                directory.mkdir(parents=True, exist_ok=True)
                history.unlink(missing_ok=True)
                file = HistoryFile(history)
            except OSError as error:
                raise InvalidInput(
                    f"{directory} cannot hold the report: {error.strerror}; choose another with --report"
                ) from None
            with file:
                self._all(file)
            repetitions = self._examine(history)
        journal = self._journal(started, repetitions)
        for save in (journals.save, junit.save, report.save):
            save(journal, directory)
        return journal

    def _all(self, file: HistoryFile) -> None:
        for number in range(1, self._order.repetitions + 1):
            try:
                if number > 1:
                    self._wait_steady()
                self._repetition(number, file)
            except KeyboardInterrupt:
                self._interrupted = True
                self._problems.append(f"interrupted in repetition {number}")
            except OSError as error:
                self._problems.append(f"repetition {number}: the history cannot be written: {error.strerror}")
            except (ToolkitError, redis.RedisError) as error:
                self._problems.append(f"repetition {number}: {error}")
            if self._problems:
                return

    def _repetition(self, number: int, file: HistoryFile) -> None:
        seen = stack_view.require_steady(self._access)
        roles = stack_view.roles_of(seen, self._inventory)
        slots = stack_view.slots_of(seen, self._inventory)
        targets = self._with_companions(resolve(self._drill.fault.target, roles, self._chance), roles)
        shards = sorted({node.shard for node in targets if not node.is_sentinel})
        cut_off = shards if self._drill.fault.clients_inside else []
        run = f"{self._run}-{number}"
        with Crew(self._access, self._engine, self._load, run, slots, self._order.inside, file, self._lanes, cut_off) as crew:
            self._lanes += crew.lanes
            self._agree_on_time(crew, file)
            fault = self._fault(targets, bool(cut_off))
            file.add(Phase(crew.clock.now(), "begin", number))
            self._tell(f"run {number}: {self._load.summary}; target {', '.join(fault.names)}")
            with self._healed(fault, crew, file):
                self._through(number, fault, crew, file, slots, run)

    def _agree_on_time(self, crew: Crew, file: HistoryFile) -> None:
        """All repetitions of a history count from the same moment."""
        if self._origin is None:
            self._origin = crew.clock.origin
            wall = datetime.now(UTC).isoformat(timespec="milliseconds")
            clock = f"monotonic clock of the Docker engine's machine, known to {crew.clock.error / 1e6:.2f} ms"
            file.add(Start(VERSION, self._run, self._inventory.stack, self._inventory.topology, clock, self._origin, wall))
        else:
            crew.keep_clock(self._origin)

    def _through(self, number: int, fault: Fault, crew: Crew, file: HistoryFile, slots: Any, run: str) -> None:
        drill, clock = self._drill, crew.clock
        fault.prepare()
        crew.begin()
        file.add(Phase(clock.now(), "steady", number))
        _hold(drill.steady_seconds, crew)
        file.add(Phase(clock.now(), "fault", number))
        self._step(fault, "inject", fault.inject, crew, file)
        proven = self._step(fault, "evidence", fault.evidence, crew, file)
        everywhere = list(self._inventory.shards)
        patience = self._patience()
        if patience and crew.wait_writable(everywhere, proven, patience, crew.check):
            file.add(Phase(clock.now(), "recovery", number))
            self._tell(f"run {number}: writes are back {(clock.now() - proven) / 1e9:.1f} s after the evidence")
        _hold(drill.hold_seconds, crew)
        self._step(fault, "heal", fault.heal, crew, file, done="healed")
        if not crew.wait_writable(everywhere, clock.now(), RECOVERY_SECONDS, crew.check):
            self._tell(f"run {number}: some clients cannot write {RECOVERY_SECONDS:g} s after the heal")
        self._wait_steady()
        _hold(drill.settle_seconds, crew)
        file.add(Phase(clock.now(), "stop", number))
        operations = crew.stop()
        for state in stack_view.states(self._access, "final", clock.now(), slots, run):
            file.add(state)
        file.add(Phase(clock.now(), "audit", number))
        self._tell(f"run {number}: reading back what {operations:,} operations left")
        crew.audit()
        file.add(End(clock.now(), operations, number))
        left = crew.tidy()
        if left:
            self._notes.append(f"{left} keys of the drill could not be removed from {self._inventory.stack}")

    def _patience(self) -> float:
        """How long to wait for writes while the fault is in force; 0 where nothing can bring them back."""
        bound = failover_bound(self._policy.timing, self._drill.kind)
        if bound is not None:
            return 2 * bound.with_slack + 5
        return 0.0 if self._drill.kind in ("crash", "hang", "partition", "split", "power-loss", "quorum") else RECOVERY_SECONDS

    def _step(self, fault: Fault, stage: Any, act: Callable[[], str], crew: Crew, file: HistoryFile, done: Any = None) -> int:
        """One step of a fault, recorded with the time in which it happened; the time in which it was over."""
        crew.check()
        shards = self._inventory.shards if self._drill.hits == "all" else fault.shards
        began = crew.clock.now()
        text = act()
        ended = crew.clock.now()
        file.add(FaultRecord(began, ended, fault.name, fault.kind, stage, fault.names, shards, text))
        if done is not None:
            file.add(FaultRecord(ended, ended, fault.name, fault.kind, done, fault.names, shards, text))
        self._tell(f"  {stage}: {text}")
        return ended

    @contextlib.contextmanager
    def _healed(self, fault: Fault, crew: Crew, file: HistoryFile) -> Iterator[None]:
        """Heals on every way out; on the good way healing a second time does nothing."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):
                file.add(Note(crew.clock.now(), f"ended early: {error or type(error).__name__}"))
            self._tell(f"  healing after: {error or type(error).__name__}")
            self._try_heal(fault)
            raise
        self._try_heal(fault)

    def _try_heal(self, fault: Fault) -> None:
        try:
            fault.heal()
        except ToolkitError as error:
            self._problems.append(
                f"{fault.name} could not be healed: {error}; run `scripts/drill.py heal --stack {self._inventory.stack}`"
            )

    def _wait_steady(self, seconds: float = STEADY_SECONDS) -> None:
        """Wait until the stack is as declared; what is missing after that time is for others to judge."""
        deadline = time.monotonic() + seconds
        while (missing := stack_view.problem(self._access)) is not None:
            if time.monotonic() > deadline:
                if seconds:
                    self._tell(f"  not as declared after {seconds:g} s: {missing}")
                return
            time.sleep(POLL_SECONDS)

    def _with_companions(self, targets: Sequence[NodeEntry], roles: Roles) -> tuple[NodeEntry, ...]:
        count = self._drill.fault.companions
        extra: list[NodeEntry] = []
        for node in targets if count else ():
            extra += self._chance.sample(roles.of_shard("replica", node.shard), count)
        return (*targets, *extra)

    def _fault(self, targets: Sequence[NodeEntry], clients_inside: bool) -> Fault:
        plan, kind, engine = self._drill.fault, self._drill.kind, self._engine
        plain: dict[str, Callable[[Engine, Sequence[NodeEntry], FaultKind], Fault]] = {
            "kill": Kill,
            "kill-held": KillHeld,
            "hang": Hang,
            "pause": Pause,
            "stop": Stop,
        }
        if plan.do in plain:
            return plain[plan.do](engine, targets, kind)
        if plan.do == "switchover":
            return Switchover(engine, self._access, targets, kind)
        if plan.do == "loss":
            return Loss(engine, targets, plan.share, kind)
        if plan.do == "slow-link":
            return SlowLink(engine, targets, plan.kilobits, kind)
        names = {node.name for node in targets}
        prefix = self._inventory.network.subnet.rpartition(".")[0]
        others = [node.address for node in self._inventory.nodes if node.name not in names]
        if self._order.inside:
            others.append(f"{prefix}.{MAIN_OCTET}")
        inside = [as_node(cut_off_place(self._inventory), targets[0])] if clients_inside else []
        return Partition(engine, [*targets, *inside], others, plan.direction, kind)

    def _examine(self, history: Path) -> tuple[Repetition, ...]:
        inventory = self._inventory
        setup = Setup(
            kind=self._drill.kind,
            shards=inventory.shards,
            nodes=tuple(node.name for node in inventory.data_nodes),
            observers=tuple(node.name for node in inventory.nodes),
            objectives=self._objectives,
            policy=self._policy,
        )
        return examine(lambda: read_history(history), setup)

    def _journal(self, started: str, repetitions: Sequence[Repetition]) -> Journal:
        inventory, drill, order = self._inventory, self._drill, self._order
        context = Context(
            drill=DrillEntry(
                name=drill.name, title=drill.title, description=drill.description, kind=drill.kind,
                plan=drill.model_dump(mode="json"),
            ),
            stack=inventory.stack,
            topology=inventory.topology,
            engine=f"{inventory.engine.name} {inventory.engine.version}",
            versions={"redis-py": redis.__version__, "python": platform.python_version(), "image": inventory.engine.image},
            spec=inventory.spec,
            objectives=self._objectives.model_dump(mode="json"),
            workload={"summary": self._load.summary, "seed": order.seed, "from": "network" if order.inside else "host",
                      **asdict(self._load)},
            started=started,
        )  # fmt: skip
        return journals.compose(context, repetitions, _now(), self._problems, self._notes, self._interrupted)


def load_of(order: Order, inventory: Inventory) -> Load:
    """The load that the user asked for, with what the drill needs."""
    wanted = order.drill.load
    if wanted is None:
        return order.load
    acks = inventory.replicas if wanted.acks == "all" else wanted.acks
    return replace(order.load, mode=wanted.mode, acks=acks)


def _hold(seconds: float, crew: Crew) -> None:
    """Let the load run on for a while, and notice when it cannot."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        crew.check()
        time.sleep(min(POLL_SECONDS, left))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
