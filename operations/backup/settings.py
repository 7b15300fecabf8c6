"""The `backup:` section of a spec, carried by the inventory: what is backed up when, into which repository, kept for how long."""

import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from operations.sizes import MIB, Bytes

VOLUME = "volume"
"""The repository of a stack that names none: a Docker volume of its own, which `pulumi destroy` leaves alone."""
REST = "rest:"
SFTP = "sftp:"
REMOTE = ("s3:", REST, SFTP, "azure:", "b2:")
ARCHIVE_FOLDER = "point-in-time"
_LOGIN = re.compile(r"//[^/@]*:[^/@]*@")
_ANY_MOMENT = datetime(2026, 1, 1)


def _cron(value: str) -> str:
    try:
        CronSim(value, _ANY_MOMENT)
    except CronSimError as error:
        raise ValueError(
            f"is no cron expression ({error}); write minute, hour, day, month, weekday, for example '0 3 * * *'"
        ) from None
    return value


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("is no time zone; write for example UTC or Europe/Berlin")
    return value


def _place(value: str) -> str:
    if value == VOLUME:
        return value
    if value.startswith(REMOTE):
        if _LOGIN.search(value):
            raise ValueError(
                "holds a password; leave it out and store it: scripts/backup.py secret RESTIC_REST_PASSWORD (its value on stdin)"
            )
        return value
    if not value.startswith("/"):
        raise ValueError(
            f"is no repository; use {VOLUME}, an absolute path on the Docker host, or a remote one as restic writes it: "
            "s3:https://host/bucket, rest:https://host:8000/, sftp:user@host:/path, azure:container:/, b2:bucket"
        )
    return value


def beside(place: str) -> str:
    """Where the archive of points in time lies: a repository of its own in a folder of that of the backups."""
    if place.startswith("b2:") and ":" not in place.removeprefix("b2:"):
        return f"{place}:{ARCHIVE_FOLDER}"
    return f"{place}{'' if place.endswith(('/', ':')) else '/'}{ARCHIVE_FOLDER}" + ("/" if place.startswith(REST) else "")


RepositoryPlace = Annotated[str, AfterValidator(_place)]
Cron = Annotated[str, AfterValidator(_cron)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Retention(_Section):
    """Which backups are kept. A backup that any rule keeps is kept, and always the last one that was verified."""

    last: int = Field(7, ge=1, le=10_000, description="the newest so many")
    hourly: int = Field(0, ge=0, le=10_000, description="the last of each hour, for so many hours that have one")
    daily: int = Field(7, ge=0, le=10_000, description="the last of each day, for so many days that have one")
    weekly: int = Field(4, ge=0, le=10_000, description="the last of each ISO week, for so many weeks that have one")
    monthly: int = Field(6, ge=0, le=10_000, description="the last of each month, for so many months that have one")
    window_hours: int = Field(
        0, ge=0, le=87_600, description="every backup that is not older than so many hours, and the one before them"
    )
    point_in_time_hours: int = Field(168, ge=1, le=87_600, description="how far back the seconds reach that can be restored")


class BackupObjectives(_Section):
    """What backups promise; `status`, rehearsals and drills are held to it."""

    rpo_seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="age that the newest complete backup may reach; default: not checked"
    )
    rto_seconds: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="time that a rehearsal may take until writes are accepted; default: not checked",
    )
    rehearsal_hours: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="age that the last rehearsal that passed may reach; default: not checked",
    )
    lag_seconds: float = Field(
        15, gt=0, allow_inf_nan=False, description="with point_in_time: how far the archive in the repository may trail"
    )


class BackupSettings(_Section):
    """Backups of one stack. Without a schedule they are made when somebody asks for one."""

    schedule: Cron | None = Field(None, description="when backups are made, as cron writes it; default: only when asked for")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="time zone of the schedules and of days, weeks, months"
    )
    rehearsal: Cron | None = Field(
        None, description="when a backup is rehearsed by `scripts/backup.py rehearse --if-due`, as cron writes it"
    )
    repository: RepositoryPlace = Field(
        VOLUME,
        description="volume (a Docker volume of the stack's own), a path of its host, s3:…, rest:…, sftp:…, azure:… or b2:…",
    )
    source: Literal["replica", "primary"] = Field(
        "replica", description="which node of a shard is read; a shard without a replica in sync is read from its primary"
    )
    max_lag_seconds: int = Field(
        10, ge=1, le=3600, description="a replica that heard nothing of its primary for longer is not read"
    )
    pause_milliseconds: int = Field(
        0, ge=0, le=60_000, description="longest pause of writes for one cut through all shards; 0: no pause, the skew is stated"
    )
    rate_limit: Annotated[Bytes, Field(ge=MIB)] | None = Field(
        None,
        description="most that is read in a second for a backup, of all shards together, for example 40mb; default: no limit",
    )
    point_in_time: bool = Field(
        False, description="archive all that is written at once, so that any second can be restored; needs append-only files"
    )
    retention: Retention = Retention()
    objectives: BackupObjectives = BackupObjectives()

    @property
    def is_remote(self) -> bool:
        return self.repository.startswith(REMOTE)

    @property
    def needs_agent(self) -> bool:
        """Whether something has to be done without anybody asking."""
        return self.schedule is not None or self.point_in_time

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)
