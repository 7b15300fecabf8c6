"""The value that a server gives to a parameter that nobody declares: its engine's default, recorded from real servers.

With it a hand-made CONFIG SET of any parameter shows, and a parameter that was taken out of the spec is set back.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LISTS = Path(__file__).resolve().parent.parent / "configs" / "parameters"


@cache
def undeclared(engine: str, version: str) -> Mapping[str, str]:
    """Default by parameter for an engine of that major.minor version; empty when it is not on record.

    Without those that the toolkit sets by itself, those that it changes for a moment (toolchain/record_parameters.py), and
    those fixed at boot: nobody can change them by hand, some follow the mode of the server (`databases` of a cluster), and what
    left the spec is at its default after the next restart.
    """
    source = LISTS / f"{engine}-{version}.json"
    if not source.is_file():
        return {}
    known = json.loads(source.read_text())["parameters"]
    return {name: entry["default"] for name, entry in known.items() if entry.get("live") and "default" in entry}
