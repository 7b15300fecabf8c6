"""What a job works with: the folder that outlives the containers of a stack's backups, and the request that it was given."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from operations.backup.catalogue import Entry, entries, find
from operations.backup.create import MANIFEST_FILE
from operations.backup.manifest import Manifest, make_id, taken_away
from operations.backup.restic import SSH_KEY, SSH_KNOWN_HOSTS, Repository
from operations.backup.settings import BackupSettings
from operations.errors import Busy, CheckFailed, InvalidInput, ToolkitError, Unreachable
from operations.inventory import Access, Credentials, Inventory

HOME = Path("/backup")
LOCAL = "/repository"
HALFWAY = "halfway"
"""The event of a job that has prepared everything and waits for a word before it changes anything."""
BEGUN = "begun"
"""In what happened last: whether a run began and did not end well, or is going on, so that it may have left something."""
PASSWORD = "password"  # noqa: S105 - a file's name
PASSWORD_BYTES = 32
SECRETS_FILE = "secrets.json"
STATUS = "status.json"
AGENT_STATE = "agent.json"
"""What the agent is about to do; apart from what jobs note, so that neither overwrites the other."""
SECRET_NAMES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "RESTIC_REST_USERNAME",
    "RESTIC_REST_PASSWORD", "AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY", "GOOGLE_PROJECT_ID", "B2_ACCOUNT_ID", "B2_ACCOUNT_KEY",
)  # fmt: skip
FILE_SECRETS = {"SSH_KEY": SSH_KEY, "SSH_KNOWN_HOSTS": SSH_KNOWN_HOSTS}
"""Secrets of several lines, which SSH reads from files (SFTP)."""


class Home:
    """The folder that outlives the containers of a stack's backups."""

    def __init__(self, folder: Path = HOME) -> None:
        self.folder = folder

    @property
    def password_file(self) -> Path:
        return self.folder / PASSWORD

    def password(self) -> str | None:
        """The repository's password, or None."""
        return self.password_file.read_text() if self.password_file.exists() else None

    def secrets(self) -> dict[str, str]:
        """Further secrets by the name under which restic expects them."""
        return self.read(SECRETS_FILE)

    def all_secrets(self) -> dict[str, str]:
        """Those of `secrets`, and those that are files, by their names."""
        files = {name: self.folder / file for name, file in FILE_SECRETS.items()}
        return {**self.secrets(), **{name: file.read_text() for name, file in files.items() if file.exists()}}

    def store_secret(self, name: str, value: str) -> None:
        """Keep a secret; raises InvalidInput for one that nobody would read."""
        if name in FILE_SECRETS and value.strip():
            self.write(FILE_SECRETS[name], value.strip() + "\n")
            return
        if not value.strip() or "\n" in value.strip():
            raise InvalidInput(f"the value of {name} has to be one line on standard input, and not empty")
        if name == PASSWORD:
            self.write(PASSWORD, value.strip())
        elif name in SECRET_NAMES:
            self.write(SECRETS_FILE, json.dumps({**self.secrets(), name: value.strip()}))
        else:
            raise InvalidInput(f"there is no secret {name}; use one of {', '.join((PASSWORD, *SECRET_NAMES, *FILE_SECRETS))}")

    @contextlib.contextmanager
    def ensured_password(self) -> Iterator[None]:
        """Make a password when there is none yet, and do not keep it when what is tried with it within the context fails.

        A repository that was there already is then somebody else's. Call it with a lock held.
        """
        fresh = not self.password_file.exists()
        if fresh:
            self.write(PASSWORD, secrets.token_hex(PASSWORD_BYTES))
        try:
            yield
        except ToolkitError:
            if fresh:
                self.password_file.unlink()
            raise

    def status(self) -> dict[str, Any]:
        """What happened last: times and ids, nothing secret."""
        return self.read(STATUS)

    def note(self, **what: object) -> None:
        """Add to what happened last."""
        self.write(STATUS, json.dumps({**self.status(), **what}))

    def next_id(self) -> str:
        """The name of a backup that begins now. Call it with the lock held."""
        known = self.status()
        name = make_id(time.time(), known.get("last_id") or (known.get("last_success") or {}).get("id"))
        self.note(last_id=name)
        return name

    def read(self, name: str) -> dict[str, Any]:
        """A file of JSON; empty when there is none, or half a one of a machine that lost power."""
        try:
            found = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, text: str) -> None:
        """A file, whole or not at all, for its owner alone."""
        target = self.folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)

    @contextlib.contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Nobody else changes the repository meanwhile; raises Busy naming who does."""
        with (self.folder / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise Busy(
                    f"another job is at work on these backups ({file.read() or 'unknown'}); try again when it has ended"
                ) from None
            file.seek(0)
            file.truncate()
            file.write(what)
            file.flush()
            yield


class Session:
    """One request: the stack it is about, the way into its repository, and where events go."""

    def __init__(self, told: Mapping[str, Any], home: Home, report: Callable[[dict[str, object]], None]) -> None:
        self.told = told
        self.home = home
        self.report = report
        self.stack = str(told["stack"])
        self.settings = BackupSettings.model_validate(told["settings"])
        place = self.settings.repository if self.settings.is_remote else LOCAL
        self.repository = Repository(place, home.password_file, home.folder / "cache", home.secrets)

    def access(self) -> Access:
        """The running stack; raises Unreachable when the request came without one."""
        if not self.told.get("inventory"):
            raise Unreachable(f"stack {self.stack} is not up; run `make up STACK={self.stack}`")
        inventory = Inventory.model_validate(self.told["inventory"])
        return Access(inventory=inventory, credentials=Credentials.of(self.told["passwords"]))

    def require_password(self) -> None:
        """Raises Unreachable when this stack has no password, so that restic would only say that a file is missing."""
        if not self.home.password_file.exists():
            raise Unreachable(
                f"stack {self.stack} has no backup yet: there is no repository password. `scripts/backup.py create` makes one; "
                "for a repository that exists, store its password first: scripts/backup.py secret password"
            )

    def require_repository(self) -> None:
        """Raises Unreachable without a password, and when a repository elsewhere does not answer: restic itself would try for a
        quarter of an hour."""
        self.require_password()
        if self.settings.is_remote:
            self.repository.exists()

    def entries(self) -> list[Entry]:
        self.require_repository()
        return entries(self.repository.snapshots(stack=self.stack), self.stack)

    def manifest(self, entry: Entry, anew: Repository | None = None) -> Manifest | None:
        """The manifest of a backup with its digest where it has one; None for one without a manifest. It is read from the
        repository `anew`, or from what is kept here of it. Raises CheckFailed for one that is damaged."""
        if entry.manifest is None:
            return None
        read = anew.read_text if anew else self._text
        found = Manifest.model_validate_json(read(entry.manifest, MANIFEST_FILE))
        if entry.digest is None:
            return found
        return found.model_copy(update={"digest": json.loads(read(entry.digest, "digest.json"))})

    def damage(self, entry: Entry) -> str:
        """Why nobody should rely on a complete backup: its manifest cannot be read, shards of it are gone, its last verification
        failed. Empty when nothing is known against it."""
        if not entry.is_restorable:
            return ""
        try:
            found = self.manifest(entry)
        except CheckFailed as error:
            return str(error)
        assert found is not None  # noqa: S101 - restorable ones have one
        missing = "; ".join(taken_away(found, entry.snapshots))
        return missing or ("its last verification failed; verify it again to see why" if entry.is_refuted else "")

    def _text(self, snapshot: str, file: str) -> str:
        """A small file of the repository; entries never change, so each is read once."""
        cached = self.home.folder / "manifests" / f"{snapshot}.json"
        if not cached.exists():
            self.home.write(f"manifests/{snapshot}.json", self.repository.read_text(snapshot, file))
        return cached.read_text()

    def found(self, name: str) -> Manifest:
        """The manifest of a restorable backup; raises CheckFailed when the repository has not all of its shards."""
        entry = find(self.entries(), name)
        found = self.manifest(entry)
        assert found is not None  # noqa: S101 - restorable ones have one
        if missing := taken_away(found, entry.snapshots):
            raise CheckFailed("; ".join(missing) + "; nothing was touched")
        return found


def ensure_password(session: Session) -> bool:
    """Make a password when there is none yet; says whether there is a repository that it opens. Call it with the lock held.

    Raises Unreachable for a repository of somebody else's: a password that was just made is not for it, and is not kept.
    A repository on a volume or in a folder, with a password from before, is not opened to find that out: that costs restic more
    than half a second, and whoever works on it then opens it anyway.
    """
    if session.home.password_file.exists() and not session.settings.is_remote:
        return session.repository.is_laid_out()
    with session.home.ensured_password():
        return session.repository.exists()
