"""Brings the files of a backup onto the data volumes of nodes: the part of a restore that runs in jobs' containers.

An RDB is never put under an append-only file: a server with `appendonly yes` that finds no append-only files starts empty
(redis-facts, hazards). It becomes the base of a multi-part append-only file, or `dump.rdb` where the stack has none.
What comes is written beside the old files and checked while the nodes still run; only then is anything replaced.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.backup.restic import Repository
from operations.errors import CheckFailed, Unreachable

TARGETS = Path("/target")
"""Below it the data volume of each node, under the node's name."""
FENCE = "fenced"
"""While this file is on a node's volume, the node starts with applications locked out (configs/node/start.sh)."""
RESTORED = "restored"
"""Tells a node for its next start alone that all others are stopped: it asks nobody who is primary (configs/node/role.sh)."""
STAGE = "restore.part"
AOF_FOLDER = "appendonlydir"
AOF_BASE = "appendonly.aof.1.base.rdb"
AOF_FIRST = "appendonly.aof.1.incr.aof"
AOF_MANIFEST = "appendonly.aof.manifest"
RDB = "dump.rdb"
ROOM = 1.1
PROGRESS_SECONDS = 1.0
SYNC_BYTES = 32 << 20
"""What is written is brought to the disk meanwhile, in steps of at least this: the last sync then has little left to do."""
WIDTH = 4
"""Shards that are fetched at the same time."""

Report = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class Wanted:
    """One file of the repository for one node."""

    node: str
    snapshot: str
    file: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Wanted":
        return cls(told["node"], told["snapshot"], told["file"], int(told["bytes"]), told["sha256"])


def fetch(
    repository: Repository, wanted: Sequence[Wanted], aof: bool, report: Report, targets: Path = TARGETS
) -> dict[str, float]:  # fmt: skip
    """Write the files beside what the nodes have, while these may still run; returns seconds by node.

    Raises CheckFailed when a file is not the one that was stored, Unreachable when there is no room; nothing is left then.
    """
    stopping = threading.Event()
    try:
        _require_room(wanted, targets)
        with ThreadPoolExecutor(WIDTH, thread_name_prefix="fetch") as pool:
            jobs = {one.node: pool.submit(_stage, repository, one, aof, targets / one.node, stopping, report) for one in wanted}
            try:
                return {name: job.result() for name, job in jobs.items()}
            except OSError as error:
                stopping.set()
                raise Unreachable(f"the files of the backup cannot be written: {error.strerror}; nothing was replaced") from None
            except BaseException:
                stopping.set()
                raise
    except BaseException:
        discard([one.node for one in wanted], targets)
        raise


def discard(nodes: Iterable[str], targets: Path = TARGETS) -> None:
    """Remove what was fetched and is not wanted any more: it takes the room of a whole copy of the data."""
    for name in nodes:
        shutil.rmtree(targets / name / STAGE, ignore_errors=True)


def swap(filled: Sequence[str], emptied: Sequence[str], mark: str, targets: Path = TARGETS) -> None:
    """Fence the volumes of stopped nodes with `mark`, put what was fetched in the place of what was there, empty the others.

    Raises CheckFailed when what was fetched is gone, before anything is changed.
    """
    for name in filled:
        if not (targets / name / STAGE).is_dir():
            raise CheckFailed(f"the files that were fetched for {name} are gone; call the restore again")
    for name in (*filled, *emptied):
        _write(targets / name / FENCE, f"{mark}\n", targets / name)
    for name in filled:
        _swap(targets / name)
        _write(targets / name / RESTORED, f"{mark}\n", targets / name)
    for name in emptied:
        _empty(targets / name)


