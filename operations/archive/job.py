"""The main of the container that archives a stack's append-only files, or tells what is archived.

It reads what to do from standard input and ends when that ends. Folders: `/nodes/NAME` is a node's data volume, read-only;
`/archive` the archive, whose files belong to the user of scratch servers.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operations.archive.ship import Shipper, read_archive
from operations.archive.timeline import Look, obsolete
from operations.connect import Fleet, Link, Refused
from operations.errors import Busy, CheckFailed, ExitCode, ToolkitError
from operations.inventory import Access, Credentials, Inventory
from operations.observe import cluster_view
from operations.parse import info_fields, pairs, text

NODES, ARCHIVE = Path("/nodes"), Path("/archive")
OWNER = 65534
EVERY_SECONDS = 1.0
PRUNE_SECONDS = 600.0
NEEDED = {
    "appendonly": "yes",
    "aof-timestamp-enabled": "yes",
    "appendfilename": "appendonly.aof",
    "appenddirname": "appendonlydir",
}


POSTPONED_SECONDS = 2.0
"""The server may hold its writes to the file back for so long while a sync is going on (`appendfsync everysec`)."""


@dataclass(frozen=True)
class Answer:
    """What a node said: the server's clock, up to when all that it wrote is in its files, and what it is."""

    now: float
    covered: float
    look: Look


def ask(link: Link) -> Answer:
    """Ask a node. Without a sync in progress it writes to the file before it answers, this question too (aof.c)."""
    cluster = [["CLUSTER", "MYID"], ["CLUSTER", "NODES"], ["CLUSTER", "INFO"]]
    fields = info_fields(text(link.ask("INFO")))
    now = int(fields["server_time_usec"]) / 1e6
    covered = now - (POSTPONED_SECONDS if fields.get("aof_pending_bio_fsync") != "0" else 0.0)
    primary = fields["role"] == "master" and fields["loading"] == "0"
    if fields.get("cluster_enabled") != "1":
        return Answer(now, covered, Look(now, primary))
    words = []
    for answer in link.ask_all(cluster):
        if isinstance(answer, Refused):
            raise answer
        words.append(text(answer))
    view = cluster_view(words[0], words[1], words[2])
    look = Look(now, primary and bool(view.slots), view.slots if primary else (), bool(view.open_slots))
    return Answer(now, covered, look)


def require_annotations(fleet: Fleet) -> None:
    """Raises CheckFailed for a node whose files could not be cut at a second."""
    for name, answer in fleet.each(lambda link: pairs(link.ask("CONFIG", "GET", *NEEDED))).items():
        if isinstance(answer, ToolkitError):
            continue  # a node that is down; it is followed when it is back
        for key, value in NEEDED.items():
            if answer.get(key) != value:
                raise CheckFailed(
                    f"{name} has {key} {answer.get(key)}, and points in time need {value}: set persistence.policy to aof and "
                    "parameters.aof-timestamp-enabled to yes in the spec, then pulumi up"
                )


class Archiver:
    """Follows all data nodes of a stack.

    Of a node that does not answer nobody knows whether it still is the primary, so from the last moment that is known on it
    counts as none; its files are followed all the same.

    The files of the archive, below `folder`, are given to `owner`; None leaves them to whoever runs this.
    """

    def __init__(self, access: Access, user: str = "admin", folder: Path = ARCHIVE, owner: int | None = None) -> None:
        nodes = access.inventory.data_nodes
        self._fleet = Fleet(access, nodes, user=user)
        self._shippers = {node.name: Shipper(NODES / node.name, folder / node.name, owner) for node in nodes}
        self._noted: dict[str, tuple[int, bool, object, bool]] = {}
        self._covered: dict[str, float] = {}

    def start(self) -> None:
        require_annotations(self._fleet)

    def step(self) -> list[str]:
        """One round over all nodes; returns what went wrong, one sentence each."""
        problems = []
        answers = self._fleet.each(ask, seconds=3.0)
        for name, answer in answers.items():
            shipper = self._shippers[name]
            try:
                if isinstance(answer, ToolkitError):
                    problems.append(f"{name}: {answer}")
                    shipper.step(None)
                    if self._noted.pop(name, None):
                        shipper.look(Look(self._covered[name], primary=False))
                    continue
                look = answer.look
                shipper.step(answer.covered, answer.now - time.time())
                self._covered[name] = answer.covered
                state = (shipper.chapter, look.primary, look.slots, look.moving)
                if self._noted.get(name) != state:
                    shipper.look(look)
                    self._noted[name] = state
            except (OSError, ToolkitError) as error:
                problems.append(f"{name} cannot be archived: {error}")
        return problems

    def close(self) -> None:
        self._fleet.close()
        for shipper in self._shippers.values():
            shipper.close()


def prune(shards: dict[str, int], keep_seconds: float) -> list[str]:
    """Remove files that nothing within the window needs; returns their names."""
    removed = []
    for archive in read_archive(ARCHIVE, shards):
        for name in obsolete(archive, time.time() - keep_seconds):
            (ARCHIVE / archive.folder / name).unlink(missing_ok=True)
            removed.append(f"{archive.folder}/{name}")
    return removed


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Nobody else writes to the archive meanwhile; raises Busy."""
    with (ARCHIVE / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy("another archiver is at work on this stack") from None
        yield


def do_run(told: dict[str, Any], report: Any) -> None:
    """Follow the stack until standard input ends."""
    inventory = Inventory.model_validate(told["inventory"])
    archiver = Archiver(Access(inventory=inventory, credentials=Credentials.of(told["passwords"])), owner=OWNER)
    pruned = time.monotonic()
    last: list[str] = []
    with locked():
        archiver.start()
        try:
            while True:
                began = time.monotonic()
                problems = archiver.step()
                if problems != last:
                    report({"event": "problems", "problems": problems})
                    last = problems
                took = time.monotonic() - began
                report({"event": "step", "seconds": took})
                if time.monotonic() - pruned > PRUNE_SECONDS:
                    prune({node.name: node.shard for node in inventory.data_nodes}, float(told["keep_seconds"]))
                    pruned = time.monotonic()
                time.sleep(max(0.0, EVERY_SECONDS - took))
        finally:
            archiver.close()


def do_list(told: dict[str, Any], report: Any) -> None:
    """Tell all that is archived."""
    shards = {str(name): int(shard) for name, shard in told["shards"].items()}
    for archive in read_archive(ARCHIVE, shards):
        report({"event": "archive", "archive": asdict(archive)})


def main() -> None:
    """Read one request, carry it out, tell the end."""
    told = json.loads(sys.stdin.buffer.readline())
    lock = threading.Lock()

    def report(event: dict[str, object]) -> None:
        with lock:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def follow_stdin() -> None:
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=follow_stdin, daemon=True).start()
    try:
        {"run": do_run, "list": do_list}[told["do"]](told, report)
        report({"event": "result", "value": None})
    except ToolkitError as error:
        report({"event": "error", "message": str(error), "code": int(error.exit_code)})
    except KeyboardInterrupt:
        report({"event": "error", "message": "interrupted", "code": int(ExitCode.INTERRUPTED)})
