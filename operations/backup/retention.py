"""Which backups are kept and why: a report that deletes nothing. Pure; `job.do_prune` acts on it.

As restic's own rules: of every hour, day, ISO week and month the last backup counts, for as many of them as have one. Whatever
the rules say, the newest complete backup and the last verified one stay. Damaged ones count for nothing, so that no good one goes
because of them; they stay until a newer one was verified.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from operations.backup.catalogue import Entry
from operations.backup.settings import Retention


@dataclass(frozen=True)
class Judged:
    """One backup of the report. `reasons` say why it is kept, or why not."""

    entry: Entry
    keep: bool
    reasons: tuple[str, ...]


_PERIODS: tuple[tuple[str, Callable[[datetime], object]], ...] = (
    ("hourly", lambda at: (at.date(), at.hour, at.utcoffset())),
    ("daily", lambda at: at.date()),
    ("weekly", lambda at: at.isocalendar()[:2]),
    ("monthly", lambda at: (at.year, at.month)),
)


def report(
    entries: Iterable[Entry], retention: Retention, zone: tzinfo, now: datetime, damaged: Collection[str] = ()
) -> list[Judged]:  # fmt: skip
    """Judge every backup, in the order of their names: that in which they were made, whatever the clock did. Days and the like
    are those of `zone`; `damaged` names complete ones that are worth nothing."""
    known = sorted(entries, key=lambda entry: entry.id)
    complete = [entry for entry in known if entry.is_restorable and entry.id not in damaged]
    kept: dict[str, list[str]] = {entry.id: [] for entry in known}
    for number, entry in enumerate(reversed(complete[-retention.last :]), start=1):
        kept[entry.id].append(f"last {number} of {retention.last}")
    for name, period in _PERIODS:
        for entry in _last_of_each(complete, lambda at, period=period: period(at.astimezone(zone)), getattr(retention, name)):  # type: ignore[misc]
            kept[entry.id].append(name)
    for entry in _window(complete, now - timedelta(hours=retention.window_hours)) if retention.window_hours else ():
        kept[entry.id].append(f"window of {retention.window_hours} h")
    if verified := last_verified(complete):
        kept[verified.id].append("last verified")
    newest = complete[-1].id if complete else None
    failed = [entry.id for entry in known if entry.state == "failed" and (newest is None or entry.id > newest)]
    worthless = {entry.id for entry in known if entry.is_restorable} & set(damaged)
    return [
        _judged_damaged(entry, verified) if entry.id in worthless else _judged(entry, kept[entry.id], failed[-1:])
        for entry in known
    ]


def last_verified(complete: Iterable[Entry]) -> Entry | None:
    """The newest backup that was proven to be readable: verified or rehearsed."""
    proven = [entry for entry in complete if entry.is_restorable and entry.is_proven]
    return max(proven, key=lambda entry: entry.id, default=None)


def _judged(entry: Entry, reasons: Sequence[str], failed: Sequence[str]) -> Judged:
    if entry.is_restorable:
        return Judged(entry, bool(reasons), tuple(reasons) or ("no rule keeps it",))
    if entry.id in failed:
        return Judged(entry, True, ("the latest attempt: no complete backup since",))
    return Judged(entry, False, (entry.state,))


def _judged_damaged(entry: Entry, verified: Entry | None) -> Judged:
    if verified is None or entry.id > verified.id:
        return Judged(entry, True, ("damaged, and no newer one was verified",))
    return Judged(entry, False, ("damaged",))


def _last_of_each(complete: Sequence[Entry], period: Callable[[datetime], object], count: int) -> list[Entry]:
    found: dict[object, Entry] = {}
    for entry in reversed(complete):
        key = period(entry.at)
        if key not in found and len(found) < count:
            found[key] = entry
    return list(found.values())


def _window(complete: Sequence[Entry], since: datetime) -> list[Entry]:
    """Those in the window, and the one before it: without that, the beginning of the window could not be restored."""
    inside = [entry for entry in complete if entry.at >= since]
    before = [entry for entry in complete if entry.at < since]
    return before[-1:] + inside
