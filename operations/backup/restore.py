"""Restores a backup into a running stack of the same shape, by files; fenced from applications until it is verified.

Order: look and refuse; fetch and check every file beside the old ones; kill sentinels and data nodes (a clean stop would hand
over or save); fence the volumes and exchange the files; start the primaries, check what they loaded; start the rest; compare the
digest of all data with the backup's; take the fence away. One that is cut off before the kill has changed nothing; later it
leaves the stack fenced, with either the old data or the new on each node. Calling it again does all of it anew.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from typing import Any

from operations.alone import alone
from operations.backup.create import shard_file
from operations.backup.fence import is_fenced, lift_fence
from operations.backup.fetch import TARGETS
from operations.backup.fit import Fit, OtherShape, fit, primaries_of
from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest, ShardRecord, gaps
from operations.backup.proof import compare_with_stack
from operations.connect import Fleet, Timeouts
from operations.containers import Containers
from operations.digest.definition import Comparison
from operations.errors import CheckFailed, HoldsData, ToolkitError, Unreachable
from operations.inventory import Access, Inventory
from operations.observe import Observation, observe
from operations.parse import info_fields, text
from operations.verdict import State, verdict

WRITER_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
"""What a job needs to write onto volumes of the server's user."""
ANSWER_SECONDS = 30.0
LOAD_BYTES_PER_SECOND = 20e6
"""Far below what was measured (380 MB/s): only bounds how long a load is waited for."""
STEADY_SECONDS = 120.0
POLL_SECONDS = 0.05
POLL_TIMEOUTS = Timeouts(connect_seconds=1.0, command_seconds=2.0)

Report = Callable[[dict[str, Any]], None]


@dataclass
class Restored:
    """What a restore did. Seconds since the command began: files in place, data loaded, redundant again, digest compared, open to
    applications. `comparison` is None when no digest was compared: the catalogue has none, or applications were let in before."""

    backup: str
    stack: str
    targets: Mapping[str, ShardRecord]
    keys: dict[str, int] = field(default_factory=dict)
    fetched_seconds: float = 0.0
    loaded_seconds: float = 0.0
    redundant_seconds: float = 0.0
    verified_seconds: float = 0.0
    comparison: Comparison | None = None
    open_seconds: float = 0.0


def restore(
    place: Place, access: Access, manifest: Manifest, replace: bool, report: Report = lambda _: None, open_early: bool = False,
    shard: int | None = None,
) -> Restored:  # fmt: skip
    """Restore `manifest` (from the repository at `place`) into the running stack of `access`; see the module.

    `shard` is the only shard of the stack that is restored: the others go on with what they have, which is newer. With
    `open_early` applications are let in once the primaries have loaded their files, whose checksums were compared; then no
    digest is. Raises HoldsData when it holds data and `replace` was not said, CheckFailed when the set is not whole, does not fit
    or is not what was stored, Busy while something else is restored into it.
    """
    with alone(access.inventory.stack, "restore"):
        return _restore(place, access, manifest, replace, report, open_early, shard)


def _restore(
    place: Place, access: Access, manifest: Manifest, replace: bool, report: Report, open_early: bool, shard: int | None
) -> Restored:  # fmt: skip
    began = time.monotonic()
    if missing := gaps(manifest):
        raise CheckFailed("; ".join(missing) + "; nothing was touched")
    containers = Containers(access.inventory)
    seen = _wake(access, containers)
    matched = fit(manifest, seen, access.inventory)
    if matched.other_shape:
        raise OtherShape(_told(matched, manifest) + "; nothing was touched")
    if matched.reasons:
        raise CheckFailed(_told(matched, manifest) + "; nothing was touched")
    if shard is not None:
        matched = _only(matched, access.inventory, shard)
    data = [node for node in access.inventory.data_nodes if shard in (None, node.shard)]
    _refuse_data(access, containers, seen, matched, replace)
    done = Restored(manifest.id, access.inventory.stack, matched.targets)

    writer = _writer(place, access)
    primaries = [node for node in data if node.name in matched.targets]
    others = [node for node in data if node.name not in matched.targets]

    def stop() -> None:
        done.fetched_seconds = time.monotonic() - began
        if not replace:
            _refuse_later_data(access, containers, matched)
        report({"event": "phase", "text": "exchanging the files of the stopped nodes"})
        containers.kill(access.inventory.sentinels)
        containers.kill(data)

    aof = access.inventory.parameters["data"]["appendonly"] == "yes"
    emptied = [node.name for node in others]
    run_job(writer, "exchange", report, stop, wanted=_wanted(matched), aof=aof, emptied=emptied, mark=manifest.id)

    report({"event": "phase", "text": "loading"})
    containers.start(primaries)
    largest = max(shard.bytes for shard in matched.targets.values())
    with Fleet(access, primaries, timeouts=POLL_TIMEOUTS) as fleet:
        done.keys = _await_loaded(fleet, matched, ANSWER_SECONDS + largest / LOAD_BYTES_PER_SECOND)
    done.loaded_seconds = time.monotonic() - began

    if open_early:
        lift_fence(access, containers, primaries)
        done.open_seconds = time.monotonic() - began
    report({"event": "phase", "text": "bringing the replicas and sentinels back"})
    containers.start([*others, *access.inventory.sentinels])
    _await_steady(access, STEADY_SECONDS + largest / LOAD_BYTES_PER_SECOND)
    done.redundant_seconds = time.monotonic() - began

    if open_early:
        lift_fence(access, containers, others)
        return done
    report({"event": "phase", "text": "comparing digests" if manifest.digest else "the catalogue has no digest to compare with"})
    done.comparison = compare_with_stack(manifest, access, matched.targets)
    done.verified_seconds = time.monotonic() - began
    lift_fence(access, containers, data)
    done.open_seconds = time.monotonic() - began
    return done


