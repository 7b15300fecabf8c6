"""Brings keys home that a node holds of slots which another node owns.

MIGRATE without REPLACE: a key that its owner has too stays as it is there, and the second copy is removed afterwards. The slot is
marked as importing on the holder meanwhile, which lets it touch keys of a slot that is not its own; the owner serves it all
the time. After an interruption that mark makes the slot look half moved, and it moves to the holder: nothing is lost by that.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from operations.connect import Refused
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Access
from operations.repair.findings import Orphans
from operations.reshard.calls import CALL_BYTES, CALL_KEYS, Call, migrate_command
from operations.reshard.wire import KeyLink, worked

GROUP_SLOTS = 64
MOST_KEYS = 100_000
"""Of one slot in one answer."""
ROUNDS = 3
"""Of moving and removing; more than one is needed only when keys expire or appear in between."""
PRESENT = "BUSYKEY"


@dataclass(frozen=True)
class Homecoming:
    """How many keys went home, and how many were removed because their owner has them."""

    moved: int
    removed: int


def bring_home(access: Access, orphans: Orphans, ids: dict[str, str], pulse: Callable[[], None]) -> Homecoming:
    """Move or remove all keys of `orphans`; `pulse` is called between groups.

    Raises CheckFailed when the owner has no memory for them, Unreachable with the server's reason for anything else.
    """
    moved = removed = 0
    holder, owner = (KeyLink(access, access.inventory.node(name)) for name in (orphans.node, orphans.owner))
    try:
        holder.ensure_ours()
        owner.ensure_ours()
        for start in range(0, len(orphans.slots), GROUP_SLOTS):
            part = orphans.slots[start : start + GROUP_SLOTS]
            _all(holder, [("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[orphans.owner]) for slot in part])
            try:
                for _ in range(ROUNDS):
                    before = _count(holder, part)
                    _move(access, holder, owner, part)
                    left = _count(holder, part)
                    gone = _remove(holder, owner, part) if left else 0
                    moved, removed = moved + before - left, removed + gone
                    if left == gone:
                        break
                else:
                    raise Unreachable(f"{orphans.node} still holds keys of slots that are not its own after {ROUNDS} rounds")
            finally:
                holder.raw([("CLUSTER", "SETSLOT", slot, "STABLE") for slot in part])
            pulse()
    finally:
        holder.close()
        owner.close()
    return Homecoming(moved, removed)


def _all(link: KeyLink, commands: list[tuple[str | bytes | int, ...]]) -> None:
    for reply in link.raw(commands):
        worked(reply)


def _count(link: KeyLink, slots: Sequence[int]) -> int:
    return sum(worked(reply) for reply in link.raw([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots]))


def _calls(holder: KeyLink, slots: Sequence[int]) -> Iterator[Call]:
    """The keys of slots that the holder does not own, in calls of bounded size; a script may not touch such keys, ASKING may."""
    for slot in slots:
        keys: Any = worked(holder.raw([("CLUSTER", "GETKEYSINSLOT", slot, MOST_KEYS)])[0])
        weighed = holder.raw([command for key in keys for command in (("ASKING",), ("MEMORY", "USAGE", key))])[1::2]
        part: list[bytes] = []
        held = 0
        for key, reply in zip(keys, weighed, strict=True):
            size = worked(reply) or 0
            if part and (len(part) >= CALL_KEYS or held + size > CALL_BYTES):
                yield Call(slot, held, tuple(part))
                part, held = [], 0
            part.append(key)
            held += size
        if part:
            yield Call(slot, held, tuple(part))


def _move(access: Access, holder: KeyLink, owner: KeyLink, slots: Sequence[int]) -> None:
    for call in _calls(holder, slots):
        reply = holder.raw([migrate_command(access, owner.node, call, replace=False)])[0]
        if not isinstance(reply, Refused) or PRESENT in str(reply):
            continue
        if "OOM" in str(reply):
            raise CheckFailed(
                f"{owner.node.name} has no memory for keys that belong to it; raise memory.maxmemory, then repair again"
            )
        raise Unreachable(f"{holder.node.name} could not move keys to {owner.node.name}: {reply}")


def _remove(holder: KeyLink, owner: KeyLink, slots: Sequence[int]) -> int:
    """Remove the second copies of keys that their owner has."""
    removed = 0
    for call in _calls(holder, slots):
        found: list[Any] = owner.raw([("EXISTS", key) for key in call.keys])
        doubled = [key for key, there in zip(call.keys, found, strict=True) if worked(there)]
        replies = holder.raw([command for key in doubled for command in (("ASKING",), ("UNLINK", key))])
        removed += sum(worked(reply) for reply in replies[1::2])
    return removed
