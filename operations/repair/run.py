"""Looks, decides and repairs, stage by stage, until nothing is left that may be done; every stage begins with a new look.

What is done is written down twice: in the journal of moves in the cluster, whose lock keeps movers and other repairs away, and in
a file of lines on this machine, since a cluster that serves nobody cannot keep a journal. Nothing of it is needed to go on: a
repair that was interrupted is run again.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.connect import Fleet
from operations.containers import Containers
from operations.converge import refuse_strangers
from operations.errors import Busy, CheckFailed, ToolkitError, Unreachable
from operations.hung import given_up, hangs
from operations.inventory import Access, Inventory
from operations.observe import Observation
from operations.repair.diagnose import Picture, diagnose
from operations.repair.findings import PASSING, Finding, Forgotten, Leaderless, Orphans, Silent
from operations.repair.orphans import bring_home
from operations.repair.propose import Plan, Step, propose
from operations.reshard.journal import LEASE_SECONDS, RENEW_SECONDS, Entry, Found, Journal
from operations.reshard.live import Live, read_live
from operations.reshard.mover import Report
from operations.reshard.run import Watch, now_words, resume
from operations.reshard.wire import KeyLink, worked
from operations.restart import await_settled
from operations.steps import act

MOST_ROUNDS = 12
POLL_SECONDS = 0.25
SETTLE_SECONDS = 3.0
MEET_SECONDS = 1.0
ACQUAINTED_SECONDS = 4.0
BAN_SECONDS = 90.0
COUNT_SLOTS = 2048
COUNT = """
local found = {}
for slot = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local count = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot)
  if count > 0 then found[#found + 1] = slot; found[#found + 1] = count end
end
return found
"""
ALONE: frozenset[str] = frozenset({"takeover", "yield", "meet", "assign", "convince"})
"""Stages that may go on without the lock, when the slot that keeps it is not served."""


@dataclass(frozen=True)
class Assessment:
    """One look, what is wrong, and what would be done."""

    picture: Picture
    findings: tuple[Finding, ...]
    plan: Plan


@dataclass(frozen=True)
class Repaired:
    """What a repair found first, what it did, and what is left."""

    found: tuple[Finding, ...]
    did: tuple[str, ...]
    left: tuple[Finding, ...]
    held_back: tuple[str, ...]
    seconds: float


def assess(access: Access, accept_loss: bool = False) -> Assessment:
    """Look until what passes by itself has passed, and say what is wrong and what would be done; changes nothing."""
    nodes = access.inventory.data_nodes
    with Fleet(access, nodes) as fleet, Fleet(access, nodes) as notes:
        return _assess(access, fleet, Journal(notes, access.inventory), accept_loss)


def _assess(access: Access, fleet: Fleet, journal: Journal, accept_loss: bool) -> Assessment:
    started = time.monotonic()
    while True:
        picture = _look(access, fleet, journal)
        findings = diagnose(picture)
        if time.monotonic() - started >= _patience(picture, findings):
            ids = {name: view.my_id for name, view in picture.views.items()}
            return Assessment(picture, findings, propose(findings, access.inventory, ids, accept_loss))
        time.sleep(POLL_SECONDS)


def _patience(picture: Picture, findings: Sequence[Finding]) -> float:
    """How long to look again before findings are believed.

    A primary that is gone has to be noticed and an heir elected; one that was cut off serves clients again after a while.
    """
    cluster = picture.inventory.cluster
    timeout = cluster.node_timeout_ms / 1000 if cluster else 5.0
    leaderless = [finding for finding in findings if isinstance(finding, Leaderless)]
    if any(finding.majority for finding in leaderless):
        return 2 * timeout + SETTLE_SECONDS
    silent = any(isinstance(finding, Silent) for finding in findings)
    rejoining = any(not picture.views[name].state_ok for name in set(picture.live.owners.values()))
    if (silent and picture.live.uncovered and not leaderless) or rejoining:
        return 2 * timeout
    return SETTLE_SECONDS if any(isinstance(finding, PASSING) for finding in findings) else 0.0


def _look(access: Access, fleet: Fleet, journal: Journal) -> Picture:
    live = read_live(fleet, access.inventory)
    refuse_strangers(live.observation)
    if not live.primaries:
        return Picture(live, {}, None)
    held = {name: _held(access, name) for name in live.primaries}
    return Picture(live, held, _read(journal, live), _hung(access.inventory, live.observation))


def _hung(inventory: Inventory, seen: Observation) -> frozenset[str]:
    """Nodes that hang, of those that the cluster has given up. Without the Docker engine they are just silent."""
    suspects = given_up(seen, inventory)
    if not suspects:
        return frozenset()
    try:
        containers = Containers(inventory)
        return frozenset(name for name in suspects if hangs(containers, name))
    except Unreachable:
        return frozenset()


def _read(journal: Journal, live: Live) -> Found | None:
    journal.find(live.primaries)
    try:
        return journal.read()
    except ToolkitError:
        return None


def _held(access: Access, name: str) -> dict[int, int]:
    """Keys by slot of a primary; nothing when it stopped answering in between, which the next look shows."""
    link = KeyLink(access, access.inventory.node(name))
    held: dict[int, int] = {}
    try:
        for first in range(0, 16384, COUNT_SLOTS):
            found: Any = worked(link.raw([("EVAL", COUNT, 0, first, first + COUNT_SLOTS - 1)])[0])
            held.update(zip(found[::2], found[1::2], strict=True))
    finally:
        link.close()
    return held


def repair(
    access: Access,
    record: Path,
    accept_loss: bool = False,
    report: Report = print,
    watch: Watch = lambda _: None,
    show: Callable[[Assessment], None] = lambda _: None,
) -> Repaired:
    """Do what `assess` says, until nothing is left to do; `show` gets the first assessment, `record` the lines of what was done.

    Raises Busy when a mover or another repair is at work, and the error of a step that could not be done: what was done before
    stays, and a repair that is run again goes on from there.
    """
    began = time.monotonic()
    nodes = access.inventory.data_nodes
    did: list[str] = []
    with Fleet(access, nodes) as fleet, Fleet(access, nodes) as notes:
        journal = Journal(notes, access.inventory)
        now = first = _assess(access, fleet, journal, accept_loss)
        show(first)
        for _ in range(MOST_ROUNDS):
            if not now.plan.steps:
                return Repaired(first.findings, tuple(did), now.findings, now.plan.held_back, time.monotonic() - began)
            for step in now.plan.next:
                report(step.text)
            did += _stage(access, fleet, journal, now, _Record(record), report, watch)
            now = _assess(access, fleet, journal, accept_loss)
    left = "\n".join(f"  - {finding.text}" for finding in now.findings)
    raise CheckFailed(f"the cluster is not whole after {MOST_ROUNDS} rounds of repair; last seen:\n{left}")


def _stage(
    access: Access, fleet: Fleet, journal: Journal, now: Assessment, record: "_Record", report: Report, watch: Watch
) -> list[str]:
    """Do the steps of the next stage; returns them, with what came of them."""
    steps = now.plan.next
    stage = steps[0].stage
    for step in steps:
        record.write(step, "begun")
    if stage == "finish":
        resume(access, report=report, watch=watch)  # takes the lock itself
        results = [step.text for step in steps]
    elif stage == "restart":
        results = _restart(access.inventory, fleet, [step.restart for step in steps if step.restart], report)
    else:
        with _locked(journal, now.picture, steps, stage in ALONE, report) as pulse:
            if stage == "meet":
                _introduce(access, fleet, journal, steps, pulse, report)
                results = [step.text for step in steps]
            elif stage == "home":
                orphans = [step.home for step in steps if step.home is not None]
                results = [_home(access, now.picture, found, pulse) for found in orphans]
            else:
                refusals = act(fleet, [action for step in steps for action in step.actions], access.credentials)
                results = [step.text for step in steps] + refusals
                for refusal in refusals:
                    report(refusal)
    for step, result in zip(steps, results, strict=False):
        record.write(step, "done", result)
    return results


def _restart(inventory: Inventory, fleet: Fleet, names: Sequence[str], report: Report) -> list[str]:
    """End servers that hang and start them again, until they answer; needs no lock, since they take part in nothing."""
    containers = Containers(inventory)
    for name in names:
        containers.restart(inventory.node(name), patience_seconds=0)
    _, problem = await_settled(
        fleet, containers, report, lambda seen: next((p for name in names if (p := seen.of(name).problem)), None)
    )
    if problem:
        raise CheckFailed(f"what was started again does not answer: {problem}")
    return [f"{name} was started again and answers" for name in names]


def _introduce(
    access: Access, fleet: Fleet, journal: Journal, steps: Sequence[Step], pulse: Callable[[], None], report: Report
) -> None:
    """Let nodes meet until they know each other for good.

    A node keeps a ban of a minute on what it was told to forget, and (from Redis 7.2 on) tells others so with every ping: until
    that is over, acquaintances are undone again. Raises CheckFailed when they do not hold long after that.
    """
    began = quiet_since = time.monotonic()
    told = False
    while time.monotonic() - quiet_since < ACQUAINTED_SECONDS:
        act(fleet, [action for step in steps for action in step.actions], access.credentials)
        time.sleep(MEET_SECONDS)
        pulse()
        picture = _look(access, fleet, journal)
        left = [finding for finding in diagnose(picture) if isinstance(finding, Forgotten)]
        ids = {name: view.my_id for name, view in picture.views.items()}
        steps = propose(left, access.inventory, ids).steps
        now = time.monotonic()
        quiet_since = now if left else quiet_since
        if left and now - began > BAN_SECONDS:
            raise CheckFailed(f"nodes do not come to know each other: {'; '.join(finding.text for finding in left)}")
        if left and not told and now - began > ACQUAINTED_SECONDS:
            report("nodes keep a ban of up to a minute on what they were told to forget; they meet again until it is over")
            told = True


def _home(access: Access, picture: Picture, orphans: Orphans, pulse: Callable[[], None]) -> str:
    ids = {name: view.my_id for name, view in picture.views.items()}
    came = bring_home(access, orphans, ids, pulse)
    return f"{came.moved:,} keys went from {orphans.node} home to {orphans.owner}, {came.removed:,} second copies were removed"


@contextmanager
def _locked(
    journal: Journal, picture: Picture, steps: Sequence[Step], may_go_alone: bool, report: Report
) -> Iterator[Callable[[], None]]:
    """Hold the lock of moves, with a note of what is done; gives what keeps it."""
    try:
        found = _take(journal, picture, report)
    except Busy:
        raise
    except ToolkitError as error:
        if not may_go_alone:
            raise
        report(f"going on without the lock: {error}")
        yield lambda: None
        return
    mine = found.entry is None
    renewed = time.monotonic()

    def pulse() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > RENEW_SECONDS:
            journal.renew()
            renewed = time.monotonic()

    try:
        if mine:
            journal.begin(Entry(journal.who, now_words(), f"repair: {steps[0].text}", {}, {}))
        yield pulse
    finally:
        try:
            journal.end(entirely=mine)
        except ToolkitError as error:
            report(f"the lock could not be given back: {error}")


def _take(journal: Journal, picture: Picture, report: Report) -> Found:
    """The lock, also that of a mover which may have died: as long as its lease can last."""
    journal.find(picture.live.primaries)
    deadline = time.monotonic() + LEASE_SECONDS + 1
    told = False
    while True:
        try:
            return journal.take()
        except Busy as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                report(str(error).split(". ", maxsplit=1)[0] + "; waiting until that lock ends")
            told = True
            time.sleep(POLL_SECONDS)


class _Record:
    """Lines of what is done, each on the disk before the next thing happens."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, step: Step, state: str, result: str = "") -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        commands = [[action.node, *map(str, command)] for action in step.actions for command in action.commands]
        line = {"at": now_words(), "state": state, "stage": step.stage, "step": step.text, "result": result}
        with self._path.open("a") as file:
            file.write(json.dumps({**line, **({"commands": commands} if state == "begun" else {})}) + "\n")
            file.flush()
            os.fsync(file.fileno())
