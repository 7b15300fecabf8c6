"""Starts a client process, in a container on the stack's network or on this machine, and keeps its history as it comes."""

import base64
import contextlib
import importlib.util
import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from operations.errors import ToolkitError, Unreachable

IMAGE = "redis-topologies/client:1"
LABEL = "redis-topologies.drill"
"""Marks every container that a drill makes, with the name of the stack, so that `heal` finds it."""
READY_SECONDS = 30.0
CLOCK_ROUNDS = 9
PIPE_BYTES = 1 << 16
MEMORY = "512m"
SHARED = "/shared"

_ROOT = Path(__file__).resolve().parent.parent.parent
_MODULES = (
    "drills/__init__.py",
    "drills/records.py",
    "drills/history.py",
    "drills/workload",
    "applications",
    "operations/__init__.py",
    "operations/cluster_client.py",
)
LIMITS = ("limits", "deprecated", "wrapt", "packaging")
POSTGRES = ("pg8000", "scramp", "asn1crypto", "dateutil")
"""Libraries that workloads need and the client image has not. They go along as they are in this environment, without their
compiled parts, which they can do without."""
_LIBRARY_FILES = (".py", ".lua")
_BOOTSTRAP = (
    "import sys,base64,tempfile;"
    "code=tempfile.NamedTemporaryFile(suffix='.zip');"
    "code.write(base64.b64decode(sys.stdin.buffer.readline()));code.flush();sys.path.insert(0,code.name);"
    "from drills.workload.{module} import main;main()"
)


class LoadFailed(ToolkitError):
    """A client process did not start, died, or its history could not be kept."""


@dataclass(frozen=True)
class Place:
    """Where client processes run. `network` is the stack's; `address` is fixed, because an address that Docker chooses could
    be that of a node that is down. `shared` names a volume in memory that several places see under SHARED."""

    stack: str
    network: str
    address: str
    name: str
    image: str = IMAGE
    shared: str | None = None

    def command(self) -> list[str]:
        """What starts a process in a container of its own."""
        return [
            "docker", "run", "--rm", "--interactive", "--init", "--name", self.name, "--label", f"{LABEL}={self.stack}",
            "--network", self.network, "--ip", self.address, "--log-driver", "none", "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - the container's own
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534", "--memory", MEMORY,
            "--pids-limit", "512", "--stop-timeout", "1", *self._mount(), self.image, "python3", "-c",
        ]  # fmt: skip

    def _mount(self) -> list[str]:
        if self.shared is None:
            return []
        volume = f"type=volume,source={self.shared},target={SHARED},volume-driver=local"
        labels = f"volume-label={LABEL}={self.stack},volume-label={LABEL}.part=shared"
        options = 'volume-opt=type=tmpfs,volume-opt=device=tmpfs,"volume-opt=o=size=64m,mode=0700,uid=65534,gid=65534"'
        return ["--mount", f"{volume},{labels},{options}"]

    @property
    def beside(self) -> "Beside":
        """The same place for a further process, once the first one is there."""
        return Beside(self.name)


@dataclass(frozen=True)
class Beside:
    """In the container that runs already under that name."""

    name: str

    def command(self) -> list[str]:
        return ["docker", "exec", "--interactive", self.name, "python3", "-c"]


