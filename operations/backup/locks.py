"""Locks that jobs of this stack left in the repository when they were killed: taken away by the next job.

restic writes host and process into a lock, and takes away those of its own host whose process is gone. Every job has a container,
and so a host, of its own: restic would wait until such a lock is 30 minutes old. So each job that may lock the repository holds
a file named like its host, in the folder that outlives the jobs; the kernel lets go of it when the job ends, however it ends.
A lock whose host has a file that nobody holds is nobody's any more. A host without a file is somebody else: only its age tells.
"""

import base64
import contextlib
import fcntl
import socket
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from operations.backup.restic import REACH_SECONDS, Repository
from operations.backup.session import Home, Session
from operations.backup.settings import REST

HOSTS = "hosts"


@contextlib.contextmanager
def present(home: Home, host: str | None = None) -> Iterator[None]:
    """Everybody sees meanwhile that the job of this host (default: this one) lives. Its file stays, until `release` finds it."""
    name = host or socket.gethostname()
    (home.folder / HOSTS).mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=home.folder, prefix=f".{name}.", delete=False) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Path(held.name).replace(home.folder / HOSTS / name)  # nobody sees it before it is held
        yield


def ended(home: Home) -> set[str]:
    """The hosts of jobs that have ended since `release` was called last."""
    found = set()
    for file in (home.folder / HOSTS).glob("*"):
        with file.open() as held, contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            found.add(file.name)
    return found


def release(session: Session) -> None:
    """Take away the locks of jobs that have ended, and those that restic itself sees are stale.

    Call it with the home's lock held and while this job runs no restic: what has its own host is left from commands that were
    given up, or from a life of the agent's container before this one.
    """
    home, repository = session.home, session.repository
    gone = ended(home)
    left = repository.locks() if repository.may_be_locked() else {}
    there = len(left)
    for name, host in sorted(left.items()):
        if host in gone or host == socket.gethostname():
            try:
                is_gone = _take_away(repository, home.secrets(), name)
            except OSError as error:  # restic says who holds it, when it matters
                session.report({"event": "not unlocked", "reason": str(error)})
                continue
            if is_gone:
                del left[name]
    if len(left) < there:
        session.report({"event": "unlocked", "locks": there - len(left)})
    if left:
        repository.unlock()
    for host in gone - set(left.values()):
        (home.folder / HOSTS / host).unlink(missing_ok=True)


def _take_away(repository: Repository, secrets: Mapping[str, str], name: str) -> bool:
    """Remove one lock, for which restic has no command; False where that is not known how. Raises OSError."""
    if repository.place.startswith(REST):
        _delete(repository.place.removeprefix(REST), secrets, name)
    elif repository.is_laid_out():
        (Path(repository.place) / "locks" / name).unlink(missing_ok=True)
    else:
        return False
    return True


def _delete(place: str, secrets: Mapping[str, str], name: str) -> None:
    """https://restic.readthedocs.io/en/stable/REST_backend.html; an append-only server allows it for locks."""
    parts = urllib.parse.urlsplit(place)
    user = urllib.parse.unquote(parts.username or "") or secrets.get("RESTIC_REST_USERNAME", "")
    login = base64.b64encode(f"{user}:{secrets.get('RESTIC_REST_PASSWORD', '')}".encode()).decode()
    base = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    headers = {"Authorization": f"Basic {login}"} if user else {}
    request = urllib.request.Request(f"{base}/locks/{name}", method="DELETE", headers=headers)  # noqa: S310 - as restic takes it
    urllib.request.urlopen(request, timeout=REACH_SECONDS).close()  # noqa: S310
