"""Applications are kept out of a stack until what is restored into it was verified, whatever restarts meanwhile.

A file on each data volume says so; nodes read it when they start (configs/node/role.sh), and a running one is told.
"""

from collections.abc import Sequence

from operations.backup.fetch import FENCE
from operations.connect import Fleet, Link, Refused
from operations.containers import Containers
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access, NodeEntry
from operations.parse import items

NOT_FENCED = frozenset({"default", "admin", "replication", "sentinel", "monitor", "backup"})
"""Users that a fence leaves alone, as in configs/node/role.sh."""


def is_fenced(containers: Containers, nodes: Sequence[NodeEntry]) -> str | None:
    """The backup of a restore that was begun on these nodes and not ended, or None."""
    for node in nodes:
        if mark := containers.run(node, f"cat /data/{FENCE} 2>/dev/null || :"):
            return mark
    return None


def raise_fence(access: Access, containers: Containers, mark: str) -> None:
    """Keep applications out of a running stack, also of nodes that restart meanwhile; `lift_fence` lets them in again."""
    data = access.inventory.data_nodes

    def close(link: Link) -> None:
        for user in items(link.ask("ACL", "USERS")):
            if str(user) not in NOT_FENCED:
                link.ask("ACL", "SETUSER", str(user), "off")
                link.ask("CLIENT", "KILL", "USER", str(user))

    for node in data:
        containers.run(node, f"printf '%s\\n' '{mark}' > /data/{FENCE}")
    with Fleet(access, data) as fleet:
        for name, answer in fleet.each(close).items():
            if isinstance(answer, ToolkitError | Refused):
                raise CheckFailed(f"{name} could not be closed to applications: {answer}")


def lift_fence(access: Access, containers: Containers, nodes: Sequence[NodeEntry]) -> None:
    """Let applications in again on these nodes. The link makes them read the declared users from now on."""
    for node in nodes:
        containers.run(node, f"ln -sf /config/data/users.acl /data/{FENCE}.acl && rm -f /data/{FENCE}")
    with Fleet(access, nodes) as fleet:
        for name, answer in fleet.each(lambda link: link.ask("ACL", "LOAD")).items():
            if isinstance(answer, ToolkitError | Refused):
                raise CheckFailed(f"{name} did not let applications in again: {answer}")
