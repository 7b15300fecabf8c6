"""The typed stack output: the only bridge from provisioning to operations, drills and tests.

`Inventory` holds no secret; `Access` joins it with the credentials (the secret output of the same stack).
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from operations.errors import InvalidInput, Unreachable, UsageError

SCHEMA_VERSION = 1
SENTINEL_SERVICE = "main"
"""Default name under which Sentinel serves the primary."""

Role = Literal["primary", "replica", "sentinel"]
Topology = Literal["standalone", "replication", "sentinel", "cluster"]

STACK_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")
"""Stack names become parts of container and volume names, so they are kept short and plain."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Engine(_Frozen):
    """The server software: `name` redis or valkey, `version` exact as the server reports it, `image_id` the digest in use."""

    name: Literal["redis", "valkey"]
    version: str
    image: str
    image_id: str


class NodeEntry(_Frozen):
    """One server process.

    `role` is the role as provisioned; `shard` and `member` count from 1 (0 for sentinels). `address:port` is what the node
    announces inside the network, `host:host_port` where the machine that runs Pulumi reaches it.
    """

    name: str
    role: Role
    shard: int
    member: int
    container: str
    volume: str
    docker_host: str
    address: str
    port: int
    bus_port: int
    host: str
    host_port: int

    @property
    def is_sentinel(self) -> bool:
        return self.role == "sentinel"


class NetworkEntry(_Frozen):
    """The stack's own Docker network."""

    name: str
    subnet: str


class SentinelSettings(_Frozen):
    """What clients and checks need to know of the sentinels; times in milliseconds."""

    service: str
    quorum: int
    down_after_ms: int
    failover_timeout_ms: int


class ClusterSettings(_Frozen):
    """What clients and checks need to know of the cluster; times in milliseconds."""

    node_timeout_ms: int
    shards: int
    full_coverage: bool


class Inventory(_Frozen):
    """A running stack as provisioned.

    `parameters` maps parameter to declared value, and `users` user to ACL rules (no password), per kind of node (`data`,
    `sentinel`), for comparison with the live servers; `spec` is the spec that the stack was made from, as plain data.
    """

    schema_version: int
    topology: Topology
    stack: str
    owner: str
    engine: Engine
    tls: bool
    network: NetworkEntry
    nodes: tuple[NodeEntry, ...]
    replicas: int
    sentinel: SentinelSettings | None = None
    cluster: ClusterSettings | None = None
    parameters: dict[str, dict[str, str]]
    users: dict[str, dict[str, str]] = {}
    spec: dict[str, Any]

    @property
    def data_nodes(self) -> tuple[NodeEntry, ...]:
        """Nodes that hold data, in order of shard and member."""
        return tuple(sorted((n for n in self.nodes if not n.is_sentinel), key=lambda n: (n.shard, n.member)))

    @property
    def sentinels(self) -> tuple[NodeEntry, ...]:
        return tuple(n for n in self.nodes if n.is_sentinel)

    @property
    def shards(self) -> tuple[int, ...]:
        return tuple(sorted({n.shard for n in self.data_nodes}))

    def node(self, name: str) -> NodeEntry:
        """The node called `name`; raises UsageError naming those that exist."""
        for entry in self.nodes:
            if entry.name == name:
                return entry
        names = ", ".join(n.name for n in self.nodes)
        raise UsageError(f"stack {self.stack} has no node {name!r}; its nodes are {names}")

    def at(self, address: str, port: int) -> NodeEntry | None:
        """The node that announces `address:port`, or None for a stranger."""
        return next((n for n in self.nodes if n.address == address and n.port == port), None)


class Credentials(_Frozen):
    """Passwords by user name; printing or logging this object shows none of them."""

    passwords: dict[str, SecretStr]

    def password(self, user: str) -> str:
        """The password of `user` in the clear, for the wire only."""
        try:
            return self.passwords[user].get_secret_value()
        except KeyError:
            raise UsageError(f"no credentials for user {user!r}; known users are {', '.join(self.passwords)}") from None

    @classmethod
    def of(cls, passwords: dict[str, str]) -> "Credentials":
        return cls(passwords={user: SecretStr(password) for user, password in passwords.items()})


class Access(_Frozen):
    """An inventory together with what is needed to log in to its nodes."""

    inventory: Inventory
    credentials: Credentials


def parse_access(outputs: dict[str, Any], stack: str) -> Access:
    """Read the outputs of a stack; raises InvalidInput when they are not an inventory that this release understands."""
    if "inventory" not in outputs or "credentials" not in outputs:
        raise Unreachable(f"stack {stack} has no inventory output: it is not up; run `make up STACK={stack}`")
    version = outputs["inventory"].get("schema_version")
    if version != SCHEMA_VERSION:
        raise InvalidInput(
            f"the inventory of stack {stack} has schema version {version}, this release reads {SCHEMA_VERSION}; "
            f"run `make up STACK={stack}` with this release first"
        )
    try:
        inventory = Inventory.model_validate(outputs["inventory"])
    except ValidationError as error:
        raise InvalidInput(f"the inventory of stack {stack} is not valid: {error}") from None
    return Access(inventory=inventory, credentials=Credentials.of(outputs["credentials"]))


def load_access(stack: str) -> Access:
    """Ask Pulumi for the outputs of `stack`; raises Unreachable when there is no such stack or no Pulumi."""
    if not STACK_NAME.fullmatch(stack):
        raise UsageError(f"{stack!r} is not a stack name: use lower-case letters, digits and hyphens, at most 40")
    command = ["pulumi", "stack", "output", "--json", "--show-secrets", "--stack", stack, "--non-interactive"]
    root = Path(__file__).resolve().parent.parent
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise Unreachable("pulumi is not on PATH; run `make setup`, then `source env.sh`") from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"pulumi did not answer for stack {stack} within 60 s; is its backend reachable?") from None
    if answer.returncode != 0:
        reason = " ".join(answer.stderr.split()) or "no reason given"
        if "no stack named" in reason:
            raise Unreachable(f"there is no stack {stack}; run `make up STACK={stack}`")
        if "incorrect passphrase" in reason:
            raise Unreachable(
                f"the passphrase does not fit stack {stack}; set PULUMI_CONFIG_PASSPHRASE_FILE to the file it was made with"
            )
        raise Unreachable(f"pulumi could not read stack {stack}: {reason}")
    return parse_access(json.loads(answer.stdout), stack)
