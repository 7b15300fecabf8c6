"""What converge decides and what it does with it: actions, waits, decisions. The deciding functions are pure.

A decision is taken from one observation alone, so that it can be taken again at any moment: after an interruption, or when the
servers changed something themselves in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from operations.connect import Command, Fleet, Link, Refused
from operations.errors import ToolkitError
from operations.inventory import Credentials


@dataclass(frozen=True)
class PasswordOf:
    """Stands in a command for a user's password, which is put in only when the command is sent."""

    user: str


Word = str | int | PasswordOf


@dataclass(frozen=True)
class Action:
    """Commands for one node, sent together.

    `text` tells the user what changes; None for mere messages between nodes. What takes effect only after a while is not sent
    again before `again_after_seconds`.
    """

    node: str
    commands: tuple[tuple[Word, ...], ...]
    text: str | None
    again_after_seconds: float = 0.0


@dataclass(frozen=True)
class Wait:
    """Something that the servers do by themselves. After `patience_seconds` its key is given to the next decision as overdue."""

    key: str
    text: str
    patience_seconds: float | None = None


@dataclass(frozen=True)
class Decision:
    """What to do now and what to wait for; with neither, the goal is reached."""

    actions: tuple[Action, ...] = ()
    waits: tuple[Wait, ...] = ()

    @property
    def is_done(self) -> bool:
        return not self.actions and not self.waits


Overdue = frozenset[str]
"""Keys of waits whose patience is over."""

Addresses = frozenset[tuple[str, int]]
"""Addresses and ports of nodes."""


def decision(actions: Iterable[Action] = (), waits: Iterable[Wait] = ()) -> Decision:
    return Decision(tuple(actions), tuple(waits))


def act(fleet: Fleet, actions: Iterable[Action], credentials: Credentials) -> list[str]:
    """Carry out actions, on all nodes at once and in order on each; returns what servers refused, for the user to read.

    A refusal is no error by itself: the next observation shows whether the goal was missed. Raises NotOurs when a stranger
    answers; nothing is written to it.
    """
    per_node: dict[str, list[Command]] = {}
    for action in actions:
        per_node.setdefault(action.node, []).extend(_resolved(command, credentials) for command in action.commands)

    def send(link: Link) -> list[str]:
        link.ensure_ours()
        commands = per_node[link.node.name]
        replies = link.ask_all(commands)
        return [
            f"{link.node.name} refused {' '.join(str(word) for word in command[:3])}: {reply}"
            for command, reply in zip(commands, replies, strict=True)
            if isinstance(reply, Refused)
        ]

    refusals: list[str] = []
    for answer in fleet.each(send, per_node).values():
        refusals += [str(answer)] if isinstance(answer, ToolkitError) else answer
    return refusals


def _resolved(command: tuple[Word, ...], credentials: Credentials) -> Command:
    return [credentials.password(word.user) if isinstance(word, PasswordOf) else word for word in command]