def _require_room(wanted: Sequence[Wanted], targets: Path) -> None:
    """Raises Unreachable when a disk has not enough for all the nodes on it."""
    disks: dict[int, list[Wanted]] = {}
    for one in wanted:
        disks.setdefault((targets / one.node).stat().st_dev, []).append(one)
    for sharing in disks.values():
        found = os.statvfs(targets / sharing[0].node)
        free, need = found.f_bavail * found.f_frsize, sum(one.bytes for one in sharing) * ROOM
        if free < need:
            raise Unreachable(
                f"{', '.join(one.node for one in sharing)}: {need / 1e6:.0f} MB of room are needed for the files of the backup, "
                f"beside what is there, and {free / 1e6:.0f} MB are free; nothing was replaced"
            )


def _stage(repository: Repository, one: Wanted, aof: bool, folder: Path, stopping: threading.Event, report: Report) -> float:
    """Write the files of a node beside its old ones."""
    began = time.monotonic()
    stage = folder / STAGE
    shutil.rmtree(stage, ignore_errors=True)
    inner = stage / AOF_FOLDER if aof else stage
    inner.mkdir(parents=True)
    target = inner / (AOF_BASE if aof else RDB)
    digest, size, told, synced = hashlib.sha256(), 0, began, 0
    with ThreadPoolExecutor(1, thread_name_prefix="sync") as beside, target.open("wb") as file:
        syncing: Future[None] | None = None
        for chunk in repository.read(one.snapshot, one.file):
            if stopping.is_set():
                raise CheckFailed(f"{one.node} was given up because another node failed")
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if size - synced > SYNC_BYTES and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()
                syncing, synced = beside.submit(os.fdatasync, file.fileno()), size
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                report({"event": "progress", "node": one.node, "bytes": size, "of": one.bytes})
        if syncing is not None:
            syncing.result()
        file.flush()
        os.fsync(file.fileno())
    if (size, digest.hexdigest()) != (one.bytes, one.sha256):
        stopping.set()
        raise CheckFailed(
            f"{one.file} of snapshot {one.snapshot[:8]} is not what was stored: {size} bytes with SHA-256 "
            f"{digest.hexdigest()[:16]}, the manifest says {one.bytes} with {one.sha256[:16]}; nothing was replaced"
        )
    if aof:
        _write(inner / AOF_FIRST, "", folder)
        _write(inner / AOF_MANIFEST, f"file {AOF_BASE} seq 1 type b\nfile {AOF_FIRST} seq 1 type i\n", folder)
    for path in (stage, inner, target):
        _own(path, folder)
    report({"event": "fetched", "node": one.node, "bytes": size, "seconds": time.monotonic() - began})
    return time.monotonic() - began


def _swap(folder: Path) -> None:
    _drop(folder)
    _forget_append_only(folder)
    for path in sorted((folder / STAGE).iterdir()):
        path.rename(folder / path.name)
    (folder / STAGE).rmdir()
    _sync(folder)


def _forget_append_only(folder: Path) -> None:
    """The node's own note on how it ran the last time (configs/node/role.sh) must not hide the new files from it."""
    notes = folder / "server.conf"
    if notes.exists():
        kept = [line for line in notes.read_text().splitlines(keepends=True) if not line.startswith("appendonly ")]
        _write(folder / "server.conf.new", "".join(kept), folder)
        (folder / "server.conf.new").rename(notes)


def _empty(folder: Path) -> None:
    _drop(folder)
    shutil.rmtree(folder / STAGE, ignore_errors=True)
    _sync(folder)


def _drop(folder: Path) -> None:
    """Remove the data that a node holds; what it knows of its role and of the others stays."""
    shutil.rmtree(folder / AOF_FOLDER, ignore_errors=True)
    for path in (folder / RDB, folder / RESTORED, *folder.glob("temp-*.rdb")):
        path.unlink(missing_ok=True)


def _write(path: Path, text: str, owner: Path) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _own(path, owner)


def _own(path: Path, like: Path) -> None:
    """Give a file to whom the volume belongs: the server's user."""
    found = like.stat()
    os.chown(path, found.st_uid, found.st_gid)
    path.chmod(0o700 if path.is_dir() else 0o600)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
