"""What is done with backups that exist: verified, checked, pruned; and the key that reads them without this machine."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from operations.archive.agent import archive_repository
from operations.archive.store import Store
from operations.archive.timeline import restorable
from operations.backup.catalogue import Entry, find
from operations.backup.create import shard_file, tags_of
from operations.backup.locks import release
from operations.backup.manifest import Manifest, ShardRecord, gaps, taken_away
from operations.backup.restic import Repository
from operations.backup.retention import report as retention_report
from operations.backup.schedule import is_ahead
from operations.backup.session import BEGUN, FILE_SECRETS, PASSWORD, SECRET_NAMES, Session
from operations.errors import CheckFailed, InvalidInput, ToolkitError

KEY_VERSION = 1
KEY_ROUNDS = "600000"
CIPHER = ("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-iter", KEY_ROUNDS, "-a", "-pass", "env:PASSPHRASE")
"""Plain OpenSSL, so that the key can be read where nothing of this toolkit is (docs/guide/backup.md)."""


def verify(session: Session, name: str) -> dict[str, Any]:
    """Read a backup back in full and compare every shard with its manifest; the outcome stands in the catalogue. What is kept
    here of the repository is left aside: a machine that has nothing of it must be able to read it.

    Raises CheckFailed naming what is damaged or missing.
    """
    began = time.time()
    repository = session.repository.without_cache()
    with session.home.lock("verify"):
        entry = find(session.entries(), name)
        release(session)
        try:
            manifest = session.manifest(entry, anew=repository)
            assert manifest is not None  # noqa: S101 - restorable ones have one
            there = {one.id for one in repository.snapshots(stack=session.stack, set=entry.id)}
            if missing := [*gaps(manifest), *taken_away(manifest, there)]:
                raise CheckFailed("; ".join(missing))
            for shard in manifest.shards:
                _verify_shard(session, repository, manifest, shard)
        except CheckFailed as error:
            record(session, entry, "verification", "failed", {"reason": str(error)})
            raise CheckFailed(f"backup {entry.id} is damaged: {error}") from None
        done = {"id": entry.id, "bytes": manifest.bytes, "seconds": time.time() - began}
        record(session, entry, "verification", "passed", done)
    return done


def _verify_shard(session: Session, repository: Repository, manifest: Manifest, shard: ShardRecord) -> None:
    digest, size = hashlib.sha256(), 0
    for chunk in repository.read(shard.snapshot, shard_file(shard.shard)):
        digest.update(chunk)
        size += len(chunk)
    if (size, digest.hexdigest()) != (shard.bytes, shard.sha256):
        raise CheckFailed(
            f"shard {shard.shard} of backup {manifest.id} (snapshot {shard.snapshot[:8]}) has {size} bytes with SHA-256 "
            f"{digest.hexdigest()[:16]}, the manifest says {shard.bytes} with {shard.sha256[:16]}"
        )
    session.report({"event": "verified", "shard": shard.shard, "bytes": size})


def record(session: Session, entry: Entry, kind: str, state: str, content: dict[str, Any]) -> None:
    """Note in the catalogue how a verification or rehearsal ended; a failure also where the repository takes nothing more."""
    note = {"id": entry.id, "state": state, "at": time.time(), **content}
    session.home.note(**{f"last_{kind}": note})
    tags = tags_of(session.stack, entry.id, kind, state=state)
    try:
        session.repository.store_text(f"{kind}.json", json.dumps(note), tags)
    except ToolkitError:
        if state == "passed":
            raise


def prune(session: Session, dry_run: bool) -> list[dict[str, Any]]:
    """The report of the retention; without `dry_run` what it does not keep is removed, and its space given back; that of what
    a run has left that did not end well too, of which nothing but restic knows."""
    with session.home.lock("prune"):
        known = session.entries()
        damaged = {one.id for one in known if session.damage(one)}
        settings = session.settings
        judged = retention_report(known, settings.retention, settings.zone, datetime.now(UTC), damaged)
        gone = [one.entry for one in judged if not one.keep]
        if not dry_run and (gone or session.home.status().get(BEGUN)):
            release(session)
            for snapshots in forgotten(gone):
                session.repository.run("forget", *snapshots)
            session.repository.run("prune")
        return [{"id": one.entry.id, "state": one.entry.state, "keep": one.keep, "reasons": list(one.reasons)} for one in judged]


def forgotten(gone: Sequence[Entry]) -> list[list[str]]:
    """What to take away of these backups, one after the other: their manifests first. Who is cut off then leaves debris, and no
    backup that looks complete and is not. Pure."""
    manifests = [entry.manifest for entry in gone if entry.manifest]
    others = [snapshot for entry in gone for snapshot in entry.snapshots if snapshot != entry.manifest]
    return [snapshots for snapshots in (manifests, others) if snapshots]


@dataclass(frozen=True)
class Check:
    """One named question about the backups of a stack. `hint` says what to do when it is not `ok`."""

    name: str
    ok: bool
    text: str
    hint: str = ""


def check(session: Session, read_data: bool) -> list[dict[str, Any]]:
    """All checks; one that makes those after it impossible ends them."""
    return [asdict(one) for one in _checks(session, read_data)]


def _checks(session: Session, read_data: bool) -> Iterator[Check]:
    def tried(name: str, what: Callable[[], Any], good: str, hint: str) -> tuple[Check, Any]:
        try:
            return Check(name, True, good), what()
        except ToolkitError as error:
            return Check(name, False, str(error), hint), None

    opened, entries = tried("repository", session.entries, "it opens with this stack's password", "see docs/guide/backup.md")
    yield opened
    words = ("check", "--read-data") if read_data else ("check",)
    if session.settings.point_in_time:
        yield _archive(session, words)  # a repository of its own, which is there before the first backup
    if entries is None:
        return
    what = "every object was read and is whole" if read_data else "its structure is whole (--read-data reads every object)"
    with session.home.lock("check"):
        structure, _ = tried("integrity", lambda: _integrity(session, words), what, "restore from another copy of the repository")
    yield structure
    complete = [entry for entry in entries if entry.is_restorable]
    damaged = {entry.id: why for entry in complete if (why := session.damage(entry))}
    against = "; ".join(f"{name} is damaged: {why}" for name, why in damaged.items())
    yield Check("whole", not damaged, against or "nothing is known against any backup", "scripts/backup.py create, then verify")
    yield _newest(session, [entry for entry in complete if entry.id not in damaged])
    proven = [entry for entry in complete if entry.is_proven and entry.id not in damaged]
    text = f"{proven[-1].id} was read back" if proven else "no sound backup was ever read back"
    yield Check("verified", bool(proven), text, "scripts/backup.py verify latest")
    exported = session.home.status().get("exported")
    told = "the key was exported" if exported else "nobody can read these backups without the volume of this machine"
    yield Check("key", bool(exported), told, "scripts/backup.py export-key")


def _integrity(session: Session, words: tuple[str, ...]) -> None:
    release(session)
    session.repository.run(*words)


def _archive(session: Session, words: tuple[str, ...]) -> Check:
    """Whether the archive's repository is whole, and what can be restored from it."""
    repository = archive_repository(session)
    try:
        if not repository.exists():
            return Check("archive", False, "it has no repository yet", "does the backup agent run? scripts/status.py")
        _look_through(repository, words)
        found = restorable(Store(repository, session.stack).load().archives.values())
    except ToolkitError as error:
        return Check("archive", False, str(error), "seconds from before may be lost; the next rewrite begins a new base")
    if not found:
        return Check("archive", False, "no second can be restored from it", "does the backup agent run? scripts/status.py")
    since, until = (datetime.fromtimestamp(second, UTC).isoformat() for second in found[-1])
    return Check("archive", True, f"its repository is whole and holds every second from {since} to {until}")


