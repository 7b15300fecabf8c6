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
from operations.backup.manifest import Manifest
from operations.connect import Fleet
from operations.containers import absent
from operations.errors import Busy, CheckFailed, ToolkitError, Unreachable
from operations.inventory import Access, Inventory, NodeEntry
from operations.observe import observe
from operations.parse import Slots, format_slots, slot_total, uncovered

LABEL = "redis-topologies"
FOLDER = "/data"
LAY = (
    f'[ -z "$(ls -A {FOLDER} | grep -vx {FENCE})" ] || {{ echo "it is not empty" >&2; exit 1; }}; '
    f'umask 077; printf "%s\\n" "$MARK" > {FOLDER}/{FENCE} && chown "$(stat -c %u:%g {FOLDER})" {FOLDER}/{FENCE}'
)
"""Refuses a volume that holds anything but a fence: its data may be the last copy."""


def rebuild(access: Access, manifest: Manifest) -> str | None:
    """Make the missing data nodes of a stack anew, fenced for the restore of `manifest`; what was done, None when all are there.

    A whole shard of a cluster that came back empty gets the slots that the backup says it had; the other shards serve meanwhile.
    Raises CheckFailed when a missing node still has data on its volume (`pulumi up --refresh` alone brings that back), and what
    `apply` raises.
    """
    client, inventory = _engine(), access.inventory
    gone = absent(client, inventory.data_nodes)
    if not gone:
        return None
    labels = _labels(client, inventory)
    for node in gone:
        marked = {**labels, f"{LABEL}.node": node.name, f"{LABEL}.shard": str(node.shard)}
        _lay_fence(client, inventory, node, marked, manifest.id)
    try:
        told = apply(inventory.stack, refresh=True)
    except (Busy, Unreachable):
        raise
    except ToolkitError:  # it refuses slots without any copy, which is what the backup is for
        blank = lost_shards(inventory, gone)
        if inventory.topology != "cluster" or not blank or absent(client, gone):
            raise
        _give_slots(access, manifest, blank)
        told = apply(inventory.stack)
    return f"`pulumi up --refresh` made {', '.join(node.name for node in gone)} anew, closed to applications ({told})"


def lost_shards(inventory: Inventory, gone: Sequence[NodeEntry]) -> list[NodeEntry]:
    """The first node of every shard of which all nodes are gone, in the order of the shards. Pure."""
    names = {node.name for node in gone}
    whole = [shard for shard in inventory.shards if all(n.name in names for n in inventory.data_nodes if n.shard == shard)]
    return sorted((node for node in gone if node.shard in whole and node.member == 1), key=lambda node: node.shard)


def slots_for(manifest: Manifest, lost: Slots, blank: Sequence[NodeEntry]) -> dict[str, Slots]:
    """Which empty shard gets which of the lost slots. Pure. Raises CheckFailed when the backup's shards are cut otherwise."""
    without = [one.slots for one in manifest.shards if slot_total(common(one.slots, lost)) == slot_total(one.slots)]
    if len(without) != len(blank) or sum(map(slot_total, without)) != slot_total(lost):
        raise CheckFailed(
            f"slots {format_slots(lost)} have no owner any more, and backup {manifest.id} has other shards than these; restore "
            "the whole stack instead (--replace), which gives up what the other shards hold"
        )
    return {node.name: slots for node, slots in zip(blank, without, strict=True)}


def common(one: Slots, other: Slots) -> Slots:
    """The slots in both. Pure."""
    pairs = ((max(low, first), min(high, last)) for low, high in one for first, last in other)
    return tuple((low, high) for low, high in pairs if low <= high)


def _give_slots(access: Access, manifest: Manifest, blank: Sequence[NodeEntry]) -> None:
    """Let empty shards own the slots that have no owner any more, as the backup shares them out."""
    seen = observe(access)
    views = [view for node in access.inventory.data_nodes if (view := seen.of(node.name).cluster)]
    owners = slots_for(manifest, uncovered(view.slots for view in views), blank)
    with Fleet(access, blank) as fleet:
        for name, slots in owners.items():
            fleet.links[name].ask("CLUSTER", "ADDSLOTSRANGE", *(number for pair in slots for number in pair))
            fleet.links[name].ask("CLUSTER", "BUMPEPOCH")


def _engine() -> Any:
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        raise Unreachable(f"the Docker engine does not answer: {error}; is it running, and may this user use it?") from None
    return client


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
