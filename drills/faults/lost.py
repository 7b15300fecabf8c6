"""All copies of the data are gone; a backup that was made under the load brings it back."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from docker.errors import DockerException

from drills.bounds import FaultKind
from drills.faults.base import HELPER_IMAGE, LABEL, PART, Engine, FaultFailed
from drills.faults.process import ensure_running
from drills.faults.replaced import Remove
from operations.backup.launch import repository_mount
from operations.backup.session import LOCAL
from operations.backup.settings import BackupSettings
from operations.containers import absent
from operations.inventory import NodeEntry

ROOT = Path(__file__).resolve().parent.parent.parent
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
        self._damage: Damage | None = None

    def cut(self) -> str:
        told = super().cut()
        inventory = self.engine.inventory
        place = repository_mount(inventory.stack, BackupSettings.model_validate(inventory.spec["backup"]))
        assert place is not None  # noqa: S101 - `fits` refuses a repository elsewhere
        repository = Files(self.engine, place)
        before = set(repository.packs())
        self._newer = str(call_script(inventory.stack, "backup", "create")["id"])
        fresh = [pack for pack in repository.packs() if pack not in before]
        if not fresh:
            raise FaultFailed(f"backup {self._newer} brought nothing new into the repository, so there is nothing to damage")
        self._damage = Damage(repository, max(fresh, key=lambda pack: pack[1])[0])
        return f"{told}; then backup {self._newer}"

    def inject(self) -> str:
        assert self._damage is not None  # noqa: S101 - found by the cut
        self._damage.flip()
        return f"a bit of {self._damage.path}, which only backup {self._newer} needs, is flipped; {super().inject()}"

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
        if self._damage is not None and self._damage.done:
            self._damage.flip()
            told += "; the flipped bit was flipped back"
        return told


class Files:
    """The files of a local repository, through a helper container."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine, self._place = engine, place

    def run(self, script: str) -> str:
        """What a shell script printed; the repository is at /repository."""
        try:
            output: bytes = self._engine.client.containers.run(
                HELPER_IMAGE, ["-c", script], entrypoint="sh", user="0:0", network_mode="none", remove=True,
                volumes={self._place: {"bind": LOCAL, "mode": "rw"}},
                labels={LABEL: self._engine.inventory.stack, PART: "damage"},
            )  # fmt: skip
        except DockerException as error:
            raise FaultFailed(f"the repository at {self._place} cannot be reached: {error}") from None
        return output.decode(errors="replace")

    def packs(self) -> list[tuple[str, int]]:
        """Files that hold data, with their sizes in bytes."""
        lines = self.run(f"find {LOCAL}/data -type f -printf '%p %s\\n'").split("\n")
        return [(name, int(size)) for name, _, size in (line.rpartition(" ") for line in lines if line)]


@dataclass
class Damage:
    """One bit in the middle of one file of a repository; `done` tells whether it is flipped now."""

    files: Files
    path: str
    done: bool = False

    def flip(self) -> None:
        """Invert it: the first time that is the damage, the second time its end."""
        program = (
            f"import os; name = '{self.path}'; file = open(name, 'r+b'); middle = os.path.getsize(name) // 2; file.seek(middle); "
            "byte = file.read(1)[0]; file.seek(middle); file.write(bytes([byte ^ 1]))"
        )
        self.files.run(f'python3 -c "{program}"')
        self.done = not self.done


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
