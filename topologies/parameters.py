"""Which parameters the server of each engine version knows, and the check of those that a spec adds.

The lists in configs/parameters/ were read from real servers by toolchain/record_parameters.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from operations.sizes import parse_bytes
from topologies.fields import listed, near
from topologies.findings import HIDDEN, NO_VALUE, Finding
from topologies.spec import ParameterValue, Spec

LISTS = Path(__file__).resolve().parent.parent / "configs" / "parameters"

_BY_FIELD = {
    "appendfsync": "persistence.aof.fsync",
    "appendonly": "persistence.policy",
    "client-output-buffer-limit": "replication.replica_buffer",
    "cluster-enabled": "topology",
    "cluster-node-timeout": "cluster.node_timeout_seconds",
    "cluster-require-full-coverage": "cluster.full_coverage",
    "maxclients": "limits.files",
    "maxmemory": "memory.maxmemory",
    "maxmemory-policy": "memory.eviction",
    "min-replicas-max-lag": "replication.max_lag_seconds",
    "min-replicas-to-write": "replication.min_replicas_to_write",
    "port": "network.port_base",
    "repl-backlog-size": "replication.backlog",
    "repl-diskless-sync-delay": "replication.diskless_sync_delay_seconds",
    "replicaof": "replicas",
    "save": "persistence.rdb.save",
}
"""Parameters that a field of the spec sets."""

_BY_TOOLKIT = {
    "users and passwords are made by the toolkit": (
        "aclfile", "masterauth", "masteruser", "primaryauth", "primaryuser", "requirepass", "user",
    ),
    "addresses are planned by the toolkit": (
        "bind", "bind-source-addr", "cluster-announce-bus-port", "cluster-announce-hostname", "cluster-announce-ip",
        "cluster-announce-port", "cluster-announce-tls-port", "cluster-port", "cluster-preferred-endpoint-type",
        "protected-mode", "replica-announce-ip", "replica-announce-port", "replica-announced",
        "cluster-announce-client-ipv4", "cluster-announce-client-ipv6", "cluster-announce-client-port",
        "cluster-announce-client-tls-port", "cluster-announce-human-nodename", "rdma-bind", "rdma-port",
    ),
    "files of a node have fixed places on its data volume": (
        "appenddirname", "appendfilename", "cluster-config-file", "dbfilename", "dir", "include", "logfile", "pidfile",
    ),
    "the start script runs the server as a child and hands over before it stops": (
        "daemonize", "shutdown-on-sigint", "shutdown-on-sigterm", "shutdown-timeout", "supervised",
    ),
    "a node is recognised by its process title": ("proc-title-template", "set-proc-title"),
    "full copies go straight to the replica, the data volume needs no room for a second copy": ("repl-diskless-sync",),
    "a replica that takes writes loses them at its next full copy": ("replica-read-only",),
    "the toolkit needs the server's own command names": ("rename-command",),
    "modules are not part of the toolkit's images": ("loadmodule", "loadmodule-ex"),
}  # fmt: skip
OWNED: Mapping[str, tuple[str, str]] = {
    **{name: (f"belongs to {field}", f"use {field}") for name, field in _BY_FIELD.items()},
    **{name: (f"cannot be set, because {why}", "remove it") for why, names in _BY_TOOLKIT.items() for name in names},
}
"""Parameter -> (why a spec must not set it, what to do)."""
_TLS = "tls-"
_SAFE_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
_UNSAFE_VALUE = re.compile(r"[\x00-\x1f\x7f\"'\\]")
_SECRET = re.compile(r"pass|auth$")


@dataclass(frozen=True)
class Parameter:
    """One server parameter; `live` when CONFIG SET changes it at run time, else it is fixed at boot."""

    name: str
    live: bool
    kind: str
    limits: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What the server of one engine version knows; `aliases` maps older names to the present ones."""

    engine: str
    version: str
    exact_version: str
    parameters: Mapping[str, Parameter]
    aliases: Mapping[str, str]

    def find(self, name: str) -> Parameter | None:
        """The parameter of that name or alias."""
        return self.parameters.get(self.aliases.get(name, name))


@cache
def catalogue(engine: str, version: str) -> Catalogue | None:
    """The recorded list of an engine and its major.minor version; None when there is none."""
    source = LISTS / f"{engine}-{version}.json"
    if not source.is_file():
        return None
    content = json.loads(source.read_text())
    known = content["parameters"]
    return Catalogue(
        engine=engine,
        version=version,
        exact_version=content["version"],
        parameters={
            name: Parameter(
                name=name,
                live=entry["live"],
                kind=entry["type"],
                limits=tuple(entry["range"]) if "range" in entry else None,
                choices=tuple(entry.get("choices", ())),
            )
            for name, entry in known.items()
            if "alias_of" not in entry
        },
        aliases={name: entry["alias_of"] for name, entry in known.items() if "alias_of" in entry},
    )


