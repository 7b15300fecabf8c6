"""Reads the digest of one server in small bounded calls; see read.lua for what runs on it.

The server itself ends a call after `CALL_MS`, so that its clients hardly wait. The memory used does not grow with the data.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations.connect import Refused
from operations.digest.definition import (
    HEX_DIGITS,
    RECORD_LENGTH,
    Digest,
    Part,
    end_of,
    frame,
    key_hash,
    keys_in,
    letter_of,
    sum_records,
)
from operations.errors import Undetermined
from operations.parse import info_fields

SCRIPT = (Path(__file__).parent / "read.lua").read_bytes()
_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()

Ask = Callable[..., Any]
"""One command to a server, given as words; the reply in bytes, integers and lists. Raises Refused with the server's error."""

CALL_MS = 1
"""How long the server may work on one call: what its clients may have to wait. A single element is always read whole.

That is processor time. On a machine with more to do than processors, a call of 2 ms was seen to take 16 ms of time."""
LARGE_PART_BYTES = 131_072
MOST_ELEMENTS = 500
CHUNKS_PER_CALL = 4
TRIES = 3
"""Readings of a server or of a large key before it is given up as one that changes all the time."""

Watch = Callable[[int], None]
"""Told after each call how many keys were read since the last one; an error that it raises ends the reading."""


@dataclass(frozen=True)
class Counters:
    """What tells whether a server's data changed."""

    dirty: int
    gone: int
    run: str

    @classmethod
    def of(cls, info: dict[str, str]) -> "Counters":
        changes, saved = int(info.get("rdb_changes_since_last_save", 0)), info.get("rdb_last_save_time", "")
        gone = int(info.get("expired_keys", 0)) + int(info.get("evicted_keys", 0))
        return cls(changes, gone, f"{info.get('run_id')}/{saved}")

    def changes_until(self, later: "Counters") -> int:
        """How much changed; at least 1 when the server was restarted or its counter of changes was reset by a save."""
        gone = max(0, later.gone - self.gone)
        return gone + (later.dirty - self.dirty if self.run == later.run else max(1, later.dirty))


@dataclass
class _Body:
    """What was read of a large key: the sum over its elements, and their number. Of a hash also the fields that expire by
    themselves, as parts, when the last of them does, and whether there are others."""

    total: int = 0
    found: int = 0
    fields: dict[str, Part] = field(default_factory=dict)
    lasting: bool = False
    longest_ms: int = -1


