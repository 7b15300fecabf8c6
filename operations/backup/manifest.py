"""What one backup is, as data: the shards with their snapshots, and everything that a restore must know beforehand."""

from collections.abc import Container
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from operations.inventory import Topology
from operations.parse import SLOT_COUNT, Slots, format_slots, slot_total, uncovered

MANIFEST_VERSION = 1
_ID = "%Y%m%dT%H%M%S.%f"
State = Literal["complete", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ShardRecord(_Record):
    """One shard's snapshot. `snapshot` is restic's id, `sha256` and `bytes` are of the RDB as it came from `source`.

    `offset` is the replication offset at which the snapshot was taken; `began` and `ended` are Unix times in seconds of the
    request for the snapshot and of its last byte, `cut` lies between: when the server's first byte came, which is after its fork.
    `keys` and `used_memory_bytes` are what the source said of itself then.
    """

    shard: int
    slots: Slots
    source: str
    source_role: Literal["primary", "replica"]
    lag_bytes: int
    replication_id: str
    offset: int
    began: float
    cut: float
    ended: float
    keys: int
    used_memory_bytes: int
    bytes: int
    sha256: str
    snapshot: str


class Manifest(_Record):
    """One backup of a whole stack. `skew_seconds` is the time between the first and the last cut, an upper bound."""

    manifest_version: int = MANIFEST_VERSION
    id: str
    state: State
    reason: str | None = None
    stack: str
    topology: Topology
    engine: str
    version: str
    began: float
    ended: float
    skew_seconds: float
    consistent: bool
    pause_seconds: float | None = None
    shards: tuple[ShardRecord, ...]
    shard_count: int
    users: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, dict[str, str]] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(default_factory=dict)
    digest: dict[str, Any] | None = None
    """As `Digest.to_data` gives it. It is read after the set is complete (proof.py), so it stands beside the manifest in the
    repository and is added when the manifest is read."""

    @property
    def keys(self) -> int:
        return sum(shard.keys for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    @property
    def at(self) -> datetime:
        """The moment that the backup stands for: the first cut, or its beginning when there is none."""
        return datetime.fromtimestamp(min((shard.cut for shard in self.shards), default=self.began), UTC)


def make_id(began: float, last: str | None = None) -> str:
    """The name of a backup: its beginning in UTC, which sorts as it reads. It sorts after `last` also when the clock went back:
    names are the order in which backups were made."""
    name = _named(datetime.fromtimestamp(began, UTC))
    if last is None or name > last:
        return name
    return _named(datetime.strptime(last, f"{_ID}Z") + timedelta(milliseconds=1))


def _named(moment: datetime) -> str:
    return moment.strftime(_ID)[:-3] + "Z"


def skew_seconds(shards: tuple[ShardRecord, ...]) -> float:
    """Time between the cuts of the shards, at most."""
    return max((s.cut for s in shards), default=0.0) - min((s.began for s in shards), default=0.0)


def gaps(manifest: Manifest) -> list[str]:
    """What is missing for a restore, one sentence each; empty for a whole set."""
    found = []
    have = {shard.shard for shard in manifest.shards}
    missing = [number for number in range(1, manifest.shard_count + 1) if number not in have]
    if missing:
        found.append(f"shard {', '.join(map(str, missing))} of {manifest.shard_count} is missing from backup {manifest.id}")
    if manifest.topology == "cluster" and not missing:
        lost = uncovered(shard.slots for shard in manifest.shards)
        if lost:
            found.append(f"slots {format_slots(lost)} are in no shard of backup {manifest.id}")
        total = sum(slot_total(shard.slots) for shard in manifest.shards)
        if not lost and total > SLOT_COUNT:
            found.append(f"{total - SLOT_COUNT} slots are in two shards of backup {manifest.id}: they moved while it was made")
    if manifest.state == "failed":
        found.append(f"backup {manifest.id} failed: {manifest.reason}")
    return found


def taken_away(manifest: Manifest, snapshots: Container[str]) -> list[str]:
    """Shards of a backup that are in its manifest and not among the `snapshots` that the repository has. Pure."""
    gone = [shard for shard in manifest.shards if shard.snapshot not in snapshots]
    return [
        f"shard {shard.shard} of {len(manifest.shards)} is missing from backup {manifest.id}: its snapshot {shard.snapshot[:8]} "
        "is gone from the repository"
        for shard in gone
    ]
