"""What every fault is made of, and the engine that it works on."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from drills.bounds import FaultKind
from operations.containers import TRIES, run_script
from operations.errors import ToolkitError, Unreachable
from operations.inventory import Inventory, NodeEntry

T = TypeVar("T")

LABEL = "redis-topologies.drill"
"""On every container that a drill makes; its value is the name of the stack."""
PART = "redis-topologies.drill.part"
HELPER_IMAGE = "redis-topologies/client:1"
POLL_SECONDS = 0.02
EVIDENCE_SECONDS = 5.0
KILLED = 137
"""Status of a process that SIGKILL ended, as the shell and Docker count it."""


class FaultFailed(ToolkitError):
    """A fault could not be injected, did not take hold, or could not be healed: the drill broke, the stack did not fail."""


def wait_for(what: str, look: Callable[[], str | None], seconds: float) -> str:
    """Ask `look` until it returns its finding; raises FaultFailed with `what` was waited for when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise FaultFailed(f"{what} was not seen within {seconds:g} s")
        time.sleep(POLL_SECONDS)


class Engine:
    """The Docker engine of a stack. Every error comes out as FaultFailed or Unreachable with one sentence."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    @cached_property
    def client(self) -> Any:
        try:
            client: Any = docker.from_env(timeout=60)
            client.ping()
        except DockerException as error:
            raise Unreachable(f"the Docker engine does not answer: {error}; is it running, and may this user use it?") from None
        return client

    def container(self, node: NodeEntry) -> Container:
        """The container of a node, looked up anew; raises FaultFailed when there is none."""
        try:
            found: Container = self.client.containers.get(node.container)
        except NotFound:
            raise FaultFailed(f"there is no container {node.container}; run `make up STACK={self.inventory.stack}`") from None
        return found

    def state(self, node: NodeEntry) -> dict[str, Any]:
        """Docker's account of a container: Status, Running, Paused, ExitCode, StartedAt, Pid."""
        state: dict[str, Any] = self.container(node).attrs["State"]
        return state

    def run(self, node: NodeEntry, script: str, check: bool = True, may_die: bool = False) -> str:
        """Run a shell script inside a node's container; its output. Raises FaultFailed when it fails and `check` is set; with
        `may_die` the end of the container, which ends the script, is no failure."""
        try:
            code, text = run_script(self.container(node), script, tries=1 if may_die else TRIES)
        except APIError as error:
            raise FaultFailed(f"nothing can be run in {node.container}: {error.explanation or error}") from None
        fine = (0, KILLED) if may_die else (0,)
        if check and code not in fine:
            raise FaultFailed(f"a step in {node.container} failed: {text or f'status {code}'}")
        return text

    def each(self, nodes: Sequence[NodeEntry], job: Callable[[NodeEntry], T]) -> list[T]:
        """`job` for all nodes at the same time; the first error is raised after all have ended."""
        if len(nodes) == 1:
            return [job(nodes[0])]
        with ThreadPoolExecutor(max(1, len(nodes))) as pool:
            return [future.result() for future in [pool.submit(job, node) for node in nodes]]


class Fault(ABC):
    """A fault on some nodes. The order is `prepare`, `inject`, `evidence`, `heal`; heal may come at any time, several times.

    `evidence` returns one sentence that proves that the fault took hold, and raises FaultFailed when it did not: a drill without
    a fault proves nothing. `gone_by_itself` tells that nothing has to be healed for the stack to recover.
    `takes_cut`: before it is injected, `cut` makes what it is healed from, under the load; what was acknowledged before that must
    not be lost.
    `redundancy_counts_healing`: the time to redundancy counts from the beginning of the heal, because healing is the stack's own
    work (provisioning), not the drill's.
    """

    name: ClassVar[str]
    gone_by_itself: ClassVar[bool] = False
    takes_cut: ClassVar[bool] = False
    redundancy_counts_healing: ClassVar[bool] = False

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind) -> None:
        if not targets:
            raise FaultFailed(f"{self.name} has no target")
        self.engine = engine
        self.targets = tuple(targets)
        self.kind = kind

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.targets)

    @property
    def shards(self) -> tuple[int, ...]:
        """Shards whose primary may be hit; a sentinel belongs to none."""
        return tuple(sorted({node.shard for node in self.targets if not node.is_sentinel}))

    def prepare(self) -> None:
        """Whatever takes time and does not disturb the stack."""
        return

    def cut(self) -> str:
        """Make what it is healed from; what was made. Asked for only where `takes_cut` is set."""
        raise FaultFailed(f"{self.name} makes no cut")

    @abstractmethod
    def inject(self) -> str:
        """Break it, at once; what was done, in one sentence."""

    @abstractmethod
    def evidence(self) -> str:
        """That it is broken, in one sentence."""

    @abstractmethod
    def heal(self) -> str:
        """Undo it, if there is anything to undo, and wait until it is undone; what was done."""
