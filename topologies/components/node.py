"""One server process: a hardened container on its data volume. The configuration comes through the carrier."""

import hashlib
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_docker as docker

from topologies.plan import NodePlan, Plan
from topologies.render import CONFIG, DATA, health_command, start_command

LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
HEALTH_INTERVAL = "10s"


def label_args(labels: Mapping[str, str]) -> list[docker.ContainerLabelArgs]:
    return [docker.ContainerLabelArgs(label=name, value=value) for name, value in sorted(labels.items())]


def volume_labels(labels: Mapping[str, str]) -> list[docker.VolumeLabelArgs]:
    return [docker.VolumeLabelArgs(label=name, value=value) for name, value in sorted(labels.items())]


def data_volume(plan: Plan, node: NodePlan, parent: pulumi.Resource) -> docker.Volume:
    """The volume that outlives its containers, kept on destroy unless the spec says otherwise."""
    return docker.Volume(
        f"{node.name}-data",
        name=node.volume,
        labels=volume_labels(node.labels),
        opts=pulumi.ResourceOptions(
            parent=parent,
            retain_on_delete=plan.spec.data.on_destroy == "keep",
            # A label that changes (another backend, an adopted volume) must never replace data.
            ignore_changes=["labels", "driver", "driverOpts"],
        ),
    )


def replacing(plan: Plan, node: NodePlan, image_id: str) -> str:
    """Changes with everything that may change in a spec and replaces the container of a node (memory is changed in place)."""
    limits = plan.spec.limits
    parts = (
        image_id, plan.user, plan.network, limits.files, limits.processes, node.restart, node.stop_timeout_seconds,
        node.announced_address, node.port, node.host, node.host_port, sorted(node.labels.items()),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def node_container(
    plan: Plan,
    node: NodePlan,
    image_id: pulumi.Input[str],
    network: docker.Network,
    volume: docker.Volume,
    depends_on: Sequence[pulumi.Resource],
    parent: pulumi.Resource,
) -> docker.Container:
    """Non-root, read-only root, no capabilities, no new privileges, bounded; ports on loopback alone."""
    limits = plan.spec.limits
    ports = (
        [docker.ContainerPortArgs(internal=node.port, external=node.host_port, ip=node.host, protocol="tcp")]
        if node.host_port
        else []
    )
    return docker.Container(
        node.name,
        name=node.container,
        hostname=node.name,
        image=image_id,
        entrypoints=start_command(node)[:1],
        command=start_command(node)[1:],
        user=plan.user,
        init=True,
        read_only=True,
        tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=16m"},  # noqa: S108 - inside the container
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges:true"],
        memory=-(-node.memory_limit_bytes // 1024**2),
        memory_swap=-(-node.memory_limit_bytes // 1024**2),
        ulimits=[
            docker.ContainerUlimitArgs(name="nofile", soft=limits.files, hard=limits.files),
            docker.ContainerUlimitArgs(name="nproc", soft=limits.processes, hard=limits.processes),
        ],
        sysctls={"net.core.somaxconn": "1024"},
        restart=node.restart,
        stop_timeout=node.stop_timeout_seconds,
        destroy_grace_seconds=node.stop_timeout_seconds,
        log_driver="json-file",
        log_opts=LOG_OPTIONS,
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=health_command(node), interval=HEALTH_INTERVAL, timeout="3s", retries=3, start_period="30s"
        ),
        labels=label_args(node.labels),
        volumes=[
            docker.ContainerVolumeArgs(volume_name=plan.config_volume, container_path=CONFIG, read_only=True),
            docker.ContainerVolumeArgs(volume_name=volume.name, container_path=DATA),
        ],
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, ipv4_address=node.announced_address)],
        ports=ports,
        must_run=True,
        wait=False,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=list(depends_on),
            # Two containers cannot have one name and one address; and the old one hands over before it stops.
            delete_before_replace=True,
            custom_timeouts=pulumi.CustomTimeouts(create="10m", delete="10m"),
        ),
    )
