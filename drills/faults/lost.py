"""All copies of the data are gone; a backup that was made under the load brings it back."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from docker.errors import ContainerError, DockerException

from drills.bounds import FaultKind
from drills.faults.base import HELPER_IMAGE, LABEL, PART, Engine, FaultFailed
from drills.faults.process import ensure_running
from drills.faults.replaced import Remove
from operations.backup.launch import home_volume, repository_mount
from operations.backup.session import HOME, LOCAL
from operations.backup.settings import BackupSettings
from operations.containers import absent
from operations.inventory import NodeEntry

ROOT = Path(__file__).resolve().parent.parent.parent
AGENT = Path(__file__).with_name("damage_agent.py")
SCRIPT_SECONDS = 900.0
LAST_LINES = 6


def call_script(stack: str, name: str, *words: str, environment: Mapping[str, str] | None = None) -> Any:
    """What `scripts/NAME.py … --stack S --json` printed, as `script_output`."""
    return json.loads(script_output(stack, name, *words, "--json", environment=environment))


def script_output(
    stack: str, name: str, *words: str, environment: Mapping[str, str] | None = None, text: str = "",
    seconds: float = SCRIPT_SECONDS,
) -> str:  # fmt: skip
    """What `scripts/NAME.py … --stack S` printed, as its users run it, with `text` on its standard input; raises FaultFailed
    with its last words. `environment`: that of another Pulumi backend."""
    command = [sys.executable, f"scripts/{name}.py", *words, "--stack", stack]
    shown = f"scripts/{name}.py {' '.join(words)}".strip()
    try:
        answer = subprocess.run(
            command, cwd=ROOT, env=dict(environment) if environment else None, input=text, capture_output=True, text=True,
            check=False, timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise FaultFailed(f"`{shown}` did not end within {seconds:g} s") from None
    if answer.returncode != 0:
        lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
        raise FaultFailed(f"`{shown}` ended with {answer.returncode}: {' '.join(lines[-LAST_LINES:]) or 'it said nothing'}")
    return answer.stdout


class LoseData(Remove):
    """All nodes of the stack, or of one shard, are removed with their volumes; healed by a restore from the repository.

    The promise: whatever was acknowledged before the backup was asked for is there again.
    """

    name: ClassVar[str] = "lose-data"
    takes_cut: ClassVar[bool] = True
    redundancy_counts_healing: ClassVar[bool] = False

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "data-loss") -> None:
        super().__init__(engine, targets, kind)
        self._backup = ""
        self._lost = False

    def cut(self) -> str:
        made = call_script(self.engine.inventory.stack, "backup", "create")
        self._backup = str(made["id"])
        took, size = made["ended"] - made["began"], sum(shard["bytes"] for shard in made["shards"])
        return (
            f"backup {self._backup} of {len(made['shards'])} shards, {size / 1e6:.1f} MB in {took:.1f} s, "
            f"skew {made['skew_seconds']:.2f} s, digest of {made['digest']['keys']:,} keys noted"
        )

    def inject(self) -> str:
        if not self._backup:
            raise FaultFailed("there is no backup of this run, so nothing is removed")
        self._lost = True
        return super().inject()

    @property
    def _only(self) -> list[str]:
        """The option that leaves other shards of a cluster alone."""
        lost = {node.shard for node in self.targets if not node.is_sentinel}
        return ["--shard", str(lost.pop())] if len(lost) == 1 < len(self.engine.inventory.shards) else []

    def heal(self) -> str:
        if not self._lost:
            return "nothing was lost"
        told = self._bring_back()
        still = absent(self.engine.client, self.targets)
        if still:
            raise FaultFailed(f"the restore ended well, and {', '.join(node.name for node in still)} is still missing")
        self._lost = False
        self.engine.each(self.targets, lambda node: ensure_running(self.engine, node))
        return told

    def _bring_back(self) -> str:
        """Make the nodes anew with the data of the backup; what was done."""
        done = call_script(self.engine.inventory.stack, "restore", "--from", self._backup, "--rebuild", *self._only)
        return restored_words(done)


class CorruptBackup(LoseData):
    """A second, newer backup has a flipped bit when everything is lost; the first one has to bring the data back.

    The damage is taken back in the end: the repository is the stack's own, and goes on being used.
    """

    name: ClassVar[str] = "corrupt-backup"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind = "data-loss") -> None:
        super().__init__(engine, targets, kind)
        self._newer = ""
        self._damage = Damage(engine)

    def cut(self) -> str:
        told = super().cut()
        before = self._damage.files()
        self._newer = str(call_script(self.engine.inventory.stack, "backup", "create", "--no-digest")["id"])
        fresh = {name: size for name, size in self._damage.files().items() if name not in before}
        if not fresh:
            raise FaultFailed(f"backup {self._newer} brought nothing new into the repository, so there is nothing to damage")
        self._damage.file = max(fresh, key=fresh.__getitem__)
        return f"{told}; then backup {self._newer}"

    def inject(self) -> str:
        self._damage.flip()
        return f"a bit of data file {self._damage.file}, which only backup {self._newer} needs, is flipped; {super().inject()}"

    def evidence(self) -> str:
        gone = super().evidence()
        found = self._refused("backup", "verify", self._newer, "--no-digest")
        refused = self._refused("restore", "--from", self._newer, "--rebuild")
        return f"{gone}; {found}; {refused}"

    def _refused(self, script: str, *words: str) -> str:
        """What a script said that has to fail because of the damage."""
        try:
            call_script(self.engine.inventory.stack, script, *words)
        except FaultFailed as error:
            if any(word in str(error) for word in ("damaged", "not what was stored")):
                return str(error)
            raise
        raise FaultFailed(f"`scripts/{script}.py {' '.join(words)}` did not notice that a bit is flipped")

    def heal(self) -> str:
        told = super().heal()
        if self._damage.done:
            self._damage.flip()
            told += "; the flipped bit was flipped back"
        return told


class Damage:
    """One bit in the middle of one data file of a stack's repository; `done` tells whether it is flipped now."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = BackupSettings.model_validate(engine.inventory.spec["backup"])
        self.done = False
        self.file = ""

    def files(self) -> dict[str, int]:
        """All data files with their sizes in bytes."""
        answer = self._run("list")
        try:
            found: dict[str, int] = json.loads(answer)
        except ValueError:
            raise FaultFailed(f"the files of the repository cannot be listed: {answer!r}") from None
        return found

    def flip(self) -> None:
        """Invert it: the first time that is the damage, the second time its end."""
        self._run("flip", self.file)
        self.done = not self.done

    def _run(self, *words: str) -> bytes:
        inventory = self._engine.inventory
        mounts = {home_volume(inventory.stack): {"bind": str(HOME), "mode": "ro"}}
        if source := repository_mount(inventory.stack, self._settings):
            mounts[source] = {"bind": LOCAL, "mode": "rw"}
        place = self._settings.repository if self._settings.is_remote else LOCAL
        try:
            output: bytes = self._engine.client.containers.run(
                HELPER_IMAGE, ["-c", AGENT.read_text(encoding="utf-8"), place, *words], entrypoint="python3", user="0:0",
                network=inventory.network.name, remove=True, volumes=mounts, labels={LABEL: inventory.stack, PART: "damage"},
            )  # fmt: skip
        except ContainerError as error:
            said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else ""
            raise FaultFailed(said.strip() or str(error)) from None
        except DockerException as error:
            raise FaultFailed(f"the files of the repository cannot be reached: {error}") from None
        return output


def restored_words(done: Any) -> str:
    """What `restore --json` told, as a sentence: by files, or (`reshaped`) key by key."""
    if done.get("reshaped"):
        return (
            f"backup {done['backup']} passed on key by key, {done['keys']:,} keys, digest compared over "
            f"{done['keys_compared']:,} keys; since its begin: loaded after {done['loaded_seconds']:.1f} s, "
            f"verified after {done['verified_seconds']:.1f} s"
        )
    steps = ", ".join(f"{step} after {seconds:.1f} s" for step, seconds in done["seconds"].items())
    proof = f"digest compared over {done['digest']['compared_keys']:,} keys" if done["digest"] else "no digest was compared"
    return f"backup {done['backup']} restored, {sum(done['keys'].values()):,} keys, {proof}; since its begin: {steps}"
