"""What a release registers for each topology, as files: the next release must not replace any of it.

Written by the release itself: `python -m tests.program.record 2026-11-26` makes `recorded/2026-11-26/<topology>.json`.
Passwords are those of the mocks.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.program.test_components import plan_of, register

FOLDER = Path(__file__).resolve().parent / "recorded"
TOPOLOGIES = ("standalone", "replication", "sentinel", "cluster")
CARRIED = "uploads"
"""Files of the carrier: it is made anew when they change, and nothing that runs is."""


def resources(topology: str) -> list[dict[str, Any]]:
    """Every resource of a default stack: type, name and inputs, in a stable order; the provider's code is left out."""
    recorder, _ = register(plan_of(topology))
    found = [
        {"type": one.typ, "name": one.name, "inputs": {k: v for k, v in one.inputs.items() if k != CARRIED and k[:2] != "__"}}
        for one in recorder.resources
    ]
    return sorted(found, key=lambda one: (one["type"], one["name"]))


def write(release: str) -> None:
    folder = FOLDER / release
    folder.mkdir(parents=True, exist_ok=True)
    for topology in TOPOLOGIES:
        (folder / f"{topology}.json").write_text(json.dumps(resources(topology), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(sys.argv[1])
