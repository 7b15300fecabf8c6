"""Every workload that a drill can be given, and the choice of some by name."""

from collections.abc import Sequence

from drills.uses.base import Use
from drills.uses.bloom import BLOOMS
from drills.uses.board import BOARDS
from drills.uses.broadcast import BROADCASTS
from drills.uses.cache import CACHES
from drills.uses.flags import FLAGS
from drills.uses.kept import KEPT
from drills.uses.limiter import LIMITERS
from drills.uses.lock import LOCKS
from drills.uses.near import NEARS
from drills.uses.queue import QUEUES
from drills.uses.series import SERIES
from operations.errors import UsageError
from operations.inventory import Inventory

_FAMILIES = (LOCKS, QUEUES, CACHES, NEARS, BLOOMS, KEPT, LIMITERS, BOARDS, SERIES, BROADCASTS, FLAGS)
USES: dict[str, Use] = {use.name: use for family in _FAMILIES for use in family}
CAREFUL = tuple(name for name, use in USES.items() if use.twin is None)
CARELESS = tuple(name for name, use in USES.items() if use.twin is not None)
GROUPS = {"all": CAREFUL, "careless": CARELESS}


def chosen(words: str, inventory: Inventory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Workloads by their names, separated by commas, or `all`, or `careless`; and a sentence for each that a group leaves out
    because the stack cannot carry it. Raises UsageError naming those that exist."""
    found: list[str] = []
    left_out: list[str] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        if word not in USES and word not in GROUPS:
            raise UsageError(f"there is no workload {word!r}; there are {', '.join(USES)}, and all, careless")
        for name in GROUPS.get(word, ()):
            reason = USES[name].unfit(inventory)
            left_out += [f"Workload {name} was left out: {reason}."] if reason else []
            found += [] if reason else [name]
        found += [word] if word in USES else []
    if not found:
        raise UsageError(f"--workload is {words!r}, which names none; there are {', '.join(USES)}, and all, careless")
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(left_out))


def misfit_of(names: Sequence[str], inventory: Inventory) -> str | None:
    """Why one of these workloads cannot be played on a stack, or None."""
    reasons = ((name, USES[name].unfit(inventory)) for name in names)
    return next((f"{name} cannot be played on {inventory.stack}: {reason}" for name, reason in reasons if reason), None)
