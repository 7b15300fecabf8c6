"""Copies a large key in parts by the commands of its type."""

from collections.abc import Callable
from typing import Any

from operations.connect import Refused
from operations.replay.targets import Feed
from operations.scratch import Session

STRING_BYTES = 1 << 20
PART_BYTES = 1 << 20
MOST_ELEMENTS = 1000

Words = tuple[str | bytes | int, ...]
Scanned = Callable[[bytes, list[bytes]], Words]


def _scores_first(found: list[bytes]) -> list[bytes]:
    return [word for start in range(0, len(found), 2) for word in (found[start + 1], found[start])]


SCANS: dict[str, tuple[str, str, Scanned]] = {
    "set": ("SCARD", "SSCAN", lambda key, found: ("SADD", key, *found)),
    "hash": ("HLEN", "HSCAN", lambda key, found: ("HSET", key, *found)),
    "zset": ("ZCARD", "ZSCAN", lambda key, found: ("ZADD", key, *_scores_first(found))),
}


def copy_in_parts(session: Session, feed: Feed, key: bytes, kind: str, expiry_ms: int) -> int:
    """Write a key anew at its target, element by element; returns its bytes. It begins with an empty key each time."""
    written = 0

    def put(*commands: Words) -> None:
        nonlocal written
        for answer in feed.raw(list(commands)):
            if isinstance(answer, Refused):
                raise feed.refusal(answer)
        written += sum(len(word) for command in commands for word in command if isinstance(word, bytes))

    put(("DEL", key))
    if kind == "string":
        _copy_string(session, put, key)
    elif kind == "list":
        _copy_list(session, put, key)
    else:
        _copy_scanned(session, put, key, kind)
    if expiry_ms >= 0:
        put(("PEXPIREAT", key, expiry_ms))
    return written


def _copy_string(session: Session, put: Callable[..., None], key: bytes) -> None:
    for start in range(0, session.ask("STRLEN", key), STRING_BYTES):
        put(("APPEND", key, session.ask("GETRANGE", key, start, start + STRING_BYTES - 1)))


def _copy_list(session: Session, put: Callable[..., None], key: bytes) -> None:
    length = session.ask("LLEN", key)
    step = _step(session, key, length)
    for start in range(0, length, step):
        put(("RPUSH", key, *session.ask("LRANGE", key, start, start + step - 1)))


def _copy_scanned(session: Session, put: Callable[..., None], key: bytes, kind: str) -> None:
    count, scan, command = SCANS[kind]
    step = _step(session, key, session.ask(count, key))
    cursor = b"0"
    while True:
        cursor, found = session.ask(scan, key, cursor, "COUNT", step)
        if found:
            put(command(key, found))
            if kind == "hash":
                put(*_field_expiries(session, key, found[::2]))
        if cursor == b"0":
            return


def _field_expiries(session: Session, key: bytes, names: list[bytes]) -> list[Words]:
    """Commands that give fields of a hash the expiries that they have; none where the engine has no such thing."""
    try:
        times: list[Any] = session.ask("HPEXPIRETIME", key, "FIELDS", len(names), *names)
    except Refused as error:
        if "unknown command" in str(error):
            return []
        raise
    return [("HPEXPIREAT", key, time, "FIELDS", 1, name) for name, time in zip(names, times, strict=True) if time > 0]


def _step(session: Session, key: bytes, length: int) -> int:
    """How many elements are about `PART_BYTES`."""
    size = session.ask("MEMORY", "USAGE", key, "SAMPLES", 20) or 1
    return max(1, min(MOST_ELEMENTS, PART_BYTES * length // size))
