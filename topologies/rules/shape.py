"""Which fields belong to a topology, and how many shards and replicas it needs."""

from collections.abc import Iterator

from topologies.addresses import MAX_MEMBERS, MAX_SHARDS
from topologies.findings import NO_VALUE
from topologies.rules.ruling import Ruling, refuse, warn
from topologies.spec import Spec

MIN_SHARDS = 3


def belonging(spec: Spec) -> Iterator[Ruling]:
    """Fields that mean nothing in this topology."""
    topology, given = spec.topology, spec.model_fields_set
    if spec.shards not in (None, 1) and topology != "cluster":
        yield refuse(
            "shards", spec.shards, f"but a {topology} topology has one shard", "remove it, or use topology cluster", "topology"
        )
    if spec.replicas and topology == "standalone":
        yield refuse(
            "replicas",
            spec.replicas,
            "but a standalone topology has no replicas",
            "remove it, or use topology replication or sentinel",
            "topology",
        )
    for section in ("sentinel", "cluster"):
        if section in given and topology != section:
            what = "sentinels" if section == "sentinel" else "cluster nodes"
            yield refuse(
                section,
                NO_VALUE,
                f"is given but a {topology} topology has no {what}",
                f"remove the section, or use topology {section}",
                "topology",
            )
    if "replication" in given and not spec.replica_count and not spec.replication.min_replicas_to_write:
        yield warn("replication", NO_VALUE, "has no effect, because no node has replicas", "remove the section", "replicas")
    unused = {"rdb": not spec.uses_rdb, "aof": not spec.uses_aof}
    for section in ("rdb", "aof"):
        if unused[section] and section in spec.persistence.model_fields_set:
            yield warn(
                f"persistence.{section}",
                NO_VALUE,
                f"has no effect with persistence.policy {spec.persistence.policy}",
                f"use persistence.policy {section} or both, or remove the section",
                "persistence.policy",
            )


def shape(spec: Spec) -> Iterator[Ruling]:
    """Numbers of shards and replicas."""
    if spec.topology == "cluster":
        if spec.shard_count < MIN_SHARDS:
            yield refuse(
                "shards",
                spec.shards,
                "but a cluster needs at least 3 primaries to agree that one of them failed",
                f"use {MIN_SHARDS} to {MAX_SHARDS}",
            )
        if spec.shard_count > MAX_SHARDS:
            yield refuse(
                "shards",
                spec.shards,
                f"but the addresses of a stack are enough for {MAX_SHARDS} shards",
                f"use {MIN_SHARDS} to {MAX_SHARDS}",
            )
        if not spec.replica_count:
            yield warn(
                "replicas", spec.replicas, "so the slots of a node that fails are not served until it is back", "use 1 to 4"
            )
    elif spec.topology != "standalone" and not spec.replica_count:
        yield refuse(
            "replicas",
            spec.replicas,
            f"but a {spec.topology} topology needs at least 1",
            "use 1 to 4, or topology standalone",
            "topology",
        )


def surge(spec: Spec) -> Iterator[Ruling]:
    """A temporary replica needs a primary that others follow already, and an address."""
    if not spec.change.surge:
        return
    if not spec.replica_count:
        yield refuse(
            "change.surge",
            True,
            "but there are no replicas, so there is no redundancy to keep",
            "use replicas 1 or more, or remove it",
            "replicas",
        )
    elif spec.replica_count + 2 > MAX_MEMBERS:
        yield refuse(
            "change.surge",
            True,
            f"but with {spec.replica_count} replicas no address is left for a temporary one",
            f"use replicas {MAX_MEMBERS - 2} or less, or remove it",
            "replicas",
        )
