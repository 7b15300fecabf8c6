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
from drills.bounds import failover_bound
from drills.crew import Crew, Played
from drills.definition import Drill
from drills.examine import Repetition, Setup, examine
from drills.faults.base import Engine, Fault
from drills.faults.choose import Scene, fault_of
from drills.faults.disks import Disks, ground
from drills.history import HistoryFile, read_history
from drills.journal import Context, DrillEntry, Journal
from drills.lock import drill_lock
from drills.objectives import objectives_of, policy_of
from drills.records import VERSION, End, Note, Phase, Start
from drills.records import Fault as FaultRecord
from drills.targets import Roles, resolve
from drills.uses.catalogue import misfit_of
from drills.workload.plan import Load, feasible
from operations.apply import apply
from operations.errors import InvalidInput, ToolkitError
from operations.inventory import Access, Inventory, NodeEntry
from operations.switchover import switchover

HISTORY = "history.jsonl"
RECOVERY_SECONDS = 60.0
"""So long is waited for writes after a heal, and at least for the bound (times two) after a fault."""
STEADY_SECONDS = 90.0
AFTER_TAKEOVER_SECONDS = 1.0
NOT_APPLIED = "Roles after another `pulumi up`: not run."
POLL_SECONDS = 0.25
LAST_UNTIL_HEALED = frozenset({"crash", "hang", "partition", "split", "power-loss", "quorum", "disk", "data-loss"})
"""Kinds of faults after which, where nobody takes over, writes come back only with the heal."""

Progress = Callable[[str], None]


@dataclass
class Order:
    """What the user asks for. `inside`: clients run in the stack's network; else on this machine, through published ports.
    `patience_seconds`: so long may the stack take to reach its steady state before the drill is refused. `apply`: a `pulumi up`
    after the last repetition must keep all roles. `uses`: names of `drills.uses.catalogue` that are played beside the load;
    `left_out`: a sentence for each that the stack cannot carry. `origin_url`: a PostgreSQL behind their caches."""

    drill: Drill
    directory: Path
    load: Load = field(default_factory=Load)
    repetitions: int = 1
    seed: int = 0
    inside: bool = True
    patience_seconds: float = 0.0
    apply: bool = True
    uses: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    origin_url: str = field(default="", repr=False)