@cache
def recorded() -> tuple[tuple[str, str], ...]:
    """Every (engine, version) with a list."""
    return tuple((engine, version) for engine, _, version in (p.stem.partition("-") for p in sorted(LISTS.glob("*.json"))))


def parameter_text(value: ParameterValue) -> str:
    """A value as the configuration file writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def check_parameters(spec: Spec) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Problems and warnings about the spec's `parameters`."""
    known = catalogue(spec.engine.name, spec.engine.version)
    problems = [finding for name, value in spec.parameters.items() for finding in _problems(spec, name, value, known)]
    warnings = []
    if known is None and spec.parameters and spec.engine.image:
        warnings.append(
            Finding(
                "engine.version",
                spec.engine.version,
                f"whose parameters are not on record, so {listed(spec.parameters)} cannot be checked here",
                f"try them first: a server does not start with a parameter that it does not know; on record are {_versions()}",
                ("parameters",),
            )
        )
    return tuple(problems), tuple(warnings)


def _versions() -> str:
    return listed(f"{engine} {version}" for engine, version in recorded())


def _problems(spec: Spec, name: str, value: ParameterValue, known: Catalogue | None) -> Iterator[Finding]:
    path = f"parameters.{name}"
    shown = HIDDEN if _SECRET.search(name) else value
    current = known.aliases.get(name, name) if known else name
    if not _SAFE_NAME.fullmatch(name):
        meant = near(name.lower(), known.parameters) if known else ""
        remedy = f"did you mean {meant}?" if meant else "use letters, digits and hyphens"
        yield Finding("parameters", name, "which cannot be the name of a parameter", remedy)
    elif owned := OWNED.get(current) or OWNED.get(name):
        yield Finding(path, shown, f"but {owned[0]}", owned[1])
    elif name.startswith(_TLS):
        yield Finding(path, shown, "but this release does not set up TLS", "remove it")
    elif isinstance(value, str) and _UNSAFE_VALUE.search(value):
        yield Finding(path, shown, "but a value cannot hold quotes, backslashes or line breaks", "write it without them")
    elif known is None:
        return
    elif current != name:
        yield Finding(path, shown, f"but {name} is an old name of {current}", f"use parameters.{current}")
    elif (parameter := known.find(name)) is None:
        yield _unknown(spec, name)
    elif wrong := _wrong_value(parameter, value):
        yield Finding(path, shown, *wrong)


def _unknown(spec: Spec, name: str) -> Finding:
    engine, version = spec.engine.name, spec.engine.version
    elsewhere = [f"{e} {v}" for e, v in recorded() if (other := catalogue(e, v)) and other.find(name)]
    known = catalogue(engine, version)
    meant = near(name, known.parameters if known else ())
    if elsewhere:
        remedy = f"remove it, or use an engine that knows it: {listed(elsewhere)}"
    elif meant:
        remedy = f"did you mean {meant}?"
    else:
        remedy = f"see configs/parameters/{engine}-{version}.json for those it has"
    return Finding(f"parameters.{name}", NO_VALUE, f"is not a parameter of {engine} {version}", remedy)


def _wrong_value(parameter: Parameter, value: ParameterValue) -> tuple[str, str] | None:
    """Why the server would refuse the value, and what to write; None when it would not."""
    text = parameter_text(value)
    if parameter.kind == "flag":
        return None if text in ("yes", "no") else ("but must be yes or no", "use yes or no")
    if parameter.kind == "choice":
        return None if text in parameter.choices else ("which is not possible here", f"use {listed(parameter.choices)}")
    number = _number(parameter.kind, text)
    if parameter.kind == "text" or number == "":
        return None
    if number is None:
        size = "memory" in parameter.kind
        return f"but must be {'a size' if size else 'a whole number'}", "use for example 64mb" if size else _range(parameter)
    if isinstance(number, int) and parameter.limits and not parameter.limits[0] <= number <= parameter.limits[1]:
        return "which is out of range", _range(parameter)
    return None


def _number(kind: str, text: str) -> int | str | None:
    """The number that a text stands for; None when it is none, '' when it is a percentage that the parameter takes."""
    if kind == "memory-or-percent" and re.fullmatch(r"\d{1,3}%", text):
        return ""
    if "memory" in kind:
        try:
            size = parse_bytes(text)
        except ValueError:
            return None
        return size if isinstance(size, int) else None
    return int(text) if re.fullmatch(r"-?\d{1,19}", text) else None


def _range(parameter: Parameter) -> str:
    return f"use {parameter.limits[0]} to {parameter.limits[1]}" if parameter.limits else "use a whole number"
