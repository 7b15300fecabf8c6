"""One at a time on this machine: a lock of the kernel's on a file of this checkout, that ends with its process."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from operations.apply import ROOT
from operations.errors import Busy

FOLDER = ROOT / ".stacks"


@contextmanager
def alone(stack: str, what: str, patiently: Callable[[str], None] | None = None) -> Iterator[None]:
    """Nobody else of this machine does `what` with this stack meanwhile.

    Where somebody does, `patiently` is told so and waits until that has ended; without it, raises Busy.
    """
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with (FOLDER / f"{stack}.{what}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            told = f"another {what} of stack {stack} is under way on this machine"
            if patiently is None:
                raise Busy(f"{told}; try again when it has ended") from None
            patiently(f"{told}: waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
