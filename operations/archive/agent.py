"""The part of a stack's backup agent that archives: one thread follows the append-only files, two bring them into the repository.

A failure is noted and tried again. A thread that breaks ends the process, and Docker starts the container anew: what was stored
stands in the repository, and what was not on the volume.
"""

import json
import os
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from operations.archive.job import ARCHIVE, Archiver, locked
from operations.archive.store import Store
from operations.archive.upload import Uploader
from operations.backup.restic import Repository
from operations.backup.session import LOCAL, Session, ensure_password
from operations.backup.settings import beside
from operations.errors import ExitCode, ToolkitError

STATE = "archive.json"
"""In the agent's home: what `status` tells of the archive."""
SPOOL = ARCHIVE / "agent"
"""Apart from the files of an archiver in the foreground, which belong to another user."""
FOLLOW_SECONDS = 0.5
STORE_SECONDS = 2.0
RETRY_SECONDS = 5.0
CACHE = "archive-cache"

Log = Callable[[dict[str, Any]], None]


def archive_repository(session: Session) -> Repository:
    """The archive's own repository, beside that of the backups and with the same password."""
    place = beside(session.settings.repository if session.settings.is_remote else LOCAL)
    return Repository(place, session.home.password_file, session.home.folder / CACHE, session.home.secrets)


def start(session: Session, log: Log) -> None:
    """Archive from now on, beside whatever else the agent does."""
    work = _Work(session, log)
    for lane in (work.follow, work.store, work.store_bases):
        threading.Thread(target=_whole, args=(lane,), name=lane.__name__, daemon=True).start()


def _whole(lane: Callable[[], None]) -> None:
    try:
        lane()
    except BaseException:
        traceback.print_exc()
        os._exit(ExitCode.BROKEN)


class _Work:
    """The three lanes, and what went wrong last in each."""

    def __init__(self, session: Session, log: Log) -> None:
        self._session, self._log = session, log
        self._access = session.access()
        self._problems: dict[str, list[str]] = {}
        self._uploader: Uploader | None = None
        self._slow = threading.Lock()
        self._known: dict[str, Any] = {"current_until": 0.0, "restorable": None}

    def follow(self) -> None:
        """Copy what the servers write onto the agent's volume."""
        archiver = Archiver(self._access, user="backup", folder=SPOOL)
        with locked():
            while True:
                began = time.monotonic()
                self._tell("nodes", archiver.step())
                time.sleep(max(0.0, began + FOLLOW_SECONDS - time.monotonic()))

    def store(self) -> None:
        """Bring what is new into the repository."""
        while True:
            began = time.monotonic()
            pause, more = STORE_SECONDS, False
            try:
                if self._uploader is None:
                    self._uploader = self._opened()
                more = self._uploader.step()
                self._known = {"current_until": self._uploader.current_until, "restorable": self._uploader.restorable()}
                self._tell("repository", self._uploader.problems())
                self._uploader.tidy()
            except (ToolkitError, OSError) as error:
                self._uploader = None
                self._tell("repository", [str(error)])
                pause = RETRY_SECONDS
            self._note()
            if not more:
                time.sleep(max(0.0, began + pause - time.monotonic()))

    def store_bases(self) -> None:
        """Bring bases into the repository, and keep its segments few."""
        while True:
            pause = STORE_SECONDS
            try:
                uploader = self._uploader
                if uploader is not None:
                    uploader.store_bases()
                self._tell("bases", [])
            except (ToolkitError, OSError) as error:
                self._tell("bases", [str(error)])
                pause = RETRY_SECONDS
            time.sleep(pause)

    def _opened(self) -> Uploader:
        home = self._session.home
        store = Store(archive_repository(self._session), self._session.stack)
        if home.password_file.exists():
            store.prepare()
        else:
            with home.lock("archive"):
                self._begin(store)
        shards = {node.name: node.shard for node in self._access.inventory.data_nodes}
        keep_seconds = self._session.settings.retention.point_in_time_hours * 3600
        return Uploader(store, SPOOL, shards, keep_seconds, self._slow)

    def _begin(self, store: Store) -> None:
        """Make a password that opens both repositories, and this one where there is none."""
        with self._session.home.ensured_password():
            ensure_password(self._session)
            store.prepare()

    def _tell(self, lane: str, problems: list[str]) -> None:
        if problems != self._problems.get(lane, []):
            self._log({"event": "archive", "lane": lane, "problems": problems})
        self._problems[lane] = problems

    def _note(self) -> None:
        """For `status`: up to when the repository is complete, and what is wrong."""
        problems = [problem for lane in list(self._problems.values()) for problem in lane]
        state = {"at": time.time(), **self._known, "problems": problems}
        self._session.home.write(STATE, json.dumps(state))
