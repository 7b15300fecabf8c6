"""Declared parameters on running servers: what can be changed live is set and read back, what needs a restart is named.

The next boot reads the declared file anyway (configs/node/role.sh), so nothing is rewritten by the server here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from operations.connect import Fleet, Link, Refused
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Inventory, NodeEntry
from operations.parse import pairs

_SIZE = re.compile(r"(\d+)([kmg]b?)")
_UNITS = {"k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}

IMMUTABLE = "immutable"
"""Word in a server's refusal of a parameter that is read at start only."""


@dataclass(frozen=True)
class Applied:
    """Outcome on one node: `changed` was set live and verified, `waiting` takes effect at the next start of the server."""

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def differing(declared: Mapping[str, str], live: Mapping[str, str]) -> dict[str, str]:
    """Declared parameters whose live value is another one; those that the server does not know are left out."""
    return {name: value for name, value in declared.items() if name in live and not same(value, live[name])}


def same(declared: str, live: str) -> bool:
    """Whether two texts of CONFIG mean one value: case of words, order of flags and spacing do not count."""
    return declared == live or _normal(declared) == _normal(live)


def _normal(value: str) -> str:
    return " ".join(_bytes(word) for word in value.strip().strip('"').lower().replace("replica ", "slave ").split())


def _bytes(word: str) -> str:
    """A size as the server shows it: 1mb -> 1048576."""
    match = _SIZE.fullmatch(word)
    return str(int(match[1]) * _UNITS[match[2]]) if match else word


def apply_parameters(fleet: Fleet, inventory: Inventory, skip: frozenset[str] = frozenset()) -> dict[str, Applied]:
    """Set what differs on every data node, live where the server can; returns what was done by node.

    Raises CheckFailed when a server refuses a declared value for another reason than that it needs a restart, or does not
    hold it afterwards.
    """
    declared = {name: value for name, value in inventory.parameters.get("data", {}).items() if name not in skip}
    outcomes = fleet.each(lambda link: _apply(link, declared), nodes=[node.name for node in inventory.data_nodes], seconds=30)
    failed = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, ToolkitError)}
    for outcome in failed.values():
        raise outcome
    return {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Applied)}


def _live(link: Link, names: Iterable[str]) -> dict[str, str]:
    """Live values; parameters that this server does not have are left out."""
    asked = list(names)
    replies = link.ask_all([["CONFIG", "GET", name] for name in asked])
    return {
        name: str(found[name])
        for name, reply in zip(asked, replies, strict=True)
        if not isinstance(reply, Refused) and name in (found := pairs(reply))
    }


def _apply(link: Link, declared: Mapping[str, str]) -> Applied:
    wanted = differing(declared, _live(link, declared))
    if not wanted:
        return Applied()
    link.ensure_ours()
    changed, waiting = [], []
    for name, value in wanted.items():
        try:
            link.ask("CONFIG", "SET", name, value)
            changed.append(name)
        except Refused as error:
            if IMMUTABLE not in str(error):
                raise CheckFailed(f"{link.node.name} refuses {name} {value}: {error}; correct it in the spec") from None
            waiting.append(name)
    left = differing({name: declared[name] for name in changed}, _live(link, changed))
    if left:
        raise CheckFailed(f"{link.node.name} accepted {', '.join(left)} but does not hold it; another program changes it back")
    return Applied(tuple(changed), tuple(waiting))


def described(outcomes: Mapping[str, Applied], nodes: tuple[NodeEntry, ...]) -> list[str]:
    """What was done, in one line for each parameter."""
    lines = []
    for attribute, text in (("changed", "set live on"), ("waiting", "takes effect at the next start of")):
        names = sorted({name for outcome in outcomes.values() for name in getattr(outcome, attribute)})
        for name in names:
            where = [node.name for node in nodes if node.name in outcomes and name in getattr(outcomes[node.name], attribute)]
            lines.append(f"{name} {text} {', '.join(where)}")
    return lines