def code(libraries: Iterable[str] = ()) -> bytes:
    """What runs in the container, as a zip archive. Raises ToolkitError when a library is not in this environment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _MODULES:
            path = _ROOT / name
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                archive.write(file, file.relative_to(_ROOT).as_posix())
        for name in libraries:
            folder = _library(name)
            for file in sorted(file for file in folder.rglob("*") if file.suffix in _LIBRARY_FILES):
                archive.write(file, file.relative_to(folder.parent).as_posix())
            for file in folder.parent.glob(f"{name}-*.dist-info/METADATA"):  # some ask for their own version
                archive.write(file, file.relative_to(folder.parent).as_posix())
    return buffer.getvalue()


def _library(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ToolkitError(f"the library {name} is not in this environment; run `make setup`, which makes it anew")
    return Path(found.submodule_search_locations[0])


class Process:
    """One process with commands in, answers on its standard error, and history lines on its standard output.

    `keep` takes whole lines of history; an error that it raises (disk full) ends the process and is told by `failure`.
    """

    def __init__(self, command: Sequence[str], module: str, keep: Callable[[bytes], object], what: str) -> None:
        self.what = what
        self.failure: str | None = None
        self._keep = keep
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._words: deque[str] = deque(maxlen=20)
        try:
            self._process = subprocess.Popen(
                [*command, _BOOTSTRAP.format(module=module)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the drill, which stops the load in its own time
            )
        except FileNotFoundError:
            raise Unreachable(f"{command[0]} is not on PATH; run `make setup`") from None
        self._history = threading.Thread(target=self._pump, name=f"{what} history", daemon=True)
        self._errors = threading.Thread(target=self._listen, name=f"{what} answers", daemon=True)
        self._history.start()
        self._errors.start()

    def tell(self, line: bytes) -> None:
        """Send one line; raises LoadFailed when nobody reads."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
        try:
            view = memoryview(line + b"\n")
            while view:
                view = view[self._process.stdin.write(view) :]
        except (OSError, ValueError):  # ValueError: closed before
            raise LoadFailed(f"{self.what} is gone: {self._last_words()}") from None

    def wait_answer(self, seconds: float) -> dict[str, Any]:
        """The next answer; raises LoadFailed when there is none within `seconds`."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise LoadFailed(f"{self.what} did not answer within {seconds:g} s; {self._last_words()}") from None
        if answer is None:
            self._answers.put(None)
            raise LoadFailed(f"{self.what} ended: {self._last_words()}")
        return answer

    def ask(self, do: str, within: float = 15.0, **more: Any) -> dict[str, Any]:
        """Send a command and wait for its answer, for at most `within` seconds."""
        self.tell(json.dumps({"do": do, **more}).encode())
        return self.wait_answer(within)

    def _last_words(self) -> str:
        return self.failure or "; ".join(self._words) or "it said nothing"

    def _pump(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        source = self._process.stdout.fileno()
        rest = b""
        while data := os.read(source, PIPE_BYTES):
            if self.failure is not None:
                continue  # keep reading, so that the process can end
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                try:
                    self._keep(whole + newline)
                except OSError as error:
                    self.failure = f"the history cannot be written: {error.strerror}"
                    self._process.kill()

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - opened as a pipe
        for line in self._process.stderr:
            try:
                answer = json.loads(line)
            except ValueError:
                self._words.append(line.decode(errors="replace").strip())
                continue
            if isinstance(answer, dict):
                self._answers.put(answer)
        self._answers.put(None)

    def close(self, seconds: float = 5.0) -> None:
        """End the process and take in what it still had to say."""
        with contextlib.suppress(LoadFailed):
            self.tell(b'{"do": "quit"}')
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._history.join(seconds)
        self._errors.join(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True)
class Clock:
    """The clock of the machine that records, as seen from this one. Local readings are off by at most `error` nanoseconds."""

    offset: int
    error: int
    origin: int

    def now(self) -> int:
        """This moment in the time of the history."""
        return time.monotonic_ns() + self.offset - self.origin


def synchronise(process: Process) -> tuple[int, int]:
    """Offset of the process's clock from this one, and by how much that may be wrong; from the fastest of several rounds."""
    rounds = []
    for _ in range(CLOCK_ROUNDS):
        before = time.monotonic_ns()
        there = process.ask("clock")["now"]
        after = time.monotonic_ns()
        rounds.append(((after - before) // 2, there - (before + after) // 2))
    error, offset = min(rounds)
    return offset, error


def start_process(
    told: dict[str, Any],
    keep: Callable[[bytes], object],
    place: Place | Beside | None,
    module: str = "agent",
    what: str = "the load",
) -> Process:
    """Start a client process (on this machine when there is no `place`) and wait until it is ready for commands."""
    wanted = (*(LIMITS if "limiter-limits" in told.get("uses", ()) else ()), *(POSTGRES if told.get("origin_url") else ()))
    carried = base64.b64encode(code(wanted))
    command = place.command() if place else [sys.executable, "-c"]
    process = Process(command, module, keep, what)
    try:
        process.tell(carried)
        process.tell(json.dumps(told).encode())
        process.wait_answer(READY_SECONDS)
    except BaseException:
        process.close()
        raise
    return process
