#!/usr/bin/env python3
"""What visitors of the shop see of a drill: starts the service on the stack, sends requests, runs the drill, prints a table.

usage: examples/api/drill.py --stack cluster crash-primary [--rate 50] [--report DIR]

Runs with the repository's own Python (`source env.sh`); service and requests run in examples/api/.venv (toolchain/steps/api.sh).
In DIR: http.json and http.jsonl (every request), beside the drill's own report. Ends with the drill's exit code.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from outcome import Result, Row, as_data, parse, rows
from rich.table import Table

from drills.definition import find
from drills.history import read_history
from drills.records import Fault, Phase, Start
from operations.errors import ExitCode, InvalidInput, Unreachable
from scripts._command import JsonOption, StackOption, make_console, print_json, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = HERE / ".venv" / "bin" / "python"
WITH_PARENT = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
"""Ends the service together with this process, also when that is killed."""
LOAD_SECONDS = 1200
"""More than any drill takes; the load is ended with it."""
READY_SECONDS = 60.0


def connection_of(stack: str) -> dict[str, Any]:
    """The stack's output; raises Unreachable when it is not up."""
    command = ["pulumi", "stack", "output", "connection", "--json", "--show-secrets", "--stack", stack, "--non-interactive"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode != 0:
        raise Unreachable(f"stack {stack} is not up ({' '.join(answer.stderr.split())}); run `make up STACK={stack}`")
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def environment(folder: Path, connection: dict[str, Any], **more: str) -> dict[str, str]:
    """Of the service: the output in a private file, and where its modules lie."""
    told = folder / "connection.json"
    told.touch(mode=0o600)
    told.write_text(json.dumps(connection))
    path = os.pathsep.join(map(str, (HERE, ROOT / "examples" / "python", ROOT)))
    return {
        **os.environ, "PYTHONPATH": path, "CONNECTION": str(told), "PLACE": "host", "STOCK": str(folder / "stock.sqlite"), **more,
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(env: dict[str, str], log: Path) -> Iterator[str]:
    """The shop on a free port of this machine; its address, once it serves. Raises Unreachable with the end of its log."""
    port = free_port()
    uvicorn = (str(PYTHON), "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port), "--no-access-log")
    own: dict[str, Any] = {"env": env, "cwd": HERE, "start_new_session": True}
    with log.open("w") as out, subprocess.Popen([*WITH_PARENT, *uvicorn], stdout=out, stderr=out, **own) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_it_serves(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_it_serves(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/products/first", timeout=5):  # noqa: S310 - on this machine
                return
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unreachable(f"the service does not serve at {url} ({error}): {log.read_text()[-1000:]}") from None
        time.sleep(0.1)


@contextmanager
def load(url: str, rate: float, results: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Requests, until the block ends; then their last answers are waited for."""
    command = [str(PYTHON), str(HERE / "load.py"), "--url", url, "--rate", f"{rate:g}", "--seconds", str(LOAD_SECONDS)]
    own: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with results.open("wb") as out, subprocess.Popen(command, stdout=out, **own) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None  # noqa: S101 - opened as a pipe
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def break_it(command: list[str]) -> int:
    """Run the drill; returns its exit code. Ctrl-C is passed on and its end waited for: it first heals what it broke."""
    with subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, start_new_session=True) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def fault_window(history: Path) -> tuple[float, float]:
    """When the fault began and when it was healed (Unix time); raises InvalidInput when the drill did not come to that."""
    origin = began = healed = None
    for record in read_history(history) if history.exists() else ():
        if isinstance(record, Start):
            origin, began, healed = datetime.fromisoformat(record.wall).timestamp(), None, None
        elif isinstance(record, Phase) and record.name == "fault" and began is None:
            began = record.at
        elif isinstance(record, Fault) and record.stage == "heal":
            healed = record.until
    if origin is None or began is None or healed is None:
        raise InvalidInput(f"the drill in {history.parent} ended before its fault was healed; its own report says why")
    return origin + began / 1e9, origin + healed / 1e9


def table(stack: str, drill: str, found: list[Row]) -> Table:
    shown = Table(title=f"{drill} on {stack}, as visitors see it", title_justify="left", box=None, pad_edge=False)
    for name in ("request", "part", "due", "good %", "503/429", "broken", "median ms", "p99 ms", "slowest ms", "longest gap s"):
        shown.add_column(name, justify="left" if name in ("request", "part") else "right")
    for row in found:
        times = (f"{1000 * value:.0f}" for value in (row.median_seconds, row.p99_seconds, row.slowest_seconds))
        counts = (str(row.requests), f"{100 * row.availability:.2f}", str(row.refused), str(row.broken))
        shown.add_row(row.kind, row.part, *counts, *times, f"{row.gap_seconds:.2f}")
    return shown


def main(
    drill: Annotated[str, typer.Argument(metavar="DRILL", help="One of `scripts/drill.py list`.", show_default=False)],
    stack: StackOption,
    rate: Annotated[float, typer.Option(min=1, max=300, help="Requests per second.")] = 50,
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="Default: reports/STACK-DRILL-http.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Run a drill while visitors use the shop, and say what they saw."""
    name = find(drill).name
    if not PYTHON.exists():
        raise Unreachable("examples/api/.venv is missing; run `bash toolchain/steps/api.sh`")
    directory = report or ROOT / "reports" / f"{stack}-{name}-http"
    connection = connection_of(stack)
    directory.mkdir(parents=True, exist_ok=True)
    results = directory / "http.jsonl"
    command = [sys.executable, str(ROOT / "scripts" / "drill.py"), "run", name, "--stack", stack, "--no-up"]
    with tempfile.TemporaryDirectory() as private:
        env = environment(Path(private), connection, RATE_LIMIT="1000000")
        with service(env, directory / "service.log") as url, load(url, rate, results) as sending:
            print(f"the shop serves at {url}, {rate:g} requests per second; the drill begins", file=sys.stderr, flush=True)
            code = break_it([*command, "--report", str(directory)])
            if sending.poll() is not None:
                told = sending.stderr.read().decode() if sending.stderr else ""
                raise Unreachable(f"the requests ended early with {sending.returncode}: {told}")
    with results.open() as lines:
        seen: list[Result] = parse(lines)
    found = rows(seen, *fault_window(directory / "history.jsonl"))
    (directory / "http.json").write_text(json.dumps(as_data(found), indent=2) + "\n")
    if as_json:
        print_json(as_data(found))
    else:
        make_console().print(table(stack, name, found))
    return ExitCode(code) if code in list(ExitCode) else ExitCode.BROKEN


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run(main)
