"""What a spec promises, by policy and topology: the sentences of the guide."""

from typing import Any

import pytest

from topologies.promises import Promises, promises
from topologies.spec import Spec


def promised(topology: str, **fields: Any) -> Promises:
    return promises(Spec.model_validate({"topology": topology, **fields}))


@pytest.mark.parametrize(
    ("topology", "policy", "sentence"),
    [
        ("standalone", "aof", "nothing is lost (on a slow disk up to 2 s of writes)"),
        ("standalone", "rdb", "lost is everything since the last save point"),
        ("standalone", "none", "everything is lost"),
        ("replication", "rdb", "the primary stays down, its replicas keep what they received; switching over is up to you"),
        ("cluster", "aof", "if it comes back nothing is lost (on a slow disk up to 2 s of writes), else what the primary "
         "had not yet sent to the replica that takes over (milliseconds)"),
        ("cluster", "none", "lost is what the primary had not yet sent to the replica that takes over (milliseconds)"),
    ],
)  # fmt: skip
def test_what_a_killed_server_costs(topology: str, policy: str, sentence: str) -> None:
    assert promised(topology, persistence={"policy": policy}).server_killed == sentence


@pytest.mark.parametrize("fsync", ["always", "no"])
def test_a_killed_server_that_lets_nothing_wait_loses_nothing(fsync: str) -> None:
    assert promised("standalone", persistence={"aof": {"fsync": fsync}}).server_killed == "nothing is lost"


@pytest.mark.parametrize(
    ("policy", "fsync", "sentence"),
    [
        ("aof", "always", "nothing is lost"),
        ("both", "everysec", "up to 2 s of writes are lost"),
        ("aof", "no", "lost is what the kernel had not yet written, mostly up to 30 s"),
        ("rdb", "always", "lost is everything since the last save point"),
        ("none", "always", "everything is lost"),
    ],
)
def test_what_a_power_cut_costs(policy: str, fsync: str, sentence: str) -> None:
    made = promised("cluster", persistence={"policy": policy, "aof": {"fsync": fsync}})
    assert made.machine_loses_power == sentence


@pytest.mark.parametrize(
    ("topology", "fields", "sentence"),
    [
        ("standalone", {}, "it goes on alone, there are no replicas"),
        ("replication", {}, "it goes on, nobody takes its place, nothing is lost"),
        ("replication", {"replication": {"min_replicas_to_write": 1}}, "it refuses writes after 7 s, nothing is lost"),
        ("sentinel", {}, "it refuses writes after 7 s, what it acknowledged until then can be lost"),
        ("sentinel", {"replicas": 1}, "it goes on, and all that it acknowledges until it is back is lost"),
        ("cluster", {}, "it refuses writes after 5 s, what it acknowledged until then can be lost"),
        (
            "cluster",
            {"replicas": 2, "replication": {"min_replicas_to_write": 1, "max_lag_seconds": 2}},
            "it refuses writes after 4 s, what it acknowledged until then can be lost",
        ),
    ],
)
def test_what_a_primary_that_is_cut_off_costs(topology: str, fields: dict[str, Any], sentence: str) -> None:
    assert promised(topology, **fields).primary_cut_off == sentence


@pytest.mark.parametrize(
    ("topology", "fields", "sentence"),
    [
        ("standalone", {}, "reads and writes stop until the node is back"),
        ("replication", {}, "writes stop until the primary is back or you switch over"),
        ("sentinel", {}, "writes stop for at most 9 s when a primary is killed"),
        ("cluster", {}, "writes to one shard stop for at most 13 s when a primary is killed"),
        ("cluster", {"cluster": {"full_coverage": True}}, "writes stop for at most 13 s when a primary is killed"),
        ("cluster", {"replicas": 0}, "reads and writes stop until the node is back"),
    ],
)
def test_for_how_long_writes_stop(topology: str, fields: dict[str, Any], sentence: str) -> None:
    assert promised(topology, **fields).writes_stop == sentence
