"""Moves whole slots by the engine's own migration, where it has one: the servers copy, pause writes for a moment and switch over.

Valkey 9: CLUSTER MIGRATESLOTS, sent to the source. Redis 8.4: CLUSTER MIGRATION IMPORT, sent to the target; no such server was at
hand, so that way follows its documentation and is untried. A mover that dies changes nothing: the servers finish by themselves.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from operations.connect import Command, Fleet, Refused
from operations.errors import Undetermined, Unreachable
from operations.parse import items, pairs, text
from operations.reshard.live import Live, Way
from operations.reshard.plan import Move

POLL_SECONDS = 0.05
QUIET_SECONDS = 120.0
"""A migration of which nothing changes for so long is given up waiting for."""
ENDED = frozenset({"success", "failed", "cancelled", "canceled", "completed"})
GOOD = frozenset({"success", "completed"})
MOST_RANGES = 512
"""Ranges in one migration: more make commands that no log shows in full."""


@dataclass(frozen=True)
class Job:
    """A migration as a server reports it; `state` in its own words."""

    name: str
    state: str
    message: str


def start_commands(way: Way, live: Live, moves: Iterable[Move]) -> list[tuple[str, Command]]:
    """(node, command) that begin the moves. Pure."""
    commands: list[tuple[str, Command]] = []
    if way == "redis":
        for move in moves:
            bounds = [bound for pair in move.ranges for bound in pair]
            commands.append((move.target, ["CLUSTER", "MIGRATION", "IMPORT", *bounds]))
        return commands
    per_source: dict[str, list[str | int]] = {}
    for move in moves:
        words = per_source.setdefault(move.source, ["CLUSTER", "MIGRATESLOTS"])
        words += ["SLOTSRANGE", *(bound for pair in move.ranges for bound in pair), "NODE", live.node_id(move.target)]
    return list(per_source.items())


def jobs(fleet: Fleet, way: Way, node: str) -> list[Job]:
    """Migrations that a node knows of, running ones and the last that ended."""
    question = ("CLUSTER", "GETSLOTMIGRATIONS") if way == "valkey" else ("CLUSTER", "MIGRATION", "STATUS", "ALL")
    found = [pairs(entry) for entry in items(fleet.links[node].ask(*question))]
    return [
        Job(
            str(job.get("name", job.get("id", ""))),
            text(job["state"]).lower(),
            str(job.get("message", job.get("last_error", ""))),
        )
        for job in found
    ]


def running(fleet: Fleet, way: Way, nodes: Iterable[str]) -> list[Job]:
    """Migrations that have not ended, on any of `nodes`; by name, since both ends report them."""
    found = {job.name: job for node in nodes for job in jobs(fleet, way, node) if job.state not in ENDED}
    return list(found.values())


def carry(fleet: Fleet, way: Way, live: Live, moves: Sequence[Move], pulse: Callable[[], None]) -> None:
    """Begin the moves and wait until all have ended; `pulse` is called between looks.

    Raises Unreachable with the server's reason for one that failed, Undetermined when nothing changes any more.
    """
    before = {job.name for node in live.primaries for job in jobs(fleet, way, node)}
    asked = start_commands(way, live, moves)
    for node, command in asked:
        fleet.links[node].ensure_ours()
        try:
            fleet.links[node].ask(*command)
        except Refused as error:
            raise Unreachable(f"{node} did not begin to move slots: {error}") from None
    nodes = sorted({node for node, _ in asked})
    last: list[Job] = []
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        now = [job for node in nodes for job in jobs(fleet, way, node) if job.name not in before]
        bad = [job for job in now if job.state in ENDED - GOOD]
        if now and all(job.state in ENDED for job in now):
            if bad:
                raise Unreachable("; ".join(f"a migration of slots ended as {job.state}: {job.message.strip()}" for job in bad))
            return
        if now != last:
            last, deadline = now, time.monotonic() + QUIET_SECONDS
        if time.monotonic() > deadline:
            states = ", ".join(sorted({job.state for job in now})) or "none"
            raise Undetermined(f"migrations of slots do not go on (states: {states}); look with scripts/status.py")
        pulse()
        time.sleep(POLL_SECONDS)


def await_end(fleet: Fleet, way: Way, nodes: Sequence[str], pulse: Callable[[], None]) -> None:
    """Wait until migrations that somebody began have ended, however they end."""
    deadline = time.monotonic() + QUIET_SECONDS
    while left := running(fleet, way, nodes):
        if time.monotonic() > deadline:
            raise Undetermined(f"{len(left)} migrations of slots still run after {QUIET_SECONDS:.0f} s")
        pulse()
        time.sleep(POLL_SECONDS)


def cancel(fleet: Fleet, way: Way, nodes: Iterable[str]) -> None:
    """Stop all migrations; the slots stay whole where they are."""
    command = ("CLUSTER", "CANCELSLOTMIGRATIONS") if way == "valkey" else ("CLUSTER", "MIGRATION", "CANCEL", "ALL")
    for node in nodes:
        fleet.links[node].ensure_ours()
        fleet.links[node].ask_all([command])
