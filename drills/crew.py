"""The processes of one repetition: clients on the main side, clients that are cut off if the drill wants it, and the watcher."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from docker.errors import APIError, NotFound

from drills.faults.base import Engine
from drills.history import HistoryFile
from drills.workload.launcher import SHARED, Beside, Clock, LoadFailed, Place, Process, start_process, synchronise
from drills.workload.plan import MAIN_OCTET, SIDE_OCTET, WATCH_OCTET, Load, SlotRanges, settings, use_settings
from drills.workload.uses.stage import UseSettings
from drills.workload.watch import Watched, WatchSettings
from operations.connect import endpoint
from operations.inventory import Access, Inventory, NodeEntry

CUT_OFF = "cut-off"
CUT_OFF_CLIENTS = 3
AUDIT_SECONDS = 60.0
START_SECONDS = 30.0
REMOVE_SECONDS = 30.0
POLL_SECONDS = 0.05


def place(inventory: Inventory, part: str, octet: int) -> Place:
    """Where a process of a drill runs on the stack's network."""
    prefix = inventory.network.subnet.rpartition(".")[0]
    return Place(inventory.stack, inventory.network.name, f"{prefix}.{octet}", f"redis-{inventory.stack}-drill-{part}")


def cut_off_place(inventory: Inventory) -> Place:
    """Where the clients run that are cut off."""
    return place(inventory, CUT_OFF, SIDE_OCTET)


def as_node(where: Place, beside: NodeEntry) -> NodeEntry:
    """A client container as a target of network faults, on the side of a node."""
    return beside.model_copy(update={"name": f"clients at {where.address}", "container": where.name, "address": where.address})


@dataclass(frozen=True)
class Played:
    """The uses that are played beside the load; `origin_url` names the PostgreSQL behind their caches, if any."""

    names: Sequence[str] = ()
    seed: int = 0
    origin_url: str = field(default="", repr=False)


