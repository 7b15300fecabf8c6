"""What a digest is: pure arithmetic over hashes of keys. The hashes themselves are made on the servers by read.lua.

Definition. `frame(x)` is the length of x in decimal, a colon, and x; H is SHA-1, read as a number. The hash of a key is

    H( frame(database) frame(key) frame(type) frame(expiry) body )

with the expiry as PEXPIRETIME gives it (Unix time in ms, -1 for none) and the body as 40 hex digits: the sum modulo 2^160 of

    string   H( frame(i) chunk )                       chunks of 64 KiB, i from 0; nothing for the empty string
    list     H( frame(i) frame(element) )              i from 0
    set      H( frame(member) )
    hash     H( frame(field) frame(value) frame(-1) )  of fields without an expiry of their own
    zset     H( frame(member) frame(score) )           the score as C's %.17g
    stream   H( "e" frame(id) frame(field) frame(value) … ) of entries, "m" last id, max deleted id, entries added; "g" group,
             last delivered id, entries read; "c" group, consumer; "p" group, id, consumer, time of delivery in ms, deliveries
    others   H( "d" DUMP without its version and checksum ), which depends on the engine's encoding; they are counted as opaque

and that of a field that expires at t (Unix time in ms), apart from its key, because the hash without it is still the same hash,

    H( frame(database) frame(key) "f" frame(t) frame(field) frame(value) )

The digest is the sum of the hashes of all keys and such fields modulo 2^160. A sum, because it does not depend on order and parts
add up; a key that stands on two shards counts twice in it, while XOR would cancel it out. Two data sets that differ by accident
have the same digest with probability 2^-160. It is no seal against somebody who makes data collide on purpose.

Keys expire while time goes by, so a digest is kept apart by expiry: keys without one, and keys that expire before, between and
after a few boundaries; so are fields. A hash that has only fields that expire goes with the last of them. Two digests with the
same boundaries are compared without the parts that have begun to expire.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from operations.errors import InvalidInput

MODULUS = 1 << 160
HEX_DIGITS = 40
RECORD_LENGTH = HEX_DIGITS + 1
"""A key's hash and the letter of its expiry, as read.lua writes them; of a field that expires a small letter."""
NEVER = "-"
HORIZONS_MS = tuple(1000 * s for s in (60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400))
"""Boundaries of a new digest, counted from its beginning."""


def frame(data: bytes) -> bytes:
    """Bytes with their length before them, so that no two sequences of frames look the same."""
    return b"%d:%b" % (len(data), data)


def whole(number: int) -> bytes:
    """An integer as Lua's %.0f writes it: beyond 2^53 the nearest double."""
    return b"%.0f" % number


def hash_number(data: bytes) -> int:
    """H of the definition."""
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest(), "big")


def key_hash(database: int, key: bytes, kind: bytes, expiry_ms: int, body: int) -> int:
    """The hash of a key from the sum over its elements."""
    head = frame(b"%d" % database) + frame(key) + frame(kind) + frame(whole(expiry_ms))
    return hash_number(head + b"%040x" % (body % MODULUS))


@dataclass(frozen=True)
class Part:
    """Some keys: how many, and the sum of their hashes."""

    keys: int = 0
    total: int = 0

    def __add__(self, other: "Part") -> "Part":
        return Part(self.keys + other.keys, (self.total + other.total) % MODULUS)

    @property
    def hex(self) -> str:
        return f"{self.total:040x}"


def sum_records(records: str, parts: dict[str, Part]) -> None:
    """Add a batch of records to `parts`, which maps letters to what was found so far."""
    sums: dict[str, list[int]] = {}
    for start in range(0, len(records), RECORD_LENGTH):
        number = int(records[start : start + HEX_DIGITS], 16)
        sums.setdefault(records[start + HEX_DIGITS], []).append(number)
    for letter, numbers in sums.items():
        parts[letter] = parts.get(letter, Part()) + Part(len(numbers), sum(numbers))


def letter_of(expiry_ms: int, boundaries_ms: Sequence[int]) -> str:
    """The part that a key belongs to, as read.lua decides it."""
    return NEVER if expiry_ms < 0 else chr(ord("A") + sum(1 for boundary in boundaries_ms if boundary <= expiry_ms))


def end_of(expiry_ms: int, lasting: bool, longest_ms: int) -> int:
    """When a key goes by itself, -1 for never: by its own expiry, or a hash with its last field if none is `lasting`."""
    if lasting or longest_ms < 0:
        return expiry_ms
    return longest_ms if expiry_ms < 0 else min(expiry_ms, longest_ms)


def keys_in(parts: Mapping[str, Part]) -> int:
    """How many keys these parts have, fields not counted."""
    return sum(part.keys for letter, part in parts.items() if not letter.islower())


