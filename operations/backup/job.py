"""The main of a container that works on a stack's repository: reads what to do from standard input, tells events as JSON lines.

One job at a time changes anything; the lock is the kernel's, so it ends with its job.
"""

import base64
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from operations.archive.agent import archive_repository
from operations.archive.job import ARCHIVE, OWNER
from operations.archive.store import Store
from operations.backup import chores
from operations.backup.catalogue import Entry, find
from operations.backup.create import create, create_patiently
from operations.backup.fetch import Wanted, discard, fetch, swap
from operations.backup.locks import present, release
from operations.backup.session import BEGUN, HALFWAY, Home, Session, ensure_password
from operations.errors import Busy, CheckFailed, ExitCode, ToolkitError

END_SECONDS = 5.0
"""After an interruption. The container ends with this process, and restic with the container."""
_WORD = threading.Event()
"""Set when whoever asked says that a job that is halfway may go on."""


def stand_back() -> None:
    """From now on this thread, and what it starts, gives its processor up to whoever else wants one: servers, clients.

    A small share for the container alone does not do that: a server that wakes up would still wait for the end of a slice. Where
    nobody else works it costs nothing (decision 0185); whoever wants more consideration sets `backup.rate_limit`.
    """
    with contextlib.suppress(OSError):  # not every engine lets a container choose
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def do_create(session: Session) -> dict[str, Any]:
    access = session.access()
    stand_back()
    with session.home.lock("create"), ThreadPoolExecutor(1) as beside:
        before = session.home.next_id()
        if not ensure_password(session):
            session.repository.init()
        else:
            release(session)
        # While the snapshots are taken, because it opens the repository too, which takes long; and not at all when the last run
        # ended well: it left nothing. A home without a note may be new, and its repository old.
        known = beside.submit(session.entries if session.home.status().get(BEGUN, True) else list)
        session.home.note(**{BEGUN: True})
        try:
            users = dict(session.told.get("users", {}))
            made = create_patiently(
                lambda: create(access, session.settings, users, session.repository, session.home.next_id(), session.report),
                session.report,
            )
        except ToolkitError as error:
            session.home.note(last_failure={"at": time.time(), "reason": str(error)})
            raise
        session.home.note(last_success={"at": made.ended, "id": made.id}, last_failure=None)
        try:
            _sweep(session, debris(known.result(), before))
            session.home.note(**{BEGUN: False})
        except ToolkitError as error:  # the backup is made, and the next run sweeps
            session.report({"event": "not swept", "reason": str(error)})
    return made.model_dump(mode="json")


def debris(known: Iterable[Entry], before: str) -> list[str]:
    """The snapshots of runs that were cut off, of all that began before the name `before`. Pure."""
    return [one for entry in known if entry.state == "unfinished" and entry.id < before for one in entry.snapshots]


def _sweep(session: Session, snapshots: Sequence[str]) -> None:
    """Remove the snapshots of runs that were cut off; with the lock held, none is still going on."""
    if snapshots:
        release(session)
        session.repository.run("forget", *snapshots)
        session.report({"event": "swept", "snapshots": len(snapshots)})


def do_list(session: Session) -> list[dict[str, Any]]:
    return [_row(session, entry) for entry in session.entries()]


def _row(session: Session, entry: Entry) -> dict[str, Any]:
    manifest, reason = None, "the run was cut off, or is still going on"
    try:
        if manifest := session.manifest(entry):
            reason = manifest.reason or ""
    except CheckFailed as error:  # the others are listed all the same
        reason = str(error)
    damage = session.damage(entry)
    return {
        "id": entry.id,
        "state": "damaged" if damage else entry.state,
        "at": entry.at.isoformat(),
        "verified": entry.verified.isoformat() if entry.verified else None,
        "rehearsed": entry.rehearsed.isoformat() if entry.rehearsed else None,
        "digest": manifest.digest["digest"] if manifest and manifest.digest else None,
        "shards": manifest.shard_count if manifest else None,
        "keys": manifest.keys if manifest else None,
        "bytes": manifest.bytes if manifest else None,
        "skew_seconds": manifest.skew_seconds if manifest else None,
        "consistent": manifest.consistent if manifest else None,
        "engine": f"{manifest.engine} {manifest.version}" if manifest else None,
        "topology": manifest.topology if manifest else None,
        "reason": damage or reason or None,
    }


def do_show(session: Session) -> dict[str, Any]:
    return session.found(str(session.told["backup"])).model_dump(mode="json")


