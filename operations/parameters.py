"""Declared parameters on running servers: what can be changed live is set and read back, what needs a restart is named.

The next boot reads the declared file anyway (configs/node/role.sh), so nothing is rewritten by the server here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from operations.connect import Fleet, Link, Refused
from operations.defaults import undeclared
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Inventory, NodeEntry
from operations.parse import pairs

T = TypeVar("T")

_SIZE = re.compile(r"(\d+)([kmg]b?)")
_UNITS = {"k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}

_SECRET = re.compile(r"pass|auth$")

IMMUTABLE = "immutable"
"""Word in a server's refusal of a parameter that is read at start only."""


EVENTS = "notify-keyspace-events"
ALL_EVENTS = "g$lshzxetd"
APPEND_ONLY = "appendonly"
"""Switched on its own way, see `operations/append_only.py`."""


@dataclass(frozen=True)
class Applied:
    """Outcome on one node: `changed` was set live and verified, `waiting` takes effect at the next start of the server."""

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    """What came of setting parameters on one node: old values of those that were set, those that wait, and a refusal."""

    replaced: Mapping[str, str]
    waiting: tuple[str, ...] = ()
    problem: str = ""


def differing(declared: Mapping[str, str], live: Mapping[str, str]) -> dict[str, str]:
    """Declared parameters whose live value is another one; those that the server does not know are left out."""
    return {
        name: value
        for name, value in declared.items()
        if name in live and not (_same_events if name == EVENTS else same)(value, live[name])
    }


def _same_events(declared: str, live: str) -> bool:
    """Letters of `notify-keyspace-events`: the server puts them into an order of its own, and A stands for all kinds."""
    return set(declared.replace("A", ALL_EVENTS)) == set(live.replace("A", ALL_EVENTS))


def same(declared: str, live: str) -> bool:
    """Whether two texts of CONFIG mean one value: case of words and spacing do not count."""
    return declared == live or _normal(declared) == _normal(live)


def _normal(value: str) -> str:
    return " ".join(_bytes(word) for word in value.strip().strip('"').lower().replace("replica ", "slave ").split())


def _bytes(word: str) -> str:
    """A size as the server shows it: 1mb -> 1048576."""
    match = _SIZE.fullmatch(word)
    return str(int(match[1]) * _UNITS[match[2]]) if match else word


def apply_parameters(fleet: Fleet, inventory: Inventory, only: str | None = None) -> dict[str, Applied]:
    """Set what differs on every data node, live where the server can, or one parameter alone; returns what was done by node.

    All or nothing: raises CheckFailed with node, value and the server's own words when one refuses for another reason than that
    it needs a restart, after what had been set was set back. One node goes first, so that a refusal mostly touches nobody else.
    """
    declared = [name for name in inventory.parameters.get("data", {}) if only in (None, name)]
    expected = {n: value for n, value in expected_parameters(inventory).items() if only in (None, n)}
    names = [node.name for node in inventory.data_nodes]
    live = _results(fleet.each(lambda link: live_values(link, expected), nodes=names, seconds=30))
    _refuse_unknown(declared, live)
    wanted = {name: differing(expected, values) for name, values in live.items()}
    for values in wanted.values():
        values.pop(APPEND_ONLY, None)
    due = [name for name in names if wanted[name]]
    attempts: dict[str, _Attempt | ToolkitError] = {}
    for group in (due[:1], due[1:]):
        attempts |= fleet.each(lambda link: _set(link, wanted[link.node.name], live[link.node.name]), nodes=group, seconds=30)
        problems = [str(a) if isinstance(a, ToolkitError) else a.problem for a in attempts.values()]
        if any(problems):
            raise CheckFailed(f"{'; '.join(filter(None, problems))}. {_set_back(fleet, attempts)}; correct it in the spec")
    done = {name: a for name, a in attempts.items() if isinstance(a, _Attempt)}
    return {name: Applied(tuple(done[name].replaced), done[name].waiting) if name in done else Applied() for name in names}


def expected_parameters(inventory: Inventory) -> dict[str, str]:
    """Every parameter of data nodes whose value is known beforehand: those declared, and the engine's defaults for the rest."""
    defaults = undeclared(inventory.engine.name, str(inventory.spec["engine"]["version"]))
    return {**defaults, **inventory.parameters.get("data", {})}


def live_values(link: Link, names: Iterable[str]) -> dict[str, str]:
    """Live values; parameters that this server does not have are left out."""
    asked = list(names)
    return {name: str(value) for name, value in pairs(link.ask("CONFIG", "GET", *asked)).items()} if asked else {}


def _results(outcomes: Mapping[str, T | ToolkitError]) -> dict[str, T]:
    """All outcomes; the first error is raised."""
    results = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, ToolkitError):
            raise outcome
        results[name] = outcome
    return results


def _refuse_unknown(declared: Iterable[str], live: Mapping[str, Mapping[str, str]]) -> None:
    for node, values in live.items():
        unknown = [name for name in declared if name not in values]
        if unknown:
            raise CheckFailed(
                f"{node} does not know {', '.join(unknown)}, so nothing was set on any node; remove it from the spec, or the "
                "node does not start again once it stops"
            )


def _set(link: Link, wanted: Mapping[str, str], live: Mapping[str, str]) -> _Attempt:
    """Set one after the other until a refusal, then read all back."""
    link.ensure_ours()
    replaced, waiting = dict[str, str](), list[str]()
    for name, value in wanted.items():
        try:
            link.ask("CONFIG", "SET", name, value)
            replaced[name] = live[name]
        except Refused as error:
            if IMMUTABLE not in str(error):
                return _Attempt(replaced, tuple(waiting), f"{link.node.name} refuses {name} {shown(name, value)}: {error}")
            waiting.append(name)
    left = differing({name: wanted[name] for name in replaced}, live_values(link, replaced))
    problem = f"{link.node.name} accepted {', '.join(left)} but does not hold it; another program changes it back" if left else ""
    return _Attempt(replaced, tuple(waiting), problem)


def shown(name: str, value: str) -> str:
    """A value for people; nothing of what may be a secret."""
    return "(hidden)" if _SECRET.search(name) else value or '""'


def _set_back(fleet: Fleet, attempts: Mapping[str, _Attempt | ToolkitError]) -> str:
    """Undo what was set; returns a clause that tells what came of it."""
    old = {name: a.replaced for name, a in attempts.items() if isinstance(a, _Attempt) and a.replaced}

    def undo(link: Link) -> None:
        for name, value in old[link.node.name].items():
            link.ask("CONFIG", "SET", name, value)

    answers = fleet.each(undo, nodes=old, seconds=30)
    failed = [name for name, answer in answers.items() if isinstance(answer, ToolkitError)]
    if failed:
        return f"What had been set before could not be set back on {', '.join(failed)}"
    return "What had been set before was set back on every node" if old else "Nothing was changed on any node"


def described(outcomes: Mapping[str, Applied], nodes: tuple[NodeEntry, ...]) -> list[str]:
    """What was done, in one line for each parameter."""
    lines = []
    for attribute, text in (("changed", "set live on"), ("waiting", "takes effect at the next start of")):
        names = sorted({name for outcome in outcomes.values() for name in getattr(outcome, attribute)})
        for name in names:
            where = [node.name for node in nodes if node.name in outcomes and name in getattr(outcomes[node.name], attribute)]
            lines.append(f"{name} {text} {', '.join(where)}")
    return lines
