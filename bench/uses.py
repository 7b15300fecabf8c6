#!/usr/bin/env python3
"""What the careful uses of `applications/` cost: next to the bare commands that they need, and to established libraries.

usage: bench/uses.py [USE …] [--rounds N] [--seconds S] [--topology standalone|cluster] [--out FILE]

One client, one request at a time, on a throw-away stack; the ways of a use take turns, so that a slow moment of the machine hits
all of them. Ratios are operations per second against the bare commands, sent one after the other. `bare, together` sends those
that do not need each other's answers in one pipeline: faster, but not atomic either.
"""

import importlib.util
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import limits
import redis
import typer
from redis.cache import CacheConfig, DefaultCache
from rich.table import Table

from applications.behind import WriteBehind
from applications.bloom import Bloom
from applications.board import Board
from applications.broadcast import Channel
from applications.cache import Cache
from applications.careless.broadcast import PubSubChannel, ShardedPubSubChannel
from applications.flags import Flags
from applications.library_limiter import storage_on
from applications.limiter import FixedWindow, SlidingWindow, TokenBucket
from applications.lock import FencedLock
from applications.near import Near, NearRows
from applications.queue import GROUP, StreamQueue
from applications.series import Series
from applications.session import Sessions
from applications.visits import KEPT_SECONDS, Visits
from operations.clients import application_client
from operations.connect import endpoint
from operations.errors import UsageError
from scripts._command import make_console, run
from tests.live.harness import throw_away_stack

Operation = Callable[[], object]
Send = Callable[..., list[Any]]
"""Sends commands, each a tuple of words, and returns their replies."""
Ways = Mapping[str, Operation]
PREFIX = "redis-topologies:bench"
BARE = f"{PREFIX}:{{ours}}:bare"
"""In the slot of the careful ways: in a cluster both have to go to the same node."""
MUCH = 1_000_000_000
HEARD_SECONDS = 5.0
FIELDS = {"user": "42", "seen": "now"}


def bare_ways(client: Any, operation: Callable[[Send], object]) -> Ways:
    """The bare commands, one after the other and together."""

    def one_by_one(*commands: tuple[Any, ...]) -> list[Any]:
        return [client.execute_command(*command) for command in commands]

    def together(*commands: tuple[Any, ...]) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute()
        return replies

    return {"bare": lambda: operation(one_by_one), "bare, together": lambda: operation(together)}


def lock(client: Any) -> Ways:
    """Take and give back."""
    ours, theirs = FencedLock(client, "ours", 10, prefix=PREFIX), client.lock(f"{BARE}:lock", timeout=10)

    def careful() -> None:
        assert ours.acquire() is not None
        ours.release()

    def bare(send: Send) -> None:
        send(("SET", BARE, "owner", "NX", "PX", 10_000), ("INCR", f"{BARE}:token"))
        send(("GET", BARE), ("DEL", BARE))

    def library() -> None:
        theirs.acquire(blocking=False)
        theirs.release()

    return {"careful": careful, **bare_ways(client, bare), "redis-py Lock": library}


def bare_jobs(client: Any) -> Ways:
    """Put, take, done."""
    numbers, key = itertools.count(), f"{BARE}:stream"
    client.xgroup_create(key, GROUP, "0", mkstream=True)

    def bare(send: Send) -> None:
        number = next(numbers)
        put = ("SET", f"{BARE}:{number}", 1, "NX", "EX", 600)
        send(put, ("XADD", key, "*", "job", number, "body", "body"))
        abandoned = ("XAUTOCLAIM", key, GROUP, "worker", 30_000, "0", "COUNT", 1)
        _, entry = send(abandoned, ("XREADGROUP", "GROUP", GROUP, "worker", "COUNT", 1, "STREAMS", key, ">"))
        name = entry[0][1][0][0] if isinstance(entry, list) else next(iter(entry.values()))[0][0][0]
        send(("XACK", key, GROUP, name), ("XDEL", key, name))

    return bare_ways(client, bare)


