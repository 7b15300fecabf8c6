"""A process that works for another one ends with it: Pulumi's provider would go on after a kill -9 of Pulumi, and hold locks."""

import os
import threading
import time
from pathlib import Path

POLL_SECONDS = 0.5
EXIT_CODE = 1
PROC = Path("/proc")

_watching = threading.Lock()


def end_with_parent() -> None:
    """From now on this process ends when its parent or grandparent does, at once, as by kill -9: what it does is made for that.

    Pulumi starts a provider through a shell, which outlives Pulumi as long as the provider runs.
    """
    if not _watching.acquire(blocking=False):
        return  # watched already
    threading.Thread(target=_watch, args=(lineage(),), name="parent", daemon=True).start()


def lineage() -> tuple[int, int]:
    """Parent and grandparent of this process; 0 for a grandparent where there is no /proc to tell it."""
    parent = os.getppid()
    try:
        fields = (PROC / str(parent) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return parent, 0
    return parent, int(fields[1])


def _watch(known: tuple[int, int]) -> None:
    while lineage() == known:
        time.sleep(POLL_SECONDS)
    os._exit(EXIT_CODE)
