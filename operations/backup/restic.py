"""restic as a library: one repository, its commands, and what their failures mean.

Runs where restic is, in the job's container. The password and all other secrets reach it by file and environment, never as
arguments. Exit codes: https://restic.readthedocs.io/en/stable/075_scripting.html.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from operations.backup.settings import SFTP
from operations.errors import Busy, CheckFailed, ToolkitError, Unreachable

NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 10, 11, 12
NO_BUCKET = "bucket does not exist"
"""An object store's word, at which restic tries on and on, except to make a repository: then it makes the bucket."""
LOCK_PATIENCE = "30s"
"""How long a command waits for a lock of another process on the same repository."""
REACH_SECONDS = 30.0
"""For the first question to a repository. restic itself tries for a quarter of an hour to reach a server that is down."""
PIPE_BYTES = 1 << 20
HOST = "redis-topologies"
SSH_KEY, SSH_KNOWN_HOSTS = "ssh_key", "ssh_known_hosts"
"""Files beside the password's, for SFTP; a host whose key is not among the known ones is refused."""
DAMAGE = ("ciphertext verification failed", "does not match", "hash does not match", "invalid data", "not found in repository",
          "contains errors", "not referenced", "unexpected EOF", "size does not match", "is corrupt", "wrong data",
          "has errors", "is damaged and must be repaired")  # fmt: skip


AWAY = ("connection refused", "connection reset", "broken pipe", "i/o timeout", "no such host", "no route to host",
        "network is unreachable", "deadline exceeded")  # fmt: skip
"""A server that goes away cuts answers short too, which proves nothing about what it has."""
_CHATTER = ("repository ", "created new cache", "using temporary", "The repository contains damaged", "These damaged files",
            "Damaged pack files", "restic repair", "Fatal: repository contains errors")  # fmt: skip
"""What restic says beside the reason; its advice to repair is for people who know what they give up."""


class NoRepository(ToolkitError):
    """There is no repository at that place yet."""


@dataclass(frozen=True)
class Snapshot:
    """One entry of a repository. `tags` are `name=value` words."""

    id: str
    time: datetime
    tags: Mapping[str, str]


