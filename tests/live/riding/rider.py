"""A rider: one client process that writes on, and what it has told so far."""

import json
import subprocess
import threading
from types import TracebackType
from typing import Any, Self

from tests.live.riding.place import Place
from tests.waiting import wait_until


class Rider:
    """Runs one example with a loop around it; `told` is its last line."""

    def __init__(self, place: Place, library: str, topology: str) -> None:
        self.name = f"{library} ({place.name})"
        self.told: dict[str, Any] = {"writes": 0, "longest": 0.0}
        self._process = subprocess.Popen(
            place.command(library, topology, "ride"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._words = ""
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._overhear)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told = json.loads(line)

    def _overhear(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._words = (self._words + line)[-2000:]

    @property
    def writes(self) -> int:
        return int(self.told["writes"])

    @property
    def failure(self) -> str:
        """Why it writes no more; empty while it does."""
        if "error" in self.told:
            return str(self.told["error"])
        code = self._process.poll()
        return f"it ended with {code}: {self._words}" if code not in (None, 0) else ""

    def wait_for(self, more: int, seconds: float) -> None:
        """Wait until it has acknowledged `more` writes than now; raises AssertionError when it fails or takes too long."""
        goal = self.writes + more

        def missing() -> str:
            assert not self.failure, f"{self.name}: {self.failure}"
            return "" if self.writes >= goal else f"{self.writes} of {goal} writes; {self._words}"

        wait_until(f"{self.name} writing on", missing, seconds)

    def wait_begun(self, seconds: float) -> None:
        """Wait until it has written once, or failed at that."""
        wait_until(f"{self.name} writing", lambda: "" if self.writes or self.failure else self._words or "no write", seconds)

    def wait_failed(self, seconds: float) -> None:
        """Wait until it writes no more."""
        wait_until(f"the end of {self.name}", lambda: "" if self.failure else self.told, seconds)

    def finish(self, seconds: float = 30) -> dict[str, Any]:
        """Let it read back what it wrote, and end it; returns its last words."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(seconds)
        for thread in self._threads:
            thread.join(5)
        return self.told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
