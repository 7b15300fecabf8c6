"""From a plan to moved slots: begin, go on after an interruption, or stop in order.

Every round looks at the live cluster, finishes what stands open, and moves what is not yet in its place; so a failover in
between, a killed mover or slots moved by hand only mean another round.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from operations.connect import Fleet
from operations.errors import Busy, CheckFailed, ToolkitError, Unreachable
from operations.inventory import Access
from operations.parse import format_slots, pairs
from operations.reshard import atomic
from operations.reshard.claims import moved_by_others, raise_epoch
from operations.reshard.journal import LEASE_SECONDS, RENEW_SECONDS, Entry, Found, Journal
from operations.reshard.live import Live, Way, read_live, require_whole, survey, way_of
from operations.reshard.mover import Mover, Progress, Report
from operations.reshard.pace import Limits
from operations.reshard.plan import Move, Size, moves_to, ranges_of, total
from operations.reshard.proposal import Proposal

Watch = Callable[[Progress], None]

FRUITLESS_ROUNDS = 4
"""Rounds in a row in which nothing moved, before the mover gives up."""
POLL_SECONDS = 0.1
SETTLE_SECONDS = 20.0
FOLLOW = "cluster-allow-replica-migration"
"""With `yes`, a primary that gives its last slot away becomes a replica of whoever got it, and copies all of its data."""


@dataclass(frozen=True)
class Done:
    """What a move did."""

    slots: int
    keys: int
    bytes: int
    seconds: float
    longest_stall_seconds: float


def carry_out(
    access: Access, proposal: Proposal, limits: Limits | None = None, report: Report = print, watch: Watch = lambda _: None
) -> Done:
    """Do what was proposed. Raises CheckFailed for a plan with problems, Busy when another mover is at work."""
    if proposal.problems:
        raise CheckFailed("\n".join(("this plan cannot be carried out:", *(f"  - {line}" for line in proposal.problems))))
    placement = {slot: move.target for move in proposal.moves for slot in move.slots}
    origin = {slot: proposal.owners[slot] for slot in placement}
    with _session(access, limits, report, watch) as session:
        found = session.take(wait=False)
        if found.entry is not None:
            raise CheckFailed(f"another move began in between, by {found.entry.by}; run `resume` or `abort` first")
        entry = Entry(session.journal.who, now_words(), proposal.goal, placement, origin)
        session.journal.begin(entry)
        return session.run(entry, placement, proposal.way, proposal.sizes)


def resume(access: Access, limits: Limits | None = None, report: Report = print, watch: Watch = lambda _: None) -> Done:
    """Go on with the move in the journal, wherever it was interrupted; without one, end moves that stand open."""
    with _session(access, limits, report, watch) as session:
        found = session.take(wait=True)
        if found.entry is not None:
            report(f"going on with the move that {found.entry.by} began at {found.entry.since}: {found.entry.goal}")
        return session.run(found.entry, found.entry.placement if found.entry else {})


def abort(
    access: Access, back: bool = False, limits: Limits | None = None, report: Report = print, watch: Watch = lambda _: None
) -> Done:
    """Stop a move: slots that stand open are ended, the others stay where they are; with `back`, all go back to where they were.

    A slot that is half moved goes forward: its keys are on both sides, and only that way are clients served all the time.
    """
    with _session(access, limits, report, watch) as session:
        found = session.take(wait=True)
        if found.entry is None:
            report("no move is under way")
        elif back:
            report(f"going back to where slots were at {found.entry.since}")
        if (way := way_of(session.fleet, session.live())) != "keys":
            atomic.cancel(session.fleet, way, session.live().primaries)
        return session.run(found.entry, found.entry.origin if found.entry and back else {})


def now_words() -> str:
    """The moment, for people who read a journal."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class _Session:
    """One mover at work on one stack, holding its lock."""

    def __init__(self, access: Access, fleet: Fleet, notes: Fleet, limits: Limits, report: Report, watch: Watch) -> None:
        self._access = access
        self._limits = limits
        self._report = report
        self._watch = watch
        self._renewed = time.monotonic()
        self.fleet = fleet
        self.journal = Journal(notes, access.inventory)
        self.finished = False
        self.foreign: set[int] = set()
        self._raised: set[str] = set()
        self._followed: dict[str, str] = {}
        self.taken = False

    def live(self) -> Live:
        found = read_live(self.fleet, self._access.inventory)
        self._followed |= found.following()
        return replace(found, followed=dict(self._followed))

    def take(self, wait: bool) -> Found:
        """The lock; with `wait`, also that of a mover which may have died: as long as its lease can last."""
        deadline = time.monotonic() + LEASE_SECONDS + 1
        told = False
        self.journal.find(self._settled().primaries)
        while True:
            try:
                found = self.journal.take()
            except Busy as error:
                if not wait or time.monotonic() > deadline:
                    raise
                if not told:
                    self._report(str(error).split(". ", maxsplit=1)[0] + "; waiting until that lock ends")
                told = True
                time.sleep(POLL_SECONDS)
                continue
            self.taken = True
            return found

    def run(
        self, entry: Entry | None, placement: Mapping[int, str], way: Way | None = None, sizes: Mapping[int, Size] | None = None
    ) -> Done:
        """Rounds until every slot of `placement` is in its place and none stands open."""
        began = time.monotonic()
        progress: Progress | None = None
        fruitless = 0
        while True:
            live, chosen = self._ready(way)
            self._raise_heirs(live, placement)
            self._leave_alone(live, entry)
            halves, moves = self._left(live, placement)
            if sizes is None:
                sizes = survey(self._access, live, [slot for move in (*halves, *moves) for slot in move.slots])
            left = sum(len(m.slots) for m in (*halves, *moves))
            if progress is None:
                progress = Progress(left, total((*halves, *moves), sizes))
            progress.total_slots = progress.slots + left
            if not halves and not moves:
                self._finish(live, entry)
                self._tell_left_alone()
                seconds = time.monotonic() - began
                return Done(progress.slots, progress.keys, progress.bytes, seconds, progress.longest_stall_seconds)
            before = progress.slots
            try:
                entry = self._keep_emptied(live, entry or self._unplanned(), (*halves, *moves))
                self._round(live, chosen, halves, moves, sizes, progress)
            except (CheckFailed, Busy):
                raise
            except ToolkitError as error:
                fruitless = 0 if progress.slots > before else fruitless + 1
                if fruitless >= FRUITLESS_ROUNDS:
                    raise
                self._report(f"interrupted: {error}; looking again")
                self.journal.find(live.primaries)

    def _ready(self, way: Way | None) -> tuple[Live, Way]:
        """A settled cluster in which the engine itself moves nothing."""
        live = self._settled()
        chosen = way or way_of(self.fleet, live)
        if chosen == "keys":
            return live, chosen
        atomic.await_end(self.fleet, chosen, live.primaries, self._pulse)
        return self._settled(), chosen

    def _round(
        self,
        live: Live,
        way: Way,
        halves: Sequence[Move],
        moves: Sequence[Move],
        sizes: Mapping[int, Size],
        progress: Progress,
    ) -> None:
        """Slots that stand open go forward first, then the others."""
        if halves:
            self._by_keys(live, halves, sizes, progress, known_open=True)
        if self.journal.noted:
            self.journal.settled()  # else a slot that goes back later would seem half moved again
        if way == "keys":
            self._by_keys(live, moves, sizes, progress)
        elif moves:
            atomic.carry(self.fleet, way, live, moves, self._pulse)
            size = total(moves, sizes)
            progress.add(sum(len(m.slots) for m in moves), size.keys, size.bytes)
            self._watch(progress)

    def _finish(self, live: Live, entry: Entry | None) -> None:
        """Nothing is left to move: marks without a meaning go, and so does what was set for the time of the move."""
        self._tidy(live)
        if entry is not None:
            self._put_back(entry)
        self.finished = True

    def _settled(self) -> Live:
        """A look at a cluster in which every slot is served once; waits for a failover that is under way."""
        cluster = self._access.inventory.cluster
        deadline = time.monotonic() + SETTLE_SECONDS + 6 * (cluster.node_timeout_ms / 1000 if cluster else 5.0)
        while True:
            live = self.live()
            try:
                require_whole(live)
                return live
            except (Unreachable, CheckFailed):
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)
            if self.taken:
                self._pulse()

    def _left(self, live: Live, placement: Mapping[int, str]) -> tuple[list[Move], tuple[Move, ...]]:
        """Slots that stand open (or did, by the journal), and those that are not in their place yet."""
        halves: dict[tuple[str, str], set[int]] = {}
        for opened in live.opened:
            if opened.slot in self.foreign:
                continue
            halves.setdefault((opened.source, live.heir(opened.target)), set()).add(opened.slot)
        taken = {slot for slots in halves.values() for slot in slots}
        for move in self.journal.noted:
            target = live.heir(move.target)
            for slot in move.slots:
                if live.owners[slot] != target and slot not in taken and slot not in self.foreign:
                    halves.setdefault((live.owners[slot], target), set()).add(slot)
                    taken.add(slot)
        present = [Move(source, target, tuple(sorted(slots))) for (source, target), slots in sorted(halves.items())]
        wanted = {slot: live.heir(name) for slot, name in placement.items() if slot not in taken | self.foreign}
        return present, moves_to(live.owners, wanted)

    def _unplanned(self) -> Entry:
        """The journal of slots that somebody left open: they go on, and nothing else is meant."""
        return Entry(self.journal.who, now_words(), "slots that stood open are moved to their end", {}, {})

    def _raise_heirs(self, live: Live, placement: Mapping[int, str]) -> None:
        """Targets that were replaced by a replica must not take their slots back when they return."""
        targets = {*placement.values(), *(move.target for move in self.journal.noted)}
        for heir in {heir for name in targets if (heir := live.heir(name)) != name} - self._raised:
            other = next((name for name in live.primaries if name != heir), None)
            if other is not None:
                raise_epoch(self.fleet, heir, other)
            self._raised.add(heir)

    def _leave_alone(self, live: Live, entry: Entry | None) -> None:
        """Note slots of the plan that somebody else moves, or has moved, in the meantime: two who move one slot would fight."""
        if entry is None or not entry.placement:
            return
        noted = {slot for move in self.journal.noted for slot in move.slots}
        found = moved_by_others(live, entry, noted) - self.foreign
        if found:
            now = ", ".join(sorted({live.owners[slot] for slot in found}))
            self._report(f"slots {format_slots(ranges_of(found))}, now at {now}, are moved by somebody else; they are left alone")
            self.foreign |= found

    def _tell_left_alone(self) -> None:
        if self.foreign:
            raise CheckFailed(
                f"slots {format_slots(ranges_of(self.foreign))} of stack {self._access.inventory.stack} were moved by somebody "
                "else at the same time and left as they are; all others are in place. Plan again when nobody else moves slots"
            )

    def _by_keys(
        self, live: Live, moves: Sequence[Move], sizes: Mapping[int, Size], progress: Progress, known_open: bool = False
    ) -> None:
        """Raises the first failure of a worker, or KeyboardInterrupt, once no group is in hand any more."""
        if not moves:
            return
        mover = Mover(self._access, live, self.journal, progress, self._limits, self._report)
        threads = mover.start(moves, sizes, known_open)
        try:
            while any(thread.is_alive() for thread in threads):
                threads[0].join(POLL_SECONDS) if threads[0].is_alive() else time.sleep(POLL_SECONDS / 10)
                self._pulse()
                self._watch(progress)
        finally:
            mover.end()
        self._watch(progress)
        if mover.failures:
            raise mover.failures[0]

    def _pulse(self) -> None:
        """Keep the lock. One failure is no loss of it: the lease lasts longer than a failover's first seconds."""
        now = time.monotonic()
        if now - self._renewed < RENEW_SECONDS:
            return
        try:
            self.journal.renew()
            self._renewed = now
        except Busy:
            raise
        except ToolkitError:
            self.journal.find(self.live().primaries)

    def _keep_emptied(self, live: Live, entry: Entry, moves: Sequence[Move]) -> Entry:
        """Primaries that will be empty stay primaries until the move is over; what is changed for it stands in the journal."""
        going = {slot: move.target for move in moves for slot in move.slots}
        emptied = set(live.owners.values()) - {going.get(slot, at) for slot, at in live.owners.items()}
        nodes = [name for primary in emptied for name in (primary, *live.replicas_of(primary))]
        changed = {node for node, _, _ in entry.settings}
        found = []
        for name in nodes:
            value = str(pairs(self.fleet.links[name].ask("CONFIG", "GET", FOLLOW)).get(FOLLOW, "no"))
            if name not in changed and value != "no":
                found.append((name, FOLLOW, value))
        if found:
            entry = replace(entry, settings=(*entry.settings, *found))
            self.journal.begin(entry)
        for name, parameter, _ in entry.settings:
            if name in nodes:
                self.fleet.links[name].ensure_ours()
                self.fleet.links[name].ask("CONFIG", "SET", parameter, "no")
        return entry

    def _put_back(self, entry: Entry) -> None:
        for name, parameter, value in entry.settings:
            try:
                self.fleet.links[name].ensure_ours()
                self.fleet.links[name].ask("CONFIG", "SET", parameter, value)
            except Unreachable as error:
                self._report(f"{parameter} of {name} could not be set back to {value}: {error}; the next `up` does it")

    def _tidy(self, live: Live) -> None:
        """Marks that lead nowhere: the slot is in its place, and no key waits on another side."""
        for name, slot in live.marks:
            if slot in self.foreign:
                continue
            self.fleet.links[name].ensure_ours()
            self.fleet.links[name].ask("CLUSTER", "SETSLOT", slot, "STABLE")


@contextmanager
def _session(access: Access, limits: Limits | None, report: Report, watch: Watch) -> Iterator[_Session]:
    nodes = access.inventory.data_nodes
    with Fleet(access, nodes) as fleet, Fleet(access, nodes) as notes:
        session = _Session(access, fleet, notes, limits or Limits(), report, watch)
        try:
            yield session
        finally:
            if session.taken:
                try:
                    session.journal.end(entirely=session.finished)
                except ToolkitError as error:
                    report(f"the lock could not be given back: {error}")
