"""A link that goes down and up again several times: too short to be sure of anything, long enough to hurt."""

from collections.abc import Sequence
from typing import ClassVar

from drills.bounds import FaultKind
from drills.faults.base import Engine
from drills.faults.network import CHAIN_IN, CHAIN_OUT, Partition, rules
from operations.inventory import NodeEntry

DOWN_SECONDS, UP_SECONDS = 1.0, 1.5


def flap_script(others: Sequence[str], times: int, down: float = DOWN_SECONDS, up: float = UP_SECONDS) -> str:
    """Shell script that cuts the link `times` times; it ends with the link up and the counters still there."""
    join = f"iptables -w -I INPUT -j {CHAIN_IN}; iptables -w -I OUTPUT -j {CHAIN_OUT}"
    leave = f"iptables -w -D INPUT -j {CHAIN_IN}; iptables -w -D OUTPUT -j {CHAIN_OUT}"
    return (
        f"set -e\niptables-restore -w --noflush <<'RULES'\n{rules(others, 'both')}\nRULES\n"
        f"sleep {down:g}; {leave}\n"
        f"for turn in $(seq 2 {times}); do sleep {up:g}; {join}; sleep {down:g}; {leave}; done"
    )


class Flapping(Partition):
    """The targets are cut off for a second, `times` times, with a second and a half in between."""

    name: ClassVar[str] = "flapping"

    def __init__(
        self, engine: Engine, targets: Sequence[NodeEntry], others: Sequence[str], times: int, kind: FaultKind = "partition"
    ) -> None:
        super().__init__(engine, targets, others, "both", kind)
        self._times = times

    def inject(self) -> str:
        self._everywhere(flap_script(self._others, self._times))
        return f"the link of {', '.join(self.names)} was down {self._times} times for {DOWN_SECONDS:g} s"
