"""Applies the steps of a control to a running stack and takes them back, node by node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from drills.faults.base import HELPER_IMAGE, LABEL, Engine
from drills.stack_view import roles_of
from operations.connect import Link
from operations.inventory import Access, NodeEntry
from operations.observe import observe
from tests.drills.seeded import Command, Declared, Group, Setting, Shell, Step

CONFIG = "/config/data/declared.conf"


@dataclass(frozen=True)
class Undo:
    """What puts one node back."""

    node: NodeEntry
    words: tuple[str, ...]


@dataclass(frozen=True)
class Redeclare:
    """What puts the declared parameters of all data nodes back."""

    step: Declared


def nodes_of(group: Group, access: Access) -> tuple[NodeEntry, ...]:
    """The nodes that a group means now."""
    inventory = access.inventory
    if group == "sentinels":
        return inventory.sentinels
    if group == "data":
        return inventory.data_nodes
    return tuple(roles_of(observe(access), inventory).group(group))


def seed(access: Access, steps: Iterable[Step]) -> list[Undo | Redeclare]:
    """Break the stack as the steps say; what takes it back, the last thing first."""
    done: list[Undo | Redeclare] = []
    engine = Engine(access.inventory)
    # Settled before anything is broken: a step may change who answers what.
    planned = [(step, () if isinstance(step, Declared) else nodes_of(step.group, access)) for step in steps]
    for step, nodes in planned:
        if isinstance(step, Declared):
            redeclare(engine, step.parameter, step.promised, step.value)
            done.insert(0, Redeclare(step))
            continue
        assert nodes, f"nobody to break: there are no {step.group}"
        for node in nodes:
            if isinstance(step, Setting):
                before = ask(access, node, ("CONFIG", "GET", step.parameter))[1]
                ask(access, node, ("CONFIG", "SET", step.parameter, step.value.replace("{before}", str(before))))
                done.insert(0, Undo(node, ("CONFIG", "SET", step.parameter, str(before))))
            elif isinstance(step, Command):
                ask(access, node, _filled(step.words, access))
                if step.undo:
                    done.insert(0, Undo(node, _filled(step.undo, access)))
            elif isinstance(step, Shell):
                engine.run(node, step.script)
            else:
                assert_never(step)
    return done


def take_back(access: Access, undo: Sequence[Undo | Redeclare]) -> None:
    """Put every node back; a node that was restarted meanwhile has what is declared already, and gets it again."""
    for one in undo:
        if isinstance(one, Undo):
            ask(access, one.node, one.words)
            continue
        step = one.step
        redeclare(Engine(access.inventory), step.parameter, step.value, step.promised)
        for node in access.inventory.data_nodes:
            ask(access, node, ("CONFIG", "SET", step.parameter, step.promised))


def redeclare(engine: Engine, parameter: str, before: str, after: str) -> None:
    """Change a line in the volume that holds the configuration, which the nodes themselves cannot write."""
    volume = f"redis-{engine.inventory.stack}-config"
    script = f"grep -qx '{parameter} {before}' {CONFIG} && sed -i 's/^{parameter} {before}$/{parameter} {after}/' {CONFIG}"
    engine.client.containers.run(
        HELPER_IMAGE, ["sh", "-c", script], volumes={volume: {"bind": "/config", "mode": "rw"}}, user="0", remove=True,
        network_mode="none", entrypoint="", labels={LABEL: engine.inventory.stack},
    )  # fmt: skip


def ask(access: Access, node: NodeEntry, words: Sequence[str]) -> list[object]:
    link = Link(access, node)
    try:
        link.ensure_ours()
        answer = link.ask(*words)
    finally:
        link.close()
    return list(answer) if isinstance(answer, list) else [answer]


def _filled(words: Sequence[str], access: Access) -> tuple[str, ...]:
    sentinel = access.inventory.sentinel
    return tuple(word.replace("{service}", sentinel.service if sentinel else "") for word in words)
