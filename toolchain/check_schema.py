"""Compares the installed Docker provider with the pulumi_docker package, input by input.

The provider may have been built here, the package comes from its publisher: an input that only one of them knows would be lost
or refused without a word.

usage: python -m toolchain.check_schema [FILE]      FILE: a schema; by default the installed provider is asked for its own
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

WIRE_NAME = re.compile(r'pulumi\.get\(self, "(\w+)"\)')
SECTIONS = (("resources", "inputProperties"), ("types", "properties"))
QUERY_TIMEOUT_SECONDS = 120


def camel(name: str) -> str:
    """`memory_swap` -> `memorySwap`, `type_` -> `type`."""
    return re.sub(r"_(\w)", lambda match: match.group(1).upper(), name.rstrip("_"))


def sdk_inputs(arguments: type) -> frozenset[str]:
    """Names on the wire of all inputs of an argument class."""
    getters = (member.fget for _, member in inspect.getmembers(arguments) if isinstance(member, property))
    sources = (inspect.getsource(getter) for getter in getters if getter is not None)
    return frozenset(camel(found.group(1)) for source in sources if (found := WIRE_NAME.search(source)))


def pairs(schema: Mapping[str, Any], modules: Mapping[str, ModuleType]) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
    """Name, inputs by the SDK and inputs by the schema, for every class that both have; `modules` by section of the schema."""
    for section, key in SECTIONS:
        for token, definition in schema[section].items():
            name = token.rsplit(":", 1)[-1]
            arguments = getattr(modules[section], f"{name}Args", None)
            if isinstance(arguments, type):
                yield name, sdk_inputs(arguments), frozenset(definition.get(key, {}))


def difference(name: str, sdk: frozenset[str], built: frozenset[str]) -> str | None:
    """One sentence on what only one side knows, or None."""
    if sdk == built:
        return None
    return f"{name}: only in the package {sorted(sdk - built)}; only in the provider {sorted(built - sdk)}"


def installed_schema(version: str) -> dict[str, Any]:
    """The schema that the installed provider reports."""
    command = ["pulumi", "package", "get-schema", f"docker@{version}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_SECONDS, check=True)
    schema: dict[str, Any] = json.loads(answer.stdout)
    return schema


def compare(schema: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """How many argument classes were compared, and the differences."""
    # Imported here: it takes a second, and the functions above do without.
    import pulumi_docker  # noqa: PLC0415
    import pulumi_docker._inputs as nested  # noqa: PLC0415

    found = tuple(pairs(schema, {"resources": pulumi_docker, "types": nested}))
    return len(found), tuple(text for one in found if (text := difference(*one)) is not None)


def main(arguments: list[str]) -> int:
    """Exit code 0 when every input agrees, 10 otherwise."""
    schema = json.loads(Path(arguments[0]).read_text()) if arguments else installed_schema(version("pulumi-docker"))
    compared, differences = compare(schema)
    for text in differences:
        print(text)
    print(f"{compared} argument classes compared, {len(differences)} differ")
    return 10 if differences or not compared else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
