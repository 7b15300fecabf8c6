"""Lock and journal of a move, held in the cluster itself: one hash that exists only while a move is under way.

From any machine one can read who moves slots, where they were, where they go and which stand open, and go on when the mover
died. The lock is a lease on the server's clock; every entry is written by the holder alone, checked in the same step, and a new
holder's token shuts out the old one. The key lives in a slot like any other, may be moved with it, and takes part in replication
and persistence. Its scripts run even when a node is full (`allow-oom`): that is when slots have to move.
"""

import getpass
import json
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.connect import Fleet, Link, Refused
from operations.errors import Busy, InvalidInput, ToolkitError, Unreachable
from operations.inventory import Inventory
from operations.parse import Reply, Slots, items, text
from operations.reshard.plan import Move, ranges_of, slots_in

KEY = "{redis-topologies}:reshard"
LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0
VERSION = 1
REDIRECTS = 8
NOT_SERVED = ("cluster is down", "slot not served")
"""How servers refuse a command on a slot that nobody serves; the client library takes the word CLUSTERDOWN off."""
CONFIRM_MS = 50
"""How long a journal entry waits for a replica; without one the move goes on, as the data itself would."""

_HEAD = """#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, token, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
local holder, till = redis.call('HGET', key, 'token'), tonumber(redis.call('HGET', key, 'until') or '0')
"""
TAKE = (
    _HEAD
    + """
if holder and holder ~= '' and holder ~= token and till > now and holder ~= ARGV[4] then
  return {'busy', redis.call('HGET', key, 'holder'), till - now, holder}
end
redis.call('HSET', key, 'token', token, 'until', now + lease, 'holder', ARGV[3])
return {'taken', redis.call('HGET', key, 'journal') or '', redis.call('HGET', key, 'open') or '[]'}
"""
)
WRITE = (
    _HEAD
    + """
if holder ~= token then return 'lost' end
redis.call('HSET', key, 'until', now + lease, unpack(ARGV, 3))
return 'written'
"""
)
LEAVE = (
    _HEAD
    + """
if holder ~= token then return 'lost' end
if ARGV[3] == 'end' or redis.call('HEXISTS', key, 'journal') == 0 then redis.call('DEL', key)
else redis.call('HSET', key, 'token', '', 'until', '0') end
return 'left'
"""
)


@dataclass(frozen=True)
class Entry:
    """What a move is: `placement` and `origin` map each slot of the plan to a primary, now and before.

    `settings` are parameters that were changed for the time of the move: (node, parameter, value to put back).
    """

    by: str
    since: str
    goal: str
    placement: Mapping[int, str]
    origin: Mapping[int, str]
    settings: tuple[tuple[str, str, str], ...] = ()

    def dump(self) -> str:
        return json.dumps(
            {
                "version": VERSION,
                "by": self.by,
                "since": self.since,
                "goal": self.goal,
                "placement": _ranges(self.placement),
                "origin": _ranges(self.origin),
                "settings": self.settings,
            }
        )

    @classmethod
    def load(cls, written: str) -> "Entry":
        """Raises InvalidInput for a journal of another release."""
        data = json.loads(written)
        if data.get("version") != VERSION:
            raise InvalidInput(f"the journal in key {KEY} has version {data.get('version')}, this release reads {VERSION}")
        settings = tuple((node, name, value) for node, name, value in data["settings"])
        return cls(data["by"], data["since"], data["goal"], _single(data["placement"]), _single(data["origin"]), settings)


def _ranges(placement: Mapping[int, str]) -> dict[str, Slots]:
    return {name: ranges_of(s for s, at in placement.items() if at == name) for name in sorted(set(placement.values()))}


def _single(ranges: Mapping[str, Any]) -> dict[int, str]:
    return {slot: name for name, parts in ranges.items() for slot in slots_in(parts)}


@dataclass(frozen=True)
class Found:
    """What stands in the journal: the move (None: none is under way), the slots that were opened last, and who holds the lock."""

    entry: Entry | None
    opened: tuple[Move, ...]
    holder: str | None


