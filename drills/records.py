"""What a history consists of. Standard library only: the same file runs inside the client container.

All times are integers in nanoseconds on ONE monotonic clock, that of the machine which records, counted from the
`origin` that the first record names. An operation ends `ok` (acknowledged), `fail` (it certainly did not happen) or
`info` (nobody can tell: a time-out, a connection that broke after the request was sent).

Operations are millions, so each is a short JSON array; everything else is a JSON object that names its `record`:

    ["w", client, op, lane, value, node, start, took, late, outcome, error]
    {"record": "fault", "at": 12000000000, "stage": "inject", …}
"""

import json
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

VERSION = 1
CHUNK = 1000
"""Writes of one lane that share a key; see docs/decisions/drill-ledger.md."""

Kind = Literal["write", "read"]
Outcome = Literal["ok", "fail", "info"]
Stage = Literal["cut", "inject", "evidence", "heal", "healed"]
RoleWord = Literal["primary", "replica", "suspect", "failed", "down"]


class Start(NamedTuple):
    """First record. `origin` is the reading of the recorder's monotonic clock that counts as 0, `wall` the UTC time then."""

    version: int
    run: str
    stack: str
    topology: str
    clock: str
    origin: int
    wall: str


class Client(NamedTuple):
    """One simulated application instance. `side` is `main`, or the name of the part of a partition it sits in."""

    client: int
    name: str
    side: str = "main"
    mode: str = "plain"


class Lane(NamedTuple):
    """One sequence of writes by one client to one slot. `key` is a prefix; write n goes to `<key>:<n // CHUNK>`."""

    lane: int
    client: int
    key: str
    slot: int | None
    shard: int | None


class Reserve(NamedTuple):
    """Written before the fact: the lane may attempt values up to `upto`, so a torn history does not invent phantoms."""

    lane: int
    upto: int


class Operation(NamedTuple):
    """One request and its end. For a write `value` is its number in the lane; for a read it is the newest number seen.

    `late` is how long after its planned time the request started (open loop): latency counts from the planned time.
    """

    kind: Kind
    client: int
    op: int
    lane: int
    value: int
    node: str | None
    start: int
    end: int
    late: int
    outcome: Outcome
    error: str | None = None

    @property
    def latency(self) -> int:
        """Nanoseconds from the planned start to the end."""
        return self.end - self.start + self.late


class Shed(NamedTuple):
    """Writes whose planned time passed their deadline before the client was free: never sent, so certainly not done."""

    client: int
    lane: int
    writes: int
    start: int
    end: int


class Phase(NamedTuple):
    """A mark of the drill: `begin` (of a repetition), `steady`, `fault`, `recovery`, `stop` (of the load), `audit`."""

    at: int
    name: str
    repetition: int = 1


class Fault(NamedTuple):
    """A step of a fault. It happened between `at` and `until`; `kind` names the formula that bounds its window."""

    at: int
    until: int
    fault: str
    kind: str
    stage: Stage
    targets: tuple[str, ...]
    shards: tuple[int, ...]
    text: str = ""


class Role(NamedTuple):
    """A change of role that somebody saw: `seen_by` is the node that said so (often `node` itself)."""

    at: int
    node: str
    shard: int
    role: RoleWord
    seen_by: str


class State(NamedTuple):
    """What one node says at a named `moment`; None where it could not be asked.

    `claims` is its view of the stack, subject to word, for instance {"primary of shard 1": "node-1-2"}.
    """

    at: int
    moment: str
    node: str
    shard: int
    role: str | None
    writable: bool | None
    claims: Mapping[str, str] | None


class Replicas(NamedTuple):
    """How many replicas of a shard are in sync; None when that could not be asked."""

    at: int
    shard: int
    in_sync: int | None
    expected: int


class Stall(NamedTuple):
    """From `at` to `until` a process of the drill (`where`: its clients, its watcher) was due to run and could not."""

    at: int
    until: int
    where: str


class FinalRead(NamedTuple):
    """What the shard holds of the values `first`..`last` of a lane: runs that are `present`, entries with `wrong` content.

    With an `error` the range could not be read, which makes its writes unknown, not lost and not passed.
    """

    at: int
    lane: int
    first: int
    last: int
    present: tuple[tuple[int, int], ...]
    wrong: tuple[tuple[int, str], ...] = ()
    node: str | None = None
    error: str | None = None


class Event(NamedTuple):
    """What one simulated application did with Redis, from `start` to `end`, in the words of its use (see `drills.uses`).

    `actor` is the instance, `subject` the thing that it was done to (a lock, a job, a key); `value` and `other` are numbers whose
    meaning the `verb` gives.
    """

    use: str
    actor: int
    verb: str
    subject: str
    value: int
    other: int
    start: int
    end: int
    outcome: Outcome
    error: str | None = None


class Tally(NamedTuple):
    """How many events of a use one process recorded, on one side of the network; without it they are not known to be all."""

    at: int
    use: str
    events: int


class Note(NamedTuple):
    """Something a reader should know, for instance that a client process ended."""

    at: int
    text: str


