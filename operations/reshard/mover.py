"""Moves slots key by key: SETSLOT, MIGRATE and SETSLOT again, many slots at once and several pairs side by side.

What makes it fast: slots go in groups, each step of a group is one exchange; the groups of a source overlap, so that while one
carries its keys the next is listed and opened, and those before it wait to be assigned together (`assign.py`). What keeps clients
served: `pace.py`; large keys go alone; a target takes from few sources at once.

Every step can be repeated, so a group that was interrupted anywhere is simply moved again. Where a key is found on both sides,
the source's counts: it answers for a key for as long as it has it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any

from operations.connect import Refused, Timeouts
from operations.errors import CheckFailed, ToolkitError, Unreachable
from operations.inventory import Access
from operations.parse import cluster_nodes, format_slots, info_fields
from operations.reshard.assign import assign, mark
from operations.reshard.calls import BLOCKING_BYTES_PER_SECOND, GROUP_KEYS, MIGRATE_TIMEOUT_MS, Call, gather, migrate_command
from operations.reshard.journal import Journal
from operations.reshard.live import Live
from operations.reshard.pace import IN_FLIGHT, Gate, Limits, Pace, usual_wait, watch_waits
from operations.reshard.plan import Move, Size, megabytes, ranges_of
from operations.reshard.wire import KeyLink, worked

Report = Callable[[str], None]

WORKERS_PER_SOURCE = 3
"""One carries, the others list and open what comes next; each step of that waits for the source, which is busy with carrying."""
MOVED_GROUPS = 2
"""Groups of a source that may wait to be assigned: bounds the slots that stand open when somebody dies."""
GROUP_SLOTS = 128
WAITING_WORKERS = 16
WAITING_SLOTS = 32
"""Valkey answers a SETSLOT only when the replicas have it, milliseconds later: there the waits of many small groups overlap."""
SOURCES_PER_TARGET = 2
GROUP_BYTES = 32_000_000
LARGE_BYTES = 1_000_000
"""A key larger than this is announced."""
PROBE_TIMEOUTS = Timeouts(connect_seconds=1.0, command_seconds=1.0)
RETRIES = 5
ENDING_POLL_SECONDS = 0.05


@dataclass
class Progress:
    """How far a move is; `total_*` as planned, `*` done. Written by movers, read by whoever shows it."""

    total_slots: int
    total: Size
    slots: int = 0
    keys: int = 0
    bytes: int = 0
    longest_stall_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def add(self, slots: int = 0, keys: int = 0, size: int = 0, stall_seconds: float = 0.0) -> None:
        with self.mutex:
            self.slots += slots
            self.keys += keys
            self.bytes += size
            self.longest_stall_seconds = max(self.longest_stall_seconds, stall_seconds)


def groups_of(moves: Sequence[Move], sizes: Mapping[int, Size], most_slots: int = GROUP_SLOTS) -> Iterator[Move]:
    """Moves in parts that are open together, small enough to be open for a moment only."""
    for move in moves:
        part: list[int] = []
        held = Size()
        for slot in move.slots:
            size = sizes.get(slot, Size())
            full = held.keys + size.keys > GROUP_KEYS or held.bytes + size.bytes > GROUP_BYTES
            if part and (full or len(part) >= most_slots):
                yield Move(move.source, move.target, tuple(part))
                part, held = [], Size()
            part.append(slot)
            held += size
        if part:
            yield Move(move.source, move.target, tuple(part))


def in_turns(groups: Sequence[Move]) -> list[Move]:
    """The groups of one source, its targets in turns, so that none gets everything at once."""
    queues: dict[str, deque[Move]] = {}
    for group in groups:
        queues.setdefault(group.target, deque()).append(group)
    ordered = []
    while queues:
        for target in list(queues):
            ordered.append(queues[target].popleft())
            if not queues[target]:
                del queues[target]
    return ordered


Moved = Queue[tuple[Move, int]]
"""Groups whose keys have all moved, each with the number of its note in the journal."""


def taken(moved: Moved) -> list[tuple[Move, int]]:
    """All groups that wait, or none when none comes within a moment."""
    found = []
    try:
        found.append(moved.get(timeout=ENDING_POLL_SECONDS))
        while True:
            found.append(moved.get_nowait())
    except Empty:
        return found


class Mover:
    """Carries out moves on a cluster that was just looked at. One use: `run`."""

    def __init__(
        self, access: Access, live: Live, journal: Journal, progress: Progress, limits: Limits, report: Report = lambda _: None
    ) -> None:
        self._access = access
        self._live = live
        self._journal = journal
        self._progress = progress
        self._limits = limits
        self._report = report
        self._gates = {name: Gate(limits) for name in live.primaries}
        self._takers = {name: threading.Semaphore(SOURCES_PER_TARGET * IN_FLIGHT) for name in live.primaries}
        cluster = access.inventory.cluster
        self._patience = (cluster.node_timeout_ms / 1000 if cluster else 5.0) / 2
        self._most_calls = max(2, int(self._patience * 1000 / MIGRATE_TIMEOUT_MS / IN_FLIGHT))
        self._waits = access.inventory.engine.name == "valkey"
        self._announced: set[bytes] = set()
        self._pace = Pace(limits)
        self._suspects: set[str] = set()
        self._started: list[threading.Thread] = []
        self.stop = threading.Event()
        self.failures: list[ToolkitError] = []

    def start(self, moves: Sequence[Move], sizes: Mapping[int, Size], known_open: bool = False) -> list[threading.Thread]:
        """Begin in the background; `known_open` tells that keys of these slots may stand on both sides already.

        A failure of one worker stops all, each after the group that it has in hand; see `failures`.
        """
        workers, slots = (WAITING_WORKERS, WAITING_SLOTS) if self._waits else (WORKERS_PER_SOURCE, GROUP_SLOTS)
        per_source: dict[str, list[Move]] = {}
        for group in groups_of(moves, sizes, slots):
            per_source.setdefault(group.source, []).append(group)
        threads = []
        for source, groups in per_source.items():
            queue, moved = deque(in_turns(groups)), Moved(MOVED_GROUPS)
            carrying = (self._carry_groups, queue, moved, known_open)
            carriers = [
                threading.Thread(target=self._guarded, args=carrying, name=f"mover-{source}")
                for _ in range(min(workers, len(groups)))
            ]
            threads += carriers
            if not self._waits:
                closing = (self._assign_groups, moved, carriers)
                threads.append(threading.Thread(target=self._guarded, args=closing, name=f"assigner-{source}"))
        for thread in threads:
            thread.daemon = True
        ends = {name for move in moves for name in (move.source, move.target)}
        self._pace.expect(usual_wait(self._access, ends))
        watching = (self._access, ends, self._pace, self.stop)
        self._started = [*threads, threading.Thread(target=watch_waits, args=watching, name="waits", daemon=True)]
        for thread in self._started:
            thread.start()
        return threads

    def end(self) -> None:
        """Let every worker finish the group that it has in hand, and wait for that."""
        self.stop.set()
        for thread in self._started:
            thread.join()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Run a thread's work with links of its own; its failure stops all."""
        links = {node.name: KeyLink(self._access, node) for node in self._access.inventory.data_nodes}
        try:
            work(links, *arguments)
        except ToolkitError as error:
            self.failures.append(error)
            self.stop.set()
        except Exception as error:
            self.failures.append(ToolkitError(f"moving slots broke: {type(error).__name__}: {error}"))
            self.stop.set()
        finally:
            for link in links.values():
                link.close()

    def _carry_groups(self, links: Mapping[str, KeyLink], queue: deque[Move], moved: Moved, known_open: bool) -> None:
        while not self.stop.is_set():
            try:
                group = queue.popleft()
            except IndexError:
                return
            number = self._move(links, group, known_open)
            if self._waits:
                self._assign(links, [(group, number)])
            else:
                moved.put((group, number))

    def _assign_groups(self, links: Mapping[str, KeyLink], moved: Moved, carriers: Sequence[threading.Thread]) -> None:
        """Assign what has moved, all that waits together, until the carriers have ended and nothing is left.

        After a failure it only takes groups away, so that no carrier waits for room; the journal knows that they stand open.
        """
        failure: Exception | None = None
        while True:
            carried_on = any(carrier.is_alive() for carrier in carriers)
            waiting = taken(moved)
            if waiting and failure is None:
                try:
                    self._assign(links, waiting)
                except Exception as error:
                    self.stop.set()
                    failure = error
            elif not waiting and not carried_on:
                break
        if failure is not None:
            raise failure

    def _assign(self, links: Mapping[str, KeyLink], groups: Sequence[tuple[Move, int]]) -> None:
        assign(self._access, self._live, links, [group for group, _ in groups])
        for group, number in groups:
            self._journal.closed(number)
            self._progress.add(slots=len(group.slots))

    # One group

    def _move(self, links: Mapping[str, KeyLink], group: Move, known_open: bool) -> int:
        """Open a group's slots and move their keys; the number is that of its note in the journal."""
        source, target = links[group.source], links[group.target]
        source.ensure_ours()
        target.ensure_ours()
        calls = gather(source, group.slots)
        self._judge(source, calls)
        if not known_open:
            self._check_room(target, sum(call.weight_bytes for call in calls))
            self._refuse_orphans(target, group)
            self._refuse_foreign_marks((source, target), group)
        number = self._journal.opening(group)
        mark(target, group.slots, "IMPORTING", self._live.node_id(group.source))
        mark(source, group.slots, "MIGRATING", self._live.node_id(group.target))
        self._carry(source, target, calls)
        while calls := gather(source, group.slots):  # also keys that came to slots which were empty before they were marked
            self._carry(source, target, calls)
        return number

    def _judge(self, source: KeyLink, calls: Sequence[Call]) -> None:
        """Announce keys that block their node for a while; raises CheckFailed for one that would cause a failover."""
        for call in calls:
            seconds = call.weight_bytes / BLOCKING_BYTES_PER_SECOND
            if call.weight_bytes < LARGE_BYTES or call.keys[0] in self._announced:
                continue
            self._announced.add(call.keys[0])
            what = f"key {call.keys[0][:80].decode(errors='replace')!r} of {megabytes(call.weight_bytes)} in slot {call.slot}"
            if seconds > self._patience:
                raise CheckFailed(
                    f"{what} cannot be moved: {source.node.name} would answer nobody for about {seconds:.1f} s, more than half "
                    "of cluster-node-timeout, and be replaced. Slots before it have moved, this one is untouched. Split "
                    "or remove the key, or raise cluster.node_timeout_seconds, then run resume"
                )
            self._report(f"{what} moves alone; {source.node.name} answers nobody for about {seconds:.2f} s")

    def _check_room(self, target: KeyLink, arriving: int) -> None:
        answer: Any = target.ask("INFO", "memory")
        fields = info_fields(answer.decode())
        used, most = int(fields["used_memory"]), int(fields["maxmemory"])
        if most and used + arriving > 0.98 * most:
            raise CheckFailed(
                f"{target.node.name} has no room for {megabytes(arriving)} more: {megabytes(used)} of {megabytes(most)} are "
                "used. No slot was left open. Raise memory.maxmemory or remove data, then run resume; or run abort"
            )

    def _refuse_orphans(self, target: KeyLink, group: Move) -> None:
        counts = target.raw([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in group.slots])
        orphaned = [slot for slot, count in zip(group.slots, counts, strict=True) if worked(count)]
        if orphaned:
            raise CheckFailed(
                f"{target.node.name} holds keys of slots {format_slots(ranges_of(orphaned))} that it does not own, left from an "
                "earlier accident; moving these slots there could bring deleted keys back. Nothing was opened"
            )

    def _refuse_foreign_marks(self, links: Sequence[KeyLink], group: Move) -> None:
        """Raise Unreachable, so that all is looked at again, when somebody else has opened a slot since the last look."""
        for link in links:
            answer: Any = link.ask("CLUSTER", "NODES")
            marks = [mark for node in cluster_nodes(answer.decode()) if "myself" in node.flags for mark in node.open_slots]
            opened = sorted({mark.slot for mark in marks} & set(group.slots))
            if opened:
                raise Unreachable(f"slots {format_slots(ranges_of(opened))} were opened on {link.node.name} by somebody else")

    def _carry(self, source: KeyLink, target: KeyLink, calls: Sequence[Call]) -> None:
        """Send the calls in bursts; each burst holds the source for about `stall_seconds`."""
        gate, taker = self._gates[source.node.name], self._takers[target.node.name]
        waiting = deque(calls)
        failed = 0
        while waiting:
            burst: list[Call] = []
            estimated = 0.0
            while waiting and len(burst) < self._most_calls:
                if burst and not gate.admits(estimated + waiting[0].seconds):
                    break
                burst.append(waiting.popleft())
                estimated += burst[-1].seconds
            commands = [migrate_command(self._access, target.node, call) for call in burst]
            time.sleep(gate.wait(time.perf_counter()))
            with gate.turn, taker:
                if target.node.name in self._suspects:
                    self._probe(target)
                began = time.perf_counter()
                replies = source.raw(commands)
                weight = sum(call.weight_bytes for call in burst)
                took = gate.learn(estimated, began, time.perf_counter(), weight, self._pace.share)
            for call, reply in zip(burst, replies, strict=True):
                if not isinstance(reply, Refused):
                    self._progress.add(keys=len(call.keys), size=call.weight_bytes, stall_seconds=took)
                elif str(reply).startswith("IOERR") and failed < RETRIES:
                    failed += 1
                    waiting.append(call)
                    self._suspects.add(target.node.name)
                elif "OOM" in str(reply):
                    raise CheckFailed(
                        f"{target.node.name} ran out of memory in the middle of slot {call.slot}, which stays open. Raise "
                        "memory.maxmemory or remove data, then run resume"
                    )
                else:
                    raise Unreachable(f"{source.node.name} could not move keys to {target.node.name}: {reply}")

    def _probe(self, target: KeyLink) -> None:
        """A target that a source could not reach has to answer us before it is sent more; raises Unreachable when it does not."""
        link = KeyLink(self._access, target.node, timeouts=PROBE_TIMEOUTS)
        try:
            link.ensure_ours()
        finally:
            link.close()
        self._suspects.discard(target.node.name)
