"""Nodes that are gone with their data are made anew, closed to applications from their first moment on.

What a fresh node accepts before a restore would be lost by it. So the data volume of each missing node is made beforehand, with
nothing on it but the fence of a restore (configs/node/role.sh); `pulumi up` then makes the nodes, and the restore opens them.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from operations.apply import apply
from operations.backup.fetch import FENCE
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Inventory, NodeEntry

LABEL = "redis-topologies"
FOLDER = "/data"
LAY = (
    f'[ -z "$(ls -A {FOLDER} | grep -vx {FENCE})" ] || {{ echo "it is not empty" >&2; exit 1; }}; '
    f'umask 077; printf "%s\\n" "$MARK" > {FOLDER}/{FENCE} && chown "$(stat -c %u:%g {FOLDER})" {FOLDER}/{FENCE}'
)
"""Refuses a volume that holds anything but a fence: its data may be the last copy."""


def rebuild(inventory: Inventory, mark: str) -> str | None:
    """Make the missing data nodes of a stack anew, fenced with `mark`; what was done, None when all containers are there.

    Raises CheckFailed when one of them still has data on its volume (`pulumi up --refresh` alone brings that back), and what
    `apply` raises.
    """
    client = _engine()
    gone = _missing(client, inventory.data_nodes)
    if not gone:
        return None
    labels = _labels(client, inventory)
    for node in gone:
        _lay_fence(client, inventory, node, {**labels, f"{LABEL}.node": node.name, f"{LABEL}.shard": str(node.shard)}, mark)
    told = apply(inventory.stack, refresh=True)
    return f"`pulumi up --refresh` made {', '.join(node.name for node in gone)} anew, closed to applications ({told})"


def _engine() -> Any:
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        raise Unreachable(f"the Docker engine does not answer: {error}; is it running, and may this user use it?") from None
    return client


def _missing(client: Any, nodes: Sequence[NodeEntry]) -> list[NodeEntry]:
    found = {name.lstrip("/") for entry in client.api.containers(all=True) for name in entry["Names"]}
    return [node for node in nodes if node.container not in found]


def _labels(client: Any, inventory: Inventory) -> Mapping[str, str]:
    """What marks every object of the stack as its own, from its network where that is left; Pulumi would give the same."""
    with contextlib.suppress(NotFound):
        labels = client.networks.get(inventory.network.name).attrs["Labels"] or {}
        return {name: value for name, value in labels.items() if name.startswith(f"{LABEL}.")}
    return {}


def _lay_fence(client: Any, inventory: Inventory, node: NodeEntry, labels: Mapping[str, str], mark: str) -> None:
    """The fence on a new volume. By the node's own image: it gives the volume to the server's user."""
    made = _made(client, node.volume, labels)
    try:
        client.containers.run(
            inventory.engine.image, ["-c", LAY], entrypoint="sh", user="0:0", network_mode="none", remove=True,
            volumes={node.volume: {"bind": FOLDER, "mode": "rw"}}, environment={"MARK": mark},
        )  # fmt: skip
    except DockerException as error:
        if made:
            with contextlib.suppress(APIError):
                client.volumes.get(node.volume).remove()
        said = getattr(error, "stderr", None)
        told = said.decode(errors="replace").strip() if isinstance(said, bytes) and said else str(error)
        raise CheckFailed(
            f"volume {node.volume} of {node.name} cannot be prepared: {told}; if it holds data that counts, run "
            f"`pulumi up --refresh --stack {inventory.stack}` instead, else remove it. No node was made"
        ) from None


def _made(client: Any, name: str, labels: Mapping[str, str]) -> bool:
    """Make the volume unless there is one; whether it was made."""
    try:
        client.volumes.get(name)
    except NotFound:
        client.volumes.create(name, labels=dict(labels))
        return True
    return False
