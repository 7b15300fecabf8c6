"""The digest of a snapshot (RDB file), away from where it came from: a scratch server loads it."""

import time
from collections.abc import Callable

from operations.digest.definition import Digest, boundaries_from
from operations.digest.reader import Reader, Watch
from operations.scratch import Scratch, Snapshot, scratch_server


def digest_scratch(scratch: Scratch, boundaries_ms: tuple[int, ...] | None = None, watch: Watch = lambda _: None) -> Digest:
    """The digest of what a scratch server holds."""
    session = scratch.connection()
    try:
        return Reader(session.ask, boundaries_ms or boundaries_from(time.time_ns() // 1_000_000), watch).read()
    finally:
        session.close()


def digest_snapshot(
    snapshot: Snapshot,
    image: str,
    owner: str,
    boundaries_ms: tuple[int, ...] | None = None,
    watch: Watch = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Digest:
    """Load a snapshot into a scratch server of `image` and read its digest; see `scratch_server` for the rest and what it raises.

    Keys that have expired by now are not loaded, so they are no part of it.
    """
    with scratch_server(owner, f"digest-{snapshot.name}", image, snapshot, say) as scratch:
        return digest_scratch(scratch, boundaries_ms, watch)
