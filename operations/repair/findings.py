"""What can be wrong with a cluster: one kind of finding each, with its sentence. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from operations.parse import format_slots
from operations.reshard.plan import ranges_of

MOST_RANGES = 8


def words(slots: Iterable[int]) -> str:
    """Slots for people, not more than fit in a line."""
    ranges = ranges_of(slots)
    more = f" and {len(ranges) - MOST_RANGES} more ranges" if len(ranges) > MOST_RANGES else ""
    return format_slots(ranges[:MOST_RANGES]) + more


@dataclass(frozen=True)
class Silent:
    """A node that does not answer; `hangs` when its process works all the same, and the cluster has given it up."""

    node: str
    problem: str
    hangs: bool = False

    @property
    def text(self) -> str:
        hangs = "; its process works all the same, and the others have given it up: it hangs" if self.hangs else ""
        return f"{self.node} does not answer: {self.problem}{hangs}"


@dataclass(frozen=True)
class Leaderless:
    """Slots whose primary is gone while no replica (name, offset) took over; `majority` of the primaries is there."""

    label: str
    slots: tuple[int, ...]
    replicas: tuple[tuple[str, int], ...]
    majority: bool

    @property
    def text(self) -> str:
        why = "" if self.majority else "; more than half of the primaries are gone, so that no replica is elected"
        return f"slots {words(self.slots)} are served by nobody: their primary {self.label} does not answer{why}"


@dataclass(frozen=True)
class Doubled:
    """Slots that `loser` claims as well as `winner`, whose claim has the higher epoch."""

    winner: str
    loser: str
    slots: tuple[int, ...]
    keys: int

    @property
    def text(self) -> str:
        return (
            f"slots {words(self.slots)} have two owners: {self.winner} and {self.loser}, which holds {self.keys:,} keys of them"
        )


@dataclass(frozen=True)
class Unowned:
    """Slots that nobody claims. `owner` shall get them: who holds their keys, else whom the others take for the owner.

    `lost_with` is the node, gone by now, that had them: then their keys are gone too.
    """

    owner: str
    slots: tuple[int, ...]
    keys: int
    lost_with: str | None = None

    @property
    def text(self) -> str:
        where = f"{self.owner} holds {self.keys:,} keys of them" if self.keys else "no node holds a key of them"
        if self.lost_with:
            where = f"{self.lost_with}, which had them, is gone with its data"
        return f"slots {words(self.slots)} have no owner: {where}"


@dataclass(frozen=True)
class Disbelieved:
    """Slots that `owner` serves, while `by` send clients elsewhere."""

    owner: str
    slots: tuple[int, ...]
    by: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{', '.join(self.by)} do not know that {self.owner} owns slots {words(self.slots)}"


@dataclass(frozen=True)
class Forgotten:
    """`node` does not know `other`."""

    node: str
    other: str

    @property
    def text(self) -> str:
        return f"{self.node} does not know {self.other}"


@dataclass(frozen=True)
class Ghost:
    """An id of no node of the stack, failing and without slots, that `by` still list."""

    node_id: str
    by: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{', '.join(self.by)} list {self.node_id[:8]}, which is no node of this stack and is gone"


@dataclass(frozen=True)
class Stranger:
    """A living node of another cluster that this one is connected to."""

    node_id: str
    where: str

    @property
    def text(self) -> str:
        return f"{self.node_id[:8]} at {self.where} is no node of this stack, but lives and is connected: two clusters have met"


@dataclass(frozen=True)
class Open:
    """Slots in mid-move, by their marks or by the journal; `target` None for marks that lead nowhere."""

    source: str
    target: str | None
    slots: tuple[int, ...]

    @property
    def text(self) -> str:
        where = f"from {self.source} to {self.target}" if self.target else f"at {self.source}, leading nowhere"
        return f"slots {words(self.slots)} stand open {where}"


@dataclass(frozen=True)
class Interrupted:
    """A move in the journal that has not ended; perhaps its mover lives."""

    by: str
    since: str
    goal: str

    @property
    def text(self) -> str:
        return f"a move ({self.goal}), begun by {self.by} at {self.since}, has not ended"


@dataclass(frozen=True)
class Orphans:
    """Keys on `node` of slots that `owner` owns."""

    node: str
    owner: str
    slots: tuple[int, ...]
    keys: int

    @property
    def text(self) -> str:
        return f"{self.node} holds {self.keys:,} keys of slots {words(self.slots)}, which {self.owner} owns: no client finds them"


Finding = Silent | Leaderless | Doubled | Unowned | Disbelieved | Forgotten | Ghost | Stranger | Open | Interrupted | Orphans
PASSING = (Leaderless, Doubled, Disbelieved, Unowned)
"""What a healthy cluster ends by itself within moments: worth a second look."""
