"""The ledger: what became of every single write. One byte per write, so ten million writes take ten megabytes.

A lane numbers its writes 1, 2, 3, …; the byte at that place says how the attempt ended and whether the final read showed
it. `drills.checkers.lost` and `drills.checkers.phantom` read their answers from here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from drills.checkers.base import EXAMPLES, OnePass
from drills.records import FinalRead, Operation, Record, Reserve

FAIL, INFO, OK = 1, 2, 3
ATTEMPT = 3
SEEN = 4
"""The final read showed the write."""
READ = 8
"""A read during the drill returned it."""
COVERED = 16
"""The final read could tell."""

_MARK_SEEN = bytes(byte | SEEN for byte in range(256))
_MARK_COVERED = bytes(byte | COVERED for byte in range(256))
_OUTCOME = {"fail": FAIL, "info": INFO, "ok": OK}


@dataclass
class Tally:
    """Counts over all lanes; every acknowledged write is in exactly one of `kept`, `lost`, `unread`."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    kept: int = 0
    lost: int = 0
    unread: int = 0
    unknown_kept: int = 0
    refused_but_present: int = 0
    never_attempted_but_present: int = 0
    unrecorded_but_present: int = 0  # but reserved: attempted, if the end of the history is missing
    read_but_refused: int = 0
    read_but_never_attempted: int = 0
    wrong_content: int = 0
    recorded_twice: int = 0


@dataclass
class _Lane:
    writes: bytearray = field(default_factory=lambda: bytearray(1))
    reserved: int = 0
    beyond: list[range] = field(default_factory=list)  # values present above every recorded attempt

    def places(self, byte: int) -> Iterator[int]:
        """Where `byte` stands."""
        place = self.writes.find(byte, 1)
        while place > 0:
            yield place
            place = self.writes.find(byte, place + 1)

    def unrecorded(self) -> Iterator[range]:
        """Values that are present although no attempt was recorded."""
        for byte in set(self.writes[1:]):
            if byte & SEEN and not byte & ATTEMPT:
                yield from (range(place, place + 1) for place in self.places(byte))
        yield from self.beyond


class Ledger(OnePass):
    """Fold over operations, reservations and final reads."""

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}
        self._finals: list[FinalRead] = []
        self._twice = 0
        self._read_ahead: list[tuple[int, int]] = []
        self._settled: Tally | None = None
        self.read_errors: list[str] = []

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            if record.kind == "write":
                self._write(record)
            elif record.outcome == "ok" and record.value:
                self._read(record)
        elif isinstance(record, Reserve):
            lane = self._lane(record.lane)
            lane.reserved = max(lane.reserved, record.upto)
        elif isinstance(record, FinalRead):
            self._finals.append(record)

    def _lane(self, number: int) -> _Lane:
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = _Lane()
        return lane

    def _write(self, op: Operation) -> None:
        writes = self._lane(op.lane).writes
        if op.value == len(writes):
            writes.append(_OUTCOME[op.outcome])
            return
        if op.value > len(writes):
            writes.extend(bytes(op.value - len(writes) + 1))
        if writes[op.value] & ATTEMPT:
            self._twice += 1
        writes[op.value] |= _OUTCOME[op.outcome]

    def _read(self, op: Operation) -> None:
        writes = self._lane(op.lane).writes
        if op.value < len(writes):
            writes[op.value] |= READ
        else:
            self._read_ahead.append((op.lane, op.value))

    @property
    def tally(self) -> Tally:
        """The counts; the history must have been read to its end."""
        if self._settled is None:
            self._settled = self._settle()
        return self._settled

    def _settle(self) -> Tally:
        tally = Tally(recorded_twice=self._twice)
        for final in self._finals:
            if final.error is None:
                self._apply(final)
                tally.wrong_content += len(final.wrong)
            elif len(self.read_errors) < EXAMPLES:
                self.read_errors.append(f"lane {final.lane}, values {final.first} to {final.last}: {final.error}")
        for lane in self._lanes.values():
            for byte in set(lane.writes[1:]):
                _count(tally, byte, lane.writes.count(byte) - (byte == lane.writes[0]))
            for values in lane.unrecorded():
                reserved = len(range(max(values.start, 1), min(values.stop, lane.reserved + 1)))
                tally.unrecorded_but_present += reserved
                tally.never_attempted_but_present += len(values) - reserved
        for number, value in self._read_ahead:
            writes = self._lanes[number].writes
            state = writes[value] & ATTEMPT if value < len(writes) else 0
            tally.read_but_refused += state == FAIL
            tally.read_but_never_attempted += state == 0
        return tally

    def _apply(self, final: FinalRead) -> None:
        lane = self._lane(final.lane)
        writes = lane.writes
        known = len(writes) - 1
        first, last = max(final.first, 1), min(final.last, known)
        if first <= last:
            writes[first : last + 1] = writes[first : last + 1].translate(_MARK_COVERED)
        for low, high in final.present:
            first, last = max(low, 1), min(high, known)
            if first <= last:
                writes[first : last + 1] = writes[first : last + 1].translate(_MARK_SEEN)
            lane.beyond += [range(max(low, known + 1), high + 1), range(low, min(high + 1, 1))]

    def is_lost(self, lane: int, value: int) -> bool:
        """Whether this write was acknowledged and the final read, which could tell, did not show it."""
        found = self._lanes.get(lane)
        if found is None or not 0 < value < len(found.writes):
            return False
        return found.writes[value] & (ATTEMPT | SEEN | COVERED) == (OK | COVERED)

    def phantoms(self) -> Iterator[tuple[int, int, str]]:
        """Lane, value and what is wrong with it, for values that should not have been read."""
        for number, lane in self._lanes.items():
            for byte in set(lane.writes[1:]):
                if byte & ATTEMPT in (0, FAIL) and byte & (SEEN | READ):
                    what = "certainly failed" if byte & ATTEMPT else "never attempted"
                    where = "in the final read" if byte & SEEN else "by a read"
                    for place in lane.places(byte):
                        yield number, place, f"{what}, seen {where}"
            for values in lane.beyond:
                for value in values:
                    yield number, value, "never attempted, seen in the final read"
        for final in self._finals:
            for value, content in final.wrong:
                yield final.lane, value, f"holds {content!r}, which was never written there"


def _count(tally: Tally, byte: int, count: int) -> None:
    attempt, seen, read = byte & ATTEMPT, bool(byte & SEEN), bool(byte & READ)
    if attempt == OK:
        tally.acknowledged += count
        if seen:
            tally.kept += count
        elif byte & COVERED:
            tally.lost += count
        else:
            tally.unread += count
    elif attempt == INFO:
        tally.unknown += count
        tally.unknown_kept += count if seen else 0
    elif attempt == FAIL:
        tally.refused += count
        tally.refused_but_present += count if seen else 0
        tally.read_but_refused += count if read else 0
    else:
        tally.read_but_never_attempted += count if read else 0
