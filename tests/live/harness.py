"""Throw-away stacks: each with its own Pulumi backend, passphrase and name, and always removed with everything it made."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import docker
import pytest
import yaml
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from operations.backup.launch import LABEL as BACKUP
from operations.backup.launch import archive_volume, home_volume, repository_volume
from operations.connect import Fleet
from operations.errors import ToolkitError
from operations.inventory import Access, parse_access
from operations.observe import observe
from operations.owner import machine_id, owner_id
from operations.scratch_stack import tidy
from operations.verdict import State, verdict
from tests.waiting import wait_until
from topologies.addresses import preferred_index, subnet_of

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = "t-"
LABEL = "redis-topologies"
DRILL = "redis-topologies.drill"
"""On what a drill makes beside a stack; it stays when a drill is killed."""
PROJECT = "redis-topologies"
COMMAND_SECONDS = 300
FAILURES = pytest.StashKey[int]()
TAIL_CHARACTERS = 6000


@dataclass(frozen=True)
class Result:
    """A command that has ended. `code` is its exit status, `seconds` how long it took."""

    command: str
    code: int
    output: str
    errors: str
    seconds: float

    @property
    def text(self) -> str:
        return f"{self.output}\n{self.errors}"

    def told(self) -> str:
        """What a failed assertion shows."""
        reason = self.output.partition("Diagnostics:")[2].partition("\nOutputs:")[0]  # before the inventory, which is long
        shown = reason[-TAIL_CHARACTERS:] or self.text[-TAIL_CHARACTERS:]
        return f"`{self.command}` ended with {self.code} after {self.seconds:.1f} s:\n{shown}\n{self.errors[-TAIL_CHARACTERS:]}"

    def ok(self) -> "Result":
        assert self.code == 0, self.told()
        return self

    def failed(self, code: int | None = None) -> "Result":
        """It ended as a failure (with `code` when given) and showed no traceback."""
        assert self.code != 0 if code is None else self.code == code, f"expected a failure ({code}): {self.told()}"
        assert "Traceback" not in self.text, self.told()
        return self

    def says(self, *sentences: str) -> "Result":
        words = " ".join(self.text.split())
        for sentence in sentences:
            assert sentence in words, f"{sentence!r} is not in what {self.told()}"
        return self


def run(command: Sequence[str], env: Mapping[str, str], seconds: float = COMMAND_SECONDS, text: str | None = None) -> Result:
    """Run a command in the repository's folder; a time-out is a failure with what was printed until then."""
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(env),
        stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        errors += f"\nkilled after {seconds:g} s without an end"
    except BaseException:  # Ctrl-C: what was started must not go on behind the back of the clean-up
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Result(" ".join(command), process.returncode, output, errors, time.monotonic() - started)


def process_mark(pid: int) -> str | None:
    """A living process by its number and the time when it started; None when there is none (any more)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else f"{pid}:{fields[19]}"


def worker_number() -> tuple[int, int]:
    """This test process's number and how many there are, so that stacks made at the same moment take different subnets."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return int(number), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def fresh_name(topic: str) -> str:
    """A stack name that was not used before, with a preferred subnet that is free and that no other worker of this run takes."""
    number, count = worker_number()
    taken = {config.get("Subnet") for network in engine().api.networks() for config in network["IPAM"].get("Config") or ()}
    while True:
        name = f"{PREFIX}{topic}-{secrets.token_hex(2)}"
        index = preferred_index(name)
        if index % count == number and str(subnet_of(index)) not in taken:
            return name


def engine() -> docker.DockerClient:
    return docker.from_env(timeout=60)


