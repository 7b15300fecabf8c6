#!/usr/bin/env python3
"""Show what a spec would create, without touching Docker: nodes, addresses, ports, volumes, memory, promises, warnings."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from operations.errors import ExitCode, InvalidInput, UsageError
from operations.inventory import STACK_NAME
from scripts._command import JsonOption, make_console, print_json, run
from scripts._plan_view import plan_data, plan_view
from topologies.addresses import addressing, preferred_index
from topologies.load import parse_spec, read_text
from topologies.plan import make_plan

STDIN = "-"
PREVIEW = "preview"
"""Name of the stack when neither --stack nor the file gives one."""


def machine_memory_bytes() -> int | None:
    """Memory of this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def stack_of(file: str) -> str:
    """The stack that a file is for by its name: configs/cluster.yaml -> cluster."""
    name = re.sub(r"[^a-z0-9-]+", "-", Path(file).stem.lower()).strip("-")
    return name if STACK_NAME.fullmatch(name) else PREVIEW


def overrides_of(settings: list[str]) -> dict[str, str]:
    """`path=value` arguments by path; raises UsageError."""
    found = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path:
            raise UsageError(f"--set is {setting!r} but must be path=value; write for example --set persistence.aof.fsync=always")
        found[path] = value
    return found


def main(
    file: Annotated[str, typer.Argument(help="The spec, for example configs/cluster.yaml; - reads standard input.")],
    json: JsonOption = False,
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="NAME", help="Name of the stack; by default that of the file.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override one field, as `pulumi config set` does. Repeatable."),
    ] = None,
) -> ExitCode:
    """Check a spec and show what it would create, without touching Docker.

    A spec that is not valid ends with code 65 and every problem at once.
    """
    source = "standard input" if file == STDIN else file
    name = stack or stack_of(file)
    memory = machine_memory_bytes()
    overrides = overrides_of(settings or [])
    try:
        text = sys.stdin.read() if file == STDIN else read_text(Path(file))
        loaded = parse_spec(text, overrides, source=source, stack=name, machine_memory_bytes=memory)
    except InvalidInput as error:
        if json:
            print_json({"valid": False, "problems": [{"message": str(error)}], "warnings": []})
            return ExitCode.INVALID
        raise
    if json and loaded.spec is None:
        print_json({"valid": False, **loaded.findings.as_data()})
        return ExitCode.INVALID
    loaded.findings.raise_if_invalid(source)
    if loaded.spec is None:
        raise InvalidInput(f"{source} is not a valid spec")
    network = loaded.spec.network
    plan = make_plan(loaded.spec, name, addressing(preferred_index(name), network.subnet, network.port_base))
    if json:
        print_json(plan_data(plan, loaded.findings))
    else:
        console = make_console()
        console.print(plan_view(plan, loaded.findings, console.width, memory))
    return ExitCode.OK


if __name__ == "__main__":
    run(main)
