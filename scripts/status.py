#!/usr/bin/env python3
"""Shows every node of a running stack as it is now, and one line of verdict.

Exit code 0 when all is as declared, 10 when the stack is degraded or down, 20 when that cannot be told, 69 when no node answers.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from operations.backup.health import BackupHealth, look_at_backups
from operations.connect import Fleet
from operations.errors import ExitCode, Unreachable
from operations.inventory import Access, Inventory, NodeEntry, load_access
from operations.kernel import host_hints
from operations.observe import NodeState, Observation, lag_bytes, look
from operations.parse import format_slots, slot_total
from operations.verdict import State, Verdict, node_health, verdict
from scripts._command import JsonOption, StackOption, make_console, print_json, run

COLOURS = {State.OK: "green", State.DEGRADED: "yellow", State.UNKNOWN: "magenta", State.DOWN: "red"}


@dataclass(frozen=True)
class Row:
    """One node for the table and for JSON. Sizes in bytes; None where a figure does not apply or is not known."""

    node: str
    provisioned_role: str
    role: str | None
    follows: str | None
    shard: int | None
    slots: str | None
    slot_count: int | None
    offset: int | None
    lag_bytes: int | None
    used_memory_bytes: int | None
    maxmemory_bytes: int | None
    keys: int | None
    persistence: str | None
    version: str | None
    health: str
    problem: str | None
    container: str
    address: str
    host_port: int


def persistence_words(state: NodeState) -> str | None:
    """How the node's data is kept and whether that works: `aof ok`, `snapshots ok`, `rewrite running`, `write failed` …"""
    if state.info is None:
        return None
    kept = state.info.persistence
    kind = "aof" if kept.aof_enabled else "no aof"
    if kept.loading:
        return f"{kind}, loading"
    if not kept.is_ok:
        failed = "write" if not kept.aof_last_write_ok else "rewrite" if not kept.aof_last_rewrite_ok else "snapshot"
        return f"{kind}, {failed} failed"
    running = "rewrite" if kept.rewrite_in_progress else "snapshot" if kept.save_in_progress else ""
    return f"{kind}, {running} running" if running else f"{kind}, ok"


def rows(observation: Observation, inventory: Inventory) -> list[Row]:
    """One row per node, data nodes by shard first, sentinels last."""
    return [_row(entry, observation, inventory) for entry in (*inventory.data_nodes, *inventory.sentinels)]


def _row(entry: NodeEntry, observation: Observation, inventory: Inventory) -> Row:
    state = observation.of(entry.name)
    followed = _followed(entry, state, inventory)
    slots = state.cluster.slots if state.cluster else None
    info = state.info
    role: str | None = "sentinel" if entry.is_sentinel else info.replication.role if info else None
    return Row(
        node=entry.name,
        provisioned_role=entry.role,
        role=role if state.reachable else None,
        follows=followed,
        shard=None if entry.is_sentinel else _shard(entry, followed, inventory),
        slots=format_slots(slots) if slots else None,
        slot_count=slot_total(slots) if slots is not None else None,
        offset=info.replication.offset if info else None,
        lag_bytes=lag_bytes(observation, inventory, entry.name),
        used_memory_bytes=info.used_memory_bytes if info else None,
        maxmemory_bytes=info.maxmemory_bytes if info else None,
        keys=info.keys if info else None,
        persistence=persistence_words(state),
        version=info.version if info else None,
        health=node_health(observation, inventory, entry.name),
        problem=state.problem,
        container=entry.container,
        address=f"{entry.address}:{entry.port}",
        host_port=entry.host_port,
    )


def _followed(entry: NodeEntry, state: NodeState, inventory: Inventory) -> str | None:
    """Whom a replica follows, or which primary a sentinel watches; an address when it is no node of the stack."""
    if entry.is_sentinel:
        watched = state.sentinel.watched if state.sentinel else None
        address, port = (watched.address, watched.port) if watched else (None, 0)
    else:
        link = state.replication
        address, port = (link.primary_address, link.primary_port or 0) if link else (None, 0)
    if address is None or state.is_unplaced:
        return None
    node = inventory.at(address, port)
    return node.name if node else f"{address}:{port}"


def _shard(entry: NodeEntry, followed: str | None, inventory: Inventory) -> int:
    """The shard that a node serves now: its primary's, where replicas have moved."""
    return next((node.shard for node in inventory.data_nodes if node.name == followed), entry.shard)