class Journal:
    """The journal of one stack, for one mover. All methods may be called from several threads; one at a time is served."""

    def __init__(self, fleet: Fleet, inventory: Inventory) -> None:
        self._fleet = fleet
        self._inventory = inventory
        self._at: str = inventory.data_nodes[0].name
        self._token = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"
        self._mutex = threading.Lock()
        self._open: dict[int, Move] = {}
        self.who = f"{getpass.getuser()} on {socket.gethostname()} (process {os.getpid()})"

    def read(self) -> Found:
        """What stands there now, without the lock."""
        fields = items(self._call("HGETALL", KEY))
        found = {text(fields[i]): text(fields[i + 1]) for i in range(0, len(fields), 2)}
        return _found(found.get("journal", ""), found.get("open", "[]"), found.get("holder") if found.get("token") else None)

    def take(self) -> Found:
        """Take the lock; raises Busy with who holds it. The lock of a dead process of this machine is taken over at once."""
        with self._mutex:
            answer = items(self._script(TAKE, self.who, "-"))
            if answer[0] == "busy" and _is_dead(text(answer[3])):
                answer = items(self._script(TAKE, self.who, text(answer[3])))
            if answer[0] == "busy":
                stack, seconds = self._inventory.stack, int(str(answer[2])) / 1000
                raise Busy(
                    f"slots of stack {stack} are being moved by {answer[1]}. If that process is dead, its lock ends within "
                    f"{seconds:.0f} s; then run `scripts/reshard.py resume --stack {stack}`"
                )
            found = _found(text(answer[1]), text(answer[2]), None)
            self._open = dict(enumerate(found.opened))
            return found

    def begin(self, entry: Entry) -> None:
        """Write what is going to be done, before anything is."""
        self._write("journal", entry.dump())

    def renew(self) -> None:
        """Keep the lock; raises Busy when another has it."""
        self._write()

    def opening(self, move: Move) -> int:
        """Note slots that are going to be open; the number is for `closed`."""
        with self._mutex:
            number = max(self._open, default=-1) + 1
            self._open[number] = move
        self._write_open()
        return number

    @property
    def noted(self) -> tuple[Move, ...]:
        """Slots that may stand open, as far as was written."""
        with self._mutex:
            return tuple(self._open.values())

    def closed(self, number: int) -> None:
        """These slots stand open no more; written with the next entry, since a slot noted too long does no harm."""
        with self._mutex:
            self._open.pop(number, None)

    def settled(self) -> None:
        """No slot stands open."""
        with self._mutex:
            self._open = {}
        self._write_open()

    def end(self, entirely: bool) -> None:
        """Give the lock back; with `entirely` the journal goes too."""
        with self._mutex:
            self._script(LEAVE, "end" if entirely else "keep")

    def _write_open(self) -> None:
        """What stands open is read and written in one step: an older list must not follow a newer one of another thread."""
        with self._mutex:
            words = [[m.source, m.target, m.ranges] for m in self._open.values()]
            self._put("open", json.dumps(words))

    def _write(self, *fields: str) -> None:
        with self._mutex:
            self._put(*fields)

    def _put(self, *fields: str) -> None:
        """Write, and let a replica confirm; for a holder of the mutex."""
        answer = self._script(WRITE, *(fields or ("holder", self.who)))
        if fields:
            self._confirm()
        if answer != "written":
            raise Busy(f"another mover took the lock of stack {self._inventory.stack}; this one stopped")

    def _confirm(self) -> None:
        if not self._inventory.replicas:
            return
        try:
            self._fleet.links[self._at].ask("WAIT", 1, CONFIRM_MS)
        except ToolkitError:
            return

    def _script(self, script: str, *arguments: str) -> Reply:
        return self._call("EVAL", script, 1, KEY, self._token, int(LEASE_SECONDS * 1000), *arguments)

    def _call(self, *command: str | int) -> Reply:
        """Send one command about the key to whoever serves it, as a cluster client does."""
        asking = False
        for _ in range(REDIRECTS):
            link: Link = self._fleet.links[self._at]
            link.ensure_ours()
            reply = link.ask_all([["ASKING"], command] if asking else [command])[-1]
            if not isinstance(reply, Refused):
                return reply
            word, _, rest = str(reply).partition(" ")
            if any(sign in str(reply) for sign in NOT_SERVED):
                raise Unreachable(
                    f"the slot of the journal ({KEY}) is not served: {reply}; `scripts/repair.py --dry-run` says why"
                )
            if word not in ("MOVED", "ASK"):
                raise reply
            address, _, port = rest.split()[1].rpartition(":")
            entry = self._inventory.at(address, int(port))
            if entry is None:
                raise Unreachable(f"the journal's slot is served by {address}:{port}, which is no node of this stack")
            asking = word == "ASK"
            self._at = entry.name
        raise Unreachable(f"the journal's slot was not found in {REDIRECTS} redirections")

    def find(self, primaries: tuple[str, ...]) -> None:
        """Begin at a primary that answers, for example after a failover; where it was when none does at the moment."""
        self._at = next(iter(primaries), self._at)


def _found(journal: str, opened: str, holder: str | None) -> Found:
    moves = tuple(Move(source, target, slots_in(ranges)) for source, target, ranges in json.loads(opened))
    return Found(Entry.load(journal) if journal else None, moves, holder)


def _started(pid: int) -> str:
    """When a process started, in the kernel's own count; empty when there is none, or where /proc is missing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_dead(token: str) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    host, pid, started, _ = token.rsplit(":", 3)
    return host == socket.gethostname() and bool(started) and _started(int(pid)) != started
