"""What backups need of the rest of a spec."""

from collections.abc import Iterator

from topologies.render import TIMES_IN_FILES
from topologies.rules.ruling import Ruling, refuse, warn
from topologies.spec import Spec


def point_in_time(spec: Spec) -> Iterator[Ruling]:
    """Seconds are restored from append-only files with times in them."""
    path = "backup.point_in_time"
    if not spec.backup.point_in_time:
        return
    if not spec.uses_aof:
        reason = f"but with persistence.policy {spec.persistence.policy} there are no append-only files to archive"
        yield refuse(path, True, reason, "use persistence.policy aof or both, or remove it", "persistence.policy")
    if str(spec.parameters.get(TIMES_IN_FILES, "yes")).lower() in ("no", "false"):
        yield refuse(f"parameters.{TIMES_IN_FILES}", False, f"but {path} needs the times in the files", "remove it", path)


def rehearsal(spec: Spec) -> Iterator[Ruling]:
    """Who does not make backups by themselves has no agent that knows what became of rehearsals."""
    if spec.backup.rehearsal and not spec.backup.needs_agent:
        yield warn(
            "backup.rehearsal",
            spec.backup.rehearsal,
            "but without backup.schedule there is no agent, so `status` cannot tell when it is overdue",
            "set backup.schedule too",
            "backup.schedule",
        )
