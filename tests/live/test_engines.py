"""The same life for every engine that the toolkit knows; part of the full run."""

import pytest

from tests.live.lifecycle import Lifecycle

ENGINES = (("redis", "7.0"), ("valkey", "8.1"), ("valkey", "9.1"))
TOPOLOGIES = ("cluster", "sentinel", "replication", "standalone")


def _life(topology: str, engine: str, version: str) -> type[Lifecycle]:
    """A test class for one topology on one engine."""
    name = f"Test{topology.capitalize()}{engine.capitalize()}{version.replace('.', '')}"
    attributes = {
        "topology": topology,
        "engine": {"engine.name": engine, "engine.version": version},
        "pytestmark": [pytest.mark.full],
        "__module__": __name__,
        "__doc__": f"The life of a {topology} on {engine} {version}.",
    }
    return type(name, (Lifecycle,), attributes)


for _topology in TOPOLOGIES:
    for _engine, _version in ENGINES:
        _class = _life(_topology, _engine, _version)
        globals()[_class.__name__] = _class
del _class
