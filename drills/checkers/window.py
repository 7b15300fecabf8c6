"""For how long did each shard refuse writes, and where did that time go?"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from drills.checkers.base import SECOND, Check, Figure, OnePass, Verdict
from drills.records import Client, Fault, Lane, Operation, Phase, Record, Role, Shed
from drills.timeline import Line, Outage

MAIN = "main"
_LOAD_ENDS = ("stop", "audit")


@dataclass(frozen=True)
class Split:
    """Parts of an outage in seconds; None where the role change was not seen."""

    detection: float | None = None
    election: float | None = None
    client_recovery: float | None = None


@dataclass(frozen=True)
class ShardWindow:
    """What the clients of one side saw of one shard after the fault. Times in seconds.

    `unavailable` is the sum of all `outages`, `gap` the longest stretch without an acknowledged write even where none was
    tried (in nanoseconds of the history), `longest_gap` its length, `slowest_client` the longest time that any single client
    waited from its first refused to its next acknowledged write.
    """

    shard: int
    side: str
    hit: bool
    outages: tuple[Outage, ...]
    unavailable: float
    gap: tuple[int, int]
    slowest_client: float
    recovered: bool
    acknowledged: int
    refused: int
    unknown: int
    shed: int
    split: Split

    @property
    def longest_gap(self) -> float:
        return (self.gap[1] - self.gap[0]) / SECOND


@dataclass
class _Shard:
    line: Line = field(default_factory=Line)
    counts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "fail": 0, "info": 0, "shed": 0})
    roles: list[Role] = field(default_factory=list)


class Windows(OnePass):
    """Fold over operations, faults and role changes. `hit` names the shards that the fault was aimed at."""

    def __init__(self, hit: Collection[int] = ()) -> None:
        self._hit = set(hit)
        self._sides: dict[int, str] = {}
        self._lanes: dict[int, tuple[int, str]] = {}
        self._shards: dict[tuple[int, str], _Shard] = {}
        self._roles: dict[int, list[Role]] = {}
        self._client_down: dict[int, tuple[int, tuple[int, str]]] = {}
        self._slowest: dict[tuple[int, str], int] = {}
        self.injected: int | None = None
        self.load_ended: int | None = None
        self._first_start: int | None = None

    def see(self, record: Record) -> None:
        if isinstance(record, Operation):
            if record.kind == "write":
                self._write(record)
        elif isinstance(record, Shed):
            place = self._lanes.get(record.lane, (0, MAIN))
            shard = self._shard(place)
            shard.counts["shed"] += record.writes
            shard.line.refuse(record.start, record.end)
        elif isinstance(record, Client):
            self._sides[record.client] = record.side
        elif isinstance(record, Lane):
            self._lanes[record.lane] = (record.shard or 0, self._sides.get(record.client, MAIN))
        elif isinstance(record, Fault):
            if record.stage == "inject":
                self._hit.update(record.shards)
                if self.injected is None:
                    self.injected = record.at
        elif isinstance(record, Role):
            self._roles.setdefault(record.shard, []).append(record)
        elif isinstance(record, Phase) and record.name in _LOAD_ENDS and self.load_ended is None:
            self.load_ended = record.at

    def _shard(self, place: tuple[int, str]) -> _Shard:
        shard = self._shards.get(place)
        if shard is None:
            shard = self._shards[place] = _Shard()
        return shard

    def _write(self, op: Operation) -> None:
        place = self._lanes.get(op.lane, (0, MAIN))
        shard = self._shard(place)
        shard.counts[op.outcome] += 1
        if self._first_start is None or op.start < self._first_start:
            self._first_start = op.start
        if op.outcome == "ok":
            shard.line.acknowledge(op.end)
            down = self._client_down.pop(op.client, None)
            if down is not None:
                self._slowest[down[1]] = max(self._slowest.get(down[1], 0), op.end - down[0])
        else:
            shard.line.refuse(op.start, op.end)
            if self.injected is not None:
                self._client_down.setdefault(op.client, (op.start, place))

    def windows(self) -> tuple[ShardWindow, ...]:
        """One entry per shard and side, in that order."""
        slowest = dict(self._slowest)
        ended = self._observed_until()
        for start, place in self._client_down.values():
            slowest[place] = max(slowest.get(place, 0), ended - start)
        return tuple(self._window(place, slowest.get(place, 0)) for place in sorted(self._shards))

    def _observed_until(self) -> int:
        return max((shard.line.latest for shard in self._shards.values()), default=0)

    def _window(self, place: tuple[int, str], slowest: int) -> ShardWindow:
        number, side = place
        shard = self._shards[place]
        since = self.injected if self.injected is not None else 0
        until = self._observed_until()
        outages = tuple(o for o in shard.line.outages() if o.end is None or o.end > since)
        longest = max(outages, key=lambda outage: outage.seconds(until), default=None)
        start = since if self.injected is not None else (self._first_start or 0)
        return ShardWindow(
            shard=number,
            side=side,
            hit=number in self._hit,
            outages=outages,
            unavailable=sum(outage.seconds(until) for outage in outages),
            gap=shard.line.longest_gap(start, min(until, self.load_ended or until)),
            slowest_client=slowest / SECOND,
            recovered=all(outage.end is not None for outage in outages),
            acknowledged=shard.counts["ok"],
            refused=shard.counts["fail"],
            unknown=shard.counts["info"],
            shed=shard.counts["shed"],
            split=self._split(number, longest) if longest is not None else Split(),
        )

    def _split(self, shard: int, outage: Outage) -> Split:
        """Detection until somebody called the node failed, election until a node called itself primary, then the clients.

        Role changes are polled, so one may be seen a moment after a client already wrote: parts are cut to the outage.
        """
        since = self.injected or 0
        roles = [role for role in self._roles.get(shard, ()) if role.at >= since]
        failed = min((role.at for role in roles if role.role == "failed"), default=None)
        promoted = min((role.at for role in roles if role.role == "primary" and role.seen_by == role.node), default=None)
        if outage.end is None or promoted is None or promoted < outage.start:
            return Split()
        end = outage.end
        promoted = min(promoted, end)
        recovery = (end - promoted) / SECOND
        if failed is None or failed > promoted:
            return Split(client_recovery=recovery)
        failed = max(failed, outage.start)
        return Split((failed - outage.start) / SECOND, (promoted - failed) / SECOND, recovery)

    def steady_outages(self) -> tuple[tuple[int, Outage], ...]:
        """Outages that were over before the fault: then the drill did not start from a steady state."""
        if self.injected is None:
            return ()
        return tuple(
            (number, outage)
            for (number, _), shard in sorted(self._shards.items())
            for outage in shard.line.outages()
            if outage.end is not None and outage.end <= self.injected
        )

    def check_steady(self) -> Check:
        """Was every write accepted before the fault?"""
        if self.injected is None:
            return Check("steady", Verdict.UNKNOWN, "the history shows no fault")
        if not any(shard.line.acknowledged for shard in self._shards.values()):
            return Check("steady", Verdict.UNKNOWN, "no write was acknowledged at all")
        outages = self.steady_outages()
        if outages:
            shard, outage = outages[0]
            length = outage.seconds(self.injected)
            summary = f"shard {shard} refused writes for {length:.3f} s before the fault, so what followed proves nothing"
            return Check("steady", Verdict.UNKNOWN, summary, {"outages": len(outages)})
        return Check("steady", Verdict.TRUE, "no write was refused before the fault", {"outages": 0})

    def check(self) -> Check:
        """Did every shard accept writes again, as the clients on the main side see it?"""
        windows = [window for window in self.windows() if window.side == MAIN]
        figures = {name: value for window in windows for name, value in _figures(window).items()}
        if not windows or not any(window.acknowledged for window in windows):
            return Check("window", Verdict.UNKNOWN, "no write was acknowledged, so no window can be measured", figures)
        closed = [window for window in windows if not window.recovered]
        if closed:
            names = ", ".join(str(window.shard) for window in closed)
            return Check("window", Verdict.FALSE, f"shard {names} still refused writes when the load ended", figures)
        worst = max(windows, key=lambda window: window.unavailable)
        if worst.unavailable:
            summary = f"writes were refused for at most {worst.unavailable:.3f} s (shard {worst.shard})"
        else:
            summary = "no shard refused writes"
        return Check("window", Verdict.TRUE, summary, figures)


def _figures(window: ShardWindow) -> Mapping[str, Figure]:
    prefix = f"shard_{window.shard}"
    return {
        f"{prefix}_unavailable_seconds": round(window.unavailable, 4),
        f"{prefix}_longest_gap_seconds": round(window.longest_gap, 4),
        f"{prefix}_slowest_client_seconds": round(window.slowest_client, 4),
    }
