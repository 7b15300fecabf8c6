"""What of a running stack is not as declared: looked at, never changed.

Roles and the place of slots belong to the running system and are no drift; that every shard has its primary and replicas, and
every slot an owner, is declared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from operations.connect import Fleet, Link, Refused
from operations.errors import ToolkitError
from operations.inventory import Access, Inventory, NodeEntry
from operations.observe import Observation, look
from operations.parameters import differing, expected_parameters, live_values, shown
from operations.parse import items, text
from operations.users import Categories, declared_user, live_user, user_problems
from operations.verdict import verdict

UP = "pulumi refresh && pulumi up sets it back"


@dataclass(frozen=True)
class Drift:
    """One thing that is not as declared. `node` is empty for what concerns the stack as a whole."""

    node: str
    what: str
    declared: str
    live: str
    remedy: str = UP

    def __str__(self) -> str:
        return f"{self.node or 'the stack'}: {self.what} is {self.live}, declared {self.declared}"


@dataclass(frozen=True)
class _Seen:
    """What one server says about itself: its parameters, and how its users differ."""

    parameters: Mapping[str, str]
    users: Mapping[str, str]


def server_drift(fleet: Fleet, access: Access, observation: Observation) -> tuple[Drift, ...]:
    """Shape, parameters, announced addresses, users and sentinel settings of all servers."""
    inventory = access.inventory
    found = [Drift("", "shape", "as declared", reason) for reason in verdict(observation, inventory).reasons]
    answering = [node for node in inventory.nodes if observation.of(node.name).reachable]
    answers = fleet.each(lambda link: _ask(link, access), nodes=[node.name for node in answering], seconds=15)
    for node in answering:
        answer = answers[node.name]
        if isinstance(answer, ToolkitError):
            found.append(Drift(node.name, "server", "answers", str(answer), "look with scripts/status.py"))
            continue
        found += parameter_drift(node, answer.parameters, inventory)
        declared = login_parameters(access, node)
        for name in differing(declared, answer.parameters):
            found.append(Drift(node.name, name, shown(name, declared[name]), shown(name, answer.parameters[name])))
        found += [Drift(node.name, f"user {user}", "as declared", problem) for user, problem in answer.users.items()]
    for node in inventory.sentinels:
        found += _sentinel_drift(node, observation, inventory)
    return tuple(found)


def noticed(access: Access) -> tuple[str, ...]:
    """What a look at the live servers finds, in sentences; that nothing could be found out is one of them."""
    try:
        with Fleet(access) as fleet:
            return tuple(str(drift) for drift in server_drift(fleet, access, look(fleet, access.inventory)))
    except ToolkitError as error:
        return (str(error),)


def announced_parameters(inventory: Inventory, node: NodeEntry) -> dict[str, str]:
    """What a data node has to announce."""
    if node.is_sentinel:
        return {}
    if inventory.topology != "cluster":
        return {"replica-announce-ip": node.address, "replica-announce-port": str(node.port)}
    return {
        "cluster-announce-ip": node.address,
        "cluster-announce-port": str(node.port),
        "cluster-announce-bus-port": str(node.bus_port),
    }


def login_parameters(access: Access, node: NodeEntry) -> dict[str, str]:
    """As whom a data node follows another one; the password is never shown."""
    if node.is_sentinel:
        return {}
    return {"masteruser": "replication", "masterauth": access.credentials.password("replication")}


def parameter_drift(node: NodeEntry, live: Mapping[str, str], inventory: Inventory) -> Iterator[Drift]:
    """Parameters and announced addresses of one node that have another value. Pure."""
    expected = {} if node.is_sentinel else expected_parameters(inventory)
    announced = announced_parameters(inventory, node)
    for name in differing(expected, live):
        yield Drift(node.name, name, shown(name, expected[name]), shown(name, live[name]))
    for name in differing(announced, live):
        yield Drift(node.name, name, announced[name], shown(name, live[name]))


def _sentinel_drift(node: NodeEntry, observation: Observation, inventory: Inventory) -> Iterator[Drift]:
    view = observation.of(node.name).sentinel
    if view is None or view.watched is None or inventory.sentinel is None:
        return
    wanted = {**inventory.parameters.get("sentinel", {}), "quorum": str(inventory.sentinel.quorum)}
    for name, value in wanted.items():
        if view.watched.fields.get(name, value) != value:
            yield Drift(node.name, name, value, view.watched.fields[name])


def _ask(link: Link, access: Access) -> _Seen:
    inventory, node = access.inventory, link.node
    link.ensure_ours()
    names = [] if node.is_sentinel else [*expected_parameters(inventory), *announced_parameters(inventory, node)]
    return _Seen(live_values(link, [*names, *login_parameters(access, node)]), users_of(link, access))


def users_of(link: Link, access: Access) -> dict[str, str]:
    """By user, how the users of a server differ from those declared; nothing where the inventory tells no rules."""
    rules = access.inventory.users.get("sentinel" if link.node.is_sentinel else "data", {})
    if not rules:
        return {}
    declared = {user: declared_user(access.credentials.password(user), text) for user, text in rules.items()}
    live = dict(live_user(text(line)) for line in items(link.ask("ACL", "LIST")))
    return user_problems(declared, live, _categories(link))


def _categories(link: Link) -> Categories:
    names = [text(name) for name in items(link.ask("ACL", "CAT"))]
    replies = link.ask_all([["ACL", "CAT", name] for name in names])
    return {
        name: frozenset(text(command).lower() for command in items(reply))
        for name, reply in zip(names, replies, strict=True)
        if not isinstance(reply, Refused)
    }
