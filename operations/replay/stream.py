"""Streams what one scratch server holds to the primaries of a stack, in steps that can be repeated.

The scratch server remembers how far it got, in a database of its own: whoever finds it again, another process after a kill -9
too, goes on from there. A step that is repeated writes the same keys with the same values.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operations.connect import Refused
from operations.digest.reader import databases
from operations.parse import info_fields
from operations.replay.parts import copy_in_parts
from operations.replay.targets import Feed, Route
from operations.scratch import NOTES_DATABASE, Session

PACK = (Path(__file__).parent / "pack.lua").read_bytes()
PACK_BYTES = 1 << 20
LARGE_BYTES = 16 << 20
"""Keys that take more are copied in parts, so that neither memory here nor a single command grows with them."""
SCAN_COUNT = 500
STEPS_PER_NOTE = 20

Watch = Callable[[int, int], None]
"""Told how many keys and bytes were passed on since the last time; an error that it raises ends the replay."""


@dataclass
class Position:
    """How far a scratch server got: `databases` are finished, `cursor` stands in `database`; totals of keys and bytes."""

    database: int = 0
    cursor: str = "0"
    begun: bool = False
    finished: bool = False
    keys: int = 0
    bytes: int = 0


class Notes:
    """What a scratch server remembers for a replay, by name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, name: str) -> Any:
        """What was written last under this name, or None."""
        self._session.ask("SELECT", NOTES_DATABASE)
        found = self._session.ask("GET", name)
        self._session.ask("SELECT", 0)
        return json.loads(found) if found else None

    def info(self) -> dict[str, str]:
        """What the server says of itself."""
        return info_fields(bytes(self._session.ask("INFO")).decode(errors="replace"))

    def write(self, name: str, value: Any) -> None:
        self._session.ask("SELECT", NOTES_DATABASE)
        self._session.ask("SET", name, json.dumps(value))
        self._session.ask("SELECT", 0)


def stream(session: Session, feeds: Mapping[str, Feed], route: Route, watch: Watch) -> Position:
    """Pass everything on that was not yet; raises Moved when a target is not in charge any more, and may be called again then."""
    notes = Notes(session)
    position = Position(**(notes.read("position") or {}))
    for database in databases(notes.info()):
        if database == NOTES_DATABASE or database < position.database or position.finished:
            continue
        if database > position.database:
            position = Position(database, keys=position.keys, bytes=position.bytes)
        for feed in feeds.values():
            feed.select(database)
        _stream_database(session, feeds, route, position, notes, watch)
    position.finished = True
    notes.write("position", asdict(position))
    return position


def _stream_database(
    session: Session, feeds: Mapping[str, Feed], route: Route, position: Position, notes: Notes, watch: Watch
) -> None:
    while not (position.begun and position.cursor == "0"):
        session.ask("SELECT", position.database)
        cursor = position.cursor
        keys = sent = 0
        for _ in range(STEPS_PER_NOTE):
            following, found = session.ask("SCAN", cursor, "COUNT", SCAN_COUNT)
            cursor = following.decode()
            groups: dict[str, list[bytes]] = defaultdict(list)
            for key in found:
                groups[route.of(key)].append(key)
            for name, group in groups.items():
                number, size = _send(session, feeds[name], group)
                keys, sent = keys + number, sent + size
                watch(number, size)
            if cursor == "0":
                break
        for feed in feeds.values():
            feed.settle()
        position.cursor, position.begun = cursor, True
        position.keys += keys
        position.bytes += sent
        notes.write("position", asdict(position))


def _send(session: Session, feed: Feed, keys: list[bytes]) -> tuple[int, int]:
    """Pass keys on to one target; returns how many and how many bytes."""
    number = size = 0
    while keys:
        try:
            commands, count, looked_at, large = session.ask("EVAL_RO", PACK, 0, PACK_BYTES, LARGE_BYTES, *keys)
        except Refused as error:
            raise feed.refusal(error) from None
        feed.push(commands, count)
        for key, kind, expiry in large:
            feed.settle()
            size += copy_in_parts(session, feed, key, kind.decode(), int(expiry))
        number += count + len(large)
        size += len(commands)
        keys = keys[looked_at:]
    return number, size
