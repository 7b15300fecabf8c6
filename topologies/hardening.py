"""What a node's container may do and how it is reached: as declared, and as `docker inspect` tells. Pure.

Both sides are plain texts by name, so that they can be compared and shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from operations.inventory import Inventory, NodeEntry
from operations.sizes import MIB
from topologies.plan import LABEL_PREFIX, SENTINEL_MEMORY_BYTES, data_memory_limit_bytes
from topologies.spec import Spec

REPLACE = "pulumi refresh && pulumi up replaces it"
IN_PLACE = ("memory", "restart policy")
"""What the engine changes on a container that runs."""


def declared_container(inventory: Inventory, node: NodeEntry) -> dict[str, str]:
    """Facts of the container of `node` as the spec asks for them."""
    spec = Spec.model_validate(inventory.spec)
    memory = SENTINEL_MEMORY_BYTES if node.is_sentinel else data_memory_limit_bytes(spec)
    stays_down = spec.restart_policy == "never" and not node.is_sentinel
    published = f"127.0.0.1:{node.host_port}->{node.port}" if spec.network.publish else "none"
    return {
        "state": "running",
        "image": inventory.engine.image_id,
        "user": spec.engine.user or spec.engine.name,
        "root file system": "read-only",
        "privileged": "no",
        "capabilities": "none",
        "new privileges": "no",
        "memory": f"{-(-memory // MIB)} MB",
        "open files": str(spec.limits.files),
        "processes": str(spec.limits.processes),
        "restart policy": "no" if stays_down else "unless-stopped",
        "patience on stop": f"{spec.limits.stop_timeout_seconds} s",
        "published ports": published,
        "networks": f"{inventory.network.name} {node.address}",
        "mounts": f"/config read-only, /data {node.volume}",
        "owner": inventory.owner,
    }


def live_container(inspection: Mapping[str, Any]) -> dict[str, str]:
    """The same facts from `docker inspect`."""
    host, config = inspection["HostConfig"], inspection["Config"]
    limits = {limit["Name"]: limit["Hard"] for limit in host.get("Ulimits") or ()}
    dropped, added = host.get("CapDrop") or [], host.get("CapAdd") or []
    secure = {"no-new-privileges", "no-new-privileges:true"} & set(host.get("SecurityOpt") or ())
    networks = inspection["NetworkSettings"]["Networks"] or {}
    return {
        "state": inspection["State"]["Status"],
        "image": inspection["Image"],
        "user": config.get("User") or "root",
        "root file system": "read-only" if host.get("ReadonlyRootfs") else "writable",
        "privileged": "yes" if host.get("Privileged") else "no",
        "capabilities": "none" if "ALL" in dropped and not added else f"all but {_list(dropped)}, with {_list(added)}",
        "new privileges": "no" if secure else "possible",
        "memory": f"{host.get('Memory', 0) // MIB} MB" if host.get("Memory") else "unbounded",
        "open files": str(limits.get("nofile", "unbounded")),
        "processes": str(limits.get("nproc", "unbounded")),
        "restart policy": host["RestartPolicy"]["Name"] or "no",
        "patience on stop": f"{config.get('StopTimeout', 10)} s",
        "published ports": _list(_published(host.get("PortBindings") or {})),
        "networks": _list(
            f"{name} {(network.get('IPAMConfig') or {}).get('IPv4Address', '')}" for name, network in networks.items()
        ),
        "mounts": _list(_mount(mount) for mount in inspection["Mounts"]),
        "owner": (config.get("Labels") or {}).get(f"{LABEL_PREFIX}.owner", "nobody"),
    }


def _published(bindings: Mapping[str, Sequence[Mapping[str, str]] | None]) -> list[str]:
    return [
        f"{one.get('HostIp') or 'every address'}:{one['HostPort']}->{port.partition('/')[0]}"
        for port, ends in bindings.items()
        for one in ends or ()
    ]


def _mount(mount: Mapping[str, Any]) -> str:
    """`/config` is the stack's own volume wherever it stands; any other mount is told with its source."""
    place = str(mount["Destination"])
    if place == "/config":
        return f"{place} {'writable' if mount.get('RW') else 'read-only'}"
    return f"{place} {mount.get('Name') or mount.get('Source')}"


def _list(parts: Any) -> str:
    return ", ".join(sorted(map(str, parts))) or "none"
