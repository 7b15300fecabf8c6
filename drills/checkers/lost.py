"""Were acknowledged writes lost?"""

from collections.abc import Mapping
from dataclasses import dataclass

from drills.checkers.base import EXAMPLES, SECOND, Check, Quality, Verdict, plural
from drills.checkers.ledger import Ledger
from drills.records import Fault, Lane, Operation, Record


@dataclass(frozen=True)
class Loss:
    """Lost writes of one shard. `span_seconds` runs from the first to the last acknowledgement that was lost."""

    count: int
    first: int
    last: int

    @property
    def span_seconds(self) -> float:
        return (self.last - self.first) / SECOND


class LostWrites:
    """Compares the acknowledged writes of a ledger with the final read. A second pass, only after a loss, finds out when and
    on which node the lost ones were acknowledged."""

    def __init__(self, ledger: Ledger, quality: Quality) -> None:
        self._ledger = ledger
        self._quality = quality
        self._shards: dict[int, int | None] = {}
        self._by_shard: dict[int | None, Loss] = {}
        self._by_node: dict[str, int] = {}
        self._examples: list[str] = []
        self._cut: int | None = None

    def see(self, record: Record) -> None:
        if isinstance(record, Lane):
            self._shards[record.lane] = record.shard
        elif isinstance(record, Fault) and record.stage == "cut":
            self._cut = record.at

    def wants_review(self) -> bool:
        return self._ledger.tally.lost > 0

    def review(self, record: Record) -> None:
        if not (isinstance(record, Operation) and record.kind == "write" and record.outcome == "ok"):
            return
        if not self._ledger.is_lost(record.lane, record.value):
            return
        shard = self._shards.get(record.lane)
        loss = self._by_shard.get(shard, Loss(0, record.end, record.end))
        self._by_shard[shard] = Loss(loss.count + 1, min(loss.first, record.end), max(loss.last, record.end))
        node = record.node or "unknown node"
        self._by_node[node] = self._by_node.get(node, 0) + 1
        if len(self._examples) < EXAMPLES:
            at = record.end / SECOND
            self._examples.append(f"lane {record.lane} write {record.value}, acknowledged by {node} at {at:.3f} s")

    @property
    def by_shard(self) -> Mapping[int | None, Loss]:
        return self._by_shard

    @property
    def span_seconds(self) -> float:
        """Longest span of lost acknowledgements on one shard: what a budget in seconds of writes is compared with."""
        return max((loss.span_seconds for loss in self._by_shard.values()), default=0.0)

    def check(self) -> Check:
        tally = self._ledger.tally
        figures = {
            "acknowledged": tally.acknowledged,
            "refused": tally.refused,
            "unknown": tally.unknown,
            "unknown_but_kept": tally.unknown_kept,
            "lost": tally.lost,
            "unread": tally.unread,
            "lost_span_seconds": round(self.span_seconds, 3),
        }
        nodes = tuple(f"{plural(count, 'lost write')} had been acknowledged by {node}"
                      for node, count in sorted(self._by_node.items()))  # fmt: skip
        details = (*nodes, *self._examples, *self._ledger.read_errors)
        verdict, summary = self._judge()
        return Check("lost", verdict, summary, figures, details)

    def check_cut(self) -> Check | None:
        """Is everything there that was acknowledged before a backup was asked for? None where no backup was made."""
        if self._cut is None:
            return None
        before = [loss for loss in self._by_shard.values() if loss.first < self._cut]
        name = "before-cut"
        if before:
            early = (self._cut - min(loss.first for loss in before)) / SECOND
            summary = f"writes acknowledged up to {early:.3f} s before the backup was asked for are gone"
            return Check(name, Verdict.FALSE, summary, {"early_seconds": round(early, 3)})
        if self.check().verdict is Verdict.UNKNOWN or not self._ledger.tally.kept:
            return Check(name, Verdict.UNKNOWN, "not every acknowledged write could be read back")
        return Check(name, Verdict.TRUE, "every write acknowledged before the backup was asked for is there")

    def _judge(self) -> tuple[Verdict, str]:
        tally = self._ledger.tally
        acknowledged = plural(tally.acknowledged, "acknowledged write")
        if tally.lost:
            also = f"; {tally.unread:,} more could not be read" if tally.unread else ""
            return Verdict.FALSE, f"{tally.lost:,} of {acknowledged} are gone{also}"
        if tally.unread:
            return Verdict.UNKNOWN, f"{tally.unread:,} of {acknowledged} could not be read back"
        if not tally.acknowledged:
            return Verdict.UNKNOWN, "no write was acknowledged, so nothing is proven"
        if tally.recorded_twice:
            return Verdict.UNKNOWN, f"{plural(tally.recorded_twice, 'write')} stand in the history twice"
        if not self._quality.complete:
            return Verdict.UNKNOWN, f"none of {acknowledged} on record is gone, but the record is not complete"
        return Verdict.TRUE, f"all {acknowledged} are there"
