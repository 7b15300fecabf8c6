#!/usr/bin/env python3
"""Compares the live servers and containers of a stack with its spec, and changes nothing. Exits with 10 when they differ."""

from collections.abc import Iterator
from dataclasses import asdict

from rich import box
from rich.table import Table

from operations.connect import Fleet
from operations.containers import Containers
from operations.drift import UP, Drift, server_drift
from operations.errors import ExitCode, Unreachable
from operations.inventory import Inventory, load_access
from operations.observe import look
from operations.verdict import verdict
from scripts._command import JsonOption, StackOption, make_console, print_json, run
from topologies.hardening import IN_PLACE, REPLACE, declared_container, live_container


def container_drift(inventory: Inventory) -> Iterator[Drift]:
    """Containers that are not as the spec asks for them."""
    containers = Containers(inventory)
    for node in inventory.nodes:
        inspection = containers.inspect(node)
        if inspection is None:
            yield Drift(node.name, "container", node.container, "missing", f"make up STACK={inventory.stack}")
            continue
        declared, live = declared_container(inventory, node), live_container(inspection)
        for fact, wanted in declared.items():
            if live[fact] != wanted:
                remedy = f"make up STACK={inventory.stack}" if fact == "state" else UP if fact in IN_PLACE else REPLACE
                yield Drift(node.name, fact, wanted, live[fact], remedy)


def table(found: list[Drift]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("node", "what", "declared", "live", "what to do"):
        shown.add_column(name, no_wrap=name in ("node", "what"))
    for drift in found:
        shown.add_row(drift.node or "(stack)", drift.what, drift.declared, drift.live, drift.remedy)
    return shown


def main(stack: StackOption, as_json: JsonOption = False) -> ExitCode:
    """Show every parameter, user, address, image and limit that is not as declared, and whether shape and slots are whole."""
    access = load_access(stack)
    inventory = access.inventory
    with Fleet(access) as fleet:
        seen = look(fleet, inventory)
        if not seen.answering:
            raise Unreachable(f"stack {stack}: {verdict(seen, inventory).reasons[0]}; run `make up STACK={stack}`")
        found = [*server_drift(fleet, access, seen), *container_drift(inventory)]
    if as_json:
        print_json({"stack": stack, "drift": [asdict(drift) for drift in found]})
    elif found:
        make_console().print(table(found))
        make_console().print(f"{len(found)} differences", markup=False)
    else:
        make_console().print(f"stack {stack} is as declared: {len(inventory.nodes)} nodes", markup=False)
    return ExitCode.MISSED if found else ExitCode.OK


if __name__ == "__main__":
    run(main)