class Runner:
    """One drill on one stack, all repetitions."""

    def __init__(self, access: Access, order: Order, progress: Progress) -> None:
        self._access = access
        self._inventory = access.inventory
        self._drill = order.drill.on_topology(access.inventory.topology)
        self._order = order = replace(order, drill=self._drill)
        self._tell = progress
        self._engine = Engine(access.inventory)
        self._load = feasible(load_of(order, access.inventory), access.inventory)
        waits = self._load.waits_for(access.inventory.replicas)
        self._objectives = objectives_of(access.inventory, order.drill.objectives, waits)
        self._policy = policy_of(access.inventory, waits)
        self._chance = random.Random(order.seed)  # noqa: S311 - choices that a seed repeats
        self._run = f"{order.seed:x}-{int(time.time()):x}"
        self._origin: int | None = None
        self._lanes = 0
        self._target = self._drill.fault.target
        self._disks: Disks | None = None
        self._problems: list[str] = []
        self._notes = [*self._drill.notes, *order.left_out, *([] if order.apply else [NOT_APPLIED])]
        self._interrupted = False

    def run(self) -> Journal:
        """Run all repetitions and write the report. Raises ToolkitError before anything was broken: drill and stack do not fit,
        somebody else drills, the stack is not well, the directory cannot be used; after that only when the report has no room."""
        misfit = self._drill.fits(self._inventory) or misfit_of(self._order.uses, self._inventory)
        if self._order.uses and self._drill.fault.clients_inside and not self._order.inside:
            misfit = f"{self._drill.name} cuts instances off, which takes workloads in the stack's network: leave out --from host"
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
                for old in (HISTORY, "journal.json", "junit.xml", "report.html"):
                    (directory / old).unlink(missing_ok=True)
                file = HistoryFile(history)
            except OSError as error:
                raise InvalidInput(
                    f"{directory} cannot hold the report: {error.strerror}; choose another with --report"
                ) from None
            with file, self._on_own_disks():
                self._all(file)
            repetitions = self._examine(history)
        journal = self._journal(started, repetitions)
        try:
            for save in (journals.save, junit.save, report.save):
                save(journal, directory)
        except OSError as error:
            raise ToolkitError(
                f"the report cannot be written to {directory}: {error.strerror}; choose another with --report. "
                f"What was found: {journal.result}: {journal.summary}"
            ) from None
        return journal

    @contextlib.contextmanager
    def _on_own_disks(self) -> Iterator[None]:
        """Where the fault is one of the disk: with a disk of the drill's own under the nodes, for all repetitions."""
        if self._drill.fault.do not in ("power-loss", "fill-disk"):
            yield
            return
        roles = stack_view.roles_of(stack_view.require_steady(self._access), self._inventory)
        self._target, nodes = ground(self._target, roles, resolve(self._target, roles, self._chance))
        self._disks = disks = Disks(self._engine, nodes, self._drill.fault.megabytes, self._tell)
        try:
            disks.attach(self._wait_steady)
            yield
        finally:
            self._tell("the drill's own disks are removed again")
            try:
                disks.detach()
                self._wait_steady()
            except ToolkitError as error:
                heal = f"scripts/drill.py heal --stack {self._inventory.stack}"
                self._problems.append(f"a disk of the drill could not be removed: {error}; run `{heal}`")

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
        targets = self._with_companions(resolve(self._target, roles, self._chance), roles)
        shards = sorted({node.shard for node in targets if not node.is_sentinel})
        cut_off = shards if self._drill.fault.clients_inside else []
        run = f"{self._run}-{number}"
        order = self._order
        played = Played(order.uses, order.seed + number, order.origin_url)
        with Crew(self._access, self._engine, self._load, run, slots, order.inside, file, self._lanes, cut_off, played) as crew:
            self._lanes += crew.lanes
            self._agree_on_time(crew, file)
            primaries = tuple(roles.primaries.values())
            scene = Scene(self._engine, self._access, self._order.inside, primaries, self._tell, self._disks)
            fault = fault_of(self._drill, scene, targets)
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
        _hold(max(drill.steady_seconds, 2 * self._load.request_timeout), crew)
        if fault.takes_cut:
            self._step(fault, "cut", fault.cut, crew, file)
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
        if drill.then == "takeover":
            self._take_over(number, fault, crew, file)
        self._ask_voters(number, fault, crew, file)
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
        if self._order.apply and number == self._order.repetitions:
            self._apply(number, crew, file, slots, run)
        file.add(End(clock.now(), operations, number))
        left = crew.tidy()
        if left:
            self._notes.append(f"{left} keys of the drill could not be removed from {self._inventory.stack}")

    def _take_over(self, number: int, fault: Fault, crew: Crew, file: HistoryFile) -> None:
        """What `scripts/switchover.py --takeover` does, where nobody takes over by himself; then writes must be back."""
        for shard in fault.shards:
            began = crew.clock.now()
            done = switchover(self._access, shard=shard, takeover=True)
            text = f"{done.new} was made primary of shard {shard} by hand after {done.took_seconds:.3f} s"
            file.add(FaultRecord(began, crew.clock.now(), "takeover", fault.kind, "evidence", (done.new,), (shard,), text))
            self._tell(f"  takeover: {text}")
        ended = crew.clock.now()
        if crew.wait_writable(fault.shards, ended, RECOVERY_SECONDS, crew.check):
            file.add(Phase(crew.clock.now(), "recovery", number))
            self._tell(f"run {number}: writes are back {(crew.clock.now() - ended) / 1e9:.1f} s after the takeover")
        _hold(AFTER_TAKEOVER_SECONDS, crew)

    def _ask_voters(self, number: int, fault: Fault, crew: Crew, file: HistoryFile) -> None:
        """While sentinels are down: whether those that are left could make a failover."""
        left = [node for node in self._inventory.sentinels if node not in fault.targets]
        if self._drill.kind != "quorum" or len(left) == len(self._inventory.sentinels):
            return
        for text in stack_view.quorum_words(self._access, left):
            file.add(Note(crew.clock.now(), text))
            self._notes.append(f"Run {number}: {text}")
            self._tell(f"  {text}")

    def _apply(self, number: int, crew: Crew, file: HistoryFile, slots: Any, run: str) -> None:
        """Roles belong to the running system: another `pulumi up` must keep them. One that fails is a problem, never a pass."""
        file.add(Phase(crew.clock.now(), "apply", number))
        self._tell(f"run {number}: another `pulumi up`")
        try:
            told = apply(self._inventory.stack)
        except ToolkitError as error:
            self._problems.append(f"repetition {number}: {error}")
            return
        file.add(Note(crew.clock.now(), f"another `pulumi up`: {told}"))
        self._notes.append(f"Another `pulumi up` after the last run: {told}.")
        self._tell(f"  pulumi up: {told}")
        for state in stack_view.states(self._access, "applied", crew.clock.now(), slots, run):
            file.add(state)

    def _patience(self) -> float:
        """How long to wait for writes while the fault is in force; 0 where nothing can bring them back."""
        bound = failover_bound(self._policy.timing, self._drill.kind)
        if bound is not None:
            return 2 * bound.with_slack + 5
        return 0.0 if self._drill.kind in LAST_UNTIL_HEALED else RECOVERY_SECONDS

    def _step(self, fault: Fault, stage: Any, act: Callable[[], str], crew: Crew, file: HistoryFile, done: Any = None) -> int:
        """One step of a fault, recorded with the time in which it happened; the time in which it was over."""
        crew.check()
        shards = self._inventory.shards if self._drill.hits == "all" else fault.shards
        began = crew.clock.now()
        text = act()
        ended = crew.clock.now()
        file.add(FaultRecord(began, ended, fault.name, fault.kind, stage, fault.names, shards, text))
        if done is not None:
            since = began if fault.redundancy_counts_healing else ended
            file.add(FaultRecord(since, since, fault.name, fault.kind, done, fault.names, shards, text))
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

    def _examine(self, history: Path) -> tuple[Repetition, ...]:
        inventory = self._inventory
        setup = Setup(
            kind=self._drill.kind,
            shards=inventory.shards,
            nodes=tuple(node.name for node in inventory.data_nodes),
            observers=tuple(node.name for node in inventory.nodes),
            objectives=self._objectives,
            policy=self._policy,
            roles_kept=self._order.apply,
            uses=self._order.uses,
            sides=2 if self._drill.fault.clients_inside else 1,
            waits=self._load.mode == "wait" and self._load.acks >= inventory.replicas > 0,
            slots_move=self._drill.fault.do == "reshard",
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
                      "uses": list(order.uses), **asdict(self._load)},
            started=started,
        )  # fmt: skip
        return journals.compose(context, repetitions, _now(), self._problems, self._notes, self._interrupted)


def load_of(order: Order, inventory: Inventory) -> Load:
    """The load that the user asked for, with what the drill needs; or with what the objective `writes: wait-all` says."""
    wanted = order.drill.load
    if wanted is None:
        if policy_of(inventory).writes != "wait-all":
            return order.load
        mode = "wait" if order.load.mode == "plain" else order.load.mode
        return replace(order.load, mode=mode, acks=inventory.replicas)
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
