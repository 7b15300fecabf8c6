"""When the next backup and the next rehearsal are due. Pure; cron expressions and daylight saving as cronsim has them."""

from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

CLOCK_SLACK = timedelta(minutes=1)
REHEARSAL_GRACE = timedelta(hours=2)
"""A rehearsal that is due for longer is overdue: whoever runs `rehearse --if-due` every hour has come by."""


def next_after(cron: str, zone: tzinfo, moment: datetime) -> datetime:
    """The first time after `moment` that the expression names, in `zone`."""
    return next(CronSim(cron, moment.astimezone(zone)))


def served_until(noted: datetime | None, now: datetime) -> datetime:
    """Up to when the schedule was followed: what was noted, or now at the very first start and when the clock went back."""
    return now if noted is None or is_ahead(noted, now) else noted


def is_due(cron: str, zone: tzinfo, served: datetime, now: datetime) -> bool:
    """Whether a time of the schedule has passed that was not followed yet; several that were missed count as one."""
    return next_after(cron, zone, served) <= now


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Whether something is noted that has not come yet: the clock went back since."""
    return moment > now + CLOCK_SLACK


def rehearsal_due(cron: str, zone: tzinfo, last: float | None, now: datetime) -> datetime | None:
    """When a rehearsal is due after the last one (Unix time), whether that passed or not; None: at once, there was none, or
    the clock went back since."""
    rehearsed = datetime.fromtimestamp(last, UTC) if last is not None else None
    return None if rehearsed is None or is_ahead(rehearsed, now) else next_after(cron, zone, rehearsed)
