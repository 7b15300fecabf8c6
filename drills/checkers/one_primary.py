"""After heal, has every shard exactly one primary that accepts writes?"""

from collections.abc import Collection

from drills.checkers.base import Check, OnePass, Verdict, worst
from drills.records import Record, State


class OnePrimary(OnePass):
    """Judges the states taken at `moment`. `shards` are those that must exist, `nodes` the data nodes that must have answered."""

    def __init__(self, shards: Collection[int], nodes: Collection[str], moment: str = "final") -> None:
        self._shards = sorted(shards)
        self._nodes = set(nodes)
        self._moment = moment
        self._states: dict[str, State] = {}

    def see(self, record: Record) -> None:
        if isinstance(record, State) and record.moment == self._moment:
            self._states[record.node] = record

    def check(self) -> Check:
        silent = sorted(node for node in self._nodes if node not in self._states or self._states[node].writable is None)
        answers = [self._shard(shard) for shard in self._shards]
        verdicts = [verdict for verdict, _ in answers]
        reasons = [reason for _, reason in answers if reason]
        figures = {"shards": len(self._shards), "nodes_silent": len(silent)}
        verdict = worst(verdicts)
        if verdict is Verdict.TRUE and silent:
            verdict = Verdict.UNKNOWN
        if silent:
            reasons.append(f"{', '.join(silent)} could not be asked")
        summary = "; ".join(reasons) or "exactly one writable primary per shard"
        return Check("one-primary", verdict, summary, figures)

    def _shard(self, shard: int) -> tuple[Verdict, str]:
        states = [state for state in self._states.values() if state.shard == shard]
        writable = sorted(state.node for state in states if state.writable)
        if len(writable) > 1:
            return Verdict.FALSE, f"shard {shard} has {len(writable)} writable primaries: {', '.join(writable)}"
        if writable:
            return Verdict.TRUE, ""
        if not states or any(state.writable is None for state in states):
            return Verdict.UNKNOWN, f"no writable primary of shard {shard} was seen, but not every node answered"
        return Verdict.FALSE, f"shard {shard} has no writable primary"
