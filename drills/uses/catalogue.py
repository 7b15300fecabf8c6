"""Every workload that a drill can be given, and the choice of some by name."""

from collections.abc import Sequence

from drills.uses.base import Use
from drills.uses.board import BOARDS
from drills.uses.broadcast import BROADCASTS
from drills.uses.cache import CACHES
from drills.uses.flags import FLAGS
from drills.uses.kept import KEPT
from drills.uses.limiter import LIMITERS
from drills.uses.lock import LOCKS
from drills.uses.queue import QUEUES
from operations.errors import UsageError
from operations.inventory import Topology

USES: dict[str, Use] = {use.name: use for use in (*LOCKS, *QUEUES, *CACHES, *KEPT, *LIMITERS, *BOARDS, *BROADCASTS, *FLAGS)}
CAREFUL = tuple(name for name, use in USES.items() if use.twin is None)
CARELESS = tuple(name for name, use in USES.items() if use.twin is not None)
GROUPS = {"all": CAREFUL, "careless": CARELESS}


def chosen(words: str) -> tuple[str, ...]:
    """Workloads by their names, separated by commas, or `all`, or `careless`; raises UsageError naming those that exist."""
    found: list[str] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        if word not in USES and word not in GROUPS:
            raise UsageError(f"there is no workload {word!r}; there are {', '.join(USES)}, and all, careless")
        found += GROUPS.get(word, (word,))
    if not found:
        raise UsageError(f"--workload is {words!r}, which names none; there are {', '.join(USES)}, and all, careless")
    return tuple(dict.fromkeys(found))


def misfit_of(names: Sequence[str], topology: Topology) -> str | None:
    """Why one of these workloads cannot be played on a topology, or None."""
    reasons = (
        f"{name} cannot be played on {topology}: {USES[name].not_on[topology]}" for name in names if topology in USES[name].not_on
    )
    return next(reasons, None)
