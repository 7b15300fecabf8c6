"""Pulumi components that turn a plan into Docker resources; they take no decisions of their own."""

from topologies.components.topology import (
    Cluster,
    Replication,
    Sentinel,
    Standalone,
    Topology,
    TopologyArgs,
    topology_class,
)

__all__ = ["Cluster", "Replication", "Sentinel", "Standalone", "Topology", "TopologyArgs", "topology_class"]