def _look_through(repository: Repository, words: tuple[str, ...]) -> None:
    """Check a repository that somebody writes to all the time. What it forgets meanwhile looks damaged, but not twice."""
    try:
        repository.run(*words, "--no-lock")
    except CheckFailed:
        repository.run(*words, "--no-lock")


def _newest(session: Session, complete: list[Entry]) -> Check:
    if not complete:
        return Check("newest", False, "there is no complete backup", "scripts/backup.py create")
    now = datetime.now(UTC)
    if is_ahead(complete[-1].at, now):
        return Check(
            "newest", False, f"the clock went back: {complete[-1].id} is dated later than now", "scripts/backup.py create"
        )
    age = (now - complete[-1].at).total_seconds()
    limit = session.settings.objectives.rpo_seconds
    text = f"{complete[-1].id} is {age:.0f} s old" + (f", backup.objectives.rpo_seconds is {limit:g}" if limit else "")
    return Check("newest", limit is None or age <= limit, text, "scripts/backup.py create; is the schedule often enough?")


def export_key(session: Session, passphrase: str) -> str:
    """All that is needed to read the backups elsewhere, as a text that the passphrase opens."""
    session.require_password()
    if len(passphrase) < 12:
        raise InvalidInput("the passphrase has fewer than 12 characters; whoever finds the key may try very many")
    content = {
        "version": KEY_VERSION,
        "stack": session.stack,
        "repository": session.settings.repository,
        PASSWORD: session.home.password_file.read_text(),
        "secrets": session.home.all_secrets(),
        "users": dict(session.told.get("users", {})),
    }
    text = json.dumps({**content, "sha256": _checksum(content)})
    key = _openssl(("-salt",), text, passphrase)
    session.home.note(exported=time.time())
    return key


def import_key(session: Session, key: str, passphrase: str, replace: bool) -> dict[str, Any]:
    """Take over what `export_key` wrote. Raises InvalidInput for a wrong passphrase, a damaged key, another password in place."""
    try:
        content = json.loads(_openssl(("-d",), key, passphrase))
        checksum = content.pop("sha256")
    except (ToolkitError, ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput("the key does not open: the passphrase is another one, or the file is damaged") from None
    if checksum != _checksum(content) or content.get("version") != KEY_VERSION:
        raise InvalidInput("the key opens and its content is damaged, or of another release")
    with session.home.lock("import"):
        home = session.home
        if home.password_file.exists() and home.password_file.read_text() != content[PASSWORD] and not replace:
            raise InvalidInput(
                f"stack {session.stack} has another repository password already; export it first, then say --replace"
            )
        home.store_secret(PASSWORD, content[PASSWORD])
        for name in (*SECRET_NAMES, *FILE_SECRETS):
            if name in content["secrets"]:
                home.store_secret(name, content["secrets"][name])
        home.note(exported=time.time())
    return {"stack": content["stack"], "repository": content["repository"]}


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _openssl(words: tuple[str, ...], text: str, passphrase: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "PASSPHRASE": passphrase}
    answer = subprocess.run(
        [*CIPHER, *words], input=f"{text.rstrip()}\n".encode(), env=environment, capture_output=True, check=False
    )
    if answer.returncode != 0:
        raise ToolkitError(f"openssl failed: {answer.stderr.decode(errors='replace').strip()}")
    return answer.stdout.decode(errors="replace")
