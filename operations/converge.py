"""Bring a running stack to its declared shape: look, decide, act, until nothing is left to do or to wait for.

Every round decides from scratch, so an interrupted run is simply run again. What already fits, and every role that the servers
took over by themselves, is left alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from operations.connect import Fleet
from operations.errors import CheckFailed, NotOurs, ToolkitError, Unreachable
from operations.form import decide_cluster
from operations.hung import Revival
from operations.inventory import Access, Inventory
from operations.observe import Observation, look
from operations.replicate import decide_replication
from operations.rolling import is_copying
from operations.sentinels import decide_sentinels
from operations.settle import let_in, settle_parameters
from operations.steps import Action, Addresses, Decision, Overdue, Wait, act, decision
from operations.verdict import State, Verdict, verdict

Report = Callable[[str], None]

BASE_SECONDS = 60.0
BUSY_SECONDS = 900.0
"""Longest time while some node loads its data or copies it from its primary, which nobody can hurry."""
FIRST_POLL_SECONDS = 0.01
LAST_POLL_SECONDS = 0.25
QUIET_SECONDS = 1.0
"""A wait is reported when it lasts longer than this."""


@dataclass(frozen=True)
class ConvergeResult:
    """What was changed (empty when the stack was as declared already), how long it took, and what it led to."""

    changes: tuple[str, ...]
    seconds: float
    verdict: Verdict
    observation: Observation


@dataclass
class _Memory:
    """How long each wait has lasted without a break, and when what was sent."""

    since: dict[str, float] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    sent: dict[tuple[object, ...], float] = field(default_factory=dict)

    def due(self, actions: tuple[Action, ...], now: float) -> tuple[Action, ...]:
        """Those actions that were not sent too short a time ago."""
        due = tuple(a for a in actions if now - self.sent.get((a.node, a.commands), float("-inf")) >= a.again_after_seconds)
        self.sent.update({(a.node, a.commands): now for a in due if a.again_after_seconds})
        return due

    def update(self, waits: tuple[Wait, ...], now: float, report: Report) -> Overdue:
        keys = {wait.key for wait in waits}
        self.since = {key: start for key, start in self.since.items() if key in keys}
        overdue = set()
        for wait in waits:
            lasted = now - self.since.setdefault(wait.key, now)
            if wait.patience_seconds is not None and lasted >= wait.patience_seconds:
                overdue.add(wait.key)
            if lasted > QUIET_SECONDS and wait.key not in self.reported:
                self.reported.add(wait.key)
                report(f"waiting for {wait.text}")
        return frozenset(overdue)


def converge(
    access: Access, report: Report = print, seconds: float | None = None, gone: Addresses = frozenset()
) -> ConvergeResult:
    """Form, repair and complete the topology of `access`; `report` gets one line for each change and each longer wait.

    `gone` are addresses of nodes that just left the stack; for `seconds` and what is raised see `reach_shape`. Raises CheckFailed
    too when a server refuses a parameter.
    """
    started = time.monotonic()
    with Fleet(access) as fleet:
        let_in(access, fleet, report)
        changes, observation = reach_shape(fleet, access, report, seconds, gone)
        changes += settle_parameters(access, fleet, observation, report)
    judged = verdict(observation, access.inventory)
    return ConvergeResult(tuple(changes), time.monotonic() - started, judged, observation)


def reach_shape(
    fleet: Fleet, access: Access, report: Report, seconds: float | None = None, gone: Addresses = frozenset()
) -> tuple[list[str], Observation]:
    """Act until roles and views are as declared; returns what was changed, and the last look. Servers that hang start again.

    Takes at most `seconds` (default: a minute and what the declared time-outs need), or 15 minutes while nodes load or copy data.
    Raises NotOurs when a stranger answers, CheckFailed when data would have to be given up or the time is over, Unreachable when
    nodes are missing at the end of it.
    """
    inventory = access.inventory
    limit = default_seconds(inventory) if seconds is None else seconds
    started = time.monotonic()
    memory, overdue, revival = _Memory(), frozenset[str](), Revival(inventory, report)
    changes: list[str] = []
    refusals: list[str] = []
    while True:
        observation = look(fleet, inventory)
        refuse_strangers(observation)
        step = decide(observation, inventory, overdue, gone)
        if step.is_done:
            return changes, observation
        actions = memory.due(step.actions, time.monotonic())
        for action in actions:
            if action.text and action.text not in changes:
                changes.append(action.text)
                report(action.text)
        refusals = act(fleet, actions, access.credentials) or refusals
        now = time.monotonic()
        overdue = memory.update(step.waits, now, report)
        if now - started > (max(limit, BUSY_SECONDS) if is_copying(observation) and seconds is None else limit):
            raise _timed_out(observation, inventory, step, refusals, now - started)
        revival.consider(observation)
        _pause(now - started)


def decide(
    observation: Observation, inventory: Inventory, overdue: Overdue = frozenset(), gone: Addresses = frozenset()
) -> Decision:
    """The next steps for any topology. Pure; raises as the deciding functions of each topology do."""
    if inventory.topology == "cluster":
        return decide_cluster(observation, inventory, overdue)
    step = decide_replication(observation, inventory, overdue)
    primaries = [node.name for node in observation.nodes if node.is_primary]
    copying = any(wait.key == "links" for wait in step.waits)
    if not inventory.sentinels or step.actions or copying or len(primaries) != 1:
        return step
    watching = decide_sentinels(observation, inventory, primaries[0], overdue, gone)
    return decision(watching.actions, (*step.waits, *watching.waits))


def refuse_strangers(observation: Observation) -> None:
    """Raise NotOurs when a server that is not of this stack answers in place of one of its nodes."""
    for node in observation.nodes:
        if node.foreign:
            raise NotOurs(node.problem or f"{node.name} is not of this stack")


def default_seconds(inventory: Inventory) -> float:
    """A minute, and three rounds of failure detection and election at the declared time-outs."""
    cluster = 4 * 3 * inventory.cluster.node_timeout_ms / 1000 if inventory.cluster else 0.0
    sentinel = 3 * inventory.sentinel.down_after_ms / 1000 + 60 if inventory.sentinel else 0.0
    return BASE_SECONDS + cluster + sentinel


def wait_ready(access: Access, timeout: float) -> Observation:
    """Wait until the stack's verdict is ok, changing nothing; raises CheckFailed with the last state after `timeout` seconds."""
    started = time.monotonic()
    with Fleet(access) as fleet:
        while True:
            observation = look(fleet, access.inventory)
            judged = verdict(observation, access.inventory)
            if judged.state is State.OK:
                return observation
            elapsed = time.monotonic() - started
            if elapsed > timeout:
                raise CheckFailed(f"stack {access.inventory.stack} is not ready after {timeout:g} s\n{_listing(judged)}")
            _pause(elapsed)


def _pause(elapsed: float) -> None:
    """Between two looks: short at first, when most happens, longer when it takes long anyway."""
    time.sleep(min(LAST_POLL_SECONDS, max(FIRST_POLL_SECONDS, elapsed / 50)))


def _listing(judged: Verdict) -> str:
    return "\n".join(f"  - {reason}" for reason in judged.reasons)


def _timed_out(
    observation: Observation, inventory: Inventory, step: Decision, refusals: list[str], seconds: float
) -> ToolkitError:
    """The error at the end of patience: what was waited for, and the last state seen."""
    awaited = dict.fromkeys(wait.text for wait in step.waits)
    judged = verdict(observation, inventory)
    parts = [f"stack {inventory.stack} did not reach its declared shape within {seconds:.0f} s; last state: {judged.line}"]
    parts += [f"  - still waiting for {text}" for text in awaited]
    parts += [f"  - {refusal}" for refusal in refusals]
    missing = any(not node.reachable for node in observation.nodes)
    return (Unreachable if missing else CheckFailed)("\n".join(parts))
