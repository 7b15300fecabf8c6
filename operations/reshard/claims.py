"""Who claims which slot while a move is under way: hands that move slots at the same time, and old primaries that come back."""

import time
from collections.abc import Collection

from operations.connect import Fleet
from operations.errors import Unreachable
from operations.parse import text
from operations.reshard.journal import Entry
from operations.reshard.live import Live

LIFTS = 2
POLL_SECONDS = 0.05
LIFT_SECONDS = 3.0


def moved_by_others(live: Live, entry: Entry, noted: Collection[int]) -> set[int]:
    """Slots of a move that are where it neither found nor puts them, or that stand open without a note in the journal. Pure."""

    def heir(name: str) -> str:
        try:
            return live.heir(name)
        except Unreachable:
            return name

    heirs = {name: heir(name) for name in {*entry.placement.values(), *entry.origin.values()}}
    elsewhere = {
        slot
        for slot, target in entry.placement.items()
        if live.owners.get(slot) not in (None, heirs[target], heirs.get(entry.origin.get(slot, target)))
    }
    return elsewhere | {opened.slot for opened in live.opened if opened.slot in entry.placement and opened.slot not in noted}


def raise_epoch(fleet: Fleet, heir: str, other: str) -> None:
    """Raise the epoch of `heir`, which took over from a target of a move, well above what its predecessor can have.

    A target takes a new epoch by itself when it gets a slot. One that died right then may have written it down before anybody
    heard of it, and then its heir was elected with the same one. Of two primaries with one epoch the one with the smaller id
    takes a higher one: so the old one, coming back, took its slots back, with old data (tried on Redis 8.0 and Valkey 9.1).
    An epoch is raised only above that of another node, hence two in turns; what one took the other hears within about a second.
    """
    for _ in range(LIFTS):
        for name in (other, heir):
            deadline = time.monotonic() + LIFT_SECONDS
            fleet.links[name].ensure_ours()
            while not text(fleet.links[name].ask("CLUSTER", "BUMPEPOCH")).startswith("BUMPED") and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