def queue(client: Any) -> Ways:
    """Put, take, done."""
    numbers, ours = itertools.count(), StreamQueue(client, "ours", prefix=PREFIX)
    ours.take("worker")

    def careful() -> None:
        ours.put(str(next(numbers)), "body")
        job = ours.take("worker")
        assert job is not None
        ours.done(job)

    return {"careful": careful, **bare_jobs(client)}


def behind(client: Any) -> Ways:
    """A change, and its way to a database that takes no time."""
    numbers, ours = itertools.count(), WriteBehind(client, "ours", prefix=PREFIX)

    def nowhere(_key: str, _number: int, _value: str) -> None:
        """Nothing of the database is measured."""

    ours.carry("worker", nowhere)

    def careful() -> None:
        ours.write("row", next(numbers), "body")
        assert ours.carry("worker", nowhere)

    return {"careful": careful, **bare_jobs(client)}


def broadcast(client: Any) -> Ways:
    """One message, said and heard."""
    numbers, ours = itertools.count(), Channel(client, "ours", prefix=PREFIX)
    places = {"ours": "0", "bare": "0-0"}

    def careful() -> None:
        ours.publish(str(next(numbers)), "body")
        heard, places["ours"] = ours.after(places["ours"])
        assert len(heard) == 1

    def bare(send: Send) -> None:
        number = next(numbers)
        publish = ("XADD", BARE, "MAXLEN", "~", 10_000, "*", "n", number, "b", "body")
        once = ("SET", f"{BARE}:once:{number}", 1, "NX", "EX", 600)
        *_, heard = send(once, publish, ("XRANGE", BARE, f"({places['bare']}", "+", "COUNT", 100))
        places["bare"] = heard[-1][0].decode()

    def subscribed(channel: PubSubChannel) -> Operation:
        channel.after("")

        def said_and_heard() -> None:
            channel.publish(str(next(numbers)), "body")
            until = time.monotonic() + HEARD_SECONDS
            while not channel.after("")[0]:
                assert time.monotonic() < until, "a message was not heard"

        return said_and_heard

    plain, sharded = PubSubChannel(client, "ours", PREFIX), ShardedPubSubChannel(client, "ours", PREFIX)
    return {"careful": careful, **bare_ways(client, bare), "PUBLISH": subscribed(plain), "SPUBLISH": subscribed(sharded)}


def flags(client: Any) -> Ways:
    """One decision, of an instance that looks after its copy."""
    ours = Flags(client, "ours", {"flag": "off"}, prefix=PREFIX)
    ours.declare("flag", "on", 1)
    client.hset(BARE, "flag", "on")

    def careful() -> None:
        ours.refresh()
        assert ours.get("flag") == "on"

    return {"careful": careful, "bare": lambda: client.hget(BARE, "flag").decode()}


def flag_change(client: Any) -> Ways:
    """What the owner of a flag says of it."""
    numbers, ours = itertools.count(1), Flags(client, "ours", {"flag": "off"}, prefix=PREFIX)

    def bare(send: Send) -> None:
        send(("HGET", BARE, "flag:version"), ("HSET", BARE, "flag", "on", "flag:version", next(numbers)))

    return {"careful": lambda: ours.declare("flag", "on", next(numbers)), **bare_ways(client, bare)}


def cache(client: Any) -> Ways:
    """A hit."""
    ours = Cache(client, lambda _key: (1, "x" * 200), fresh_seconds=3600, prefix=PREFIX)
    client.set(BARE, "x" * 200, px=3_600_000)
    return {"careful": lambda: ours.get("ours").value, "bare": lambda: client.get(BARE).decode()}


def cache_miss(client: Any) -> Ways:
    """A row that one instance loads and keeps, while the others would wait; its database takes no time."""
    numbers, value = itertools.count(), "x" * 200
    ours = Cache(client, lambda _key: (1, value), fresh_seconds=3600, prefix=PREFIX)

    def bare(send: Send) -> None:
        key = f"{PREFIX}:{{bare-{next(numbers)}}}"
        fill = f"{key}:fill"
        send(("GET", key), ("SET", fill, "owner", "NX", "PX", 5_000))
        send(("GET", key), ("SET", key, value, "PX", 3_600_000), ("GET", fill), ("DEL", fill))

    return {"careful": lambda: ours.get(str(next(numbers))), **bare_ways(client, bare)}


