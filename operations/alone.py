"""One at a time on this machine: a lock of the kernel's on a file of this checkout, that ends with its process."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from operations.apply import ROOT
from operations.errors import Busy

FOLDER = ROOT / ".stacks"


@contextmanager
def alone(stack: str, what: str, patiently: Callable[[str], None] | None = None) -> Iterator[None]:
    """Nobody else of this machine does `what` with this stack meanwhile.

    Where somebody does, `patiently` is told so and waits until that has ended; without it, raises Busy.
    """
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    path = FOLDER / f"{stack}.{what}.lock"
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                told = f"another {what} of stack {stack} is under way on this machine"
                if patiently is None:
                    raise Busy(f"{told}; try again when it has ended") from None
                patiently(f"{told}: waiting for its end")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_there(path, file.fileno()):
                continue  # whoever had it took it away
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether an open file still is the one that has this name."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
