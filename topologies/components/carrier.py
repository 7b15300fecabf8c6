"""The carrier: a container that is created but never started and brings files into the configuration volume.

A changed file replaces the carrier in a moment; the nodes, which mount the volume read-only, keep running.
"""

import pulumi
import pulumi_docker as docker

from topologies.agent import agent_files
from topologies.components.node import label_args
from topologies.plan import Plan
from topologies.render import CONFIG, shared_files, stack_files

READABLE = "0444"
"""The server's user differs from image to image; the volume itself is open to root and to this stack's nodes alone."""


def carrier(
    plan: Plan,
    image_id: pulumi.Input[str],
    volume: docker.Volume,
    passwords: pulumi.Output[dict[str, str]],
    parent: pulumi.Resource,
) -> docker.Container:
    """All files of the stack; those with secrets are secret in the state."""

    def uploads(known: dict[str, str]) -> list[docker.ContainerUploadArgs]:
        files = shared_files() | stack_files(plan, known) | agent_files(plan, known)
        return [
            docker.ContainerUploadArgs(file=f"{CONFIG}/{path}", content=text, permissions=READABLE)
            for path, text in sorted(files.items())
        ]

    return docker.Container(
        "carrier",
        name=plan.carrier,
        image=image_id,
        entrypoints=["true"],
        start=False,
        must_run=False,
        network_mode="none",
        labels=label_args(plan.carrier_labels),
        volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path=CONFIG)],
        uploads=passwords.apply(uploads),
        opts=pulumi.ResourceOptions(parent=parent, delete_before_replace=True),
    )
