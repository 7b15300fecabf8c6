"""Every use that can be played, by its name."""

from drills.workload.uses.behind import BEHIND
from drills.workload.uses.bloom import BLOOMS
from drills.workload.uses.board import BOARDS
from drills.workload.uses.broadcast import BROADCASTS
from drills.workload.uses.cache import CACHES
from drills.workload.uses.flags import FLAGS
from drills.workload.uses.limiter import LIMITERS
from drills.workload.uses.lock import LOCKS
from drills.workload.uses.near import NEARS
from drills.workload.uses.queue import QUEUES
from drills.workload.uses.series import SERIES
from drills.workload.uses.session import SESSIONS
from drills.workload.uses.stage import Use
from drills.workload.uses.visits import VISITS

_FAMILIES = (
    LOCKS, QUEUES, CACHES, NEARS, BLOOMS, BEHIND, SESSIONS, LIMITERS, BOARDS, VISITS, SERIES, BROADCASTS, FLAGS,
)  # fmt: skip
REPERTOIRE: dict[str, type[Use]] = {use.name: use for family in _FAMILIES for use in family}