@dataclass(frozen=True)
class Digest:
    """The digest of a server, a shard or a topology; digests with the same boundaries add up.

    `parts` maps letters to keys by expiry (see `letter_of`), small ones to fields. `began_ms` and `ended_ms` are the servers'
    Unix time around it.
    `libraries` are the hashes of the function libraries. `opaque` counts keys hashed by their DUMP. `changes` counts what was
    written, expired or evicted while the data was read: unless it is 0, the digest belongs to no single moment.
    """

    boundaries_ms: tuple[int, ...]
    parts: Mapping[str, Part] = field(default_factory=dict)
    libraries: frozenset[str] = frozenset()
    opaque: int = 0
    changes: int = 0
    began_ms: int = 0
    ended_ms: int = 0

    @property
    def all(self) -> Part:
        """All keys that were there."""
        return Part(keys_in(self.parts), add_parts(self.parts.values()).total)

    @property
    def expiring(self) -> int:
        """Number of keys that go by themselves."""
        return self.all.keys - self.parts.get(NEVER, Part()).keys

    def __add__(self, other: "Digest") -> "Digest":
        if self.boundaries_ms != other.boundaries_ms:
            raise InvalidInput("digests with different boundaries of expiry do not add up; take one with those of the other")
        letters = self.parts.keys() | other.parts.keys()
        return Digest(
            self.boundaries_ms,
            {letter: self.parts.get(letter, Part()) + other.parts.get(letter, Part()) for letter in letters},
            self.libraries | other.libraries,
            self.opaque + other.opaque,
            self.changes + other.changes,
            min(self.began_ms, other.began_ms),
            max(self.ended_ms, other.ended_ms),
        )

    def to_data(self) -> dict[str, Any]:
        """As JSON; `of_data` reads it."""
        return {
            "digest": self.all.hex,
            "keys": self.all.keys,
            "boundaries_ms": list(self.boundaries_ms),
            "parts": {letter: {"keys": part.keys, "digest": part.hex} for letter, part in sorted(self.parts.items())},
            "libraries": sorted(self.libraries),
            "opaque": self.opaque,
            "changes": self.changes,
            "began_ms": self.began_ms,
            "ended_ms": self.ended_ms,
        }


def of_data(data: Mapping[str, Any]) -> Digest:
    """A digest from its JSON; raises InvalidInput when it is none."""
    try:
        return Digest(
            tuple(int(value) for value in data["boundaries_ms"]),
            {letter: Part(int(part["keys"]), int(part["digest"], 16)) for letter, part in data["parts"].items()},
            frozenset(str(value) for value in data["libraries"]),
            int(data["opaque"]),
            int(data["changes"]),
            int(data["began_ms"]),
            int(data["ended_ms"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"this is no digest as scripts/digest.py --json prints it: {error!r}") from None


def add_parts(parts: Iterable[Part]) -> Part:
    return sum(parts, Part())


def boundaries_from(now_ms: int) -> tuple[int, ...]:
    """Boundaries of a digest that begins now."""
    return tuple(now_ms + horizon for horizon in HORIZONS_MS)


@dataclass(frozen=True)
class Comparison:
    """What two digests have in common. `differences` is empty when they agree; `left_out` counts keys that may have expired.

    `certain` is False when one of them was taken while the data changed: a difference then proves nothing.
    """

    differences: tuple[str, ...]
    compared: int
    left_out: int
    certain: bool

    @property
    def equal(self) -> bool:
        return not self.differences


def compare(first: Digest, second: Digest) -> Comparison:
    """Compare two digests with the same boundaries; raises InvalidInput when they differ.

    Parts that had begun to expire when the later digest ended are left out: their keys may be gone on one side only.
    """
    if first.boundaries_ms != second.boundaries_ms:
        raise InvalidInput("these digests were taken with different boundaries of expiry; take the second --against the first")
    latest = max(first.ended_ms, second.ended_ms)
    names = {NEVER: "keys without expiry"}
    for index, boundary in enumerate(first.boundaries_ms):
        if boundary > latest:
            names[chr(ord("B") + index)] = f"keys that expire after {boundary} ms"
            names[chr(ord("b") + index)] = f"fields of hashes that expire after {boundary} ms"
    differences, compared = [], 0
    for letter, name in names.items():
        here, there = first.parts.get(letter, Part()), second.parts.get(letter, Part())
        compared += 0 if letter.islower() else here.keys
        if here.keys != there.keys:
            differences.append(f"{name}: {here.keys:,} and {there.keys:,}")
        elif here != there:
            differences.append(f"{name}: {here.keys:,} on both sides, but something in them differs")
    if first.libraries != second.libraries:
        differences.append(f"function libraries: {len(first.libraries)} and {len(second.libraries)}, not the same ones")
    return Comparison(tuple(differences), compared, first.all.keys - compared, not first.changes and not second.changes)
