"""The digest of a backup: read from its snapshots in scratch servers, kept in the catalogue, compared with whatever was restored.

It runs where the Docker engine is, not in a job: a scratch server is a container of the node image. The shards are loaded one
after the other, so it needs as much memory as the largest of them.
"""

import time
from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from typing import Any

from operations.alone import alone
from operations.backup.dump import snapshots_of
from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest, ShardRecord
from operations.digest.definition import Comparison, Digest, boundaries_from, compare, of_data
from operations.digest.live import digest_stack
from operations.digest.snapshot import digest_snapshot
from operations.errors import CheckFailed, InvalidInput
from operations.inventory import Access
from operations.scratch import Snapshot

Report = Callable[[dict[str, Any]], None]


def prove(place: Place, image: str, manifest: Manifest, report: Report) -> Digest:
    """Load every snapshot of a backup with servers of `image` and read the digest of all; one that the catalogue has must be
    the same, else it is noted there.

    Raises CheckFailed when a snapshot cannot be loaded or holds something else than when it was read first; the catalogue says
    so then. One after the other for all backups of a stack: the scratch servers have the same names.
    """
    with alone(place.stack, "digest", lambda text: report({"event": "phase", "text": text})):
        return _prove(place, image, manifest, report)


def _prove(place: Place, image: str, manifest: Manifest, report: Report) -> Digest:
    known = of_data(manifest.digest) if manifest.digest else None
    boundaries = known.boundaries_ms if known else boundaries_from(time.time_ns() // 1_000_000)
    try:
        shards = {one.name: _digest(place, image, one, boundaries, report) for one in snapshots_of(place, manifest)}
        found = reduce(add, shards.values())
        if known:
            require_equal(compare(known, found), f"backup {manifest.id} does not hold what it held when it was read first")
    except (InvalidInput, CheckFailed) as error:
        _record(place, manifest, "verification", "failed", {"reason": str(error)})
        raise CheckFailed(f"backup {manifest.id} is damaged: {error}") from None
    if known is None:
        parts = {name: digest.to_data() for name, digest in shards.items()}
        _record(place, manifest, "digest", "passed", {**found.to_data(), "shards": parts})
    return found


def _digest(place: Place, image: str, snapshot: Snapshot, boundaries: tuple[int, ...], report: Report) -> Digest:
    report({"event": "phase", "text": f"shard {snapshot.name}: loading it into a scratch server and reading its digest"})
    return digest_snapshot(snapshot, image, place.stack, boundaries)


def _record(place: Place, manifest: Manifest, kind: str, state: str, content: dict[str, Any]) -> None:
    run_job(place, "record", kind=kind, backup=manifest.id, state=state, content=content)


def compare_with_stack(manifest: Manifest, access: Access, targets: Mapping[str, ShardRecord]) -> Comparison | None:
    """The digest of the shards that went to the primaries `targets`, compared with that of these nodes; None when the catalogue
    has none.

    Raises CheckFailed when they differ. Applications have to be kept out: what they write would be a difference.
    """
    if manifest.digest is None:
        return None
    known = reduce(add, (of_data(manifest.digest["shards"][str(shard.shard)]) for shard in targets.values()))
    found = compare(known, digest_stack(access, known.boundaries_ms, only=targets, gently=False).total)
    require_equal(found, f"stack {access.inventory.stack} does not hold what backup {manifest.id} holds (these and it)")
    return found


def require_equal(found: Comparison, sentence: str) -> None:
    """Raises CheckFailed with `sentence` and the differences."""
    if not found.equal:
        raise CheckFailed(f"{sentence}: {'; '.join(found.differences)}")
