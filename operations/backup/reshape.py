"""Restores a backup into a running stack of another shape, by replay; fenced until its digest was found the same.

The files come out of the repository one after the other and go straight into scratch servers; see operations/replay. A restore
that was cut off leaves the stack fenced; calling it again goes on, or begins anew.
"""

import base64
import hashlib
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from operations.backup.create import shard_file
from operations.backup.fetch import FENCE
from operations.backup.fit import engine_problem
from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest, ShardRecord, gaps
from operations.backup.restore import Report, is_fenced, lift_fence
from operations.connect import Fleet, Link, Refused
from operations.containers import Containers
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access
from operations.parse import items
from operations.replay.run import Replayed, replay
from operations.scratch import Snapshot

NOT_FENCED = frozenset({"default", "admin", "replication", "sentinel", "monitor", "backup"})
"""Users that a fence leaves alone, as in configs/node/role.sh."""
WAITING_CHUNKS = 8
GIVE_UP_SECONDS = 1.0


class _GivenUp(ToolkitError):
    """Nobody reads the file any more."""


def restore_reshaped(place: Place, access: Access, manifest: Manifest, replace: bool, report: Report) -> Replayed:
    """Make the stack of `access` hold what the backup holds; see the module.

    Raises what `replay` raises, and CheckFailed for a set that is not whole or a file that is not what was stored.
    """
    problem = "; ".join(gaps(manifest)) or engine_problem(manifest, access.inventory)
    if problem:
        raise CheckFailed(f"{problem}; nothing was touched")
    containers = Containers(access.inventory)
    data = access.inventory.data_nodes
    allowed = replace or is_fenced(containers, data) is not None
    one_at_a_time = threading.Lock()
    snapshots = [_snapshot(place, shard, one_at_a_time) for shard in manifest.shards]

    def begin() -> None:
        report({"event": "phase", "text": "closing the stack to applications"})
        raise_fence(access, containers, manifest.id)

    done = replay(
        access,
        snapshots,
        allowed,
        say=lambda text: report({"event": "phase", "text": text}),
        begin=begin,
    )
    lift_fence(access, containers)
    return done


def raise_fence(access: Access, containers: Containers, mark: str) -> None:
    """Keep applications out of a running stack, also of nodes that restart meanwhile; `lift_fence` lets them in again."""
    data = access.inventory.data_nodes

    def close(link: Link) -> None:
        for user in items(link.ask("ACL", "USERS")):
            if str(user) not in NOT_FENCED:
                link.ask("ACL", "SETUSER", str(user), "off")
                link.ask("CLIENT", "KILL", "USER", str(user))

    for node in data:
        containers.run(node, f"printf '%s\\n' '{mark}' > /data/{FENCE}")
    with Fleet(access, data) as fleet:
        for name, answer in fleet.each(close).items():
            if isinstance(answer, ToolkitError | Refused):
                raise CheckFailed(f"{name} could not be closed to applications: {answer}")


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
