"""Streams what one scratch server holds to the primaries of a stack, in steps that can be repeated.

The scratch server remembers how far it got, in a database of its own: whoever finds it again, another process after a kill -9
too, goes on from there. A step that is repeated writes the same keys with the same values.
"""

import json
from collections import defaultdict, deque
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
SCAN_COUNT = 2000
STEPS_PER_NOTE = 5

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
    session.ask("CONFIG", "SET", "rdbcompression", "no")  # payloads of DUMP: whoever reads them is near. Digests were read before
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
        stretch = _Stretch(session, feeds, route, watch)
        position.cursor, position.begun = stretch.run(position.cursor), True
        position.keys += stretch.keys
        position.bytes += stretch.bytes
        notes.write("position", asdict(position))


class _Stretch:
    """What is passed on between two notes: `STEPS_PER_NOTE` steps of SCAN.

    The scratch server is asked one step ahead, so that it packs keys while what it packed before is passed on. `_asked` is what
    it has not answered yet, in order: None for a step of SCAN, else the keys of one target that it packs.
    """

    def __init__(self, session: Session, feeds: Mapping[str, Feed], route: Route, watch: Watch) -> None:
        self._session, self._feeds, self._route, self._watch = session, feeds, route, watch
        self._asked: deque[tuple[str, list[bytes]] | None] = deque()
        self._large: list[tuple[Feed, bytes, str, int]] = []
        self.keys = self.bytes = 0

    def run(self, cursor: str) -> str:
        """Pass on what SCAN finds from `cursor` on; returns the cursor to go on from, when everything has arrived."""
        steps = 0
        try:
            self._ask_step(cursor)
            while self._asked:
                asked = self._asked[0]
                answer = self._answer(asked)
                if asked is None:
                    following, found = answer
                    cursor, steps = following.decode(), steps + 1
                    if cursor != "0" and steps < STEPS_PER_NOTE:
                        self._ask_step(cursor)
                    for name, group in self._by_target(found).items():
                        self._ask_pack(name, group)
                else:
                    self._pass_on(*asked, *answer)
        except BaseException:
            self._session.skip(len(self._asked))  # the connection is used again, after a failover of a target
            raise
        for feed, key, kind, expiry in self._large:
            feed.settle()
            self._told(1, copy_in_parts(self._session, feed, key, kind, expiry))
        for feed in self._feeds.values():
            feed.settle()
        return cursor

    def _answer(self, asked: tuple[str, list[bytes]] | None) -> Any:
        try:
            return self._session.receive()
        except Refused as error:
            if asked is None:
                raise
            raise self._feeds[asked[0]].refusal(error) from None
        finally:
            self._asked.popleft()

    def _ask_step(self, cursor: str) -> None:
        self._session.send("SCAN", cursor, "COUNT", SCAN_COUNT)
        self._asked.append(None)

    def _ask_pack(self, name: str, keys: list[bytes]) -> None:
        self._session.send("EVAL_RO", PACK, 0, PACK_BYTES, LARGE_BYTES, *keys)
        self._asked.append((name, keys))

    def _by_target(self, keys: list[bytes]) -> dict[str, list[bytes]]:
        groups: dict[str, list[bytes]] = defaultdict(list)
        for key in keys:
            groups[self._route.of(key)].append(key)
        return groups

    def _pass_on(self, name: str, keys: list[bytes], commands: bytes, count: int, looked_at: int, large: list[Any]) -> None:
        if rest := keys[looked_at:]:
            self._ask_pack(name, rest)
        self._feeds[name].push(commands, count)
        self._large += [(self._feeds[name], key, kind.decode(), int(expiry)) for key, kind, expiry in large]
        self._told(count, len(commands))

    def _told(self, keys: int, size: int) -> None:
        self.keys += keys
        self.bytes += size
        self._watch(keys, size)