def _only(matched: Fit, inventory: Inventory, shard: int) -> Fit:
    """What goes to one shard of the stack; raises CheckFailed when that is nothing."""
    targets = {name: one for name, one in matched.targets.items() if inventory.node(name).shard == shard}
    if not targets:
        numbers = ", ".join(sorted({str(inventory.node(name).shard) for name in matched.targets}))
        raise CheckFailed(f"there is no shard {shard} to restore; there are {numbers}. Nothing was touched")
    return replace_fields(matched, targets=targets)


def _told(matched: Fit, manifest: Manifest) -> str:
    return f"backup {manifest.id} does not fit: {'; '.join(matched.reasons)}"


def _wake(access: Access, containers: Containers) -> Observation:
    """Look at the stack; nodes that an interrupted restore left stopped are started first, for they know their roles."""
    containers.start(access.inventory.data_nodes)
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        seen = observe(access)
        states = [seen.of(node.name) for node in access.inventory.data_nodes]
        quiet = [f"{one.name}: {one.problem or 'loading'}" for one in states if not one.reachable or one.loading]
        if not quiet and primaries_of(seen, access.inventory):
            return seen
        if time.monotonic() > deadline:
            reason = "; ".join(quiet) or "it has no primary"
            raise Unreachable(f"stack {access.inventory.stack} cannot take a backup now: {reason}; nothing was touched")
        time.sleep(POLL_SECONDS)


def _refuse_data(access: Access, containers: Containers, seen: Observation, matched: Fit, replace: bool) -> None:
    """Raises HoldsData for a stack with data that nobody gave up; one that an unfinished restore has fenced was given up."""
    keys = sum(seen.of(name).keys for name in matched.targets)
    if keys and not replace and not is_fenced(containers, [access.inventory.node(name) for name in matched.targets]):
        raise HoldsData(
            f"stack {access.inventory.stack} holds {keys:,} keys, which a restore would replace; restore into another stack "
            "(--to), or say --replace to give them up"
        )


def _refuse_later_data(access: Access, containers: Containers, matched: Fit) -> None:
    """The stack was open while the files came. Raises CheckFailed for what it has acknowledged since, which nobody gave up; not
    HoldsData, for it was empty when that was asked."""
    try:
        _refuse_data(access, containers, observe(access), matched, replace=False)
    except HoldsData as error:
        raise CheckFailed(f"{error}. They were written while the files came; nothing was replaced") from None


def _writer(place: Place, access: Access) -> Place:
    """A job in the target's network with the volumes of all its data nodes."""
    volumes = {f"{TARGETS}/{node.name}": node.volume for node in access.inventory.data_nodes}
    return Place(place.stack, place.settings, access, volumes=volumes, capabilities=WRITER_CAPABILITIES)


def _wanted(matched: Fit) -> list[dict[str, Any]]:
    """Which file of the repository each node gets, as a job is told."""
    return [
        {"node": name, "snapshot": s.snapshot, "file": shard_file(s.shard), "bytes": s.bytes, "sha256": s.sha256}
        for name, s in matched.targets.items()
    ]


def _await_loaded(fleet: Fleet, matched: Fit, seconds: float) -> dict[str, int]:
    """Wait until all primaries have loaded their files; returns the keys that each found in its file.

    Raises CheckFailed when one comes up as something else than a primary with that data.
    """
    deadline = time.monotonic() + seconds
    while True:
        answers = fleet.each(lambda link: info_fields(text(link.ask("INFO"))))
        waiting = {
            name: str(answer) if isinstance(answer, ToolkitError) else "loading"
            for name, answer in answers.items()
            if isinstance(answer, ToolkitError) or answer.get("loading") != "0"
        }
        if not waiting:
            break
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"after {seconds:.0f} s not everything is loaded: {waiting}; the stack stays closed to applications"
            )
        time.sleep(POLL_SECONDS)
    keys = {}
    for name, fields in answers.items():
        assert isinstance(fields, dict)  # noqa: S101 - else it would wait
        if fields["role"] != "master":
            raise CheckFailed(f"{name} came back as a replica; the stack stays closed to applications, try the restore again")
        keys[name] = int(fields["rdb_last_load_keys_loaded"]) + int(fields["rdb_last_load_keys_expired"])
        if matched.targets[name].keys and not keys[name]:
            raise CheckFailed(
                f"{name} loaded no key and should have about {matched.targets[name].keys:,}; it stays closed to applications"
            )
    return keys


def _await_steady(access: Access, seconds: float) -> None:
    """Wait until every node's own view is as declared: replicas in sync, slots served, sentinels agreed."""
    deadline = time.monotonic() + seconds
    while True:
        judged = verdict(observe(access), access.inventory)
        if judged.state is State.OK:
            return
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"the data is loaded, but after {seconds:.0f} s the stack is not as declared: {judged.line}; it stays closed to "
                f"applications. See scripts/status.py --stack {access.inventory.stack}, then call the restore again"
            )
        time.sleep(POLL_SECONDS * 4)
