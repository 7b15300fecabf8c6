"""The definition of a digest once more, in plain Python over plain values, to hold read.lua and definition.py against."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from operations.digest.definition import frame, hash_number, key_hash, whole

CHUNK = 65536


@dataclass(frozen=True)
class Hash:
    """A hash with the expiries of single fields in ms."""

    fields: Mapping[bytes, bytes]
    expiries: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """A stream as XINFO shows it: entries (id, flat fields), state, groups, consumers, pending entries."""

    entries: list[tuple[bytes, list[bytes]]]
    last_id: bytes
    max_deleted_id: bytes
    added: int
    groups: list[tuple[bytes, bytes, int | None]]
    consumers: list[tuple[bytes, bytes]]
    pending: list[tuple[bytes, bytes, bytes, int, int]]


Value = bytes | list[bytes] | set[bytes] | dict[bytes, float] | Hash | Stream


def kind_of(value: Value) -> bytes:
    names = {bytes: b"string", list: b"list", set: b"set", dict: b"zset", Hash: b"hash", Stream: b"stream"}
    return names[type(value)]


def elements(value: Value) -> Iterator[bytes]:
    """What is hashed, element by element."""
    match value:
        case bytes():
            for index, start in enumerate(range(0, len(value), CHUNK)):
                yield frame(whole(index)) + value[start : start + CHUNK]
        case list():
            yield from (frame(whole(index)) + frame(element) for index, element in enumerate(value))
        case set():
            yield from map(frame, value)
        case dict():
            yield from (frame(member) + frame(b"%.17g" % score) for member, score in value.items())
        case Hash():
            lasting = ((name, text) for name, text in value.fields.items() if name not in value.expiries)
            yield from (frame(name) + frame(text) + frame(whole(-1)) for name, text in lasting)
        case Stream():
            yield from _stream(value)


def _stream(value: Stream) -> Iterator[bytes]:
    for number, flat in value.entries:
        yield b"e" + frame(number) + b"".join(map(frame, flat))
    yield b"m" + frame(value.last_id) + frame(value.max_deleted_id) + frame(whole(value.added))
    for name, delivered, read in value.groups:
        yield b"g" + frame(name) + frame(delivered) + frame(b"nil" if read is None else whole(read))
    for group, consumer in value.consumers:
        yield b"c" + frame(group) + frame(consumer)
    for group, number, consumer, delivered_ms, count in value.pending:
        yield b"p" + frame(group) + frame(number) + frame(consumer) + frame(whole(delivered_ms)) + frame(whole(count))


def reference(data: Mapping[bytes, tuple[Value, int]], database: int = 0) -> int:
    """The digest of keys with their values and expiries in ms (-1 for none)."""
    total = 0
    for key, (value, expiry_ms) in data.items():
        body = sum(map(hash_number, elements(value)))
        total += key_hash(database, key, kind_of(value), expiry_ms, body)
        if isinstance(value, Hash):
            for name, when in value.expiries.items():
                place = frame(whole(database)) + frame(key) + b"f" + frame(whole(when))
                total += hash_number(place + frame(name) + frame(value.fields[name]))
    return total % (1 << 160)
