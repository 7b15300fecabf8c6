"""Servers in memory that know CONFIG and INFO, for what talks to a `Fleet`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from operations.connect import Fleet, Refused
from operations.errors import ToolkitError
from operations.inventory import Inventory, NodeEntry
from operations.parse import Reply


@dataclass
class FakeLink:
    """One server. `refuses` maps parameter to the server's words; `fixed` are read at start only; `log` are the commands."""

    node: NodeEntry
    config: dict[str, str]
    refuses: Mapping[str, str] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    info: str = ""
    log: list[tuple[str, ...]] = field(default_factory=list)

    def ensure_ours(self) -> None:
        return

    def ask(self, *command: str | int) -> Reply:
        words = tuple(str(word) for word in command)
        self.log.append(words)
        match words:
            case ("CONFIG", "GET", *names):
                return [word for name in names if name in self.config for word in (name, self.config[name])]
            case ("CONFIG", "SET", name, value):
                if name in self.fixed:
                    raise Refused(f"CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config")
                if name in self.refuses and value != self.config[name]:
                    raise Refused(self.refuses[name])
                self.config[name] = value
                return "OK"
            case ("INFO", *_):
                return self.info
        return "OK"

    def close(self) -> None:
        return

    def ask_all(self, commands: Iterable[Iterable[str | int]]) -> list[Reply | Refused]:
        return [self.ask(*command) for command in commands]

    @property
    def sent(self) -> list[tuple[str, ...]]:
        """What was written, in order."""
        return [words for words in self.log if words[:2] != ("CONFIG", "GET") and words[0] != "INFO"]


class FakeFleet:
    """All data nodes of an inventory, each with its own copy of `config`."""

    def __init__(self, inventory: Inventory, config: Mapping[str, str]) -> None:
        self.links = {node.name: FakeLink(node, dict(config)) for node in inventory.data_nodes}

    def each(self, question: Callable[[Any], Any], nodes: Iterable[str] | None = None, **_: float) -> dict[str, Any]:
        answers = {}
        for name in self.links if nodes is None else nodes:
            try:
                answers[name] = question(self.links[name])
            except ToolkitError as error:
                answers[name] = error
        return answers

    @property
    def as_fleet(self) -> Fleet:
        return cast(Fleet, self)
