"""Data that is lost goes by way of another stack: one of another shape, or on another machine that has nothing but the key.

The other stack is made for this, from a Pulumi backend and passphrase of its own, and removed. The backup is restored into it; a
backup of the other stack then brings the data back, so what the clients read in the end has gone both ways.
"""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from docker.errors import APIError, DockerException, NotFound

from drills.bounds import FaultKind
from drills.faults.base import HELPER_IMAGE, LABEL, PART, Engine, FaultFailed
from drills.faults.lost import LoseData, call_script, restored_words, script_output
from drills.faults.replaced import agents, remove_agent
from operations.backup.launch import home_volume
from operations.inventory import NodeEntry
from operations.scratch_stack import ScratchStack, other_shape, same_shape, scratch_name, scratch_stack, tidy

SUFFIX = "elsewhere"
MORE_SHARDS, SHARDS_OF_OTHERS = 2, 3
PASSPHRASE_BYTES = 16
HOME, KEPT = "/home", "/kept"
WHOLE = f"{KEPT}/.whole"
KEEP = f"cp -a {HOME}/. {KEPT}/; sync; touch {WHOLE}"
PUT_BACK = f"[ -e {WHOLE} ] || exit 0; find {HOME} -mindepth 1 -delete; cp -a {KEPT}/. {HOME}/; rm {HOME}/.whole"
"""Killed at any instant, either home or what was kept is whole."""

Say = Callable[[str], None]


class RestoreElsewhere(LoseData):
    """As LoseData, but by way of a cluster with other shards than the stack has: there and back every key is passed on."""

    name: ClassVar[str] = "restore-elsewhere"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], tell: Say, kind: FaultKind = "data-loss") -> None:
        super().__init__(engine, targets, kind)
        self._tell = tell

    @property
    def _spec(self) -> dict[str, Any]:
        inventory = self.engine.inventory
        clustered = inventory.topology == "cluster"
        return other_shape(inventory.spec, len(inventory.shards) + MORE_SHARDS if clustered else SHARDS_OF_OTHERS)

    def _bring_back(self) -> str:
        stack = self.engine.inventory.stack
        began = time.monotonic()
        with scratch_stack(scratch_name(stack, SUFFIX), self._spec, self._tell) as other:
            self._arrive(other)
            there = call_script(stack, "restore", "--from", self._backup, "--to", other.name, environment=other.environment)
            told = f"{restored_words(there)}, into {other.name}, open {time.monotonic() - began:.1f} s after the heal began"
            self._tell(f"  {told}")
            again = call_script(other.name, "backup", "create", environment=other.environment)
            back = call_script(other.name, "restore", "--from", str(again["id"]), "--to", stack, "--rebuild")
        return f"{told}; back again: {restored_words(back)}"

    def _arrive(self, other: ScratchStack) -> None:
        """Make the repository readable where the other stack is."""


class LoseMachine(RestoreElsewhere):
    """The password of the repository is lost with the data; a stack on another machine gets the backup with the exported key.

    What the volume with the password holds is kept aside, unused, and put back in the end.
    """

    name: ClassVar[str] = "lose-machine"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], tell: Say, kind: FaultKind = "data-loss") -> None:
        super().__init__(engine, targets, tell, kind)
        self._passphrase = secrets.token_hex(PASSPHRASE_BYTES)
        self._key = self._way = ""

    @property
    def _spec(self) -> dict[str, Any]:
        return same_shape(self.engine.inventory.spec)

    def cut(self) -> str:
        told = super().cut()
        self._key = script_output(self.engine.inventory.stack, "backup", "export-key", text=f"{self._passphrase}\n")
        return f"{told}; its key exported"

    def inject(self) -> str:
        told = super().inject()
        keep_home(self.engine)
        return f"{told}; and {home_volume(self.engine.inventory.stack)} with the repository's password"

    def evidence(self) -> str:
        gone, stack = super().evidence(), self.engine.inventory.stack
        try:
            self.engine.client.volumes.get(home_volume(stack))
        except NotFound:
            pass
        else:
            raise FaultFailed(f"{home_volume(stack)} is still there")
        try:
            call_script(stack, "backup", "list")
        except FaultFailed as error:
            if "there is no repository password" in str(error):
                return f"{gone}; {error}"
            raise
        raise FaultFailed("the repository can still be read without the key")

    def _arrive(self, other: ScratchStack) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "key"
            file.write_text(self._key)
            stack, text = self.engine.inventory.stack, f"{self._passphrase}\n"
            script_output(stack, "backup", "import-key", str(file), environment=other.environment, text=text)

    def _bring_back(self) -> str:
        self._way = self._way or super()._bring_back()  # not once more when only what follows failed
        put_back_home(self.engine)
        told, self._way = self._way, ""
        return told


def kept_volume(stack: str) -> str:
    """Where the content of a lost `home_volume` is kept aside."""
    return f"redis-{stack}-drill-home"


def keep_home(engine: Engine) -> None:
    """Move what a stack's backups know (password, secrets, what happened last) aside, with the agent that uses it."""
    stack = engine.inventory.stack
    try:
        engine.client.volumes.create(kept_volume(stack), labels={LABEL: stack, PART: "home"})
        remove_agent(engine)
        _copy(engine, KEEP)
        engine.client.volumes.get(home_volume(stack)).remove()
    except DockerException as error:
        raise FaultFailed(f"{home_volume(stack)} cannot be moved aside: {error}") from None


def put_back_home(engine: Engine) -> bool:
    """Put back what `keep_home` moved aside, whole; whether there was anything."""
    stack = engine.inventory.stack
    try:
        kept = engine.client.volumes.get(kept_volume(stack))
    except NotFound:
        return False
    try:
        with _agent_stopped(engine):
            _copy(engine, PUT_BACK)
        kept.remove()
    except DockerException as error:
        raise FaultFailed(f"{home_volume(stack)} cannot be put back from {kept_volume(stack)}: {error}") from None
    return True


@contextmanager
def _agent_stopped(engine: Engine) -> Iterator[None]:
    """The stack's backup agent, which has been made anew and writes into its home, is not at work meanwhile."""
    stopped = agents(engine)
    for container in stopped:
        container.stop()
    try:
        yield
    finally:
        for container in stopped:
            container.start()


def _copy(engine: Engine, script: str) -> None:
    stack = engine.inventory.stack
    engine.client.containers.run(
        HELPER_IMAGE, ["-c", f"set -e; {script}"], entrypoint="sh", user="0:0", network_mode="none", remove=True,
        volumes={home_volume(stack): {"bind": HOME, "mode": "rw"}, kept_volume(stack): {"bind": KEPT, "mode": "rw"}},
        labels={LABEL: stack, PART: "home"},
    )  # fmt: skip


def clear(engine: Engine) -> list[str]:
    """Undo what a drill that was killed has left; what was done, in sentences."""
    stack = engine.inventory.stack
    other = scratch_name(stack, SUFFIX)
    done = []
    try:
        if tidy(other):
            done.append(f"scratch stack {other}: removed")
    except APIError as error:
        raise FaultFailed(f"scratch stack {other} cannot be removed: {error.explanation or error}") from None
    if put_back_home(engine):
        done.append(f"the password of the backups of stack {stack}: put back")
    return done