class Reader:
    """The digest of the server behind `ask`. Databases are selected on its connection; leave it to the reader alone."""

    def __init__(self, ask: Ask, boundaries_ms: tuple[int, ...], watch: Watch = lambda _: None) -> None:
        self._ask = ask
        self._boundaries_ms = boundaries_ms
        self._watch = watch
        self._database = 0
        self._fields_expire = False
        self.longest_seconds = 0.0
        """The longest call, seen from here."""
        self.longest_processor_seconds: float | None = None
        """The most processor time of the server that a call took; None where its scripts cannot tell (before Redis 7.4)."""

    def read(self) -> Digest:
        """Read everything; raises Refused, Unreachable, and Undetermined when keys come and go all the time."""
        self._fields_expire = bool(_present(self._ask("COMMAND", "INFO", "HPEXPIRETIME")))
        before, began = self._info(), self._now_ms()
        parts: dict[str, Part] = {}
        opaque = 0
        for database in databases(before):
            found, odd = self._read_database(database)
            opaque += odd
            for letter, part in found.items():
                parts[letter] = parts.get(letter, Part()) + part
        libraries = frozenset(self._libraries())
        changes = Counters.of(before).changes_until(Counters.of(self._info()))
        return Digest(self._boundaries_ms, parts, libraries, opaque, changes, began, self._now_ms())

    # ---- the server -------------------------------------------------------------------------------------------------

    def _info(self) -> dict[str, str]:
        answer: bytes = self._ask("INFO")
        return info_fields(answer.decode(errors="replace"))

    def _now_ms(self) -> int:
        seconds, micros = self._ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _libraries(self) -> Iterator[str]:
        for flat in self._ask("FUNCTION", "LIST", "WITHCODE"):
            library = {bytes(flat[i]): flat[i + 1] for i in range(0, len(flat), 2)}
            text = frame(library[b"library_name"]) + frame(library[b"engine"]) + frame(library[b"library_code"])
            yield hashlib.sha1(text, usedforsecurity=False).hexdigest()

    def _run(self, mode: str, *arguments: object) -> Any:
        """Run the script and note how long that took; its answer without the time."""
        boundaries = " ".join(map(str, self._boundaries_ms))
        words = (mode, self._database, int(self._fields_expire), CALL_MS, boundaries, *arguments)
        began = time.perf_counter()
        try:
            reply = self._ask("EVALSHA_RO", _SHA, 0, *words)
        except Refused as error:
            if "No matching script" not in str(error):
                raise
            reply = self._ask("EVAL_RO", SCRIPT, 0, *words)
        seconds = time.perf_counter() - began
        self.longest_seconds = max(self.longest_seconds, seconds)
        *answer, microseconds = reply
        if microseconds >= 0:
            self.longest_processor_seconds = max(self.longest_processor_seconds or 0.0, microseconds / 1e6)
        return answer

    # ---- keys -------------------------------------------------------------------------------------------------------

    def _read_database(self, number: int) -> tuple[dict[str, Part], int]:
        """All keys of a database, each once, and how many of them are opaque.

        SCAN may give keys twice when its table shrinks. It gives each at least once, so the number of keys tells.
        """
        self._database = number
        if number:
            self._ask("SELECT", number)
        for _ in range(TRIES):
            before = self._ask("DBSIZE")
            parts: dict[str, Part] = {}
            opaque = self._scan(parts)
            after = self._ask("DBSIZE")
            if keys_in(parts) <= max(before, after):
                break
        else:
            raise Undetermined(f"database {number} gave keys twice in {TRIES} readings; try again when less is deleted")
        if number:
            self._ask("SELECT", 0)
        return parts, opaque

    def _scan(self, parts: dict[str, Part]) -> int:
        cursor, opaque = b"0", 0
        while True:
            cursor, records, left_over, large, odd = self._run("scan", cursor)
            while True:
                opaque += int(odd)
                sum_records(records.decode(), parts)
                for key, kind, expiry in large:
                    self._add_large(key, kind, int(float(expiry)), parts)
                letters = records[HEX_DIGITS::RECORD_LENGTH].decode()
                self._watch(sum(not letter.islower() for letter in letters) + len(large))
                if not left_over:
                    break
                _, records, left_over, large, odd = self._run("keys", *left_over)
            if cursor == b"0":
                return opaque

    # ---- large keys -------------------------------------------------------------------------------------------------

    def _add_large(self, key: bytes, kind: bytes, expiry_ms: int, parts: dict[str, Part]) -> None:
        for _ in range(TRIES):
            body = self._body(key, kind)
            if body is not None:
                break
        else:
            raise Undetermined(f"key {key!r} changed during each of {TRIES} readings; try again when it is not written to")
        own = letter_of(end_of(expiry_ms, body.lasting, body.longest_ms), self._boundaries_ms)
        value = Part(1, key_hash(self._database, key, kind, expiry_ms, body.total))
        for letter, part in [(own, value), *body.fields.items()]:
            parts[letter] = parts.get(letter, Part()) + part

    def _body(self, key: bytes, kind: bytes) -> _Body | None:
        """What a large key holds, or None when the number of its elements is not the key's length."""
        name = kind.decode()
        if name == "string":
            return self._read_parts(key, name, b"0", CHUNKS_PER_CALL)
        length = self._ask(LENGTHS[name], key)
        size = self._ask("MEMORY", "USAGE", key, "SAMPLES", 20) or 0
        count = max(1, min(MOST_ELEMENTS, LARGE_PART_BYTES * max(1, length) // max(1, size)))
        body = self._read_parts(key, name, b"0" if name != "stream" else b"", count)
        if name == "stream":
            body.total += self._read_parts(key, "state", b"", 1).total
            for group in self._ask("XINFO", "GROUPS", key):
                body.total += self._read_parts(key, "pending", b"", 100, group[1]).total
        return body if body.found == self._ask(LENGTHS[name], key) else None

    def _read_parts(self, key: bytes, kind: str, position: bytes, count: int, *more: bytes) -> _Body:
        body = _Body()
        while True:
            position, part, number, fields, lasting, longest = self._run("part", kind, key, position, count, *more)
            self._watch(0)
            body.total += int(part, 16)
            body.found += number
            sum_records(fields.decode(), body.fields)
            body.lasting = body.lasting or bool(lasting)
            body.longest_ms = max(body.longest_ms, int(longest))
            if not position:
                return body


LENGTHS = {"list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN", "stream": "XLEN"}


def databases(info: dict[str, str]) -> list[int]:
    """Numbers of the databases that hold keys."""
    return sorted(int(name[2:]) for name in info if name.startswith("db") and name[2:].isdigit())


def _present(reply: Any) -> bool:
    """Whether COMMAND INFO knew its one command."""
    return bool(reply) and bool(reply[0])
