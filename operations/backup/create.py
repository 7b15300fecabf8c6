"""Makes one backup: a snapshot of every shard, at about the same time, straight into the repository, and then its manifest.

The manifest is written last. Snapshots without one belong to a run that was cut off: nobody lists them, and the next run
removes them. The source is only ever read; with a pause, its clients' writes wait for at most the time that the spec allows.
"""

import hashlib
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

from operations.backup.manifest import Manifest, ShardRecord, gaps, skew_seconds
from operations.backup.pace import Pace
from operations.backup.rdb import SnapshotStream, StreamBroken
from operations.backup.restic import Repository
from operations.backup.settings import BackupSettings
from operations.backup.sources import Seen, Source, choose, look, slot_map
from operations.connect import Fleet, endpoint
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access, Inventory
from operations.parse import Slots

USER = "backup"
MANIFEST_FILE = "manifest.json"
PROGRESS_SECONDS = 1.0
CATCH_UP_SECONDS = 0.002
FAILOVER_SECONDS = 30.0
POLL_SECONDS = 0.5
SAMPLE_BYTES = 1 << 18
WORTH_SAVING = 0.05
"""Share of its size that a sample has to lose by being compressed."""
WIDTH = 8
"""Snapshots that are taken at the same time: each has a restic of its own, and each source forks."""

Report = Callable[[dict[str, object]], None]


def shard_file(shard: int) -> str:
    return f"shard-{shard}.rdb"


def tags_of(stack: str, identity: str, kind: str, **more: str) -> dict[str, str]:
    """What every entry of the repository is found by."""
    return {"stack": stack, "set": identity, "kind": kind, **more}


@dataclass
class _Cut:
    """The moment at which all snapshots have been taken, for those who pause until then."""

    waiting: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Event = field(default_factory=threading.Event)

    def one(self) -> None:
        with self.lock:
            self.waiting -= 1
            if self.waiting <= 0:
                self.done.set()


def create(
    access: Access, settings: BackupSettings, users: dict[str, str], repository: Repository, identity: str, report: Report
) -> Manifest:  # fmt: skip
    """Back the stack up under the name `identity`; returns the manifest of a complete set.

    Raises what went wrong, after a manifest that says so was stored (when the repository still takes one).
    """
    began = time.time()
    inventory = access.inventory
    with Fleet(access, inventory.data_nodes, user=USER) as fleet:
        seen = look(fleet, inventory)
        before = slot_map(seen)
        sources = choose(seen, inventory, settings.source, settings.max_lag_seconds)
        report({"event": "sources", "id": identity, "sources": {s.shard: f"{s.node.name} ({s.role})" for s in sources}})
        shards: list[ShardRecord] = []
        pause: float | None = None
        reason: str | None = None
        failure: BaseException | None = None
        try:
            pause = _take(access, fleet, settings, repository, identity, sources, shards, report)
            if not _slots_stayed(fleet, inventory, before):
                raise CheckFailed(
                    "slots moved while the backup was made, so keys may be in two snapshots or in none; make it again"
                )
        except BaseException as error:  # an interrupt too: what was begun is marked before it goes on
            failure, reason = error, str(error) or type(error).__name__
        manifest = _manifest(inventory, users, identity, began, seen, shards, len(sources), pause, settings, reason)
        if failure is None and (missing := gaps(manifest)):
            failure = CheckFailed("; ".join(missing))
            manifest = manifest.model_copy(update={"state": "failed", "reason": str(failure)})
        if failure is not None:
            _note_failure(repository, manifest)
            raise failure
        store_manifest(repository, manifest)
    return manifest


def create_patiently(make: Callable[[], Manifest], report: Report) -> Manifest:
    """What `make` makes; once more, with sources chosen anew, when one of them stopped in the middle: it died, or was promoted,
    at which a server drops whoever reads its snapshot. Until a failover is over shards cannot be read, which is waited for.

    The set that was cut off stays in the catalogue as failed. Raises what the last attempt raised.
    """
    try:
        return make()
    except StreamBroken as error:
        report({"event": "again", "reason": str(error)})
    deadline = time.monotonic() + FAILOVER_SECONDS
    while True:
        try:
            return make()
        except StreamBroken:
            raise
        except ToolkitError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def _slots_stayed(fleet: Fleet, inventory: Inventory, before: tuple[Slots, ...]) -> bool:
    """Whether the same ranges are served together as `before`. While a node is silent, a failover may be under way: it is waited
    for, because who serves a range does not matter, and nobody serves it until then."""
    deadline = time.monotonic() + FAILOVER_SECONDS
    while True:
        seen = look(fleet, inventory)
        if slot_map(seen) == before:
            return True
        silent = any(isinstance(one, ToolkitError) for one in seen.values())
        if not silent or time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)


