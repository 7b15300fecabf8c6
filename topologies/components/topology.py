"""The four topologies. They share one component type, so that a stack can change topology without replacing its nodes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi
import pulumi_docker as docker
from pulumi.dynamic import Resource

from operations.inventory import NodeEntry
from topologies import outputs
from topologies.components.agent import backup_agent
from topologies.components.carrier import carrier
from topologies.components.node import data_volume, node_container, replacing, volume_labels
from topologies.plan import Plan
from topologies.providers import ConvergenceProvider, CredentialsProvider, GateProvider, RestorationProvider
from topologies.render import USERS, stack_files

COMPONENT_TYPE = "redis:topology:Topology"
"""Part of the URN of every resource below it: another type for another topology would replace everything."""


class Credentials(Resource, module="redis", name="Credentials"):
    """Passwords of the stack's users, made once."""

    passwords: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__(CredentialsProvider(), name, {"users": list(USERS), "passwords": None}, opts)


class Convergence(Resource, module="redis", name="Convergence"):
    """The running servers as declared: formed, replicating, watched."""

    version: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(ConvergenceProvider(), name, {**props, "version": None}, opts)


class Gate(Resource, module="redis", name="Gate"):
    """What the replacement of a node's container waits for."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(GateProvider(), name, props, opts)


class Restoration(Resource, module="redis", name="Restoration"):
    """The data that a new stack is born with."""

    outcome: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(RestorationProvider(), name, {**props, "outcome": None}, opts)


@dataclass(frozen=True)
class TopologyArgs:
    """`standing` are the containers that exist already, in the order in which they are replaced; new ones start at once.

    `leaving` are nodes that run and are not planned any more; `shards` is the number of shards that was last begun.
    """

    plan: Plan
    standing: Sequence[str] = ()
    leaving: Sequence[NodeEntry] = ()
    shards: int | None = None


class Topology(pulumi.ComponentResource):
    """A stack: network, volumes, carrier, nodes, convergence. Outputs: inventory, credentials, connection."""

    inventory: pulumi.Output[dict[str, Any]]
    credentials: pulumi.Output[dict[str, str]]
    connection: pulumi.Output[dict[str, Any]]

    def __init__(self, name: str, args: TopologyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(COMPONENT_TYPE, name, None, opts)
        plan = args.plan
        child = pulumi.ResourceOptions(parent=self)
        image = docker.RemoteImage("image", name=plan.image, keep_locally=True, opts=child)
        passwords = Credentials(
            "credentials", pulumi.ResourceOptions(parent=self, additional_secret_outputs=["passwords"])
        ).passwords
        network = docker.Network(
            "network",
            name=plan.network,
            ipam_configs=[docker.NetworkIpamConfigArgs(subnet=plan.subnet, gateway=plan.gateway)],
            labels=[docker.NetworkLabelArgs(label=key, value=value) for key, value in sorted(plan.labels.items())],
            opts=child,
        )
        config = docker.Volume(
            "config",
            name=plan.config_volume,
            labels=volume_labels(plan.labels),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["labels"]),
        )
        bearer = carrier(plan, image.image_id, config, passwords, self)

        declared = outputs.inventory(plan, "", "")
        temporary = [outputs.entry(node) for node in plan.surge]
        made: dict[str, docker.Container] = {}
        # Nodes that are missing come first, all at once: only when they are back may a standing one be taken down.
        missing: list[docker.Container] = []
        previous: list[docker.Container] = []
        places = {container: place for place, container in enumerate(args.standing, start=1)}
        for node in sorted(plan.replacement_order, key=lambda one: places.get(one.container, 0)):
            stands = node.container in places
            gate = Gate(
                f"{node.name}-gate",
                {
                    "inventory": declared,
                    "credentials": pulumi.Output.secret(passwords),
                    "node": node.name,
                    "revision": image.image_id.apply(partial(replacing, plan, node)),
                    "surge": temporary,
                    "image": image.image_id,
                },
                # The carrier brings the files of temporary replicas, which a gate starts.
                pulumi.ResourceOptions(parent=self, depends_on=[bearer, *missing, *previous] if stands else []),
            )
            after = [bearer, gate] if stands else [bearer]
            made[node.name] = node_container(plan, node, image.image_id, network, data_volume(plan, node, self), after, self)
            if stands:
                previous = [made[node.name]]
            else:
                missing.append(made[node.name])
        # In an order that does not depend on what stands: it is part of what converge compares.
        containers = [made[node.name] for node in plan.replacement_order]

        convergence = Convergence(
            "convergence",
            {
                "inventory": declared,
                "credentials": pulumi.Output.secret(passwords),
                "revisions": {
                    "containers": [container.id for container in containers],
                    "files": passwords.apply(lambda known: _digest(plan, known)),
                },
                # Nodes that leave are no resources any more: Pulumi deletes them last, after this has let them go.
                "standing": {
                    "leaving": [node.model_dump() for node in args.leaving],
                    "shards": args.shards,
                    "surge": temporary,
                },
            },
            pulumi.ResourceOptions(parent=self, depends_on=containers),
        )
        if plan.spec.backup.needs_agent:
            # Who archives mounts the nodes' volumes, and begins when the servers write as is declared.
            backup_agent(plan, network, [bearer, convergence] if plan.spec.backup.point_in_time else [bearer], self)
        self.inventory = pulumi.Output.all(image.image_id, convergence.version).apply(
            lambda known: outputs.inventory(plan, known[0], known[1])
        )
        if plan.spec.restore_from is not None:
            born: dict[str, Any] = {"inventory": self.inventory, "credentials": pulumi.Output.secret(passwords)}
            source = plan.spec.restore_from.model_dump(mode="json")
            Restoration("restoration", {**born, "source": source}, pulumi.ResourceOptions(parent=self, depends_on=[convergence]))
        self.credentials = pulumi.Output.secret(passwords)
        self.connection = pulumi.Output.secret(passwords.apply(lambda known: outputs.connection(plan, known)))
        self.register_outputs({})


def _digest(plan: Plan, passwords: dict[str, str]) -> str:
    """Changes when any file of any node changes; tells nothing about the passwords, which are random."""
    return hashlib.sha256(json.dumps(stack_files(plan, passwords), sort_keys=True).encode()).hexdigest()


class Standalone(Topology):
    """One node."""


class Replication(Topology):
    """A primary and its replicas; a planned or forced switchover promotes a replica, nothing fails over by itself."""


class Sentinel(Topology):
    """A primary and its replicas, watched by sentinels that fail over."""


class Cluster(Topology):
    """Shards over 16,384 slots, each a primary and its replicas, which fail over by themselves."""


def topology_class(plan: Plan) -> type[Topology]:
    return {"standalone": Standalone, "replication": Replication, "sentinel": Sentinel, "cluster": Cluster}[plan.spec.topology]