def do_exchange(session: Session) -> None:
    """Bring files onto the volumes of nodes, which are mounted below `fetch.TARGETS`; when the word comes that the nodes are
    stopped, put them in the place of what was there."""
    session.require_repository()
    wanted = [Wanted.of(told) for told in session.told["wanted"]]
    fetch(session.repository, wanted, bool(session.told["aof"]), session.report)
    try:
        session.report({"event": HALFWAY})
        _WORD.wait()
    except BaseException:
        discard([one.node for one in wanted])
        raise
    swap([one.node for one in wanted], session.told["emptied"], str(session.told["mark"]))


def do_dump(session: Session) -> None:
    """Tell a file of the repository, in pieces."""
    session.require_repository()
    for chunk in session.repository.read(str(session.told["snapshot"]), str(session.told["file"])):
        session.report({"event": "chunk", "data": base64.b64encode(chunk).decode()})


def do_secret(session: Session) -> dict[str, Any]:
    home = session.home
    with home.lock("secret"):
        before = home.password(), home.all_secrets()
        home.store_secret(str(session.told["name"]), str(session.told["value"]))
        if before != (home.password(), home.all_secrets()):
            home.note(exported=None)  # a key from before does not open the repository any more
    return {"stored": session.told["name"]}


def do_verify(session: Session) -> dict[str, Any]:
    return chores.verify(session, str(session.told["backup"]))


def do_check(session: Session) -> list[dict[str, Any]]:
    return chores.check(session, bool(session.told["read_data"]))


def do_prune(session: Session) -> list[dict[str, Any]]:
    return chores.prune(session, bool(session.told["dry_run"]))


def do_record(session: Session) -> dict[str, Any]:
    """Note in the catalogue how a verification or rehearsal of a backup ended."""
    entry = find(session.entries(), str(session.told["backup"]))
    with contextlib.suppress(Busy), session.home.lock("record"):  # whoever is at work has done so
        release(session)
    chores.record(session, entry, str(session.told["kind"]), str(session.told["state"]), dict(session.told["content"]))
    return {"id": entry.id}


def do_status(session: Session) -> dict[str, Any]:
    """What happened last: times and ids, nothing secret."""
    return session.home.status()


def do_export(session: Session) -> dict[str, Any]:
    return {"key": chores.export_key(session, str(session.told["passphrase"]))}


def do_import(session: Session) -> dict[str, Any]:
    return chores.import_key(session, str(session.told["key"]), str(session.told["passphrase"]), bool(session.told["replace"]))


def do_archive(session: Session) -> list[dict[str, Any]]:
    """All that is archived."""
    session.require_password()
    return [asdict(one) for one in Store(archive_repository(session), session.stack).load().archives.values()]


def do_moment(session: Session) -> None:
    """Write the files of a moment onto the volume that is mounted as the archive, for the user of scratch servers."""
    session.require_password()
    store = Store(archive_repository(session), session.stack)
    wanted = {str(name): int(size) for name, size in session.told["wanted"].items()}
    store.fetch_moment(wanted, session.told["bases"], ARCHIVE, lambda text: session.report({"event": "phase", "text": text}))
    for path in (ARCHIVE, *ARCHIVE.rglob("*")):
        os.chown(path, OWNER, OWNER)
        path.chmod(0o700 if path.is_dir() else 0o600)


COMMANDS: dict[str, Callable[[Session], Any]] = {
    "create": do_create, "list": do_list, "show": do_show, "secret": do_secret, "exchange": do_exchange,
    "dump": do_dump, "verify": do_verify,
    "check": do_check, "prune": do_prune, "record": do_record, "status": do_status, "export": do_export, "import": do_import,
    "archive": do_archive, "moment": do_moment,
}  # fmt: skip

LOCKING = {"create", "verify", "check", "prune", "record"}
"""What locks the repository."""


def main() -> None:
    """Read one request, carry it out, tell the result. Ends early when standard input ends: nobody listens any more."""
    told = json.loads(sys.stdin.buffer.readline())
    lock = threading.Lock()

    def report(event: dict[str, object]) -> None:
        with lock:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_follow_stdin, daemon=True).start()
    try:
        session = Session(told, Home(), report)
        with present(session.home) if told["do"] in LOCKING else contextlib.nullcontext():
            report({"event": "result", "value": COMMANDS[told["do"]](session)})
    except ToolkitError as error:
        report({"event": "error", "message": str(error), "code": int(error.exit_code)})
    except KeyboardInterrupt:
        report({"event": "error", "message": "interrupted", "code": int(ExitCode.INTERRUPTED)})


def _interrupt(_number: int, _frame: object) -> None:
    """End in order, or soon: who waits for a restic that waits for a repository would hold the lock for a quarter of an hour."""
    end = threading.Timer(END_SECONDS, os._exit, (int(ExitCode.INTERRUPTED),))
    end.daemon = True
    end.start()
    raise KeyboardInterrupt


def _follow_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1 << 16):
        _WORD.set()
    os.kill(os.getpid(), signal.SIGTERM)
