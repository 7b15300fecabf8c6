"""The objectives of a spec as people see them: what a drill will hold the stack to."""

from collections.abc import Iterator
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from operations.bounds import FaultKind
from operations.objectives import Objectives, Policy
from topologies.objectives import objectives_of, policy_of
from topologies.rules.objectives import without_effect
from topologies.spec import Spec

MEASURED = "measured only"
OWN = " *"
"""Marks what the spec itself says."""


def objectives_data(spec: Spec) -> dict[str, Any]:
    """The objectives in force as plain data, and the seconds that `bound` stands for, by kind of fault."""
    policy = policy_of(spec)
    bounds = {kind: round(bound.with_slack, 3) for kind in kinds(policy) if (bound := policy.failover(kind)) is not None}
    return {**objectives_of(spec).model_dump(mode="json"), "bounds": bounds}


def kinds(policy: Policy) -> tuple[FaultKind, ...]:
    """The faults that a topology can have."""
    return tuple(kind for kind in get_args(FaultKind) if without_effect(policy, kind) is None)


def objectives_view(spec: Spec) -> RenderableType:
    """A table: faults with the same limits share a line."""
    policy, inside, given = policy_of(spec), objectives_of(spec), spec.objectives
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("objectives by fault", "writes stop for at most", "acknowledged writes lost"):
        table.add_column(title)
    rows: dict[tuple[str, str], list[str]] = {}
    for kind in kinds(policy):
        stop = _unavailable(inside, policy, kind) + OWN * (kind in given.unavailable)
        lost = _budget(inside.lost.get(kind, 0.0)) + OWN * (kind in given.lost)
        rows.setdefault((stop, lost), []).append(kind)
    for (stop, lost), names in rows.items():
        table.add_row(Text(", ".join(names)), _styled(stop), _styled(lost))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for name, value in _facts(inside, given, policy):
        facts.add_row(name, _styled(value))
    own = given.model_dump(exclude_defaults=True)
    note = [Text("* from the spec; all else is what topology and policies can promise", "dim")] if own else []
    return Group(table, Text(), facts, *note)


def _styled(text: str) -> Text:
    return Text(text, "bold" if text.endswith(OWN) else "dim" if text == MEASURED else "")


def _seconds(value: float) -> str:
    return f"{round(value, 2):g} s"


def _unavailable(inside: Objectives, policy: Policy, kind: FaultKind) -> str:
    limit = inside.unavailable.get(kind, "any")
    if limit == "bound":
        bound = policy.failover(kind)
        return f"{_seconds(bound.with_slack)} (bound)" if bound else MEASURED
    return MEASURED if limit == "any" else _seconds(limit)


def _budget(budget: float | str) -> str:
    if isinstance(budget, str):
        return MEASURED
    return f"those of {_seconds(budget)}" if budget else "none"


def _facts(inside: Objectives, given: Objectives, policy: Policy) -> Iterator[tuple[str, str]]:
    def limit(name: str, value: float | str | None) -> str:
        words = MEASURED if value is None or isinstance(value, str) else f"at most {_seconds(value)}" if value else "never"
        return words + OWN * (getattr(given, name) is not None)

    if policy.timing.topology == "cluster":
        yield "shards not hit", limit("others_unavailable", inside.others_unavailable)
    if policy.replicas:
        at_once = policy.cut_off if inside.two_primaries == "bound" else inside.two_primaries
        yield "two primaries", limit("two_primaries", at_once)
        yield "full redundancy", limit("redundancy", inside.redundancy)
        writes = "WAIT for every replica" if inside.writes == "wait-all" else "plain, nobody waits for replicas"
        yield "clients write", writes + OWN * (given.writes is not None)
