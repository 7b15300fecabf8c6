"""A process that works for another one ends with it: Pulumi's provider would go on after a kill -9 of Pulumi, and hold locks."""

import os
import threading
import time
from pathlib import Path

POLL_SECONDS = 0.5
EXIT_CODE = 1
PROC = Path("/proc")
SHELLS = ("sh", "dash", "bash", "busybox")

_watching = threading.Lock()


def end_with_parent() -> None:
    """From now on this process ends when the one that it works for does, at once, as by kill -9: what it does is made for that.

    Pulumi starts a provider through a shell, which outlives Pulumi as long as the provider runs: so shells are looked through.
    """
    if not _watching.acquire(blocking=False):
        return  # watched already
    threading.Thread(target=_watch, args=(lineage(),), name="parent", daemon=True).start()


def lineage() -> tuple[int, ...]:
    """The parent, and while that is a shell its parent too; the parent alone where there is no /proc to tell."""
    pid = os.getppid()
    found = [pid]
    while True:
        try:
            name, _, rest = (PROC / str(pid) / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            return tuple(found)
        if name not in SHELLS:
            return tuple(found)
        pid = int(rest.split()[1])
        found.append(pid)


def _watch(known: tuple[int, ...]) -> None:
    while lineage() == known:
        time.sleep(POLL_SECONDS)
    os._exit(EXIT_CODE)
