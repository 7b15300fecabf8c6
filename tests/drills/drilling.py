"""Runs drills as their users do and reads what they leave."""

import json
import sys
from pathlib import Path
from typing import Any

from drills import journal as journals
from drills.checkers.base import Verdict
from drills.examine import Setup
from drills.journal import Journal
from drills.objectives import Objectives, policy_of
from operations.inventory import Inventory
from tests.live.harness import Result, Stack, run

DRILL_SECONDS = 240
FAST: dict[str, dict[str, str]] = {
    # Within one second a busy machine makes sentinels give up the new primary, too, right after a failover.
    # Sentinels try again after twice the time-out when their first vote was split.
    "sentinel": {"sentinel.down_after_seconds": "2", "sentinel.failover_timeout_seconds": "5"},
    "cluster": {"cluster.node_timeout_seconds": "2"},
}
"""Time-outs that drills set explicitly; the defaults are for production."""


def drill(stack: Stack, *arguments: str, seconds: float = DRILL_SECONDS) -> Result:
    """`scripts/drill.py …` on a stack."""
    return run([sys.executable, "scripts/drill.py", *arguments, "--stack", stack.name], stack.env, seconds)


def run_drill(stack: Stack, name: str, report: Path, *arguments: str, seconds: float = DRILL_SECONDS) -> Result:
    """`scripts/drill.py run NAME --json` on a stack."""
    return drill(stack, "run", name, "--report", str(report), "--json", *arguments, seconds=seconds)


def heal(stack: Stack) -> Result:
    return drill(stack, "heal")


def journal_of(result: Result, report: Path) -> Journal:
    """The journal of a drill that has run."""
    assert (report / "journal.json").exists(), f"no journal: {result.told()}"
    return journals.load(report)


def setup_of(journal: Journal, inventory: Inventory) -> Setup:
    """What the history of a finished drill was judged by, so that it can be judged again."""
    kind: Any = journal.drill.kind
    return Setup(
        kind=kind,
        shards=inventory.shards,
        nodes=tuple(node.name for node in inventory.data_nodes),
        observers=tuple(node.name for node in inventory.nodes),
        objectives=Objectives.model_validate(journal.objectives),
        policy=policy_of(inventory),
    )


def answers(journal: Journal) -> dict[str, tuple[Verdict, str]]:
    """Verdict and sentence of every objective by its name, and of every check as `check NAME`, of the last repetition."""
    found: dict[str, tuple[Verdict, str]] = {}
    for repetition in journal.repetitions:
        for entry in repetition.checks:
            found[f"check {entry.name}"] = (entry.verdict, entry.summary)
        for outcome in repetition.outcomes:
            found[outcome.name] = (
                outcome.verdict,
                outcome.text if outcome.limit in outcome.text else f"{outcome.text} (allowed: {outcome.limit})",
            )
    return found


def json_of(result: Result) -> Any:
    try:
        return json.loads(result.output)
    except ValueError:
        raise AssertionError(f"no JSON: {result.told()}") from None
