"""When had every shard all its replicas in sync again?"""

from collections.abc import Collection

from drills.checkers.base import SECOND, Check, OnePass, Verdict
from drills.records import Fault, Record, Replicas


class Redundancy(OnePass):
    """Judges samples of replicas in sync. Time counts from the end of the last heal, or from the fault where nothing heals."""

    def __init__(self, shards: Collection[int]) -> None:
        self._shards = sorted(shards)
        self._injected: int | None = None
        self._healed: int | None = None
        self._full_since: dict[int, int | None] = {}
        self._reduced: set[int] = set()
        self._last: dict[int, Replicas] = {}

    def see(self, record: Record) -> None:
        if isinstance(record, Fault):
            if record.stage == "inject" and self._injected is None:
                self._injected = record.at
            elif record.stage == "healed":
                self._healed = max(self._healed or 0, record.until)
        elif isinstance(record, Replicas):
            self._sample(record)

    def _sample(self, sample: Replicas) -> None:
        self._last[sample.shard] = sample
        if sample.in_sync is not None and sample.in_sync >= sample.expected:
            if self._full_since.get(sample.shard) is None:
                self._full_since[sample.shard] = sample.at
        else:
            self._full_since[sample.shard] = None
            if self._injected is not None and sample.in_sync is not None:
                self._reduced.add(sample.shard)

    @property
    def stretch(self) -> tuple[int, int] | None:
        """From heal (or fault) to full redundancy of the slowest shard; None if a shard did not get there."""
        start = self._start
        moments = [self._full_since.get(shard) for shard in self._shards if shard not in self._unseen]
        if start is None or not moments or self._unseen:
            return None
        reached = [moment for moment in moments if moment is not None]
        return (start, max(start, *reached)) if len(reached) == len(moments) else None

    @property
    def seconds(self) -> float | None:
        """How long that took."""
        return None if self.stretch is None else (self.stretch[1] - self.stretch[0]) / SECOND

    @property
    def _start(self) -> int | None:
        return self._healed if self._healed is not None else self._injected

    @property
    def _unseen(self) -> list[int]:
        """Shards whose last sample is missing, is older than the heal, or told nothing."""
        since = self._start or 0
        known = {shard for shard, sample in self._last.items() if sample.at >= since and sample.in_sync is not None}
        return [shard for shard in self._shards if shard not in known]

    def check(self) -> Check:
        seconds = self.seconds
        figures = {
            "seconds": None if seconds is None else round(seconds, 3),
            "shards_reduced": len(self._reduced),
        }
        if seconds is not None:
            summary = f"every shard had all its replicas in sync {seconds:.1f} s after the {self._origin}"
            return Check("redundancy", Verdict.TRUE, summary, figures)
        unseen = self._unseen
        short = [shard for shard in self._shards if shard not in unseen and self._full_since.get(shard) is None]
        if short:
            parts = (
                f"shard {shard} has {self._last[shard].in_sync} of {self._last[shard].expected} replicas in sync"
                for shard in short
            )
            return Check("redundancy", Verdict.FALSE, "; ".join(parts), figures)
        what = f"replicas of shard {', '.join(map(str, unseen))} could not be asked" if unseen else "no fault was recorded"
        return Check("redundancy", Verdict.UNKNOWN, what, figures)

    @property
    def _origin(self) -> str:
        return "heal" if self._healed is not None else "fault"