def size(count: int | None) -> str:
    """Bytes for a table: 2359296 -> '2.2M'."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "K", "M", "G"):
        if amount < 1024 or unit == "G":
            return f"{amount:.0f}{unit}" if unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1024
    raise AssertionError


def table(observation: Observation, inventory: Inventory) -> Table:
    """The nodes for people; columns that say nothing about a topology are left out."""
    clustered = inventory.topology == "cluster"
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in (("node", False), ("role", False)):
        shown.add_column(name, justify="right" if right else "left", no_wrap=True)
    if clustered:
        shown.add_column("shard", justify="right")
        shown.add_column("slots")
    for name in ("lag", "memory", "keys"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("persistence")
    shown.add_column("health", no_wrap=True)
    for row in rows(observation, inventory):
        role = row.role or f"({row.provisioned_role})"
        preposition = "watches" if row.role == "sentinel" else "of"
        cells = [row.node, f"{role} {preposition} {row.follows}" if row.follows else role]
        if clustered:
            cells += [str(row.shard or ""), f"{row.slots} ({row.slot_count})" if row.slots else ""]
        memory = (
            f"{size(row.used_memory_bytes)}/{size(row.maxmemory_bytes)}" if row.maxmemory_bytes else size(row.used_memory_bytes)
        )
        cells += [size(row.lag_bytes), memory, "" if row.keys is None else f"{row.keys:,}", row.persistence or ""]
        shown.add_row(*cells, Text(row.health, style="green" if row.health == "ok" else "red"))
    return shown


def view(observation: Observation, inventory: Inventory, judged: Verdict, hints: tuple[str, ...]) -> Group:
    """Table, verdict with its reasons, warnings and hints."""
    engine = f"{inventory.engine.name} {inventory.engine.version}"
    moment = datetime.fromtimestamp(observation.at, UTC).astimezone().strftime("%H:%M:%S")
    lines: list[Text | Table] = [
        Text(f"{inventory.stack}: {inventory.topology}, {engine}, {moment}", style="bold"),
        table(observation, inventory),
        Text(judged.line if len(judged.reasons) < 2 else f"{judged.state}:", style=COLOURS[judged.state]),
    ]
    if len(judged.reasons) > 1:
        lines += [Text(f"  - {reason}") for reason in judged.reasons]
    lines += [Text(f"warning: {warning}", style="yellow") for warning in judged.warnings]
    lines += [Text(f"hint: {hint}", style="dim") for hint in hints]
    return Group(*lines)


def data(observation: Observation, inventory: Inventory, judged: Verdict, hints: tuple[str, ...]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "stack": inventory.stack,
        "topology": inventory.topology,
        "engine": inventory.engine.model_dump(mode="json"),
        "observed_at": datetime.fromtimestamp(observation.at, UTC).isoformat(),
        "took_seconds": round(observation.took_seconds, 4),
        "state": judged.state.value,
        "verdict": judged.line,
        "reasons": list(judged.reasons),
        "warnings": list(judged.warnings),
        "hints": list(hints),
        "nodes": [asdict(row) for row in rows(observation, inventory)],
    }


def exit_code_of(observation: Observation, judged: Verdict) -> ExitCode:
    """0 as declared, 10 not, 20 cannot be told, 69 nobody answers."""
    if not observation.answering:
        return ExitCode.UNREACHABLE
    return {State.OK: ExitCode.OK, State.UNKNOWN: ExitCode.UNKNOWN}.get(judged.state, ExitCode.MISSED)


def with_backups(judged: Verdict, backups: BackupHealth | None) -> Verdict:
    """The verdict on a stack with an agent: what is wrong with its backups is a reason, what is worth doing a warning."""
    if backups is None:
        return judged
    return replace(
        judged,
        state=State.DEGRADED if backups.problems and judged.state is State.OK else judged.state,
        reasons=(*judged.reasons, *backups.problems),
        warnings=(*judged.warnings, *backups.hints),
        summary=f"{judged.summary}; backups: {backups.summary}",
    )


def main(
    stack: StackOption,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C; with --json one line per look.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks with --watch.")] = 2.0,
) -> ExitCode:
    """Show role, shard, slots, lag, memory, keys, persistence and health of every node, and a verdict."""
    access = load_access(stack)
    with Fleet(access) as fleet:
        first = look(fleet, access.inventory)
        hints = host_hints(access.inventory, [node.name for node in first.answering])
        if watch:
            _watch(fleet, access, hints, as_json, interval)
        judged = with_backups(verdict(first, access.inventory), look_at_backups(access.inventory))
        if as_json:
            print_json(data(first, access.inventory, judged, hints))
        elif first.answering:
            make_console().print(view(first, access.inventory, judged, hints))
        else:
            raise Unreachable(f"stack {stack}: {judged.reasons[0]}; run `make up STACK={stack}`")
    return exit_code_of(first, judged)


def _watch(fleet: Fleet, access: Access, hints: tuple[str, ...], as_json: bool, interval: float) -> None:
    """Look again and again; ends with Ctrl-C alone."""

    def refreshed() -> tuple[Observation, Verdict]:
        observation = look(fleet, access.inventory)
        return observation, verdict(observation, access.inventory)

    def repeat(show: Callable[[Observation, Verdict], None]) -> None:
        while True:
            show(*refreshed())
            time.sleep(interval)

    if as_json:
        repeat(lambda seen, judged: print(json.dumps(data(seen, access.inventory, judged, hints)), flush=True))
    console = make_console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        repeat(lambda seen, judged: live.update(view(seen, access.inventory, judged, hints), refresh=True))


if __name__ == "__main__":
    run(main)
