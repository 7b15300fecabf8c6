"""Waiting for a named condition within a stated time."""

import time
from collections.abc import Callable

POLL_SECONDS = 0.1


def wait_until(what: str, condition: Callable[[], object], seconds: float, poll_seconds: float = POLL_SECONDS) -> float:
    """Wait until `condition` returns "" or None, for it returns what is still missing; gives the seconds that it took.

    Raises AssertionError that tells what was waited for and what was missing at last.
    """
    started = time.monotonic()
    while True:
        missing = condition()
        took = time.monotonic() - started
        if not missing:
            return took
        assert took < seconds, f"{what} did not come about within {seconds:g} s; at last: {missing}"
        time.sleep(poll_seconds)
