"""One node after the other is told to stop and started again, as for maintenance; the next only when the stack is well again."""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from docker.errors import APIError

from drills.bounds import FaultKind
from drills.faults.base import Engine, Fault, FaultFailed
from drills.faults.process import ensure_running
from operations.inventory import NodeEntry

STEADY_SECONDS = 60.0
POLL_SECONDS = 0.1


def rolling_order(targets: Sequence[NodeEntry], primaries: Sequence[str]) -> tuple[NodeEntry, ...]:
    """Sentinels, then replicas, then primaries: each shard changes its primary once, and to a node that is done already."""
    return tuple(sorted(targets, key=lambda node: (node.name in primaries, not node.is_sentinel)))


class RollingRestart(Fault):
    """`docker stop` and start of every target. `problem` tells what is not as declared, None when all is well; `tell` is told of
    each step."""

    name: ClassVar[str] = "rolling-restart"
    gone_by_itself: ClassVar[bool] = True

    def __init__(
        self, engine: Engine, targets: Sequence[NodeEntry], primaries: Sequence[str], problem: Callable[[], str | None],
        tell: Callable[[str], None], kind: FaultKind = "stop",
    ) -> None:  # fmt: skip
        super().__init__(engine, rolling_order(targets, primaries), kind)
        self._problem = problem
        self._tell = tell
        self._exits: dict[str, int] = {}

    def inject(self) -> str:
        began = time.monotonic()
        for number, node in enumerate(self.targets, 1):
            stopped = time.monotonic()
            try:
                self.engine.container(node).stop()
            except APIError as error:
                raise FaultFailed(f"{node.container} cannot be stopped: {error.explanation or error}") from None
            took = time.monotonic() - stopped
            self._exits[node.name] = int(self.engine.state(node)["ExitCode"])
            ensure_running(self.engine, node)
            self._await_steady(node)
            whole = time.monotonic() - stopped
            self._tell(
                f"  {number} of {len(self.targets)}: {node.name} stopped in {took:.1f} s, all well again after {whole:.1f} s"
            )
        return f"{len(self.targets)} nodes restarted one after the other in {time.monotonic() - began:.1f} s"

    def _await_steady(self, node: NodeEntry) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        while (missing := self._problem()) is not None:
            if time.monotonic() > deadline:
                raise FaultFailed(
                    f"the stack was not well again {STEADY_SECONDS:g} s after the restart of {node.name}: {missing}"
                )
            time.sleep(POLL_SECONDS)

    def evidence(self) -> str:
        wrong = [f"{name} ended with {code}" for name, code in self._exits.items() if code != 0]
        if wrong or len(self._exits) != len(self.targets):
            raise FaultFailed(f"not every node ended in order: {', '.join(wrong) or 'some were not stopped'}")
        return f"{', '.join(self._exits)} ended in order, each with 0"

    def heal(self) -> str:
        done = self.engine.each(self.targets, lambda node: ensure_running(self.engine, node))
        started = [node.name for node, did in zip(self.targets, done, strict=True) if did]
        return f"{', '.join(started)} started again" if started else "all containers run"