class Repository:
    """One restic repository. `secrets` tells further environment variables (object store, REST server); it is asked each time,
    because they may be stored later than whoever works here began. `cache` is where restic keeps copies of what is small:
    entries, folders, the index."""

    def __init__(
        self, place: str, password_file: Path, cache: Path | None, secrets: Callable[[], Mapping[str, str]] = dict[str, str]
    ) -> None:
        self.place = place
        self._password_file, self._cache, self._secrets = password_file, cache, secrets

    def without_cache(self) -> "Repository":
        """The same, read as it lies there: a copy that restic keeps here would hide damage from whoever looks for it."""
        return Repository(self.place, self._password_file, None, self._secrets)

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE") if name in os.environ},
            **self._secrets(),
            "RESTIC_REPOSITORY": self.place,
            "RESTIC_PASSWORD_FILE": str(self._password_file),
            **({"RESTIC_CACHE_DIR": str(self._cache)} if self._cache else {}),
            "RESTIC_PROGRESS_FPS": "0.2",
        }

    def exists(self) -> bool:
        """Whether there is a repository that the password opens; raises Unreachable for one that it does not open, or that does
        not answer."""
        try:
            self.run("cat", "config", seconds=REACH_SECONDS)
        except NoRepository:
            return False
        return True

    def is_laid_out(self) -> bool:
        """Whether a folder holds a repository, whosever it is."""
        return (Path(self.place) / "config").is_file()

    def may_be_locked(self) -> bool:
        """False for a folder without any lock; elsewhere only restic can tell."""
        locks = Path(self.place) / "locks"
        return not locks.is_dir() or any(locks.iterdir())

    def init(self) -> None:
        """Make the repository."""
        self.run("init")

    def locks(self) -> dict[str, str]:
        """The host of every lock by the lock's name; of one that cannot be read, or is gone by now, the host is ""."""
        found = dict.fromkeys(self.run("list", "locks", "--no-lock").split(), "")
        for name in found:
            with contextlib.suppress(ToolkitError, ValueError):
                found[name] = str(json.loads(self.run("cat", "lock", name, "--no-lock"))["hostname"])
        return found

    def unlock(self) -> None:
        """Remove locks whose process is gone (of this host) or that are older than 30 minutes."""
        self.run("unlock")

    def run(self, *words: str, text: str | None = None, seconds: float | None = None) -> str:
        """The output of one command; raises what its failure means, and Unreachable when it has no end within `seconds`."""
        command = self._command(words)
        try:
            answer = subprocess.run(
                command, env=self._environment, input=text, stdin=None if text is not None else subprocess.DEVNULL,
                capture_output=True, text=True, check=False, timeout=seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raw: str | bytes = error.stderr or b""  # bytes, whatever was asked for
            said = _sentences(raw if isinstance(raw, str) else raw.decode(errors="replace"))
            if any(NO_BUCKET in sentence for sentence in said):
                raise self.explain(NO_REPOSITORY, "", words[0]) from None
            raise Unreachable(
                f"the repository at {self.place} did not answer within {seconds:g} s: "
                f"{'; '.join(said[-1:]) or 'no word'}; is its server running?"
            ) from None
        if answer.returncode != 0:
            raise self.explain(answer.returncode, answer.stderr or answer.stdout, words[0])
        return answer.stdout

    def lines(self, *words: str) -> list[dict[str, Any]]:
        """The JSON lines that a command printed."""
        return [json.loads(line) for line in self.run(*words, "--json").splitlines() if line.startswith("{")]

    def snapshots(self, seconds: float | None = None, **tags: str) -> list[Snapshot]:
        """Entries with all of these tags, oldest first; raises Unreachable when there is no answer within `seconds`."""
        wanted = ("--tag", ",".join(f"{name}={value}" for name, value in tags.items())) if tags else ()
        found = json.loads(self.run("snapshots", "--json", "--no-lock", *wanted, seconds=seconds) or "[]")
        return sorted((parse_snapshot(entry) for entry in found or ()), key=lambda one: one.time)

    def store(self, name: str, tags: Mapping[str, str], seconds: float | None = None, compress: bool = True) -> "Upload":
        """A new entry that takes bytes as they come; given up when it is not stored within `seconds`."""
        return Upload(self, name, tags, seconds, compress)

    def store_text(self, name: str, text: str, tags: Mapping[str, str]) -> str:
        """A new entry with this text; returns its id."""
        with self.store(name, tags) as upload:
            upload.write(text.encode())
            return upload.finish()

    def read(self, snapshot: str, name: str) -> Iterator[bytes]:
        """The bytes of one file of an entry; raises what a failure means, at the latest after the last byte."""
        with self._open("dump", "--no-lock", snapshot, f"/{name}") as process:
            try:
                assert process.stdout is not None and process.stderr is not None  # noqa: S101 - opened as pipes
                _widen(process.stdout)
                words: list[bytes] = []
                listener = threading.Thread(target=lambda: words.append(process.stderr.read()), daemon=True)  # type: ignore[union-attr]
                listener.start()
                while data := process.stdout.read(PIPE_BYTES):
                    yield data
                code = process.wait()
                listener.join()
                if code != 0:
                    raise self.explain(code, b"".join(words).decode(errors="replace"), "dump")
            finally:
                process.kill()

    def read_text(self, snapshot: str, name: str) -> str:
        return b"".join(self.read(snapshot, name)).decode()

    def open_upload(self, name: str, tags: Mapping[str, str], compress: bool) -> "subprocess.Popen[bytes]":
        marks = [word for key, value in tags.items() for word in ("--tag", f"{key}={value}")]
        how = ("--compression", "auto" if compress else "off")
        words = ("backup", "--stdin", "--stdin-filename", name, "--host", HOST, "--json", "--force", *how, *marks)
        return self._open(*words, stdin=subprocess.PIPE)

    def _open(self, *words: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command(words), env=self._environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def _command(self, words: Sequence[str]) -> list[str]:
        no_cache = () if self._cache else ("--no-cache",)
        return ["restic", "--retry-lock", LOCK_PATIENCE, *no_cache, *self._ssh(), *words]

    def _ssh(self) -> list[str]:
        if not self.place.startswith(SFTP):
            return []
        key, hosts = (self._password_file.with_name(name) for name in (SSH_KEY, SSH_KNOWN_HOSTS))
        told = f"-i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={hosts} -o StrictHostKeyChecking=yes -o BatchMode=yes"
        return ["--option", f"sftp.args={told} -o ConnectTimeout={REACH_SECONDS / 2:.0f}"]

    def explain(self, code: int, words: str, doing: str) -> ToolkitError:
        """What a failure of restic means for the user."""
        said = "; ".join(_sentences(words)) or f"code {code}"
        if code == NO_REPOSITORY:
            return NoRepository(f"there is no backup repository at {self.place} yet; `scripts/backup.py create` makes it")
        if code == WRONG_PASSWORD:
            return Unreachable(
                f"the repository at {self.place} has another password than the one that this stack has; store the right one with "
                "`scripts/backup.py secret password` (its value on stdin)"
            )
        if code == LOCKED:
            return Busy(
                f"the repository at {self.place} is locked by another process: {said}; try again when it has ended "
                "(a lock that nobody holds any more is taken away when it is 30 minutes old)"
            )
        if "no space left" in said.lower():
            cure = (
                "a few megabytes there by other means"
                if doing in ("forget", "prune")
                else "some room, or prune: scripts/backup.py prune"
            )
            return Unreachable(f"the repository at {self.place} is full; free {cure}")
        is_away = any(mark in said.lower() for mark in AWAY)
        if doing in ("check", "dump") and not is_away and any(mark in said for mark in DAMAGE):
            return CheckFailed(f"the repository at {self.place} is damaged: {said}")
        return Unreachable(f"restic {doing} failed on the repository at {self.place}: {said}")


class Upload:
    """A new entry of a repository while its bytes come. Left without `finish`, nothing is stored."""

    def __init__(
        self, repository: Repository, name: str, tags: Mapping[str, str], seconds: float | None = None, compress: bool = True
    ) -> None:
        self._repository = repository
        self._seconds = seconds
        self._process = repository.open_upload(name, tags, compress)
        _widen(self._process.stdin)
        self._end = threading.Timer(seconds or 0, self._process.kill)
        if seconds is not None:
            self._end.start()
        self._lines: dict[str, bytes] = {}
        pipes = {"out": self._process.stdout, "err": self._process.stderr}
        self._readers = [
            threading.Thread(target=lambda n=n, p=p: self._lines.update({n: p.read() if p else b""}), daemon=True)
            for n, p in pipes.items()
        ]
        for reader in self._readers:
            reader.start()

    def write(self, data: bytes | memoryview) -> None:
        """Hand bytes over; raises what restic's failure means when it does not take them."""
        try:
            assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
            self._process.stdin.write(data)
        except OSError:
            raise self._failure() from None

    def finish(self) -> str:
        """End the entry; returns its id once everything is stored."""
        try:
            assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
            self._process.stdin.close()
        except OSError:
            raise self._failure() from None
        if self._process.wait() != 0:
            raise self._failure()
        for reader in self._readers:
            reader.join()
        for line in reversed(self._lines["out"].splitlines()):
            told = json.loads(line) if line.startswith(b"{") else {}
            if told.get("message_type") == "summary":
                return str(told["snapshot_id"])
        raise ToolkitError("restic stored an entry and did not say under which id")

    def _failure(self) -> ToolkitError:
        code = self._process.wait()
        for reader in self._readers:
            reader.join()
        if self._seconds is not None and code == -signal.SIGKILL:
            return Unreachable(f"the repository at {self._repository.place} did not take an entry within {self._seconds:g} s")
        words = (self._lines.get("err", b"") + b"\n" + self._lines.get("out", b"")).decode(errors="replace")
        return self._repository.explain(code, words, "backup")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.cancel()
        # Killed before its input ends: restic must not take what came so far for the whole.
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join()


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold more, so that reader and writer change places less often; it works as well without."""
    if pipe is not None:
        with contextlib.suppress(OSError):  # users who are not root may have less
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _sentences(words: str) -> list[str]:
    """What restic complained of, without its progress lines; JSON messages are taken apart."""
    found = []
    for line in words.splitlines():
        text = line.strip()
        if text.startswith("{"):
            try:
                told = json.loads(text)
            except ValueError:
                told = {}
            if told.get("message_type") not in ("error", "exit_error"):
                continue
            text = str(told.get("message") or told.get("error", {}).get("message", ""))
        if text and text not in found and not text.startswith(_CHATTER):
            found.append(text)
    return found[-6:]


def parse_snapshot(entry: Mapping[str, Any]) -> Snapshot:
    """One entry of `restic snapshots --json`; nanoseconds are cut to what Python's clock holds."""
    head, _, rest = str(entry["time"]).partition(".")
    digits = "".join(c for c in rest[:9] if c.isdigit())
    zone = rest[len(digits) :] if rest else ""
    moment = datetime.fromisoformat(f"{head}.{digits[:6].ljust(6, '0')}{zone}" if rest else head)
    tags = dict(tag.split("=", 1) for tag in entry.get("tags") or () if "=" in tag)
    return Snapshot(str(entry["id"]), moment, tags)
