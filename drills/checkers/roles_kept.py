"""Did roles survive a second `pulumi up`?"""

from drills.checkers.base import Check, OnePass, Verdict
from drills.records import Record, State


class RolesKept(OnePass):
    """Compares the roles at two moments, by default after heal and after the next apply."""

    def __init__(self, before: str = "final", after: str = "applied") -> None:
        self._moments = (before, after)
        self._roles: dict[str, dict[str, str | None]] = {before: {}, after: {}}

    def see(self, record: Record) -> None:
        if isinstance(record, State) and record.moment in self._roles:
            self._roles[record.moment][record.node] = record.role

    def check(self) -> Check:
        before, after = (self._roles[moment] for moment in self._moments)
        changed = sorted(node for node, role in before.items() if role and after.get(node) and after[node] != role)
        if changed:
            parts = (f"{node} was {before[node]} and became {after[node]}" for node in changed)
            return Check("roles-kept", Verdict.FALSE, "; ".join(parts), {"changed": len(changed)})
        silent = sorted(node for node in {*before, *after} if not before.get(node) or not after.get(node))
        if silent or not before:
            who = ", ".join(silent) or "any node"
            return Check("roles-kept", Verdict.UNKNOWN, f"the role of {who} is not known at both moments")
        return Check("roles-kept", Verdict.TRUE, f"all {len(before)} nodes kept their roles", {"changed": 0})
