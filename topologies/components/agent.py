"""The backup agent: one small container beside the nodes, on volumes that outlive the stack."""

from collections.abc import Sequence

import pulumi
import pulumi_docker as docker

from operations.archive.job import ARCHIVE, NODES
from operations.backup.launch import IMAGE, LABEL, MEMORY, archive_volume, home_volume, repository_mount
from operations.backup.session import HOME, LOCAL
from topologies.agent import COMMAND, HEALTH, address, container_name
from topologies.components.node import LOG_OPTIONS, label_args
from topologies.plan import Plan
from topologies.render import CONFIG


def backup_agent(
    plan: Plan, network: docker.Network, after: Sequence[pulumi.Resource], parent: pulumi.Resource
) -> docker.Container:
    """Root without capabilities: it owns its volumes and may do nothing else. The volumes are no resources of the stack.

    Its host name is Docker's: a lock that restic holds must not look like that of another stack's agent at the same repository
    (operations/backup/locks.py).

    One that archives also reads the nodes' volumes, whose files belong to the server's user.
    """
    child = pulumi.ResourceOptions(parent=parent)
    image = docker.RemoteImage("client-image", name=IMAGE, keep_locally=True, opts=child)
    source = repository_mount(plan.stack, plan.spec.backup)
    mounts = [
        docker.ContainerVolumeArgs(volume_name=plan.config_volume, container_path=CONFIG, read_only=True),
        docker.ContainerVolumeArgs(volume_name=home_volume(plan.stack), container_path=str(HOME)),
    ]
    if source is not None:
        on_host = source.startswith("/")
        place = docker.ContainerVolumeArgs(
            container_path=LOCAL, host_path=source if on_host else None, volume_name=None if on_host else source
        )
        mounts.append(place)
    if plan.spec.backup.point_in_time:
        mounts.append(docker.ContainerVolumeArgs(volume_name=archive_volume(plan.stack), container_path=str(ARCHIVE)))
        mounts += [
            docker.ContainerVolumeArgs(volume_name=node.volume, container_path=f"{NODES}/{node.name}", read_only=True)
            for node in plan.data_nodes
        ]
    rights = ["DAC_READ_SEARCH"] if plan.spec.backup.point_in_time else []
    return docker.Container(
        "backup-agent",
        name=container_name(plan),
        image=image.image_id,
        entrypoints=["python3"],
        command=["-c", COMMAND],
        user="0:0",
        init=True,
        read_only=True,
        tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=512m"},  # noqa: S108 - restic makes its packs there
        envs=["HOME=/tmp"],
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"], adds=rights or None),
        security_opts=["no-new-privileges:true"],
        memory=int(MEMORY.removesuffix("g")) * 1024,
        memory_swap=int(MEMORY.removesuffix("g")) * 1024,
        restart="unless-stopped",
        log_driver="json-file",
        log_opts=LOG_OPTIONS,
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=list(HEALTH), interval="30s", timeout="5s", retries=2, start_period="30s"
        ),
        labels=label_args({**plan.labels, LABEL: plan.stack}),
        volumes=mounts,
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, ipv4_address=address(plan))],
        must_run=True,
        wait=False,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after), delete_before_replace=True),
    )
