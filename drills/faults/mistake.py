"""A mistake of people: everything is deleted by a command, and brought back to the second before it from the archive."""

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from drills.bounds import FaultKind
from drills.faults.base import Engine, Fault, FaultFailed, wait_for
from drills.faults.lost import ROOT, call_script
from operations.connect import Fleet, Link
from operations.errors import ToolkitError
from operations.inventory import Access, NodeEntry
from operations.parse import info_fields, text

ARCHIVED_SECONDS = 60.0
END_SECONDS = 40.0


class Flush(Fault):
    """FLUSHALL on every primary by the administrator; healed by `scripts/archive.py restore --at` the second before it."""

    name: ClassVar[str] = "flush"
    takes_cut: ClassVar[bool] = True

    def __init__(self, engine: Engine, access: Access, targets: Sequence[NodeEntry], kind: FaultKind = "data-loss") -> None:
        super().__init__(engine, targets, kind)
        self._access = access
        self._archiver: subprocess.Popen[bytes] | None = None
        self._second = 0
        self._flushes: dict[str, int] = {}
        self._flushed = False

    def prepare(self) -> None:
        """Where no agent archives: archive until the drill is over, as an archiver in the background does."""
        if not self.engine.inventory.spec.get("backup", {}).get("point_in_time"):
            self._start_archiver()
        wait_for("an archive of every shard", self._is_archived, ARCHIVED_SECONDS)

    def _start_archiver(self) -> None:
        command = [sys.executable, "scripts/archive.py", "run", "--stack", self._stack]
        self._archiver = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    @property
    def _stack(self) -> str:
        return self.engine.inventory.stack

    def _is_archived(self) -> str | None:
        archiver = self._archiver
        if archiver is not None and archiver.poll() is not None:
            said = archiver.stderr.read().decode(errors="replace").strip() if archiver.stderr else ""
            raise FaultFailed(f"the archiver ended: {said or 'it said nothing'}")
        return "archived" if self._last_second() else None

    def _last_second(self) -> int:
        return max((high for _, high in call_script(self._stack, "archive", "ranges")["all"]), default=0)

    def cut(self) -> str:
        """The second that everything is brought back to: the next one of the servers' clocks that is over on all of them."""
        self._second = max(self._seconds())
        wait_for(f"the end of second {self._second}", lambda: "over" if min(self._seconds()) > self._second else None, 10)
        return f"second {self._second} is the one to come back to; all of it was archived or will be"

    def _seconds(self) -> list[int]:
        return [int(pair[0]) for pair in self._each(lambda link: link.ask("TIME")).values()]

    def _each(self, question: Any) -> dict[str, Any]:
        with Fleet(self._access, self.targets) as fleet:
            answers = fleet.each(question)
        for name, answer in answers.items():
            if isinstance(answer, ToolkitError):
                raise FaultFailed(f"{name}: {answer}")
        return answers

    def _counted(self) -> dict[str, int]:
        """How many FLUSHALL each primary has carried out since it started."""

        def count(link: Link) -> int:
            told = info_fields(text(link.ask("INFO", "commandstats"))).get("cmdstat_flushall", "calls=0")
            return int(told.partition("calls=")[2].partition(",")[0])

        return self._each(count)

    def inject(self) -> str:
        self._flushes = self._counted()
        self._flushed = True
        self._each(lambda link: link.ask("FLUSHALL"))
        return f"FLUSHALL on {', '.join(self.names)}"

    def evidence(self) -> str:
        counted = self._counted()
        spared = [name for name, count in self._flushes.items() if counted[name] <= count]
        if spared or not counted:
            raise FaultFailed(f"{', '.join(spared) or 'nobody'} did not count a FLUSHALL")
        return f"{', '.join(counted)} counted one FLUSHALL more than before"

    def heal(self) -> str:
        try:
            return self._undo() if self._flushed else "nothing was deleted"
        finally:
            self._end_archiver()

    def _undo(self) -> str:
        began = time.monotonic()
        wait_for(f"second {self._second} in the archive", self._has_second, ARCHIVED_SECONDS)
        waited = time.monotonic() - began
        done = call_script(self._stack, "archive", "restore", "--at", str(self._second), "--replace")
        self._flushed = False
        took = time.monotonic() - began - waited
        sources = ", ".join(f"shard {shard} from {node}" for shard, node in done["sources"].items())
        return (
            f"brought back to second {self._second} ({sources}; skew at most {done['skew_seconds']:.2f} s), "
            f"{done['keys']:,} keys, digest the same; the archive had it after {waited:.1f} s, the restore took {took:.1f} s"
        )

    def _has_second(self) -> str | None:
        return "there" if self._last_second() >= self._second else None

    def _end_archiver(self) -> None:
        archiver, self._archiver = self._archiver, None
        if archiver is None:
            return
        archiver.terminate()
        try:
            archiver.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            archiver.kill()
            archiver.communicate()
