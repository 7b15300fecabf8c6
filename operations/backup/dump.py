"""The files of a backup as they come out of the repository, checked on the way against the manifest."""

import base64
import hashlib
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from operations.backup.create import shard_file
from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest, ShardRecord
from operations.errors import CheckFailed, ToolkitError
from operations.scratch import Snapshot

WAITING_CHUNKS = 8
GIVE_UP_SECONDS = 1.0


class _GivenUp(ToolkitError):
    """Nobody reads the file any more."""


def snapshots_of(place: Place, manifest: Manifest) -> list[Snapshot]:
    """The snapshots of all shards; they are read one after the other, however many ask at the same time."""
    one_at_a_time = threading.Lock()
    return [_snapshot(place, shard, one_at_a_time) for shard in manifest.shards]


def _snapshot(place: Place, shard: ShardRecord, one_at_a_time: threading.Lock) -> Snapshot:
    def read() -> Iterator[bytes]:
        with one_at_a_time:
            yield from _checked(_dump(place, shard), shard)

    return Snapshot(str(shard.shard), f"{shard.snapshot}/{shard.sha256}", shard.bytes, read)


def _checked(chunks: Iterator[bytes], shard: ShardRecord) -> Iterator[bytes]:
    """The chunks as they come; raises CheckFailed at their end when they are not what was stored."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if (size, digest.hexdigest()) != (shard.bytes, shard.sha256):
        raise CheckFailed(
            f"{shard_file(shard.shard)} of snapshot {shard.snapshot[:8]} is not what was stored: {size} bytes with SHA-256 "
            f"{digest.hexdigest()[:16]}, the manifest says {shard.bytes} with {shard.sha256[:16]}"
        )


def _dump(place: Place, shard: ShardRecord) -> Iterator[bytes]:
    """A file of the repository, as a job reads it; raises what the job raises."""
    chunks: queue.Queue[bytes | Exception | None] = queue.Queue(WAITING_CHUNKS)
    stop = threading.Event()

    def put(value: bytes | Exception | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                chunks.put(value, timeout=GIVE_UP_SECONDS)
                return
        raise _GivenUp("nobody reads the file any more")

    def take(event: dict[str, Any]) -> None:
        if event.get("event") == "chunk":
            put(base64.b64decode(event["data"]))

    def work() -> None:
        with suppress(_GivenUp):
            try:
                run_job(place, "dump", take, snapshot=shard.snapshot, file=shard_file(shard.shard))
                put(None)
            except _GivenUp:
                raise
            except Exception as error:
                put(error)

    worker = threading.Thread(target=work, name=f"dump of shard {shard.shard}", daemon=True)
    worker.start()
    try:
        while (found := chunks.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        stop.set()
        worker.join()
