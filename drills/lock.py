"""One drill at a time on a stack, also from two machines: the lock is a container beside the stack; its name exists only once."""

import contextlib
import getpass
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

from docker.errors import APIError, NotFound

from drills.faults.base import HELPER_IMAGE, LABEL, PART, Engine
from operations.errors import Busy, Unreachable

HOLDER = "redis-topologies.drill.holder"
CONFLICT = 409


def lock_name(stack: str) -> str:
    return f"redis-{stack}-drill-lock"


@contextlib.contextmanager
def drill_lock(engine: Engine, what: str) -> Iterator[None]:
    """Hold the lock of the stack; raises Busy with who holds it, since when, and what to do if that drill is dead."""
    stack = engine.inventory.stack
    who = f"{what}, by {getpass.getuser()} on {socket.gethostname()} (process {os.getpid()})"
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        container = engine.client.containers.create(
            HELPER_IMAGE,
            ["true"],
            name=lock_name(stack),
            network_mode="none",
            labels={LABEL: stack, PART: "lock", HOLDER: f"{who}, since {since}"},
        )
    except APIError as error:
        if error.status_code != CONFLICT:
            raise Unreachable(f"the drill's lock cannot be made: {error.explanation or error}; run `make images`") from None
        raise Busy(
            f"a drill runs on stack {stack} already: {holder(engine)}. If it is dead, run `scripts/drill.py heal --stack {stack}`"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(NotFound, APIError):
            container.remove(force=True)


def holder(engine: Engine) -> str:
    """Who holds the lock."""
    try:
        labels = engine.client.containers.get(lock_name(engine.inventory.stack)).labels
    except (NotFound, APIError):
        return "it ended at this moment"
    return str(labels.get(HOLDER, "nobody knows who"))
