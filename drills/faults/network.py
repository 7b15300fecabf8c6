"""Faults of the network, from a helper container inside the node's own network namespace.

The node needs no privilege, the host's firewall is not touched, and a remote engine is as good as a local one. The rules are in
the namespace: they outlive the helper, and `heal` finds them there.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

from docker.errors import APIError, NotFound

from drills.bounds import FaultKind
from drills.faults.base import (
    EVIDENCE_SECONDS,
    HELPER_IMAGE,
    LABEL,
    PART,
    Engine,
    Fault,
    FaultFailed,
    wait_for,
)
from operations.containers import TRIES, run_script
from operations.inventory import NodeEntry

CHAIN_IN, CHAIN_OUT = "REDIS-DRILL-IN", "REDIS-DRILL-OUT"
DEVICE = "eth0"
Direction = Literal["both", "in", "out"]

CLEAN = f"""
for way in INPUT:{CHAIN_IN} OUTPUT:{CHAIN_OUT}; do
    while iptables -w -D ${{way%:*}} -j ${{way#*:}} 2>/dev/null; do :; done
    iptables -w -F ${{way#*:}} 2>/dev/null; iptables -w -X ${{way#*:}} 2>/dev/null
done
tc qdisc del dev {DEVICE} root 2>/dev/null
left=$(iptables-save | grep -c REDIS-DRILL; tc qdisc show dev {DEVICE} | grep -c tbf)
[ "$(echo $left)" = "0 0" ]
"""
"""Removes every rule that a drill may have left; fails when one stays."""
FOUND = f"iptables-save | grep -q REDIS-DRILL || tc qdisc show dev {DEVICE} | grep -q tbf"
"""Succeeds when a drill left something."""


class Helper:
    """A container in the network namespace of a node."""

    def __init__(self, engine: Engine, node: NodeEntry) -> None:
        self._node = node
        self._name = f"{node.container}-drill-net"
        with contextlib.suppress(NotFound):
            engine.client.containers.get(self._name).remove(force=True)
        try:
            self._container: Any = engine.client.containers.run(
                HELPER_IMAGE,
                ["sleep", "3600"],
                name=self._name,
                detach=True,
                init=True,
                auto_remove=True,
                network_mode=f"container:{node.container}",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN", "NET_RAW"],
                labels={LABEL: engine.inventory.stack, PART: "net"},
                log_config={"Type": "none"},
                mem_limit="64m",
            )
        except APIError as error:
            raise FaultFailed(f"no helper can be started beside {node.container}: {error.explanation or error}") from None

    def read(self, script: str) -> str:
        """What a shell script that changes nothing printed in the namespace; raises FaultFailed when it fails."""
        return self.run(script, tries=TRIES)[1]

    def run(self, script: str, check: bool = True, tries: int = 1) -> tuple[int, str]:
        """Run a shell script in the namespace; raises FaultFailed when it fails and `check` is set."""
        try:
            code, text = run_script(self._container, script, tries)
        except APIError as error:
            raise FaultFailed(f"the helper beside {self._node.name} is gone: {error.explanation or error}") from None
        if check and code != 0:
            raise FaultFailed(f"a step in the network of {self._node.name} failed: {text or f'status {code}'}")
        return code, text

    def close(self) -> None:
        with contextlib.suppress(APIError, NotFound):
            self._container.remove(force=True)


def clean(engine: Engine, node: NodeEntry) -> bool:
    """Remove what drills left in the network of a node; whether there was anything. A node that is down has no network."""
    state = engine.state(node)
    if not state["Running"]:
        return False
    helper = Helper(engine, node)
    try:
        found = helper.run(FOUND, check=False)[0] == 0
        helper.run(CLEAN)
    finally:
        helper.close()
    return found


class _NetworkFault(Fault):
    """Keeps one helper per target, so that rules are set at once and on all targets at the same time."""

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kind: FaultKind) -> None:
        super().__init__(engine, targets, kind)
        self._helpers: dict[str, Helper] = {}

    def prepare(self) -> None:
        for node, helper in zip(self.targets, self.engine.each(self.targets, lambda n: Helper(self.engine, n)), strict=True):
            self._helpers[node.name] = helper

    def _helper(self, node: NodeEntry) -> Helper:
        if node.name not in self._helpers:
            self._helpers[node.name] = Helper(self.engine, node)
        return self._helpers[node.name]

    def _everywhere(self, script: str) -> list[str]:
        return self.engine.each(self.targets, lambda node: self._helper(node).run(script)[1])

    def heal(self) -> str:
        def undo(node: NodeEntry) -> bool:
            helper = self._helpers.pop(node.name, None)
            if helper is not None and helper.run(CLEAN, check=False)[0] == 0:
                helper.close()
                return True
            if helper is not None:
                helper.close()
            return clean(self.engine, node)

        self.engine.each(self.targets, undo)
        return f"the network of {', '.join(self.names)} is as it was"


def rules(addresses: Iterable[str], direction: Direction, share: float | None = None) -> str:
    """iptables-restore input that drops traffic with `addresses` (all when empty), a `share` of it when given."""
    chance = "" if share is None else f" -m statistic --mode random --probability {share:.4f}"
    peers = list(addresses)
    lines = ["*filter", f":{CHAIN_IN} - [0:0]", f":{CHAIN_OUT} - [0:0]"]
    if direction in ("both", "in"):
        lines += [f"-A {CHAIN_IN} -s {peer}{chance} -j DROP" for peer in peers] or [f"-A {CHAIN_IN}{chance} -j DROP"]
    if direction in ("both", "out"):
        lines += [f"-A {CHAIN_OUT} -d {peer}{chance} -j DROP" for peer in peers] or [f"-A {CHAIN_OUT}{chance} -j DROP"]
    return "\n".join([*lines, f"-I INPUT -j {CHAIN_IN}", f"-I OUTPUT -j {CHAIN_OUT}", "COMMIT"])


_COUNT = f"for c in {CHAIN_IN} {CHAIN_OUT}; do iptables -w -nvxL $c; done | awk '$3 == \"DROP\" {{n += $1}} END {{print n + 0}}'"


class _Drops(_NetworkFault):
    """Shows packets that were dropped as its evidence. Every node has to show some; clients that are cut off may have nothing to
    say to the other side."""

    def _drop(self, restore: str) -> None:
        self._everywhere(f"iptables-restore -w --noflush <<'RULES'\n{restore}\nRULES")

    def evidence(self) -> str:
        nodes = {node.name for node in self.engine.inventory.nodes}

        def dropped(node: NodeEntry) -> str | None:
            count = int(self._helper(node).read(_COUNT) or 0)
            return f"{node.name} dropped {count} packets" if count or node.name not in nodes else None

        def seen(node: NodeEntry) -> str:
            return wait_for(f"a dropped packet at {node.name}", lambda: dropped(node), EVIDENCE_SECONDS)

        return "; ".join(self.engine.each(self.targets, seen))


class Partition(_Drops):
    """The targets are cut off from `others` (addresses of nodes and clients); among themselves they stay together.

    `direction` `in`: they hear nothing but can speak; `out`: they hear but cannot speak.
    """

    name: ClassVar[str] = "partition"

    def __init__(
        self, engine: Engine, targets: Sequence[NodeEntry], others: Sequence[str], direction: Direction = "both",
        kind: FaultKind = "partition",
    ) -> None:  # fmt: skip
        super().__init__(engine, targets, kind)
        self._others = tuple(others)
        self._direction: Direction = direction
        if not others:
            raise FaultFailed("a partition needs somebody on the other side")

    def inject(self) -> str:
        self._drop(rules(self._others, self._direction))
        how = {"both": "cut off", "in": "deaf", "out": "mute"}[self._direction]
        return f"{', '.join(self.names)} {how} towards {len(self._others)} addresses"


class Loss(_Drops):
    """A share of all packets of the targets is lost, in both directions."""

    name: ClassVar[str] = "loss"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], share: float, kind: FaultKind = "slow") -> None:
        super().__init__(engine, targets, kind)
        self._share = share

    def inject(self) -> str:
        self._drop(rules((), "both", self._share))
        return f"{self._share:.0%} of all packets of {', '.join(self.names)} are lost"


class SlowLink(_NetworkFault):
    """What the targets send is limited to `kilobits` per second."""

    name: ClassVar[str] = "slow-link"

    def __init__(self, engine: Engine, targets: Sequence[NodeEntry], kilobits: int, kind: FaultKind = "slow") -> None:
        super().__init__(engine, targets, kind)
        self._kilobits = kilobits

    def inject(self) -> str:
        self._everywhere(f"tc qdisc replace dev {DEVICE} root tbf rate {self._kilobits}kbit burst 32kbit latency 400ms")
        return f"{', '.join(self.names)} may send {self._kilobits} kbit/s"

    def evidence(self) -> str:
        def limited(node: NodeEntry) -> str | None:
            told = self._helper(node).read(f"tc -s qdisc show dev {DEVICE}")
            words = told.split()
            if "tbf" not in words or "overlimits" not in words:
                return None
            count = int(words[words.index("overlimits") + 1])
            return f"{node.name} was held back {count} times" if count else None

        return "; ".join(self.engine.each(
            self.targets,
            lambda node: wait_for(f"a packet held back at {node.name}", lambda: limited(node), EVIDENCE_SECONDS),
        ))  # fmt: skip