def limiter(client: Any) -> Ways:
    """One question, never refused."""
    ways: dict[str, Operation] = {}
    for name, kind in (("careful", FixedWindow), ("careful, sliding", SlidingWindow), ("careful, bucket", TokenBucket)):
        limiter = kind(client, 1_000_000, 0.05, f"{PREFIX}:{name}")
        ways[name] = lambda limiter=limiter: limiter.ask("ours")  # type: ignore[misc]

    ways |= bare_ways(client, lambda send: send(("INCR", BARE), ("EXPIRE", BARE, 1)))
    storage, item = storage_on(client, PREFIX), limits.RateLimitItemPerSecond(MUCH)
    fixed, moving = limits.strategies.FixedWindowRateLimiter(storage), limits.strategies.MovingWindowRateLimiter(storage)
    return {
        **ways,
        "limits, fixed": lambda: fixed.hit(item, "{ours}"),
        "limits, moving": lambda: moving.hit(item, "{ours}:moving"),
    }


def session(client: Any) -> Ways:
    """One use of a session."""
    ours, key = Sessions(client, 600, prefix=PREFIX), f"{BARE}:session"
    ours.start("ours", FIELDS)
    client.hset(key, mapping=FIELDS)

    fields = [part for pair in FIELDS.items() for part in pair]
    bare = bare_ways(client, lambda send: send(("HSET", key, *fields), ("PEXPIRE", key, 600_000), ("HGETALL", key)))
    return {"careful": lambda: ours.use("ours", FIELDS), **bare}


def leaderboard(client: Any) -> Ways:
    """Points of one operation."""
    numbers, ours = itertools.count(), Board(client, "ours", prefix=PREFIX)

    def bare(send: Send) -> None:
        send(("SET", f"{BARE}:once:{next(numbers)}", 1, "NX", "EX", 600), ("ZINCRBY", f"{BARE}:board", 1, "player"))

    return {"careful": lambda: ours.add("player", 1, str(next(numbers))), **bare_ways(client, bare)}


def visits(client: Any) -> Ways:
    """One visitor."""
    numbers, ours = itertools.cycle(range(100_000)), Visits(client, "ours", prefix=PREFIX)

    def bare(send: Send) -> None:
        number, about, bits = next(numbers), f"{BARE}:about", f"{BARE}:bits"
        send(
            ("PFADD", about, number), ("SETBIT", bits, number, 1), ("EXPIRE", about, KEPT_SECONDS), ("EXPIRE", bits, KEPT_SECONDS)
        )

    return {"careful": lambda: ours.visit(next(numbers)), **bare_ways(client, bare)}


def near(client: Any) -> Ways:
    """An answer from memory, beside redis-py's own cache, one by cachetools where it is installed, and a request."""
    tier = Near(3600)
    options = {**client.get_connection_kwargs(), "protocol": 3} if isinstance(client, redis.Redis) else None
    if options is None:
        raise UsageError("near is measured on standalone alone")
    options = {name: options[name] for name in ("host", "port", "username", "password", "protocol")}
    rows = NearRows(redis.Redis(cache=tier, **options), tier, PREFIX)
    theirs = redis.Redis(cache=DefaultCache(CacheConfig()), **options)
    rows.set("ours", "x" * 200)
    ways: dict[str, Operation] = {
        "careful": lambda: rows.get("ours"),
        "bare": lambda: client.get(f"{PREFIX}:{{ours}}"),
        "redis-py cache": lambda: theirs.get(f"{PREFIX}:{{ours}}"),
    }
    if importlib.util.find_spec("cachetools"):  # nothing else needs it: pip install cachetools
        memory = importlib.import_module("cachetools").TTLCache(10_000, 1.0)

        def remembered() -> object:
            try:
                return memory["ours"]
            except KeyError:
                return memory.setdefault("ours", client.get(f"{PREFIX}:{{ours}}"))

        ways["cachetools"] = remembered
    return ways


