"""Switch the append-only file on or off in running servers, so that nothing is lost at any moment of it.

A server that starts with `appendonly yes` and no append-only file starts empty, and one that starts with `no` and an old
snapshot starts with old data. So the switch happens in the running server, which writes the new form of its data from memory, and
only then CONFIG REWRITE notes the new value in the server's own file: until this has been done, configs/node/role.sh starts a
node with the value noted there (docs/decisions/0035).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from operations.connect import Fleet, Link
from operations.errors import CheckFailed, Undetermined
from operations.inventory import Inventory
from operations.parameters import APPEND_ONLY, live_values
from operations.parse import info_fields, text

Report = Callable[[str], None]

WRITE_SECONDS = 900.0
"""Longest time for writing all data of a node once."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Files:
    """What INFO tells about a server's files; `is_busy` while a child process writes one or is about to."""

    append_only: bool
    is_busy: bool
    rewrite_ok: bool
    save_ok: bool


def files(info: str) -> Files:
    """Read INFO persistence."""
    fields = info_fields(info)
    busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress", "async_loading", "loading")
    return Files(
        append_only=fields.get("aof_enabled") == "1",
        is_busy=any(fields.get(name) == "1" for name in busy),
        rewrite_ok=fields.get("aof_last_bgrewrite_status") == "ok",
        save_ok=fields.get("rdb_last_bgsave_status") == "ok",
    )


def switch_append_only(fleet: Fleet, inventory: Inventory, report: Report) -> list[str]:
    """Bring `appendonly` of every data node to what is declared, one node after the other; returns one line for each.

    Raises CheckFailed when a server cannot write its data; then its old form is still whole and in use.
    """
    declared = inventory.parameters.get("data", {}).get(APPEND_ONLY)
    if declared is None:
        return []
    lines = []
    for node in inventory.data_nodes:
        link = fleet.links[node.name]
        if live_values(link, [APPEND_ONLY]).get(APPEND_ONLY) == declared:
            continue
        link.ensure_ours()
        began = time.monotonic()
        (_switch_on if declared == "yes" else _switch_off)(link, bool(inventory.parameters["data"].get("save")))
        lines.append(f"{APPEND_ONLY} {declared} on {node.name}, its data written anew in {time.monotonic() - began:.1f} s")
        report(lines[-1])
    return lines


def _switch_on(link: Link, _keeps_snapshots: bool) -> None:
    """The server writes the file from its memory; until that has worked, what it noted is still `no`."""
    _await_idle(link)
    link.ask("CONFIG", "SET", APPEND_ONLY, "yes")
    if not _await_idle(link).rewrite_ok:
        link.ask("CONFIG", "SET", APPEND_ONLY, "no")
        raise CheckFailed(f"{link.node.name} could not write its append-only file (is its disk full?); it is off again")
    link.ask("CONFIG", "REWRITE")


def _switch_off(link: Link, keeps_snapshots: bool) -> None:
    """First a snapshot, while the file is still written; without snapshots nothing is to be kept."""
    if keeps_snapshots:
        _await_idle(link)
        link.ask("BGSAVE")
        if not _await_idle(link).save_ok:
            raise CheckFailed(f"{link.node.name} could not write a snapshot (is its disk full?); its append-only file stays on")
    link.ask("CONFIG", "SET", APPEND_ONLY, "no")
    link.ask("CONFIG", "REWRITE")


def _await_idle(link: Link) -> Files:
    """Until no child of the server writes a file, nor is about to."""
    deadline = time.monotonic() + WRITE_SECONDS
    while (found := files(text(link.ask("INFO", "persistence")))).is_busy:
        if time.monotonic() > deadline:
            raise Undetermined(f"{link.node.name} still writes its data after {WRITE_SECONDS:g} s; last state: {found}")
        time.sleep(POLL_SECONDS)
    return found