class End(NamedTuple):
    """Last record of a repetition: `operations` is how many were recorded in it; without it the history was cut off."""

    at: int
    operations: int
    repetition: int = 1


class Damage(NamedTuple):
    """Made by the reader, never written: a line that is not a record; `torn` when it is the unfinished last one."""

    line: int
    reason: str
    torn: bool


Marker: TypeAlias = (
    Start
    | Client
    | Lane
    | Reserve
    | Shed
    | Phase
    | Fault
    | Role
    | State
    | Replicas
    | Stall
    | FinalRead
    | Event
    | Tally
    | Note
    | End
)
Record: TypeAlias = Operation | Marker | Damage

_MARKERS: dict[str, Any] = {
    "start": Start, "client": Client, "lane": Lane, "reserve": Reserve, "shed": Shed, "phase": Phase, "fault": Fault,
    "role": Role, "state": State, "replicas": Replicas, "stall": Stall, "final": FinalRead, "event": Event, "tally": Tally,
    "note": Note, "end": End,
}  # fmt: skip
_WORDS = {cls: word for word, cls in _MARKERS.items()}
_HINTS = {cls: get_type_hints(cls) for cls in _WORDS}
_LETTER = {"write": "w", "read": "r"}
_KIND: dict[str, Kind] = {"w": "write", "r": "read"}
_OUTCOMES = frozenset(get_args(Outcome))
_FIELDS = 10
_decoder: Any = json.JSONDecoder()
_scan = _decoder.scan_once


def encode(record: Operation | Marker) -> str:
    """One line of a history, without its line end."""
    if isinstance(record, Operation):
        row: list[Any] = [_LETTER[record.kind], record.client, record.op, record.lane, record.value, record.node]
        row += [record.start, record.end - record.start, record.late, record.outcome]
        if record.error is not None:
            row.append(record.error)
        return json.dumps(row, separators=(",", ":"), ensure_ascii=False)
    fields = {"record": _WORDS[type(record)], **record._asdict()}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def decode(line: str | bytes) -> Operation | Marker:
    """The record in a line; raises ValueError with the reason when it is none."""
    data = _load(line)
    if type(data) is list:
        return _operation(data)
    if not isinstance(data, dict):
        raise ValueError("neither an operation nor a record")  # noqa: TRY004 - one kind of error for a bad line
    word = data.pop("record", None)
    cls = _MARKERS.get(word) if isinstance(word, str) else None
    if cls is None:
        raise ValueError(f"unknown record {word!r}")
    hints = _HINTS[cls]
    if unknown := set(data) - set(hints):
        raise ValueError(f"{word} has unknown fields {', '.join(sorted(unknown))}")
    try:
        marker: Marker = cls(**{name: _fit(value, hints[name], f"{word}.{name}") for name, value in data.items()})
    except TypeError as error:
        raise ValueError(f"{word}: {error}") from None
    return marker


def _load(line: str | bytes) -> Any:
    """What json.loads says, faster for the lines that we write: it guesses no encoding and skips no space."""
    text = line.decode() if isinstance(line, bytes) else line
    try:
        data, end = _scan(text, 0)
    except StopIteration:
        return json.loads(line)
    rest = text[end:]
    return data if not rest or rest == "\n" else json.loads(line)


def _operation(row: list[Any]) -> Operation:
    if not _FIELDS <= len(row) <= _FIELDS + 1:
        raise ValueError(f"an operation has {_FIELDS} or {_FIELDS + 1} fields, this line has {len(row)}")
    letter, client, op, lane, value, node, start, took, late, outcome = row[:_FIELDS]
    if not (type(client) is type(op) is type(lane) is type(value) is type(start) is type(took) is type(late) is int):
        raise ValueError("an operation whose numbers are not whole numbers")
    if value < 0 or took < 0:
        raise ValueError("an operation with a negative value or duration")
    kind = _KIND.get(letter) if isinstance(letter, str) else None
    if kind is None or outcome not in _OUTCOMES or not (node is None or type(node) is str):
        raise ValueError("an operation with an unknown kind, outcome or node")
    error = row[_FIELDS] if len(row) > _FIELDS else None
    return Operation(kind, client, op, lane, value, node, start, start + took, late, outcome, error)


def _fit(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` says (lists become tuples); raises ValueError naming the field."""
    origin = get_origin(hint)
    if origin is Literal:
        fits = value in get_args(hint)
    elif origin is UnionType:
        if value is None and type(None) in get_args(hint):
            return None
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        return _fit(value, inner, where)
    elif origin is tuple:
        if isinstance(value, list):
            parts = get_args(hint)
            if parts[-1] is Ellipsis:
                return tuple(_fit(item, parts[0], where) for item in value)
            if len(parts) == len(value):
                return tuple(_fit(item, part, where) for item, part in zip(value, parts, strict=True))
        fits = False
    elif origin is not None:  # a mapping of strings
        fits = isinstance(value, dict) and all(type(word) is str for word in value.values())
    else:
        fits = type(value) is hint
    if not fits:
        raise ValueError(f"{where} is {value!r}")
    return value
