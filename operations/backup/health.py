"""Whether a stack's backups are as promised, from what its agent and jobs noted. Pure but for `look_at_backups`."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operations.backup.launch import agent_container
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
    files = " ".join(f"{HOME}/{name}" for name in (STATUS, AGENT_STATE))
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
    status, agent = noted if len(noted) == 2 else (None, None)
    return judge(settings, status, agent, datetime.now(UTC), inventory.stack)


def judge(
    settings: BackupSettings, status: Mapping[str, Any] | None, agent: Mapping[str, Any] | None, now: datetime, stack: str
) -> BackupHealth:
    """`status` is what jobs noted, `agent` what the agent is about to do; None when its container does not answer."""
    if agent is None or status is None:
        return BackupHealth("unknown", (f"the backup agent of stack {stack} does not run; `make up STACK={stack}` starts it",))
    problems, hints = [], []
    success, failure = status.get("last_success"), status.get("last_failure")
    parts = [f"last {success['id']}, {age(now, success['at'])} old" if success else "none yet"]
    if agent.get("next"):
        parts.append(f"next {datetime.fromisoformat(agent['next']).isoformat(timespec='minutes')}")
    if failure:
        problems.append(f"the last backup failed {age(now, failure['at'])} ago: {failure['reason']}")
    limit = settings.objectives.rpo_seconds
    if limit and success and now.timestamp() - success["at"] > limit:
        problems.append(f"the newest backup is {age(now, success['at'])} old, backup.objectives.rpo_seconds is {limit:g}")
    if overdue := _overdue(settings, status.get("last_rehearsal"), now):
        problems.append(f"{overdue}: run scripts/backup.py rehearse --stack {stack}")
    for kind in ("verification", "rehearsal"):
        last = status.get(f"last_{kind}")
        if last and last["state"] != "passed":
            problems.append(f"the last {kind} failed: {last['reason']}")
    if success and not status.get("exported"):
        hints.append(f"nobody can read the backups without this machine: scripts/backup.py export-key --stack {stack}")
    return BackupHealth(", ".join(parts), tuple(problems), tuple(hints))


def _overdue(settings: BackupSettings, rehearsed: Mapping[str, Any] | None, now: datetime) -> str | None:
    """Why it is time for a rehearsal, or None. One that failed is a problem of its own."""
    hours = settings.objectives.rehearsal_hours
    if hours is None or (rehearsed and now.timestamp() - rehearsed["at"] <= hours * 3600):
        return None
    last = f"the last rehearsal is {age(now, rehearsed['at'])} old" if rehearsed else "no backup was ever rehearsed"
    return f"{last}, backup.objectives.rehearsal_hours is {hours:g}"


def age(now: datetime, moment: float) -> str:
    """Time since a moment for people: '45 s', '3 h'."""
    seconds = max(0.0, now.astimezone(UTC).timestamp() - moment)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
