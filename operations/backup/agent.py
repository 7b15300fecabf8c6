"""The main of a stack's backup agent: makes a backup when the schedule says so, reads it back, and prunes.

It runs in a container of its own that `pulumi up` provides. What it needs comes through the configuration volume: when that
changes, it ends and Docker starts it anew. A backup that failed is tried again after a while; times that passed while it
was down are made up for once.
"""

import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from operations.archive import agent as archive
from operations.backup import chores
from operations.backup.catalogue import LATEST
from operations.backup.job import do_create
from operations.backup.locks import present
from operations.backup.schedule import is_due, next_after, served_until
from operations.backup.session import AGENT_STATE, Home, Session
from operations.errors import Busy, CheckFailed, ToolkitError

FOLDER = Path("/config/backup")
REQUEST = "request.json"
CODE = "code.b64"
ALIVE = Path("/tmp/alive")  # noqa: S108 - the container's own
POLL_SECONDS = 5.0
RETRY = timedelta(minutes=5)


def main() -> None:
    """Follow the schedule, and archive, until the code or the request changes or the container stops."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # restic asks with it whether the process lives that a lock names: perhaps a number from before this container started anew.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    told = _told()
    session = Session(json.loads((FOLDER / REQUEST).read_text()), Home(), _log)
    if session.settings.point_in_time:
        archive.start(session, _log)
    not_before = datetime.now(UTC)
    with present(session.home):
        while _told() == told:
            ALIVE.touch()
            not_before = step(session, datetime.now(UTC), not_before, _backup)
            time.sleep(POLL_SECONDS)


def step(session: Session, now: datetime, not_before: datetime, backup: Callable[[Session], None]) -> datetime:
    """Look at the clock once and make the backup that is due; returns before when nothing is to be tried again."""
    cron, zone = session.settings.schedule, session.settings.zone
    if cron is None:
        return not_before
    noted = session.home.read(AGENT_STATE).get("served_until")
    served = served_until(datetime.fromisoformat(noted) if noted else None, now)
    if is_due(cron, zone, served, now) and now >= not_before:
        try:
            backup(session)
            served = now
        except ToolkitError as error:
            _log({"event": "failed", "reason": str(error)})
            if not isinstance(error, Busy):
                session.home.note(last_failure={"at": now.timestamp(), "reason": str(error)})
            not_before = now + RETRY
    state = {"served_until": served.isoformat(), "next": next_after(cron, zone, max(served, now)).isoformat()}
    if state != session.home.read(AGENT_STATE):
        session.home.write(AGENT_STATE, json.dumps(state))
    return not_before


def _backup(session: Session) -> None:
    """Make a backup, read it back, prune. One that is damaged is noted, which turns `status` red: others made at once would share
    what is damaged, and none is taken away then."""
    made = do_create(session)
    _log({"event": "created", "id": made["id"]})
    try:
        chores.verify(session, LATEST)
    except CheckFailed as error:
        _log({"event": "damaged", "reason": str(error)})
        return
    try:
        gone = [one["id"] for one in chores.prune(session, dry_run=False) if not one["keep"]]
    except Busy as error:  # somebody reads the repository; the next backup prunes
        _log({"event": "not pruned", "reason": str(error)})
        return
    _log({"event": "pruned", "ids": gone})


def _log(event: dict[str, Any]) -> None:
    if event.get("event") != "progress":
        print(datetime.now(UTC).isoformat(timespec="seconds"), json.dumps(event), flush=True)


def _told() -> str:
    return hashlib.sha256((FOLDER / CODE).read_bytes() + (FOLDER / REQUEST).read_bytes()).hexdigest()
