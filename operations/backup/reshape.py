"""Restores a backup, or a moment of the archive, into a running stack of any shape, by replay; fenced until its digest was
found the same.

The files go straight into scratch servers; see operations/replay. A restore that was cut off leaves the stack fenced; calling it
again goes on, or begins anew.
"""

from collections.abc import Sequence

from operations.alone import alone
from operations.backup.dump import snapshots_of
from operations.backup.fence import is_fenced, lift_fence, raise_fence
from operations.backup.fit import engine_problem
from operations.backup.launch import Place
from operations.backup.manifest import Manifest, gaps
from operations.backup.restore import Report
from operations.containers import Containers
from operations.errors import CheckFailed
from operations.inventory import Access
from operations.replay.run import Replayed, Say, ignore, replay
from operations.replay.stream import Watch
from operations.scratch import Content


def restore_reshaped(place: Place, access: Access, manifest: Manifest, replace: bool, report: Report) -> Replayed:
    """Make the stack of `access` hold what the backup holds; see the module.

    Raises what `replay` raises, and CheckFailed for a set that is not whole or a file that is not what was stored.
    """
    problem = "; ".join(gaps(manifest)) or engine_problem(manifest, access.inventory)
    if problem:
        raise CheckFailed(f"{problem}; nothing was touched")
    return replay_fenced(
        access,
        snapshots_of(place, manifest),
        replace,
        manifest.id,
        say=lambda text: report({"event": "phase", "text": text}),
    )


def replay_fenced(
    access: Access, contents: Sequence[Content], replace: bool, mark: str, say: Say = ignore, watch: Watch = ignore
) -> Replayed:
    """Replay `contents` while applications are kept out; `mark` names on the fence what is restored. Raises Busy while something
    else is restored into the stack."""
    with alone(access.inventory.stack, "restore"):
        return _replay_fenced(access, contents, replace, mark, say, watch)


def _replay_fenced(
    access: Access, contents: Sequence[Content], replace: bool, mark: str, say: Say, watch: Watch
) -> Replayed:  # fmt: skip
    containers = Containers(access.inventory)
    data = access.inventory.data_nodes
    allowed = replace or is_fenced(containers, data) is not None

    def begin() -> None:
        say("closing the stack to applications")
        raise_fence(access, containers, mark)

    done = replay(access, contents, allowed, watch, say, begin)
    lift_fence(access, containers, data)
    return done
