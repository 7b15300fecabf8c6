"""Drills as declarative files: what is broken, where, for how long, and what kind of fault that is for the objectives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drills.bounds import FaultKind
from drills.objectives import Objectives, backup_objectives
from drills.workload.settings import Mode
from operations.backup.settings import REST, BackupSettings
from operations.errors import InvalidInput, UsageError
from operations.inventory import Inventory, Topology

CATALOGUE = Path(__file__).with_name("catalogue")
Deed = Literal[
    "kill",
    "kill-held",
    "hang",
    "pause",
    "stop",
    "partition",
    "loss",
    "slow-link",
    "switchover",
    "reshard",
    "remove",
    "rolling-restart",
    "flapping",
    "power-loss",
    "fill-disk",
    "lose-data",
    "corrupt-backup",
    "restore-elsewhere",
    "lose-machine",
    "flush",
]
Seconds = Annotated[float, Field(ge=0, le=600)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FaultPlan(_Frozen):
    """What is done to whom; see `drills.targets` for the words.

    A partition takes `companions` replicas of the target's shard to its side, and clients too when `clients_inside` is set.
    """

    do: Deed
    target: str = "primary"
    companions: int = Field(0, ge=0)
    clients_inside: bool = False
    direction: Literal["both", "in", "out"] = "both"
    share: float = Field(0.3, gt=0, lt=1)
    kilobits: int = Field(256, ge=8)
    megabytes: int = Field(256, ge=64, le=4096)
    times: int = Field(4, ge=1, le=20)


class LoadPlan(_Frozen):
    """What the drill wants of its clients, over what the user asked for. `acks: all` are all replicas that can be promoted."""

    mode: Mode
    acks: int | Literal["all"] = "all"


class Drill(_Frozen):
    """One drill. `steady_seconds` before the fault, `hold_seconds` from recovery (or, where nothing recovers by itself, from the
    fault) to heal, `settle_seconds` of load after that. `hits: all`: the fault stops shards that it is not aimed at, too.
    `then: takeover`: after the hold, before the heal, a replica is promoted by hand (`scripts/switchover.py --takeover`).
    `objectives` stand between the defaults and those of the stack's spec. `per_topology` says what differs on a topology, field
    by field."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    description: str
    kind: FaultKind
    topologies: tuple[Topology, ...]
    fault: FaultPlan
    hits: Literal["targets", "all"] = "targets"
    then: Literal["takeover"] | None = None
    load: LoadPlan | None = None
    objectives: Objectives = Objectives()
    steady_seconds: Seconds = 2.0
    hold_seconds: Seconds = 1.0
    settle_seconds: Seconds = 1.0
    notes: tuple[str, ...] = ()
    per_topology: Mapping[Topology, Mapping[str, Any]] = {}

    def on_topology(self, topology: Topology) -> "Drill":
        """The drill as it is for this topology; raises InvalidInput when what its file says there makes no drill."""
        if topology not in self.per_topology:
            return self
        data = {**self.model_dump(exclude={"per_topology"}, exclude_unset=True), **self.per_topology[topology]}
        return _validate(data, f"{self.name} on {topology}")

    def fits(self, inventory: Inventory) -> str | None:
        """Why this drill cannot be run on a stack, or None when it can."""
        if inventory.topology not in self.topologies:
            return f"{self.name} is for {', '.join(self.topologies)}, and {inventory.stack} is {inventory.topology}"
        if self.kind == "data-loss" and (reason := self._cannot_come_back(inventory)):
            return f"{self.name} {reason}"
        if self.fault.companions > inventory.replicas:
            return f"{self.name} needs {self.fault.companions} replicas, and {inventory.stack} has {inventory.replicas}"
        return None

    def _cannot_come_back(self, inventory: Inventory) -> str | None:
        """What a stack lacks to come back from a loss of all data, or None."""
        promised = backup_objectives(inventory)
        if self.fault.do == "flush":
            data = inventory.parameters.get("data", {})
            if (data.get("appendonly"), data.get("aof-timestamp-enabled")) != ("yes", "yes"):
                return (
                    f"needs append-only files with times in them, and {inventory.stack} has none; set persistence.policy to aof "
                    "and parameters.aof-timestamp-enabled to yes"
                )
            return None
        if promised.rpo_seconds is None or promised.rto_seconds is None:
            return f"holds a stack to backup.objectives, and {inventory.stack} has none; set rpo_seconds and rto_seconds there"
        settings = BackupSettings.model_validate(inventory.spec["backup"])
        if self.fault.do == "corrupt-backup" and settings.is_remote and not settings.repository.startswith(REST):
            return "damages a file of the repository, which it can reach in a volume, in a folder or behind a REST server only"
        return None


def read(path: Path) -> Drill:
    """A drill from its file; raises InvalidInput with every problem."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(data, Mapping):
            raise InvalidInput(f"{path.name} is not a drill: it holds no fields")
    except (yaml.YAMLError, OSError) as error:
        raise InvalidInput(f"{path.name} cannot be read: {error}") from None
    drill = _validate({"name": path.stem, **data}, path.name)
    for topology in drill.per_topology:
        drill.on_topology(topology)
    return drill


def _validate(data: Mapping[str, Any], what: str) -> Drill:
    try:
        return Drill.model_validate(data)
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"{what} is not a drill", problems) from None


def catalogue(directory: Path = CATALOGUE) -> dict[str, Drill]:
    """All drills by name, in the order of their names."""
    return {path.stem: read(path) for path in sorted(directory.glob("*.yaml"))}


def find(name: str, directory: Path = CATALOGUE) -> Drill:
    """A drill by name; raises UsageError naming those that exist."""
    drills = catalogue(directory)
    if name not in drills:
        raise UsageError(f"there is no drill {name!r}; there are {', '.join(drills)}")
    return drills[name]
