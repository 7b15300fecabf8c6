"""Whether a stack's backups are as promised, from what its agent noted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operations.backup.settings import BackupSettings


@dataclass(frozen=True)
class BackupHealth:
    """`problems` turn `status` red; `hints` only remind; `summary` says what is known."""

    summary: str
    problems: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


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
    for kind in ("verification", "rehearsal"):
        last = status.get(f"last_{kind}")
        if last and last["state"] != "passed":
            problems.append(f"the last {kind} failed: {last['reason']}")
    if success and not status.get("exported"):
        hints.append(f"nobody can read the backups without this machine: scripts/backup.py export-key --stack {stack}")
    return BackupHealth(", ".join(parts), tuple(problems), tuple(hints))


def age(now: datetime, moment: float) -> str:
    """Time since a moment for people: '45 s', '3 h'."""
    seconds = max(0.0, now.astimezone(UTC).timestamp() - moment)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