@dataclass
class Stack:
    """One throw-away stack. `folder` holds its Pulumi backend, passphrase and spec; `settings` override single fields."""

    name: str
    folder: Path
    spec: Path
    settings: dict[str, str] = field(default_factory=dict)
    extra_env: dict[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        return f"file://{self.folder / 'state'}"

    @property
    def owner(self) -> str:
        """The owner label of everything that this stack makes."""
        return owner_id(self.backend, machine_id(), self.name)

    @property
    def stack_file(self) -> Path:
        return ROOT / ".stacks" / f"Pulumi.{self.name}.yaml"

    @property
    def env(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name != "PULUMI_CONFIG_PASSPHRASE"}
        return {
            **env,
            "PULUMI_BACKEND_URL": self.backend,
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "NO_COLOR": "1",
            **self.extra_env,
        }

    @property
    def note_file(self) -> Path:
        """Says that this stack exists and which process takes care of it; see tests/live/sweep.py."""
        return self.stack_file.with_name(f"{self.name}.note.json")

    def note(self) -> None:
        self.note_file.parent.mkdir(exist_ok=True)
        note = {"name": self.name, "folder": str(self.folder), "spec": str(self.spec), "process": process_mark(os.getpid())}
        self.note_file.write_text(json.dumps(note))

    def prepare(self) -> None:
        """Make the backend and the stack, as a user does with `pulumi stack init`; nothing on the Docker engine yet."""
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        passphrase = self.folder / "passphrase"
        if not passphrase.exists():
            passphrase.touch(mode=0o600)
            passphrase.write_text(secrets.token_hex(16))
        self.stack_file.parent.mkdir(exist_ok=True)
        self.pulumi("stack", "init", self.name, "--non-interactive").ok()
        self.configure()

    def configure(self, **settings: str) -> None:
        """Write the stack's configuration file: the spec and the overrides of single fields."""
        self.settings |= settings
        present = (yaml.safe_load(self.stack_file.read_text()) if self.stack_file.exists() else None) or {}
        values = {"spec": str(self.spec), **self.settings}
        present["config"] = {f"{PROJECT}:{name}": value for name, value in values.items()}
        self.stack_file.write_text(yaml.safe_dump(present))

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        """Give a stack that was made from a spec's own fields another spec."""
        assert self.spec.is_relative_to(self.folder), f"{self.spec} is not this stack's own"
        self.spec.write_text(yaml.safe_dump(dict(spec)))

    # ---- Pulumi ---------------------------------------------------------------------------------------------------

    def pulumi(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> Result:
        return run(["pulumi", *arguments], self.env, seconds)

    def _on_stack(self, verb: str, *arguments: str, seconds: float = COMMAND_SECONDS) -> Result:
        return self.pulumi(verb, "--stack", self.name, "--non-interactive", *arguments, seconds=seconds)

    def up(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> Result:
        return self._on_stack("up", "--yes", "--skip-preview", *arguments, seconds=seconds)

    def preview(self, *arguments: str) -> Result:
        return self._on_stack("preview", *arguments)

    def destroy(self, *arguments: str) -> Result:
        return self._on_stack("destroy", "--yes", "--skip-preview", *arguments)

    def script(self, name: str, *arguments: str, seconds: float = COMMAND_SECONDS, text: str | None = None) -> Result:
        """Run `scripts/NAME.py --stack …` as its users do, with `text` on its standard input."""
        return run([sys.executable, f"scripts/{name}.py", "--stack", self.name, *arguments], self.env, seconds, text)

    def outputs(self) -> dict[str, Any]:
        answer = self.pulumi("stack", "output", "--json", "--show-secrets", "--stack", self.name, "--non-interactive")
        outputs: dict[str, Any] = json.loads(answer.ok().output)
        return outputs

    # ---- what runs ------------------------------------------------------------------------------------------------

    def access(self) -> Access:
        """The stack's outputs, after every server that answers has shown to be this stack's own."""
        access = parse_access(self.outputs(), self.name)
        with Fleet(access) as fleet:
            strangers = [
                str(answer)
                for answer in fleet.each(lambda link: link.ensure_ours()).values()
                if isinstance(answer, ToolkitError) and type(answer).__name__ == "NotOurs"
            ]
        assert not strangers, "\n".join(strangers)
        return access

    def containers(self) -> list[Container]:
        """This stack's own containers, running or not."""
        found: list[Container] = engine().containers.list(all=True, filters=self._labels(), ignore_removed=True)
        return found

    def container(self, node: str) -> Container:
        return engine().containers.get(f"redis-{self.name}-{node}")

    def volumes(self) -> list[str]:
        return sorted(volume.name for volume in engine().volumes.list(filters=self._labels()))

    def remove_volume(self, name: str) -> None:
        """Remove a volume, once the engine has let go of it."""

        def missing() -> str:
            try:
                engine().volumes.get(name).remove()
            except NotFound:
                return ""
            except APIError as error:
                return str(error)
            return ""

        wait_until(f"the end of volume {name}", missing, 10)

    def remove_backups(self) -> None:
        """Remove the volumes that outlive every stack on purpose, and jobs that still use them."""
        client = engine()
        for container in client.containers.list(all=True, filters={"label": f"{BACKUP}={self.name}"}, ignore_removed=True):
            with contextlib.suppress(NotFound, APIError):
                container.remove(force=True)
        moments = [volume.name for volume in client.volumes.list(filters={"label": f"{BACKUP}={self.name}"})]
        for name in (home_volume(self.name), repository_volume(self.name), archive_volume(self.name), *moments):
            with contextlib.suppress(NotFound, APIError):
                client.volumes.get(name).remove()

    def _labels(self) -> dict[str, str | list[str] | bool]:
        return {"label": [f"{LABEL}.stack={self.name}", f"{LABEL}.owner={self.owner}"]}

    def leftovers(self) -> list[str]:
        """Everything on the engine that carries this stack's name, whoever made it."""
        # The plain lists: those of the SDK ask again for each object, and others' objects may be gone by then.
        api, prefix = engine().api, f"redis-{self.name}"
        names = [entry["Names"][0].lstrip("/") for entry in api.containers(all=True)]
        names += [entry["Name"] for entry in (*(api.volumes()["Volumes"] or ()), *api.networks())]
        return sorted(name for name in names if name == prefix or name.startswith(f"{prefix}-"))

    def wait_healthy(self, access: Access, seconds: float) -> float:
        """Wait until every node's own view is as declared; returns the seconds that it took."""

        def missing() -> str:
            found = verdict(observe(access), access.inventory)
            return "" if found.state is State.OK else "; ".join((str(found.state), *found.reasons))

        return wait_until(f"stack {self.name} as declared", missing, seconds)

    def wait_promoted(self, access: Access, lost: str, seconds: float) -> float:
        """Wait until another node of the shard of `lost` says that it is primary."""
        shard = access.inventory.node(lost).shard
        others = [node.name for node in access.inventory.data_nodes if node.shard == shard and node.name != lost]

        def missing() -> str:
            found = {name: observe(access).of(name).is_primary for name in others}
            return "" if any(found.values()) else f"none of {', '.join(others)} is primary"

        return wait_until(f"a primary in place of {lost}", missing, seconds)

    # ---- the end --------------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Remove everything that this stack made, by Pulumi if it can, else by label; never what another owner made."""
        for container in engine().containers.list(all=True, filters={"label": f"{DRILL}={self.name}"}, ignore_removed=True):
            with contextlib.suppress(NotFound, APIError):
                container.remove(force=True)
        for volume in engine().volumes.list(filters={"label": f"{DRILL}={self.name}"}):
            with contextlib.suppress(NotFound, APIError):
                volume.remove(force=True)
        if self.stack_file.exists():
            self.pulumi("cancel", "--yes", "--stack", self.name)
            # Nothing has to be handed over any more: killed servers make room at once.
            for container in self.containers():
                with contextlib.suppress(APIError):
                    container.kill()
            self.destroy()
        client = engine()
        for container in self.containers():
            with contextlib.suppress(NotFound):
                container.remove(force=True, v=True)
        for name in self.volumes():
            with contextlib.suppress(NotFound, APIError):
                client.volumes.get(name).remove()
        self.remove_backups()
        # The configuration volume and the network carry the stack's name.
        for network in client.networks.list(filters=self._labels()):
            with contextlib.suppress(NotFound, APIError):
                network.remove()
        with contextlib.suppress(NotFound, APIError):
            client.volumes.get(f"redis-{self.name}-config").remove()
        for lock in self.stack_file.parent.glob(f"{self.name}-*.lock"):  # of its rehearsals and drills
            with contextlib.suppress(ToolkitError):
                tidy(lock.stem)
                lock.unlink(missing_ok=True)
        self.stack_file.unlink(missing_ok=True)
        self.stack_file.with_suffix(".yaml.bak").unlink(missing_ok=True)


def failure_count(config: pytest.Config | None) -> int:
    """Tests that failed so far in this process."""
    return config.stash.get(FAILURES, 0) if config is not None else 0


@contextlib.contextmanager
def throw_away_stack(
    topic: str, spec: Path | Mapping[str, Any], folder: Path, config: pytest.Config | None = None, **settings: str
) -> Iterator[Stack]:
    """A prepared stack (not up yet); removed at the end whatever happens. `spec` is a file or a spec's own fields.

    `topic` becomes part of a name that is not used yet; a whole name (`t-…`) is taken as it is.

    With --keep-failed, a stack of which a test failed stays, and how to reach it is printed.
    """
    name = topic if topic.startswith(PREFIX) else fresh_name(topic)
    home = folder / name
    home.mkdir(parents=True)
    if isinstance(spec, Path):
        path = spec
    else:
        path = home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(spec)))
    stack = Stack(name, home, path, settings)
    failures = failure_count(config)
    stack.note()
    try:
        stack.prepare()
        yield stack
    finally:
        if config is not None and config.getoption("--keep-failed") and failure_count(config) > failures:
            print(f"kept: PULUMI_BACKEND_URL={stack.backend} PULUMI_CONFIG_PASSPHRASE_FILE={home}/passphrase stack {name}")
            stack.note_file.unlink(missing_ok=True)
        else:
            stack.remove()
            left = stack.leftovers()
            shutil.rmtree(home, ignore_errors=True)
            stack.note_file.unlink(missing_ok=True)
            assert not left, f"stack {name} left behind: {left}"


@dataclass(frozen=True)
class Counts:
    """What a run of pytest counted; `others` are failures, errors and skipped tests."""

    passed: int
    others: int
    failed: tuple[str, ...]


def run_infra(stack: Stack, *arguments: str) -> tuple[Result, Counts]:
    """Run tests/infra on a stack in a process of its own, as a user does; nothing it prints decides, only its report."""
    report = stack.folder / f"infra-{secrets.token_hex(4)}.xml"
    command = [sys.executable, "-m", "pytest", "tests/infra", "--stack", stack.name, "-q", "--tb=short", f"--junitxml={report}"]
    result = run([*command, *arguments], stack.env, COMMAND_SECONDS)
    return result, counts_of(report)


def counts_of(report: Path) -> Counts:
    """Read a JUnit report; without one nothing was counted."""
    if not report.exists():
        return Counts(0, 0, ())
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314 - written by our own pytest
    bad = {case.get("name", "?") for case in cases if any(case.find(kind) is not None for kind in ("failure", "error"))}
    others = sum(1 for case in cases if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")))
    return Counts(len(cases) - others, others, tuple(sorted(bad)))