def store_manifest(repository: Repository, manifest: Manifest) -> str:
    """The entry that makes a set of snapshots a backup; returns its id."""
    tags = tags_of(manifest.stack, manifest.id, "manifest", state=manifest.state)
    return repository.store_text(MANIFEST_FILE, manifest.model_dump_json(indent=1), tags)


def _note_failure(repository: Repository, manifest: Manifest) -> None:
    try:
        store_manifest(repository, manifest)
    except ToolkitError:
        return  # the repository is what failed; snapshots without a manifest are no backup either


def _manifest(
    inventory: Inventory, users: dict[str, str], identity: str, began: float, seen: dict[str, Seen | ToolkitError],
    shards: Sequence[ShardRecord], count: int, pause: float | None, settings: BackupSettings, reason: str | None,
) -> Manifest:  # fmt: skip
    versions = sorted({one.info.version for one in seen.values() if isinstance(one, Seen)})
    records = tuple(sorted(shards, key=lambda one: one.shard))
    return Manifest(
        id=identity,
        state="failed" if reason else "complete",
        reason=reason,
        stack=inventory.stack,
        topology=inventory.topology,
        engine=inventory.engine.name,
        version=versions[-1] if versions else inventory.engine.version,
        began=began,
        ended=time.time(),
        skew_seconds=skew_seconds(records),
        consistent=bool(settings.pause_milliseconds) and reason is None,
        pause_seconds=pause,
        shards=records,
        shard_count=count,
        users=users,
        parameters=inventory.parameters,
        spec=inventory.spec,
    )


def _take(
    access: Access, fleet: Fleet, settings: BackupSettings, repository: Repository, identity: str, sources: Sequence[Source],
    shards: list[ShardRecord], report: Report,
) -> float | None:  # fmt: skip
    """Take all snapshots into `shards`; returns how long writes were paused, or None without a pause.

    The first failure ends all others: half a set is worth nothing.
    """
    stopping = threading.Event()
    cut = _Cut(len(sources))
    pausing = settings.pause_milliseconds > 0
    width = len(sources) if pausing else min(WIDTH, len(sources))
    ready = threading.Event() if pausing else None
    pace = Pace(settings.rate_limit) if settings.rate_limit else None
    with ThreadPoolExecutor(max(1, width), thread_name_prefix="shard") as pool:
        jobs = [
            pool.submit(_shard, access, repository, identity, source, pace, cut, ready, stopping, report) for source in sources
        ]
        paused: float | None = None
        try:
            if ready is not None:
                longest = settings.pause_milliseconds / 1000
                with _paused(fleet, sources, settings.pause_milliseconds) as elapsed:
                    ready.set()
                    is_cut = cut.done.wait(max(0.0, longest - elapsed()))  # catching up is part of the pause
                    paused = elapsed()
                    if not is_cut or paused > longest:  # the servers ended it by themselves
                        raise CheckFailed(
                            f"the shards were not all cut within a pause of {settings.pause_milliseconds} ms, so there is no "
                            "single cut; raise backup.pause_milliseconds, or set it to 0 for a backup with a stated skew"
                        )
            shards += _results(jobs)
        except BaseException:
            stopping.set()
            if ready is not None:
                ready.set()
            raise
    return paused


class _GivenUp(ToolkitError):
    """A shard's snapshot was ended because another one failed."""


def _results(jobs: Sequence[Future[ShardRecord]]) -> list[ShardRecord]:
    """What all of them gave; raises the failure that made the others give up."""
    wait(jobs)
    failures = [error for job in jobs if (error := job.exception())]
    for failure in sorted(failures, key=lambda error: isinstance(error, _GivenUp)):
        raise failure
    return [job.result() for job in jobs]


def known_replica(inventory: Inventory, source: Source) -> tuple[str, int] | None:
    """By what address whoever reads this source goes, so that sentinels do not take it for one more replica. Pure."""
    if not inventory.sentinels or source.role == "replica":
        return None
    return next(((node.address, node.port) for node in inventory.data_nodes if node.name != source.node.name), None)


