"""The processes of one repetition: clients on the main side, clients that are cut off if the drill wants it, and the watcher."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from drills.faults.base import Engine
from drills.history import HistoryFile
from drills.workload.launcher import Clock, LoadFailed, Place, Process, start_process, synchronise
from drills.workload.plan import MAIN_OCTET, SIDE_OCTET, WATCH_OCTET, Load, SlotRanges, settings
from drills.workload.watch import Watched, WatchSettings
from operations.connect import endpoint
from operations.inventory import Access, Inventory, NodeEntry

CUT_OFF = "cut-off"
CUT_OFF_CLIENTS = 3
AUDIT_SECONDS = 60.0
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


class Crew:
    """Starts the processes, asks them, ends them. Use as a context; everything is ended whatever happens."""

    def __init__(
        self, access: Access, engine: Engine, load: Load, run: str, slots: Mapping[int, SlotRanges], inside: bool,
        history: HistoryFile, first_lane: int, cut_off_shards: Sequence[int],
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
        places = {"main": place(inventory, "load", MAIN_OCTET) if self._inside else None, CUT_OFF: cut_off_place(inventory)}
        for side, wanted in self._settings.items():
            jobs.append((side, wanted.to_data(), places[side], "agent"))
        jobs.append(("watch", asdict(self._watch), place(inventory, "watch", WATCH_OCTET) if self._inside else None, "watch"))
        failures: list[BaseException] = []

        def start(side: str, told: dict[str, Any], where: Place | None, module: str) -> None:
            what = {"main": "the load", CUT_OFF: "the load that is cut off", "watch": "the watcher"}[side]
            try:
                process = self._stack.enter_context(start_process(told, self._history.append, where, module, what))
            except BaseException as error:
                failures.append(error)
                return
            if side == "watch":
                self._watcher = process
            else:
                self._loads[side] = process

        threads = [threading.Thread(target=start, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            self._stack.close()
            raise failures[0]
        offset, error = synchronise(self._loads["main"])
        self.clock = Clock(offset, error, time.monotonic_ns() + offset)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def keep_clock(self, origin: int) -> None:
        """Count from an origin that was agreed on before (one history, several repetitions)."""
        self.clock = Clock(self.clock.offset, self.clock.error, origin)

    def begin(self) -> None:
        """Watch and load."""
        if self._watcher is not None:
            self._watcher.ask("start", origin=self.clock.origin)
        for process in self._loads.values():
            process.ask("start", origin=self.clock.origin)

    def check(self) -> None:
        """Raises LoadFailed when a process died or its history cannot be kept."""
        for process in (*self._loads.values(), *([self._watcher] if self._watcher else [])):
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
        for process in self._loads.values():
            told = process.ask("stop", within=30)
            if told["threads"]:
                raise LoadFailed(f"{told['threads']} clients of {process.what} did not end")
            total += told["operations"]
        return total

    def audit(self) -> int:
        """Read everything back; how many chunks were read."""
        return sum(
            process.ask("audit", within=AUDIT_SECONDS * 10, seconds=AUDIT_SECONDS)["chunks"] for process in self._loads.values()
        )

    def tidy(self) -> int:
        """Remove what the clients wrote; how many keys are left."""
        return sum(process.ask("tidy", within=AUDIT_SECONDS)["left"] for process in self._loads.values())
