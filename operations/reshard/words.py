"""A plan of slot moves in plain words, for scripts and for the preview of `pulumi up`. Pure."""

from collections.abc import Iterator

from operations.parse import format_slots
from operations.reshard.plan import Move, Size, megabytes, total
from operations.reshard.proposal import Proposal

WAYS = {
    "keys": "key by key (MIGRATE)",
    "valkey": "whole slots at once (CLUSTER MIGRATESLOTS)",
    "redis": "whole slots at once (CLUSTER MIGRATION)",
}
MOST_RANGES = 6


def headline(proposal: Proposal) -> str:
    """What moves in all, how, and for about how long."""
    return (
        f"{proposal.goal}: {proposal.slots:,} slots with {proposal.total.keys:,} keys, about {megabytes(proposal.total.bytes)}, "
        f"move {WAYS[proposal.way]}; about {max(1, round(proposal.seconds))} s"
    )


def slots_of(move: Move) -> str:
    """The slots of a move as ranges, the first few of them."""
    more = f" and {len(move.ranges) - MOST_RANGES} more ranges" if len(move.ranges) > MOST_RANGES else ""
    return format_slots(move.ranges[:MOST_RANGES]) + more


def move_lines(proposal: Proposal) -> Iterator[str]:
    """From where to where."""
    for move in proposal.moves:
        size = total([move], proposal.sizes)
        yield f"{move.source} -> {move.target}: {len(move.slots):,} slots, {size.keys:,} keys, about {megabytes(size.bytes)}"


def memory_lines(proposal: Proposal) -> Iterator[str]:
    """Memory of every node that gets something, after the move."""
    incoming: dict[str, Size] = {}
    for move in proposal.moves:
        incoming[move.target] = incoming.get(move.target, Size()) + total([move], proposal.sizes)
    for name, size in incoming.items():
        room = proposal.memory[name]
        limit = f"{megabytes(room.most)}, {1 - (room.used + size.bytes) / room.most:.0%} free" if room.most else "no limit"
        yield f"{name} will use about {megabytes(room.used + size.bytes)} of {limit}"
