"""Negative controls: faults that are seeded into a running stack so that a drill must fail on it, for the reason that is stated.

Plain data; `tests.drills.breaking` applies it. Most of it does not show while all is well: the stack says that it is as declared,
and only a drill finds out that it does not keep what its spec promises.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from operations.inventory import Topology

Group = Literal["primaries", "replicas", "data", "sentinels"]


@dataclass(frozen=True)
class Setting:
    """CONFIG SET on the nodes of a group; put back to what each node had. In `value`, {before} stands for that."""

    group: Group
    parameter: str
    value: str


@dataclass(frozen=True)
class Command:
    """A command to the nodes of a group, and the one that takes it back. None is needed for what a restart forgets: the sentinels
    are restarted after each control.

    {service} stands for the name that the sentinels watch.
    """

    group: Group
    words: tuple[str, ...]
    undo: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shell:
    """A script in the containers of a group; nothing has to be taken back."""

    group: Group
    script: str


@dataclass(frozen=True)
class Declared:
    """A line of the files with what is declared, in force from the next start on; put back afterwards."""

    parameter: str
    promised: str
    value: str


Step: TypeAlias = Setting | Command | Shell | Declared


@dataclass(frozen=True)
class Missed:
    """The drill runs, and every one of these objectives (or checks, as `check NAME`) is false."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """The drill is not begun, because the steady state does not hold; `reason` stands in the message."""

    reason: str


@dataclass(frozen=True)
class Control:
    """One seeded fault, the drill that has to find it, and what it has to find."""

    name: str
    topology: Topology
    seeded: str
    steps: tuple[Step, ...]
    drill: str
    expected: Missed | Refused


PROMISED: dict[Topology, dict[str, str]] = {
    # Then not a single write may be lost, so that a loss is told from bad luck.
    "standalone": {"persistence.aof.fsync": "always"},
    "replication": {"persistence.aof.fsync": "always"},
}
"""What the stacks promise beyond their defaults."""
NO_AOF = (Setting("data", "appendonly", "no"),)
RDB_ONLY = (
    Setting("data", "appendonly", "no"),
    Command("data", ("SAVE",)),
    # The start script starts from the snapshot when there is no append-only file.
    Shell("data", "rm -rf /data/appendonlydir"),
)
WRONG = "not-the-password"

CONTROLS: tuple[Control, ...] = (
    # ---- one server
    Control(
        "persistence-off-standalone", "standalone", "append-only file switched off, restarted at once",
        NO_AOF, "crash-restart", Missed(("lost",)),
    ),
    Control(
        "fsync-off", "standalone", "appendfsync no, and the power fails",
        (Declared("appendfsync", promised="always", value="no"),), "power-loss", Missed(("lost",)),
    ),
    # ---- a primary with replicas, and nobody who takes over
    Control(
        "persistence-off", "replication", "append-only file switched off, all restarted at once",
        NO_AOF, "restart-all", Missed(("lost",)),
    ),
    Control(
        "rdb-only", "replication", "snapshots only, and a killed primary comes back at once and empties its replicas",
        RDB_ONLY, "crash-restart", Missed(("lost",)),
    ),
    # ---- sentinel
    Control(
        "credentials-in-plain-sight", "sentinel", "replicas have a wrong password and lost their links",
        (Setting("replicas", "masterauth", WRONG), Command("replicas", ("CLIENT", "KILL", "TYPE", "master"))),
        "crash-primary", Refused("has no connection to its primary"),
    ),
    Control(
        "quorum-in-plain-sight", "sentinel", "quorum of 5 with 3 sentinels",
        (Command("sentinels", ("SENTINEL", "SET", "{service}", "quorum", "5"), ("SENTINEL", "SET", "{service}", "quorum", "2")),),
        "crash-primary", Refused("quorum"),
    ),
    Control(
        "credentials", "sentinel", "the primary has a wrong password for the day when it is a replica",
        (Setting("primaries", "masterauth", WRONG),), "hang-primary", Missed(("check redundancy",)),
    ),
    Control(
        "nobody-promotable", "sentinel", "no replica may be promoted (replica-priority 0)",
        (
            Setting("replicas", "replica-priority", "0"),
            # Sentinels learn of it with their next INFO: every second, not every ten.
            Command("sentinels", ("SENTINEL", "DEBUG", "info-period", "1000")),
        ),
        "crash-primary", Missed(("unavailable",)),
    ),
    Control(
        "slow-detection-sentinel", "sentinel", "sentinels wait 8 s instead of 1 s before they call a primary down",
        (
            Command(
                "sentinels",
                ("SENTINEL", "SET", "{service}", "down-after-milliseconds", "8000"),
                ("SENTINEL", "SET", "{service}", "down-after-milliseconds", "1000"),
            ),
        ),
        "crash-primary", Missed(("unavailable",)),
    ),
    Control(
        "lag-limit-off", "sentinel", "lag limit off (min-replicas-to-write 0)",
        (Setting("data", "min-replicas-to-write", "0"),), "isolate-primary", Missed(("lost", "two-primaries")),
    ),
    # ---- cluster
    Control(
        "no-failover", "cluster", "replicas do not stand for election (cluster-replica-no-failover)",
        (Setting("data", "cluster-replica-no-failover", "yes"),), "crash-primary", Missed(("unavailable",)),
    ),
    Control(
        "slow-detection-cluster", "cluster", "node timeout of 10 s instead of 2 s",
        (Setting("data", "cluster-node-timeout", "10000"),), "crash-primary", Missed(("unavailable",)),
    ),
    Control(
        "full-coverage", "cluster", "all shards stop when one does (cluster-require-full-coverage)",
        (Setting("data", "cluster-require-full-coverage", "yes"),), "crash-primary", Missed(("others-unavailable",)),
    ),
    Control(
        "no-handover", "cluster", "replicas look as if they were stopping, so nobody hands over to them",
        (Setting("replicas", "proc-title-template", "{before} stopping"),), "stop-primary", Missed(("unavailable",)),
    ),
)  # fmt: skip


def of_topology(topology: Topology, controls: Iterable[Control] = CONTROLS) -> tuple[Control, ...]:
    """The controls for one topology, in their order."""
    return tuple(control for control in controls if control.topology == topology)


def drills_of(topology: Topology, controls: Iterable[Control] = CONTROLS) -> tuple[str, ...]:
    """The drills that the controls of a topology rely on: they have to pass on the same stack while it is whole."""
    wanted = (control.drill for control in of_topology(topology, controls) if isinstance(control.expected, Missed))
    return tuple(dict.fromkeys(wanted))
