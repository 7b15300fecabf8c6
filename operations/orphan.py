"""A process that works for another one ends with it: Pulumi's provider would go on after a kill -9 of Pulumi, and hold locks."""

import os
import threading
import time

POLL_SECONDS = 0.5
EXIT_CODE = 1

_watching = threading.Lock()


def end_with_parent() -> None:
    """From now on this process ends when its parent does, at once, as by kill -9: what it does is made to be interrupted."""
    if not _watching.acquire(blocking=False):
        return  # watched already
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(EXIT_CODE)