class Crew:
    """Starts the processes, asks them, ends them. Use as a context; everything is ended whatever happens."""

    def __init__(
        self, access: Access, engine: Engine, load: Load, run: str, slots: Mapping[int, SlotRanges], inside: bool,
        history: HistoryFile, first_lane: int, cut_off_shards: Sequence[int], played: Played = Played(),
    ) -> None:  # fmt: skip
        self._access = access
        self._engine = engine
        self._history = history
        self._inside = inside
        inventory = access.inventory
        self._settings = {"main": settings(access, load, run, slots, inside, first=first_lane)}
        if cut_off_shards:
            self._settings[CUT_OFF] = settings(
                access, load, run, slots, True, CUT_OFF, first_lane + load.clients, CUT_OFF_CLIENTS, cut_off_shards
            )
        self._watch = WatchSettings(
            nodes=tuple(self._watched(node) for node in inventory.nodes),
            cluster=inventory.topology == "cluster",
            username="admin",
            password=access.credentials.password("admin"),
        )
        self._shared = f"redis-{inventory.stack}-drill-shared" if played.names else None
        self._use_settings = {}
        for side in self._settings if played.names else ():
            reached = cut_off_shards if side == CUT_OFF else None
            self._use_settings[side] = use_settings(
                access, load, run, slots, played.names, played.seed, SHARED, inside, side, reached, played.origin_url
            )
        self._uses: list[Process] = []
        self._stack = contextlib.ExitStack()
        self._loads: dict[str, Process] = {}
        self._watcher: Process | None = None
        self.clock = Clock(0, 0, 0)
        self.shard_of = {lane.lane: lane.shard for side in self._settings.values() for lane in side.lanes}
        self._main_lanes = frozenset(lane.lane for lane in self._settings["main"].lanes)
        self.lanes = len(self.shard_of)

    def _watched(self, node: NodeEntry) -> Watched:
        host, port = (node.address, node.port) if self._inside else endpoint(node)
        return Watched(node.name, host, port, node.shard, self._access.inventory.replicas)

    def __enter__(self) -> Self:
        """Start everything at the same time and agree on the clock."""
        inventory = self._access.inventory
        jobs: list[tuple[str, dict[str, Any], Place | None, str]] = []
        main = replace(place(inventory, "load", MAIN_OCTET), shared=self._shared) if self._inside else None
        places = {"main": main, CUT_OFF: replace(cut_off_place(inventory), shared=self._shared)}
        for side, wanted in self._settings.items():
            jobs.append((side, wanted.to_data(), places[side], "agent"))
        jobs.append(("watch", asdict(self._watch), place(inventory, "watch", WATCH_OCTET) if self._inside else None, "watch"))
        failures: list[BaseException] = []

        def start(side: str, told: dict[str, Any], where: Place | Beside | None, module: str) -> None:
            what = {"main": "the load", CUT_OFF: "the load that is cut off", "watch": "the watcher"}[side]
            what = "the applications" if module == "application" else what
            try:
                process = self._stack.enter_context(start_process(told, self._history.append, where, module, what))
            except BaseException as error:
                failures.append(error)
                return
            if module == "application":
                self._uses.append(process)
            elif side == "watch":
                self._watcher = process
            else:
                self._loads[side] = process

        if self._shared is not None:
            self._stack.callback(self._remove_shared, self._shared)
        self._all_at_once(start, jobs)
        if not failures:
            self._all_at_once(start, [self._use_job(side, told, places[side]) for side, told in self._use_settings.items()])
        if failures:
            self._stack.close()
            raise failures[0]
        offset, error = synchronise(self._loads["main"])
        self.clock = Clock(offset, error, time.monotonic_ns() + offset)
        return self

    @staticmethod
    def _all_at_once(start: Callable[..., None], jobs: Sequence[tuple[Any, ...]]) -> None:
        threads = [threading.Thread(target=start, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _use_job(self, side: str, told: UseSettings, where: Place | None) -> tuple[str, dict[str, Any], Beside | None, str]:
        """The applications run beside the load of their side; on this machine they share a folder instead of a volume."""
        if where is None:
            told = replace(told, shared=self._stack.enter_context(tempfile.TemporaryDirectory()))
        return side, told.to_data(), where.beside if where is not None else None, "application"

    def _remove_shared(self, name: str) -> None:
        """The containers that use it are gone, or are going; what stays is removed by `heal`."""
        deadline = time.monotonic() + REMOVE_SECONDS
        while time.monotonic() < deadline:
            try:
                self._engine.client.volumes.get(name).remove(force=True)
            except NotFound:
                return
            except APIError:
                time.sleep(POLL_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def keep_clock(self, origin: int) -> None:
        """Count from an origin that was agreed on before (one history, several repetitions)."""
        self.clock = Clock(self.clock.offset, self.clock.error, origin)

    def begin(self) -> None:
        """Watch and load."""
        if self._watcher is not None:
            self._watcher.ask("start", origin=self.clock.origin)
        for process in (*self._uses, *self._loads.values()):
            process.ask("start", within=START_SECONDS, origin=self.clock.origin)

    def check(self) -> None:
        """Raises LoadFailed when a process died or its history cannot be kept."""
        for process in (*self._loads.values(), *self._uses, *([self._watcher] if self._watcher else [])):
            if process.failure is not None:
                raise LoadFailed(process.failure)

    def last_acknowledged(self) -> dict[int, int]:
        """Per lane on the main side: when the last acknowledged write was started, in the time of the history."""
        told = self._loads["main"].ask("seen")["lanes"]
        return {int(lane): at for lane, at in told.items()}

    def wait_writable(self, shards: Sequence[int], since: int, seconds: float, still: Callable[[], None]) -> bool:
        """Wait until every client on the main side of these shards had a write acknowledged that it started after `since`.

        `still` is called in between, so that whoever waits can be interrupted or show progress.
        """
        wanted = {lane for lane, shard in self.shard_of.items() if shard in shards and lane in self._main_lanes}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen = self.last_acknowledged()
            if all(seen.get(lane, 0) > since for lane in wanted):
                return True
            still()
            time.sleep(POLL_SECONDS)
        return False

    def stop(self) -> int:
        """End the load; how many operations were recorded. Raises LoadFailed when a client does not end."""
        total = 0
        for process in self._uses:
            told = process.ask("stop", within=30)
            if told["threads"] or told["broken"]:
                raise LoadFailed(told["broken"] or f"{told['threads']} instances of {process.what} did not end")
        for process in self._loads.values():
            told = process.ask("stop", within=30)
            if told["threads"]:
                raise LoadFailed(f"{told['threads']} clients of {process.what} did not end")
            total += told["operations"]
        return total

    def audit(self) -> int:
        """Read everything back; how many chunks were read. What the applications left unread is in the history as missing."""
        for process in self._uses:
            process.ask("audit", within=AUDIT_SECONDS * 10, seconds=AUDIT_SECONDS)
        return sum(
            process.ask("audit", within=AUDIT_SECONDS * 10, seconds=AUDIT_SECONDS)["chunks"] for process in self._loads.values()
        )

    def tidy(self) -> int:
        """Remove what the clients wrote; how many keys are left."""
        everybody = (*self._uses, *self._loads.values())
        return sum(process.ask("tidy", within=AUDIT_SECONDS * 5)["left"] for process in everybody)
