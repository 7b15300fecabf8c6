"""Whether a stack's backups are as promised, from what its agent and jobs noted. Pure but for `look_at_backups`."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operations.archive.agent import STATE as ARCHIVE_STATE
from operations.backup.launch import agent_container
from operations.backup.schedule import REHEARSAL_GRACE, is_ahead, rehearsal_due
from operations.backup.session import AGENT_STATE, HOME, STATUS
from operations.backup.settings import BackupSettings
from operations.inventory import Inventory

ANSWER_SECONDS = 15.0


@dataclass(frozen=True)
class BackupHealth:
    """`problems` turn `status` red; `hints` only remind; `summary` says what is known."""

    summary: str
    problems: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


def look_at_backups(inventory: Inventory) -> BackupHealth | None:
    """Ask the agent's container what was noted last; None for a stack whose backups nobody makes by themselves."""
    settings = BackupSettings.model_validate(inventory.spec.get("backup", {}))
    if not settings.needs_agent:
        return None
    files = " ".join(f"{HOME}/{name}" for name in (STATUS, AGENT_STATE, ARCHIVE_STATE))
    script = f"for file in {files}; do cat $file 2>/dev/null || echo '{{}}'; echo; done"
    try:
        answer = subprocess.run(
            ["docker", "exec", agent_container(inventory.stack), "sh", "-c", script],
            capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS,
        )  # fmt: skip
        noted = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    except subprocess.TimeoutExpired:
        return BackupHealth("unknown", (f"the backup agent of {inventory.stack} did not answer within {ANSWER_SECONDS:g} s",))
    except (OSError, ValueError):
        noted = []
    status, agent, archive = noted if len(noted) == 3 else (None, None, None)
    return judge(settings, status, agent, archive, datetime.now(UTC), inventory.stack)


def judge(
    settings: BackupSettings, status: Mapping[str, Any] | None, agent: Mapping[str, Any] | None,
    archive: Mapping[str, Any] | None, now: datetime, stack: str,
) -> BackupHealth:  # fmt: skip
    """`status` is what jobs noted, `agent` what the agent is about to do, `archive` how far it is; None when its container does
    not answer."""
    if agent is None or status is None:
        return BackupHealth("unknown", (f"the backup agent of stack {stack} does not run; `make up STACK={stack}` starts it",))
    problems, hints = [], []
    success, failure = status.get("last_success"), status.get("last_failure")
    parts = [f"last {success['id']}, {age(now, success['at'])} old" if success else "none yet"]
    if settings.point_in_time:
        how_far, wrong = _archived(settings, archive or {}, now)
        parts.append(how_far)
        problems += wrong
    if agent.get("next"):
        parts.append(f"next {datetime.fromisoformat(agent['next']).isoformat(timespec='minutes')}")
    if failure:
        problems.append(f"the last backup failed {age(now, failure['at'])} ago: {failure['reason']}")
    limit = settings.objectives.rpo_seconds
    if success and is_ahead(datetime.fromtimestamp(success["at"], UTC), now):
        problems.append(f"the clock went back: {success['id']} is dated later than now; scripts/backup.py create --stack {stack}")
    if limit and success and now.timestamp() - success["at"] > limit:
        problems.append(f"the newest backup is {age(now, success['at'])} old, backup.objectives.rpo_seconds is {limit:g}")
    told, overdue = _rehearsal(settings, status.get("last_rehearsal"), now)
    parts += told
    problems += [f"{why}: run scripts/backup.py rehearse --stack {stack}" for why in overdue]
    for kind in ("verification", "rehearsal"):
        last = status.get(f"last_{kind}")
        if last and last["state"] != "passed":
            problems.append(f"the last {kind} failed: {last['reason']}")
    if success and not status.get("exported"):
        hints.append(f"nobody can read the backups without this machine: scripts/backup.py export-key --stack {stack}")
    return BackupHealth(", ".join(parts), tuple(problems), tuple(hints))


def _archived(settings: BackupSettings, archive: Mapping[str, Any], now: datetime) -> tuple[str, list[str]]:
    """How far the archive is, and what is wrong with it."""
    problems = [f"archive: {problem}" for problem in archive.get("problems", ())]
    until = archive.get("current_until", 0.0)
    if not until:
        return "archive not open yet", [*problems, "no second can be restored yet, as far as the backup agent knows"]
    lag, limit = max(0.0, now.timestamp() - until), settings.objectives.lag_seconds
    if lag > limit:
        problems.append(f"the archive trails by {lag:.0f} s, backup.objectives.lag_seconds is {limit:g}")
    since = datetime.fromtimestamp(archive["restorable"][0], UTC).isoformat(timespec="seconds") if archive["restorable"] else "?"
    return f"archived from {since} without a gap until {lag:.1f} s ago", problems


def _rehearsal(
    settings: BackupSettings, rehearsed: Mapping[str, Any] | None, now: datetime
) -> tuple[list[str], list[str]]:  # fmt: skip
    """When the next rehearsal is due, and why it should have been before. One that failed is a problem of its own."""
    last = f"the last rehearsal is {age(now, rehearsed['at'])} old" if rehearsed else "no backup was ever rehearsed"
    told, overdue = [], []
    if settings.rehearsal:
        due = rehearsal_due(settings.rehearsal, settings.zone, rehearsed["at"] if rehearsed else None, now)
        words = due.isoformat(timespec="minutes") if due else "now"
        told.append(f"rehearsal due {words}")
        if due is None or due + REHEARSAL_GRACE < now:
            overdue.append(f"{last}, backup.rehearsal is {settings.rehearsal!r}")
    hours = settings.objectives.rehearsal_hours
    if hours is not None and not (rehearsed and now.timestamp() - rehearsed["at"] <= hours * 3600):
        overdue.append(f"{last}, backup.objectives.rehearsal_hours is {hours:g}")
    return told, overdue


def age(now: datetime, moment: float) -> str:
    """Time since a moment for people: '45 s', '3 h'."""
    seconds = max(0.0, now.astimezone(UTC).timestamp() - moment)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
