"""What backups a repository holds, from the tags of its entries: complete ones, failed ones, and debris. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from operations.backup.restic import Snapshot
from operations.errors import CheckFailed, InvalidInput

LATEST = "latest"


@dataclass(frozen=True)
class Entry:
    """One backup as the repository's tags tell it. `state` is complete, failed, or unfinished (no manifest: a run that was cut
    off, or one that is still going on). `verified` and `rehearsed` are the times of the last such attempt if it
    was a success, `refuted` that of the last verification if it failed; `digest` is the snapshot that holds the digest."""

    id: str
    stack: str
    state: str
    at: datetime
    manifest: str | None
    snapshots: tuple[str, ...]
    verified: datetime | None = None
    rehearsed: datetime | None = None
    digest: str | None = None
    refuted: datetime | None = None

    @property
    def is_restorable(self) -> bool:
        return self.state == "complete"

    @property
    def is_proven(self) -> bool:
        """Whether it was verified or rehearsed, and no verification has failed since."""
        proofs = [at for at in (self.verified, self.rehearsed) if at]
        return bool(proofs) and (self.refuted is None or max(proofs) > self.refuted)

    @property
    def is_refuted(self) -> bool:
        """Whether a verification failed, and nothing has proven it since."""
        return self.refuted is not None and not self.is_proven


def entries(snapshots: Iterable[Snapshot], stack: str) -> list[Entry]:
    """The backups of one stack, oldest first."""
    groups: dict[str, list[Snapshot]] = {}
    for one in snapshots:
        if one.tags.get("stack") == stack and "set" in one.tags:
            groups.setdefault(one.tags["set"], []).append(one)
    return [_entry(identity, stack, group) for identity, group in sorted(groups.items())]


def _entry(identity: str, stack: str, group: list[Snapshot]) -> Entry:
    def last(kind: str) -> Snapshot | None:
        found = [one for one in group if one.tags.get("kind") == kind]
        return max(found, key=lambda one: one.time, default=None)

    def ended(kind: str, state: str) -> datetime | None:
        found = last(kind)
        return found.time if found and found.tags.get("state") == state else None

    manifest, digest = last("manifest"), last("digest")
    return Entry(
        id=identity,
        stack=stack,
        state=manifest.tags.get("state", "failed") if manifest else "unfinished",
        at=min(one.time for one in group),
        manifest=manifest.id if manifest else None,
        snapshots=tuple(sorted(one.id for one in group)),
        verified=ended("verification", "passed"),
        rehearsed=ended("rehearsal", "passed"),
        digest=digest.id if digest else None,
        refuted=ended("verification", "failed"),
    )


def find(known: Iterable[Entry], name: str) -> Entry:
    """The backup called `name`, or the only one that begins so, or `latest`; raises InvalidInput or CheckFailed."""
    every = list(known)
    good = [entry for entry in every if entry.is_restorable]
    listed = ", ".join(entry.id for entry in good[-5:]) or "none yet"
    if name == LATEST:
        if not good:
            raise InvalidInput("there is no complete backup; make one with scripts/backup.py create")
        return good[-1]
    matching = [entry for entry in every if entry.id.startswith(name)]
    if len(matching) != 1:
        what = "is no backup" if not matching else f"stands for {len(matching)} backups"
        raise InvalidInput(f"{name!r} {what}; the newest complete ones are {listed}")
    if not matching[0].is_restorable:
        raise CheckFailed(f"backup {matching[0].id} is {matching[0].state}, so it cannot be restored; complete ones are {listed}")
    return matching[0]
