"""Does every node's own view of the stack agree with all others?"""

from collections.abc import Collection

from drills.checkers.base import Check, OnePass, Verdict
from drills.records import Record, State


class ViewsAgree(OnePass):
    """Compares the claims made at `moment`. `nodes` (sentinels too) must all have answered, with at least one claim: silence is
    not agreement. Nodes may claim different subjects; whatever two of them claim must be the same."""

    def __init__(self, nodes: Collection[str], moment: str = "final") -> None:
        self._nodes = set(nodes)
        self._moment = moment
        self._states: dict[str, State] = {}

    def see(self, record: Record) -> None:
        if isinstance(record, State) and record.moment == self._moment:
            self._states[record.node] = record

    def check(self) -> Check:
        views = {node: state.claims for node, state in sorted(self._states.items()) if state.claims}
        silent = sorted(self._nodes - set(views))
        claimed: dict[str, dict[str, list[str]]] = {}
        for node, claims in views.items():
            for subject, word in claims.items():
                claimed.setdefault(subject, {}).setdefault(word, []).append(node)
        disputed = {subject: words for subject, words in sorted(claimed.items()) if len(words) > 1}
        details = tuple(
            f"{subject}: " + "; ".join(f"{word} (say {', '.join(nodes)})" for word, nodes in sorted(words.items()))
            for subject, words in disputed.items()
        )
        figures = {"nodes": len(views), "nodes_silent": len(silent), "subjects": len(claimed), "disputed": len(disputed)}
        if disputed:
            return Check("views", Verdict.FALSE, f"nodes disagree about {', '.join(disputed)}", figures, details)
        if silent or not claimed:
            who = ", ".join(silent) or "every node"
            return Check("views", Verdict.UNKNOWN, f"the view of {who} could not be read", figures)
        return Check("views", Verdict.TRUE, f"all {len(views)} nodes have the same view", figures)
