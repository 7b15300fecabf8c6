"""Every use that can be played, by its name."""

from drills.workload.uses.lock import LOCKS
from drills.workload.uses.stage import Use

REPERTOIRE: dict[str, type[Use]] = {use.name: use for use in (*LOCKS,)}
