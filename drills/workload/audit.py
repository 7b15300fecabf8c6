"""The final read: what the stack holds of every lane, chunk by chunk."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from drills.records import CHUNK, FinalRead
from drills.workload import connections
from drills.workload.asked import error_word, this_thread
from drills.workload.client import content, key_of
from drills.workload.settings import LaneSettings, Settings

READ_SECONDS = 2.0
PAUSE_SECONDS = 0.1
WRONG = 20
"""So many entries with foreign content are kept per chunk."""


def audit_lane(
    settings: Settings, lane: LaneSettings, upto: int, origin: int, seconds: float, emit: Callable[[FinalRead], None]
) -> None:
    """Read the values 1..`upto` of a lane. Reading is tried again until it works or `seconds` are over; then it is an error."""
    patient = replace(settings, connect_timeout=READ_SECONDS, request_timeout=READ_SECONDS)
    deadline = time.monotonic() + seconds
    client: connections.Client | None = None
    for first in range(0, upto + 1, CHUNK):
        last = min(first + CHUNK - 1, upto)
        while True:
            this_thread().begin()
            try:
                if client is None:
                    client = connections.connect(patient)
                entries = client.execute_command("XRANGE", key_of(lane.key, first), "-", "+")
            except Exception as error:
                client = None
                if time.monotonic() > deadline:
                    now = time.monotonic_ns() - origin
                    emit(FinalRead(now, lane.lane, max(first, 1), last, (), (), None, error_word(error)))
                    break
                time.sleep(PAUSE_SECONDS)
                continue
            node = _name(settings)
            emit(examine(entries, settings, lane.lane, first, last, time.monotonic_ns() - origin, node))
            break


def _name(settings: Settings) -> str | None:
    return next((target.name for target in settings.targets if (target.host, target.port) == this_thread().where), None)


def examine(entries: Any, settings: Settings, lane: int, first: int, last: int, at: int, node: str | None) -> FinalRead:
    """Compare the entries of one chunk with what its writes store. Foreign ids and foreign content come out as wrong."""
    present: list[list[int]] = []
    wrong: list[tuple[int, str]] = []
    for entry in entries or ():
        number, tail, words = _parts(entry)
        expected = ["v", content(settings.run, lane, number, settings.payload_bytes)]
        if tail != "0" or not first <= number <= last or words != expected:
            if len(wrong) < WRONG:
                wrong.append((number, " ".join(words)[:100]))
        elif present and present[-1][1] == number - 1:
            present[-1][1] = number
        else:
            present.append([number, number])
    runs = tuple((low, high) for low, high in present)
    return FinalRead(at, lane, max(first, 1), last, runs, tuple(wrong), node, None)


def _parts(entry: Any) -> tuple[int, str, list[str]]:
    """Id and fields of an entry, parsed by redis-py into a mapping or left as a list."""
    name, fields = entry[0], entry[1]
    text = name.decode() if isinstance(name, bytes) else str(name)
    number, _, tail = text.partition("-")
    flat = [word for pair in fields.items() for word in pair] if isinstance(fields, dict) else list(fields or ())
    return int(number), tail, [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in flat]


def tidy_lane(settings: Settings, lane: LaneSettings, upto: int) -> int:
    """Remove what a lane wrote; how many of its keys are left because nobody answered."""
    left = 0
    client: connections.Client | None = None
    for first in range(0, upto + 1, CHUNK):
        try:
            if client is None:
                client = connections.connect(replace(settings, connect_timeout=READ_SECONDS, request_timeout=READ_SECONDS))
            client.execute_command("UNLINK", key_of(lane.key, first))
        except Exception:
            client = None
            left += 1
    return left
