"""The whole replay: load the snapshots away from everything, check, empty the target, stream, wait for replicas, compare digests.

Nothing of the target is touched before every snapshot was loaded, read and found to fit.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, TypeVar

from operations.digest.definition import Comparison, Digest, boundaries_from, compare, of_data
from operations.digest.live import digest_stack
from operations.digest.reader import databases
from operations.digest.snapshot import digest_scratch
from operations.errors import CheckFailed, HoldsData, InvalidInput, ToolkitError, Undetermined, Unreachable
from operations.inventory import Access
from operations.observe import observe
from operations.replay.stream import Notes, Position, Watch, stream
from operations.replay.targets import Feed, Route, close_feeds, find_route, open_feeds
from operations.scratch import NOTES_DATABASE, Content, Scratch, Session, scratch_server

WIDTH = 4
"""Snapshots that are loaded, and streamed, at the same time."""
MEMORY_RESERVE = 1.05
AGAIN_SECONDS = 60.0
"""How long a target without somebody in charge of all keys is waited for."""
POLL_SECONDS = 0.5
REPLICA_SECONDS = 120.0

S = TypeVar("S")
T = TypeVar("T")
Say = Callable[[str], None]


def ignore(*_: object) -> None:
    """For whoever does not watch."""


@dataclass(frozen=True)
class Replayed:
    """What was done. Seconds until snapshots were loaded and read, keys passed on, replicas in sync, digests compared."""

    keys: int
    bytes: int
    loaded_seconds: float
    streamed_seconds: float
    redundant_seconds: float
    verified_seconds: float
    comparison: Comparison
    resumed: bool


@dataclass(frozen=True)
class Source:
    """A snapshot in its scratch server. `info` is what the server says of it; `begun`: an earlier run passed keys on from it."""

    scratch: Scratch
    digest: Digest
    info: Mapping[str, str]
    begun: bool


def replay(
    access: Access,
    snapshots: Sequence[Content],
    replace: bool,
    watch: Watch = ignore,
    say: Say = ignore,
    begin: Callable[[], None] = ignore,
) -> Replayed:
    """Make the stack hold exactly what the snapshots hold together; see the module. Keep applications out meanwhile.

    A replay that was killed is continued when called again with the same snapshots. Raises HoldsData when the stack holds data
    and `replace` is False, InvalidInput when a snapshot cannot be loaded or does not fit, CheckFailed when the target is full or
    holds something else in the end, Undetermined when it was written to by others. `begin` is called before anything is changed.
    """
    began = time.monotonic()
    route = find_route(access)
    with ExitStack() as stack:
        say(f"loading {len(snapshots)} snapshots into scratch servers")
        sources = _load(stack, access, snapshots, say)
        _refuse_misfits(access, route, sources)
        resumed = any(source.begun for source in sources)
        if not resumed:
            _refuse_data(access, route, replace)
        begin()
        if not resumed:
            if replace:
                say(f"emptying stack {access.inventory.stack}")
                _ask_targets(access, route, lambda feed: (feed.ask("FLUSHALL", "ASYNC"), feed.ask("FUNCTION", "FLUSH")))
            for source in sources:
                source.scratch.ask_once(_mark_begun)
        loaded = time.monotonic() - began
        _load_libraries(access, route, sources)
        say("going on where an earlier run stopped" if resumed else "passing keys on")
        positions = _each(sources, lambda source, told: _stream(access, source, told, say), watch)
        streamed = time.monotonic() - began
        say("waiting for replicas")
        _await_replicas(access)
        redundant = time.monotonic() - began
        say("comparing digests")
        expected = reduce(add, (source.digest for source in sources))
        comparison = compare(expected, digest_stack(access, expected.boundaries_ms, gently=False).total)
    _require_equal(access, comparison)
    keys, size = sum(p.keys for p in positions), sum(p.bytes for p in positions)
    return Replayed(keys, size, loaded, streamed, redundant, time.monotonic() - began, comparison, resumed)


def _require_equal(access: Access, comparison: Comparison) -> None:
    told = "; ".join(comparison.differences)
    if told and not comparison.certain:
        raise Undetermined(f"stack {access.inventory.stack} was written to meanwhile, so nothing is proven: {told}")
    if told:
        raise CheckFailed(f"stack {access.inventory.stack} does not hold what the snapshots hold (these and it): {told}")


# ---- the sources ----------------------------------------------------------------------------------------------------


def _load(stack: ExitStack, access: Access, snapshots: Sequence[Content], say: Say) -> list[Source]:
    """Load all snapshots and read their digests; what an earlier run left is used again."""
    inventory = access.inventory

    def load(snapshot: Content, _: Watch) -> Scratch:
        server = scratch_server(inventory.stack, f"replay-{snapshot.name}", inventory.engine.image, snapshot)
        scratch = server.__enter__()
        stack.push(server)
        say(f"snapshot {snapshot.name} is loaded")
        return scratch

    scratches = _each(snapshots, load)
    notes: list[tuple[Any, Any]] = [scratch.ask_once(_left_notes) for scratch in scratches]
    known = [of_data(digest) if digest else None for digest, _ in notes]
    boundaries = next((one.boundaries_ms for one in known if one), boundaries_from(time.time_ns() // 1_000_000))

    def look(found: tuple[Scratch, Digest | None, Any], told: Watch) -> Source:
        scratch, digest, position = found
        if digest is None or digest.boundaries_ms != boundaries:
            digest = digest_scratch(scratch, boundaries, lambda _: told(0, 0))
            data = digest.to_data()
            scratch.ask_once(lambda session: Notes(session).write("digest", data))
        return Source(scratch, digest, scratch.ask_once(lambda session: Notes(session).info()), position is not None)

    return _each([(scratch, one, note[1]) for scratch, one, note in zip(scratches, known, notes, strict=True)], look)


def _left_notes(session: Session) -> tuple[Any, Any]:
    notes = Notes(session)
    return notes.read("digest"), notes.read("position")


def _mark_begun(session: Session) -> None:
    Notes(session).write("position", {})


def _refuse_misfits(access: Access, route: Route, sources: Sequence[Source]) -> None:
    """Raises InvalidInput or CheckFailed for what the target cannot hold."""
    used = {number for source in sources for number in databases(dict(source.info))} - {0, NOTES_DATABASE}
    if access.inventory.topology == "cluster" and used:
        numbers = ", ".join(map(str, sorted(used)))
        raise InvalidInput(f"the snapshots hold keys in databases {numbers}; a cluster has only database 0. Nothing was touched")
    need = sum(int(source.info["used_memory_dataset"]) for source in sources) * MEMORY_RESERVE / len(route.primaries)
    for name, info in _ask_targets(access, route, lambda feed: feed.info("memory")).items():
        most = int(info["maxmemory"])
        if most and need > most:
            raise CheckFailed(
                f"{name} would need about {need / 1e6:,.0f} MB and has a maxmemory of {most / 1e6:,.0f} MB. Nothing was touched; "
                "raise memory.maxmemory or give the target more shards"
            )


# ---- the target -----------------------------------------------------------------------------------------------------


def _refuse_data(access: Access, route: Route, allowed: bool) -> None:
    """Raises HoldsData for a target with keys that nobody gave up."""
    infos = _ask_targets(access, route, lambda feed: feed.info("keyspace"))
    held = [value for info in infos.values() for name, value in info.items() if name.startswith("db")]
    keys = sum(int(value.partition("keys=")[2].partition(",")[0]) for value in held)
    if keys and not allowed:
        raise HoldsData(f"stack {access.inventory.stack} holds {keys:,} keys. Nothing was touched; --replace gives them up")


def _load_libraries(access: Access, route: Route, sources: Sequence[Source]) -> None:
    """Function libraries belong to every shard."""
    for source in sources:
        if source.digest.libraries:
            dumped: Any = source.scratch.ask_once(lambda session: session.ask("FUNCTION", "DUMP"))
            _ask_targets(access, route, lambda feed, dumped=dumped: feed.ask("FUNCTION", "RESTORE", dumped, "REPLACE"))  # type: ignore[misc]


def _ask_targets(access: Access, route: Route, question: Callable[[Feed], T]) -> dict[str, T]:
    feeds = open_feeds(access, route)
    try:
        return {name: question(feed) for name, feed in feeds.items()}
    finally:
        close_feeds(feeds)


def _stream(access: Access, source: Source, watch: Watch, say: Say) -> Position:
    """Stream one snapshot; when another node takes over, go on there."""
    last = time.monotonic()

    def told(keys: int, size: int) -> None:
        nonlocal last
        last = time.monotonic()
        watch(keys, size)

    session = source.scratch.connection()
    try:
        while True:
            try:
                route = find_route(access)
                feeds = open_feeds(access, route)
                try:
                    return stream(session, feeds, route, told)
                finally:
                    close_feeds(feeds)
            except Unreachable as error:
                if time.monotonic() - last > AGAIN_SECONDS:
                    raise
                say(f"looking again for who is in charge: {error}")
                time.sleep(POLL_SECONDS)
    finally:
        session.close()


def _await_replicas(access: Access) -> None:
    """Until every replica has acknowledged what its primary had when this was called."""
    wanted: dict[str, int] = {}
    deadline = time.monotonic() + REPLICA_SECONDS
    while True:
        seen = observe(access)
        heads = {node.name: link for node in seen.answering if node.is_primary and (link := node.replication)}
        behind = []
        for name, head in heads.items():
            offset = wanted.setdefault(name, head.offset)
            behind += [f"{one.address} of {name}" for one in head.replicas if one.state != "online" or one.offset < offset]
        if heads and not behind:
            return
        if time.monotonic() > deadline:
            missing = ", ".join(behind) or "no primary answers"
            raise CheckFailed(f"replicas do not have all data after {REPLICA_SECONDS:g} s: {missing}")
        time.sleep(POLL_SECONDS)


# ---- side by side ---------------------------------------------------------------------------------------------------


def _each(items: Sequence[S], do: Callable[[S, Watch], T], watch: Watch = ignore) -> list[T]:
    """Do something with several at the same time; the first failure ends the others at their next step."""
    stop, lock = threading.Event(), threading.Lock()

    def told(keys: int, size: int) -> None:
        if stop.is_set():
            raise Undetermined("another one failed")
        with lock:
            watch(keys, size)

    def one(item: S) -> T:
        try:
            return do(item, told)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(min(WIDTH, max(1, len(items))), thread_name_prefix="replay") as pool:
        jobs = [pool.submit(one, item) for item in items]
        try:
            return [job.result() for job in jobs]
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            failures = [failure for job in jobs if job.done() and not job.cancelled() and (failure := job.exception())]
            first = next((f for f in failures if isinstance(f, ToolkitError) and not isinstance(f, Undetermined)), error)
            raise first from None