def _shard(
    access: Access, repository: Repository, identity: str, source: Source, pace: Pace | None, cut: _Cut,
    ready: threading.Event | None, stopping: threading.Event, report: Report,
) -> ShardRecord:  # fmt: skip
    """One shard, from the server straight into restic; the checksum is taken on the way."""
    digest, size, told = hashlib.sha256(), 0, 0.0
    tags = tags_of(access.inventory.stack, identity, "shard", shard=str(source.shard))
    password, known_as = access.credentials.password(USER), known_replica(access.inventory, source)
    stream = SnapshotStream(source.node, USER, password, endpoint(source.node), known_as, pace)
    try:
        with stream:
            if ready is not None:
                ready.wait()
            if stopping.is_set():
                raise _GivenUp(f"shard {source.shard} was given up because another one failed")
            began, first = time.time(), [0.0]
            begun = stream.begin()

            def on_first() -> None:
                first[0] = time.time()
                cut.one()

            chunks: Iterator[bytes | memoryview] = stream.chunks(on_first)
            head = beginning(chunks)
            with repository.store(shard_file(source.shard), tags, compress=is_compressible(head)) as upload:
                for chunk in chain((head,), chunks):
                    if stopping.is_set():
                        raise _GivenUp(f"shard {source.shard} was given up because another one failed")
                    digest.update(chunk)
                    upload.write(chunk)
                    size += len(chunk)
                    if time.monotonic() - told > PROGRESS_SECONDS:
                        told = time.monotonic()
                        report({"event": "progress", "shard": source.shard, "bytes": size, "of": source.used_memory_bytes})
                ended = time.time()
                snapshot = upload.finish()
    except BaseException:
        stopping.set()
        cut.done.set()
        raise
    report({"event": "shard", "shard": source.shard, "source": source.node.name, "bytes": size, "seconds": ended - began})
    return ShardRecord(
        shard=source.shard, slots=source.slots, source=source.node.name, source_role=source.role, lag_bytes=source.lag_bytes,
        replication_id=begun.replication_id, offset=begun.offset, began=began, cut=first[0], ended=ended, keys=source.keys,
        used_memory_bytes=source.used_memory_bytes, bytes=size, sha256=digest.hexdigest(), snapshot=snapshot,
    )  # fmt: skip


def beginning(chunks: Iterable[bytes | memoryview]) -> bytes:
    """The first `SAMPLE_BYTES` or more of a stream, less when it ends before; takes them off it."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= SAMPLE_BYTES:
            break
    return bytes(head)


def is_compressible(sample: bytes) -> bool:
    """Whether compressing a snapshot that begins so is worth its time: a quarter of restic's with values that give nothing. Pure.

    Keys lie in a snapshot in the order of their hashes, so its beginning is like the rest of it.
    """
    return len(zlib.compress(sample, 1)) < len(sample) * (1 - WORTH_SAVING)


@contextmanager
def _paused(fleet: Fleet, sources: Sequence[Source], milliseconds: int) -> Iterator[Callable[[], float]]:
    """Writes wait on all primaries, and the sources have everything that was written before. The server ends a pause by itself
    after `milliseconds`, whatever becomes of this process."""
    names = [source.primary.name for source in sources]
    began = time.monotonic()
    try:
        for name, answer in fleet.each(lambda link: link.ask("CLIENT", "PAUSE", milliseconds, "WRITE"), names).items():
            if isinstance(answer, ToolkitError):
                raise CheckFailed(f"writes on {name} could not be paused: {answer}")
        _await_caught_up(fleet, sources, began + milliseconds / 1000)
        yield lambda: time.monotonic() - began
    finally:
        fleet.each(lambda link: link.ask("CLIENT", "UNPAUSE"), names)


def _await_caught_up(fleet: Fleet, sources: Sequence[Source], deadline: float) -> None:
    def offset(name: str) -> int:
        role = fleet.links[name].ask("ROLE")
        assert isinstance(role, list)  # noqa: S101 - what ROLE answers
        return int(str(role[1 if role[0] == "master" else 4]))

    for source in sources:
        if source.role == "primary":
            continue
        wanted = offset(source.primary.name)
        while offset(source.node.name) < wanted:
            if time.monotonic() > deadline:
                raise CheckFailed(f"{source.node.name} did not catch up with {source.primary.name} within the pause")
            time.sleep(CATCH_UP_SECONDS)
