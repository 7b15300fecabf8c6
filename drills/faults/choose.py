"""From the plan of a drill to the fault that carries it out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drills import stack_view
from drills.bounds import FaultKind
from drills.crew import as_node, cut_off_place
from drills.definition import Drill, FaultPlan
from drills.faults.base import Engine, Fault, FaultFailed
from drills.faults.disk import FillDisk, PowerLoss
from drills.faults.disks import Disks
from drills.faults.elsewhere import LoseMachine, RestoreElsewhere
from drills.faults.flapping import Flapping
from drills.faults.lost import CorruptBackup, LoseData
from drills.faults.mistake import Flush
from drills.faults.network import Loss, Partition, SlowLink
from drills.faults.planned import Reshard, Switchover
from drills.faults.process import Hang, Kill, KillHeld, Pause, Stop
from drills.faults.replaced import Remove
from drills.faults.rolling import RollingRestart
from drills.workload.plan import MAIN_OCTET
from operations.inventory import Access, NodeEntry


@dataclass(frozen=True)
class Scene:
    """What faults need to know of the drill around them. `inside`: clients run in the stack's network; `primaries` are the nodes
    that are primary now; `tell` is told of progress; `disks` are the drill's own disks under the nodes, where it has some."""

    engine: Engine
    access: Access
    inside: bool
    primaries: tuple[str, ...]
    tell: Callable[[str], None]
    disks: Disks | None = None

    @property
    def own_disks(self) -> Disks:
        """The drill's disks under the nodes; raises FaultFailed where the drill put none there."""
        if self.disks is None:
            raise FaultFailed("the drill put no disks of its own under the nodes")
        return self.disks


Maker = Callable[[Scene, FaultPlan, FaultKind, Sequence[NodeEntry]], Fault]


def fault_of(drill: Drill, scene: Scene, targets: Sequence[NodeEntry]) -> Fault:
    """The fault of a drill on these nodes. What was taken over by hand must not go on where it stopped."""
    if drill.fault.do == "hang" and drill.then == "takeover":
        return Hang(scene.engine, targets, drill.kind, revive=False)
    return MAKERS[drill.fault.do](scene, drill.fault, drill.kind, targets)


def _plain(fault: Callable[[Engine, Sequence[NodeEntry], FaultKind], Fault]) -> Maker:
    return lambda scene, _plan, kind, targets: fault(scene.engine, targets, kind)


def others(scene: Scene, targets: Sequence[NodeEntry]) -> list[str]:
    """Addresses on the other side of a partition. Clients on this machine come through published ports: what nodes see of them
    is the gateway of their network."""
    inventory = scene.access.inventory
    names = {node.name for node in targets}
    prefix = inventory.network.subnet.rpartition(".")[0]
    clients = f"{prefix}.{MAIN_OCTET}" if scene.inside else f"{prefix}.1"
    return [*(node.address for node in inventory.nodes if node.name not in names), clients]


def _partition(scene: Scene, plan: FaultPlan, kind: FaultKind, targets: Sequence[NodeEntry]) -> Fault:
    inside = [as_node(cut_off_place(scene.access.inventory), targets[0])] if plan.clients_inside else []
    return Partition(scene.engine, [*targets, *inside], others(scene, targets), plan.direction, kind)


def _flapping(scene: Scene, plan: FaultPlan, kind: FaultKind, targets: Sequence[NodeEntry]) -> Fault:
    return Flapping(scene.engine, targets, others(scene, targets), plan.times, kind)


def _rolling(scene: Scene, _plan: FaultPlan, kind: FaultKind, targets: Sequence[NodeEntry]) -> Fault:
    return RollingRestart(scene.engine, targets, scene.primaries, lambda: stack_view.problem(scene.access), scene.tell, kind)


MAKERS: dict[str, Maker] = {
    "kill": _plain(Kill),
    "kill-held": _plain(KillHeld),
    "hang": _plain(Hang),
    "pause": _plain(Pause),
    "stop": _plain(Stop),
    "remove": _plain(Remove),
    "lose-data": _plain(LoseData),
    "corrupt-backup": _plain(CorruptBackup),
    "restore-elsewhere": lambda scene, _plan, kind, targets: RestoreElsewhere(scene.engine, targets, scene.tell, kind),
    "lose-machine": lambda scene, _plan, kind, targets: LoseMachine(scene.engine, targets, scene.tell, kind),
    "flush": lambda scene, _plan, kind, targets: Flush(scene.engine, scene.access, targets, kind),
    "rolling-restart": _rolling,
    "partition": _partition,
    "flapping": _flapping,
    "loss": lambda scene, plan, kind, targets: Loss(scene.engine, targets, plan.share, kind),
    "slow-link": lambda scene, plan, kind, targets: SlowLink(scene.engine, targets, plan.kilobits, kind),
    "power-loss": lambda scene, _plan, kind, targets: PowerLoss(scene.engine, scene.own_disks, targets, kind),
    "fill-disk": lambda scene, _plan, kind, targets: FillDisk(scene.engine, scene.own_disks, scene.access, targets, kind),
    "switchover": lambda scene, _plan, kind, targets: Switchover(scene.engine, scene.access, targets, kind),
    "reshard": lambda scene, _plan, kind, targets: Reshard(scene.engine, scene.access, targets, scene.tell, kind),
}
"""One for every deed that a plan can name."""