def bloom(client: Any) -> Ways:
    """One question for what is not there."""
    numbers, ours = itertools.count(), Bloom(client, "ours", 100_000, prefix=PREFIX)
    ours.add("member")

    def bare() -> None:
        places = ours.places(f"never-{next(numbers)}")
        client.execute_command("BITFIELD_RO", f"{PREFIX}:{{ours}}", *(word for place in places for word in ("GET", "u1", place)))

    return {"careful": lambda: ours.may_have(f"never-{next(numbers)}"), "bare": bare}


def series(client: Any) -> Ways:
    """One measurement."""
    numbers, ours, key = itertools.count(1), Series(client, "ours", prefix=PREFIX), f"{BARE}:series"

    def bare(send: Send) -> None:
        number = next(numbers)
        send(("XADD", key, f"{number}-0", "v", 1.0), ("PEXPIRE", key, 600_000))

    return {"careful": lambda: ours.add(next(numbers), 1.0), **bare_ways(client, bare)}


USES: dict[str, Callable[[Any], Ways]] = {
    "lock": lock, "queue": queue, "cache": cache, "cache-miss": cache_miss, "limiter": limiter, "session": session,
    "leaderboard": leaderboard, "visits": visits, "near": near, "bloom": bloom, "series": series, "write-behind": behind,
    "broadcast": broadcast, "flags": flags, "flag-change": flag_change,
}  # fmt: skip


def rate(operation: Operation, seconds: float) -> float:
    """Operations per second, one after the other."""
    began = time.perf_counter()
    until, count = began + seconds, 0
    while time.perf_counter() < until:
        operation()
        count += 1
    return count / (time.perf_counter() - began)


def compare(ways: Ways, rounds: int, seconds: float) -> dict[str, Any]:
    """Rates of all ways by turns, and of each the median of its ratios to the bare commands in the same round: a machine that is
    slow for a while is slow for both."""
    for operation in ways.values():
        rate(operation, seconds / 4)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, operation in ways.items():
            found[name].append(round(rate(operation, seconds), 1))
    ratios = {name: [one / bare for one, bare in zip(rates, found["bare"], strict=True)] for name, rates in found.items()}
    return {name: {"rates": rates, "ratio": round(statistics.median(ratios[name]), 3)} for name, rates in found.items()}


def client_of(stack: Any) -> Any:
    """Of one server the node itself, of a cluster all of it."""
    access = stack.access()
    stack.wait_healthy(access, 60)
    if access.inventory.topology == "cluster":
        return application_client(access)
    host, port = endpoint(access.inventory.data_nodes[0])
    return redis.Redis(host=host, port=port, username="app", password=access.credentials.password("app"))


def tidy(client: Any) -> Iterator[None]:
    """Remove what was measured with."""
    for key in client.scan_iter(match=f"{PREFIX}:*", count=1000):
        client.unlink(key)
        yield


def main(
    uses: Annotated[list[str] | None, typer.Argument(metavar="[USE]…")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    seconds: Annotated[float, typer.Option(min=0.05)] = 0.5,
    topology: Annotated[str, typer.Option(metavar="standalone|cluster")] = "standalone",
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Compare the careful uses with the bare commands that they need."""
    unfit = sorted(set(uses or ()) - set(USES))
    if unfit or topology not in ("standalone", "cluster"):
        raise UsageError(f"uses are {', '.join(USES)}, topologies standalone and cluster")
    console = make_console()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, throw_away_stack("bench-uses", {"topology": topology}, Path(folder)) as stack:
        stack.up().ok()
        client = client_of(stack)
        for name in uses or [name for name in USES if topology == "standalone" or name != "near"]:
            found[name] = compare(USES[name](client), rounds, seconds)
            table = Table("way", "min", "median", "max operations/s", "of bare", title=name, title_justify="left", box=None)
            for way, told in found[name].items():
                numbers = [
                    f"{value:,.0f}" for value in (min(told["rates"]), statistics.median(told["rates"]), max(told["rates"]))
                ]
                table.add_row(way, *numbers, f"{told['ratio']:.2f}")
            console.print(table)
            for _ in tidy(client):
                pass
    if out is not None:
        machine = {"processors": os.cpu_count(), "system": platform.platform()}
        out.write_text(json.dumps({"machine": machine, "topology": topology, "uses": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
