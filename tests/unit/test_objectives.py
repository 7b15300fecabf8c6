"""Objectives in a spec: what is refused and why, what passes, what is in force, and that drills see the same."""

from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from drills import objectives as judged
from drills.definition import Drill, FaultPlan, LoadPlan
from drills.runner import Order, load_of
from drills.workload.plan import Load
from operations.bounds import FaultKind
from operations.inventory import Inventory
from operations.objectives import Objectives, default_objectives
from topologies.addresses import addressing
from topologies.fields import all_fields
from topologies.load import parse_spec
from topologies.objectives import objectives_of, policy_of
from topologies.outputs import inventory
from topologies.plan import make_plan
from topologies.render import USERS, stack_files
from topologies.rules import check
from topologies.spec import Spec

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide" / "spec.md").read_text()
TOPOLOGIES = ("standalone", "replication", "sentinel", "cluster")
WAITING = "or objectives.writes wait-all with clients that WAIT for every replica"
ASYNCHRONOUS = (
    "is 0 but replication is asynchronous: the last writes that a primary acknowledged may not have reached who takes over; "
    f"use for example 1 (second of writes), {WAITING}"
)
ALWAYS = {"persistence": {"aof": {"fsync": "always"}}}
LATE = {"persistence": {"aof": {"fsync": "no"}}}
RDB = {"persistence": {"policy": "rdb"}}
NONE = {"persistence": {"policy": "none"}}
UNLIMITED = {"replication": {"min_replicas_to_write": 0}}
LIMITED = {"replication": {"min_replicas_to_write": 1}}
QUICK = {"cluster": {"node_timeout_seconds": 2}}
WAIT = {"writes": "wait-all"}


def spec(topology: str, objectives: dict[str, Any], **fields: Any) -> Spec:
    return Spec.model_validate({"topology": topology, "objectives": objectives, **fields})


def problems(topology: str, objectives: dict[str, Any], **fields: Any) -> list[str]:
    return [str(finding) for finding in check(spec(topology, objectives, **fields), "shop").problems]


def warnings(topology: str, objectives: dict[str, Any], **fields: Any) -> list[str]:
    found = check(spec(topology, objectives, **fields), "shop").warnings
    return [str(finding) for finding in found if finding.path.startswith("objectives")]


def unavailable(kind: str, limit: Any) -> dict[str, Any]:
    return {"unavailable": {kind: limit}}


def lost(kind: str, budget: Any) -> dict[str, Any]:
    return {"lost": {kind: budget}}


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    # topology, other fields, objectives that pass, objectives that are refused, sentence
    ("cluster", {}, lost("crash", 0.1), lost("crash", 0), f"objectives.lost.crash {ASYNCHRONOUS}"),
    ("sentinel", {}, WAIT | lost("hang", 0), lost("hang", 0), f"objectives.lost.hang {ASYNCHRONOUS}"),
    ("cluster", ALWAYS, lost("power-loss", 1), lost("power-loss", 0), f"objectives.lost.power-loss {ASYNCHRONOUS}"),
    (
        "cluster", {}, lost("partition", 8), lost("partition", 0),
        "objectives.lost.partition is 0 but a primary that is cut off goes on acknowledging for up to 8 s what "
        "the failover loses; "
        f"use 8 or more, {WAITING}; with 1 replica replication.min_replicas_to_write 1 is no way out: it stops all writes "
        "whenever that replica is away",
    ),
    (
        "cluster", {"replicas": 2, **LIMITED}, lost("partition", 7), lost("partition", 6.9),
        "objectives.lost.partition is 6.9 but a primary that is cut off goes on acknowledging for up to 7 s what the failover "
        f"loses; use 7 or more, {WAITING}",
    ),
    (
        "sentinel", {}, WAIT | lost("partition", 0), lost("partition", 0),
        "objectives.lost.partition is 0 but a primary that is cut off goes on acknowledging for up to 7 s what the failover "
        f"loses; use 7 or more, {WAITING}",
    ),
    (
        "sentinel", UNLIMITED, lost("partition", "any"), lost("partition", 60),
        "objectives.lost.partition is 60 but nothing stops a primary that is cut off: all that it acknowledges "
        "until it is back is "
        f"lost; use any, replication.min_replicas_to_write 1, {WAITING}",
    ),
    (
        "sentinel", {"replicas": 1}, lost("partition", "any"), lost("partition", 60),
        "objectives.lost.partition is 60 but nothing stops a primary that is cut off: all that it acknowledges "
        "until it is back is "
        f"lost; use any, replication.min_replicas_to_write 1 and 2 or more replicas, {WAITING}",
    ),
    (
        "sentinel", {}, WAIT | lost("split", 0), lost("split", 0),
        "objectives.lost.split is 0 but the replica on the side of a primary that is cut off goes on confirming, so no lag limit "
        f"stops it; use any, {WAITING}",
    ),
    (
        "cluster", {"replicas": 2, **QUICK}, lost("split", 3.5), lost("split", 3),
        "objectives.lost.split is 3 but a primary that is cut off goes on acknowledging for up to 3.5 s what "
        "others then take over "
        f"without; use 3.5 or more, {WAITING}",
    ),
    (
        "standalone", {}, lost("power-loss", 2), lost("power-loss", 1.9),
        "objectives.lost.power-loss is 1.9 but with fsync everysec up to 2 s of acknowledged writes are not on the disk yet; "
        "use 2 or more, or persistence.aof.fsync always",
    ),
    (
        "cluster", {}, WAIT | lost("power-loss", 2), WAIT | lost("power-loss", 0),
        "objectives.lost.power-loss is 0 but with fsync everysec up to 2 s of acknowledged writes are not on the disk yet; "
        "use 2 or more, or persistence.aof.fsync always",
    ),
    (
        "standalone", LATE, lost("power-loss", "any"), lost("power-loss", 60),
        "objectives.lost.power-loss is 60 but with fsync no it is the kernel's decision when writes reach the "
        "disk, mostly within "
        "30 s; use any, or persistence.aof.fsync always or everysec",
    ),
    (
        "replication", RDB, lost("power-loss", "any"), lost("power-loss", 3600),
        "objectives.lost.power-loss is 3600 but without AOF everything since the last save point is lost; "
        "use any, or persistence.policy aof or both",
    ),
    (
        "sentinel", {}, lost("restart", 2), lost("restart", 0),
        "objectives.lost.restart is 0 but with fsync everysec up to 2 s of acknowledged writes may wait in the "
        "server's own memory "
        "while a sync runs; use 2 or more, or persistence.aof.fsync always",
    ),
    (
        "standalone", NONE, lost("restart", "any"), lost("restart", 5),
        "objectives.lost.restart is 5 but without AOF everything is lost; use any, or persistence.policy aof or both",
    ),
    (
        "replication", {}, lost("crash", 2), lost("crash", 1),
        "objectives.lost.crash is 1 but with fsync everysec up to 2 s of acknowledged writes may wait in the server's own memory "
        "while a sync runs; use 2 or more, or persistence.aof.fsync always",
    ),
    (
        "standalone", NONE, lost("stop", "any"), lost("stop", 0),
        "objectives.lost.stop is 0 but with persistence.policy none a node that stops forgets everything; "
        "use any, or persistence.policy aof, rdb or both",
    ),
    (
        "cluster", QUICK, unavailable("crash", 5.3), unavailable("crash", 5.2),
        "objectives.unavailable.crash is 5.2 but taking over can need 5.3 s (2 × node timeout + 1.3 s); "
        "use bound, 5.83 or more, or a smaller cluster.node_timeout_seconds",
    ),
    (
        "sentinel", {"sentinel": {"down_after_seconds": 1}}, unavailable("hang", 4.3), unavailable("hang", 4),
        "objectives.unavailable.hang is 4 but taking over can need 4.3 s (down-after + 3.3 s); "
        "use bound, 4.73 or more, or a smaller sentinel.down_after_seconds",
    ),
    (
        "standalone", {}, unavailable("crash", "any"), unavailable("crash", "bound"),
        "objectives.unavailable.crash is bound but there is no replica that could take over, so writes stop until "
        "the node is back; "
        "use any, or 1 or more replicas with topology sentinel or cluster",
    ),
    (
        "cluster", {"replicas": 0}, unavailable("hang", "any"), unavailable("hang", 60),
        "objectives.unavailable.hang is 60 but there is no replica that could take over, so writes stop until the node is back; "
        "use any, or 1 or more replicas with topology sentinel or cluster",
    ),
    (
        "replication", {}, unavailable("partition", "any"), unavailable("partition", 5),
        "objectives.unavailable.partition is 5 but a replication topology never fails over by itself, so writes "
        "stop until the node "
        "is back or you switch over; use any, or topology sentinel or cluster",
    ),
    (
        "cluster", LIMITED, unavailable("crash", "any"), unavailable("crash", "bound"),
        "objectives.unavailable.crash is bound but the new primary then has fewer than the 1 replica that it needs "
        "(replication.min_replicas_to_write) and refuses writes until one is back; "
        "use any, replication.min_replicas_to_write 0, or more replicas",
    ),
    (
        "cluster", LIMITED, unavailable("replica", "any"), unavailable("replica", 0.3),
        "objectives.unavailable.replica is 0.3 but the primary then has fewer than the 1 replica that it needs "
        "(replication.min_replicas_to_write) and refuses writes until one is back; "
        "use any, replication.min_replicas_to_write 0, or more replicas",
    ),
    (
        "sentinel", {"replicas": 1}, unavailable("crash", "bound"), unavailable("split", "bound"),
        "objectives.unavailable.split is bound but the only replica is cut off together with its primary, so nobody takes over; "
        "use any, or 2 or more replicas",
    ),
    (
        "sentinel", {}, WAIT | unavailable("crash", "any"), WAIT | unavailable("crash", "bound"),
        "objectives.unavailable.crash is bound but with objectives.writes wait-all no write is acknowledged until "
        "every replica is "
        "back; use any, or objectives.writes plain",
    ),
    (
        "cluster", {}, unavailable("quorum", "any"), unavailable("quorum", 30),
        "objectives.unavailable.quorum is 30 but without most of the primaries nobody takes over, so writes stop until they are "
        "back; use any",
    ),
    (
        "sentinel", {}, unavailable("switchover", 1), unavailable("switchover", "bound"),
        "objectives.unavailable.switchover is bound but there is no formula for it; write seconds, or any",
    ),
    (
        "cluster", QUICK, {"two_primaries": 3.5}, {"two_primaries": 3},
        "objectives.two_primaries is 3 but a primary that is cut off goes on acknowledging for up to 3.5 s; "
        "use bound, or 3.5 or more",
    ),
    (
        "sentinel", UNLIMITED, {"two_primaries": "any"}, {"two_primaries": "bound"},
        "objectives.two_primaries is bound but nothing stops a primary that is cut off from acknowledging writes; "
        "use any, or replication.min_replicas_to_write 1",
    ),
    (
        "replication", {}, {"two_primaries": 0}, {"two_primaries": "bound"},
        "objectives.two_primaries is bound but there is no formula: nobody takes over by itself; use 0, or any",
    ),
    (
        "cluster", {"cluster": {"full_coverage": True}}, {"others_unavailable": 1.3}, {"others_unavailable": 0.3},
        "objectives.others_unavailable is 0.3 but with cluster.full_coverage all shards stop while one is down "
        "(0.8 to 1.3 s per failover measured); use any, or cluster.full_coverage false",
    ),
    (
        "standalone", {}, {"writes": "plain"}, WAIT,
        "objectives.writes is wait-all but there are no replicas to wait for; use plain",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("topology", "fields", "passes", "fails", "sentence"),
    REFUSED,
    ids=[f"{number}-{case[0]}-{case[4].split(' ')[0].removeprefix('objectives.')}" for number, case in enumerate(REFUSED)],
)
def test_what_the_policy_cannot_meet_is_refused_with_the_reason(
    topology: str, fields: dict[str, Any], passes: dict[str, Any], fails: dict[str, Any], sentence: str
) -> None:
    assert problems(topology, fails, **fields) == [sentence]
    assert problems(topology, passes, **fields) == []


DOUBTED: list[tuple[str, dict[str, Any], str]] = [
    (
        "standalone",
        unavailable("switchover", 1),
        "objectives.unavailable.switchover is 1 but has no effect: there are no replicas",
    ),
    ("replication", lost("quorum", 0), "objectives.lost.quorum is 0 but has no effect: a replication topology has no quorum"),
    ("sentinel", {"others_unavailable": 0.3}, "objectives.others_unavailable is 0.3 but has no effect: there is one shard"),
    ("standalone", {"redundancy": 9}, "objectives.redundancy is 9 but there are no replicas to wait for"),
]


@pytest.mark.parametrize(("topology", "objectives", "start"), DOUBTED, ids=[case[0] for case in DOUBTED])
def test_what_has_no_effect_is_said_and_not_refused(topology: str, objectives: dict[str, Any], start: str) -> None:
    assert problems(topology, objectives) == []
    assert warnings(topology, objectives) == [f"{start}; remove it"]


@pytest.mark.parametrize(("replicas", "away"), [(1, "the replica"), (2, "one of 2 replicas")])
def test_a_wait_for_every_replica_trades_writes_for_safety_and_says_so(replicas: int, away: str) -> None:
    assert warnings("cluster", WAIT, replicas=replicas) == [
        f"objectives.writes is wait-all, so no write is acknowledged while {away} is away: writes are traded for safety; "
        "use plain where losing a little is better than waiting"
    ]


def test_any_is_never_refused() -> None:
    everything = dict.fromkeys(get_args(FaultKind), "any")
    data = {
        "unavailable": everything,
        "lost": everything,
        "two_primaries": "any",
        "others_unavailable": "any",
        "redundancy": "any",
    }
    for topology in TOPOLOGIES:
        assert problems(topology, data) == []


def test_no_default_is_one_that_the_rules_refuse() -> None:
    """Written out as the user's own, the defaults of every policy pass."""
    policies = [
        {"policy": "none"},
        {"policy": "rdb"},
        *({"policy": "aof", "aof": {"fsync": f}} for f in ("always", "everysec", "no")),
    ]
    tried = 0
    for topology, replicas, persistence, least, writes in product(
        TOPOLOGIES, (0, 1, 2, 3), policies, (0, 1), ("plain", "wait-all")
    ):
        fields = {"replicas": replicas, "persistence": persistence, "replication": {"min_replicas_to_write": least}}
        if problems(topology, {"writes": writes}, **fields):
            continue  # not a valid stack at all
        made = spec(topology, {"writes": writes}, **fields)
        assert problems(topology, objectives_of(made).model_dump(), **fields) == [], (topology, fields, writes)
        tried += 1
    assert tried > 100


# --- what is in force -------------------------------------------------------------------------------------------------------


def inventory_of(made: Spec) -> Inventory:
    return Inventory.model_validate(
        inventory(make_plan(made, "shop", addressing(7), "owner"), "image", f"{made.engine.version}.1")
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("fields", [{}, ALWAYS, RDB, LIMITED, {"engine": {"name": "valkey", "version": "9.1"}}])
@pytest.mark.parametrize("objectives", [{}, WAIT, {"lost": {"switchover": 0.5}, "redundancy": 7}])
def test_a_drill_reads_from_the_inventory_what_the_plan_shows(
    topology: str, fields: dict[str, Any], objectives: dict[str, Any]
) -> None:
    made = spec(topology, objectives, **fields)
    assert judged.policy_of(inventory_of(made)) == policy_of(made)
    assert judged.objectives_of(inventory_of(made)) == objectives_of(made)


def test_the_spec_goes_before_the_drill_and_the_drill_before_the_defaults() -> None:
    seen = inventory_of(spec("cluster", lost("split", 9)))
    drill = Objectives(lost={"split": 0, "crash": 0}, redundancy=120)
    found = judged.objectives_of(seen, drill)
    assert (found.lost["split"], found.lost["crash"], found.redundancy, found.unavailable["crash"]) == (9, 0, 120, "bound")


def test_with_a_wait_for_every_replica_nothing_is_lost_and_windows_are_measured_only() -> None:
    found = objectives_of(spec("sentinel", WAIT))
    assert [found.lost[kind] for kind in ("crash", "hang", "partition", "split")] == [0, 0, 0, 0]
    assert [found.unavailable[kind] for kind in ("crash", "stop", "replica", "switchover")] == ["any"] * 4
    assert found.lost["power-loss"] == 2


def test_a_cluster_without_replicas_has_no_bound() -> None:
    found = default_objectives(policy_of(spec("cluster", {}, replicas=0)))
    assert (found.unavailable["crash"], found.lost["partition"], found.two_primaries) == ("any", 0, 0)


def order(load: Load, wants: Any = None) -> Order:
    fault = FaultPlan(do="kill")
    made = Drill(name="x", title="x", description="x", kind="crash", topologies=("sentinel",), fault=fault, load=wants)
    return Order(made, directory=None, load=load)  # type: ignore[arg-type]


def test_a_drill_writes_as_the_application_is_said_to() -> None:
    plain, waiting = inventory_of(spec("sentinel", {})), inventory_of(spec("sentinel", WAIT))
    own = LoadPlan(mode="wait", acks=1)
    assert load_of(order(Load()), plain).mode == "plain"
    assert (load_of(order(Load()), waiting).mode, load_of(order(Load()), waiting).acks) == ("wait", 2)
    assert load_of(order(Load(mode="waitaof", acks=1)), waiting) == Load(mode="waitaof", acks=2)
    assert load_of(order(Load(), own), waiting).acks == 1, "what a drill needs goes first"


# --- reading them -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lost: {earthquake: 0}",
         "objectives.lost.earthquake is not a field of objectives.lost; use crash, hang, partition, split, "
         "power-loss, restart, stop, switchover, replica, quorum, disk, slow or data-loss (line 3)"),
        ("lost: {crush: 0}", "objectives.lost.crush is not a field of objectives.lost; did you mean crash? (line 3)"),
        ("lost: {crash: bound}",
         "objectives.lost.crash is bound, which is not possible here; use seconds (0 or more) or any (line 3)"),
        ("unavailable: {crash: bond}",
         "objectives.unavailable.crash is bond, which is not possible here; did you mean bound? (line 3)"),
        ("lost: {stop: -1}", "objectives.lost.stop is -1, which is out of range; use seconds (0 or more) or any (line 3)"),
        ("lost: {stop: .inf}",
         "objectives.lost.stop is inf, which is not possible here; use seconds (0 or more) or any (line 3)"),
        ("lost: {stop: true}",
         "objectives.lost.stop is true, which is not possible here; use seconds (0 or more) or any (line 3)"),
        ("lost: 0", "objectives.lost is 0 but is a section of several fields; write its fields below it, for example "
         "objectives.lost.crash (line 3)"),
        ("gap: 1",
         "objectives.gap is not a field of objectives; use writes, unavailable, others_unavailable, lost, two_primaries or "
         "redundancy (line 3)"),
        ("writes: wait", "objectives.writes is wait, which is not possible here; did you mean wait-all? (line 3)"),
    ],
)  # fmt: skip
def test_a_wrong_objective_gives_one_sentence_with_its_line(text: str, sentence: str) -> None:
    loaded = parse_spec(f"topology: cluster\nobjectives:\n  {text}\n")
    assert [problem.located for problem in loaded.findings.problems] == [sentence]


@pytest.mark.parametrize("path", ["objectives.lost.power-loss", "objectives.unavailable.switchover", "objectives.redundancy"])
def test_every_objective_can_be_overridden_by_itself(path: str) -> None:
    text = "topology: cluster\nobjectives: {lost: {stop: 0}}\n"
    made = parse_spec(text, {path: "3"}).spec
    assert made is not None
    assert made.objectives.lost["stop"] == 0
    _, name, *kind = path.split(".")
    value = getattr(made.objectives, name)
    assert (value[kind[0]] if kind else value) == 3


def test_every_kind_of_fault_is_a_field() -> None:
    assert {f"objectives.{name}.{kind}" for name in ("lost", "unavailable") for kind in get_args(FaultKind)} <= set(all_fields())


def test_no_objective_changes_a_node_or_a_file_of_one() -> None:
    passwords = dict.fromkeys(USERS, "secret")
    plans = [make_plan(spec("sentinel", data), "shop", addressing(7), "owner") for data in ({}, WAIT | {"redundancy": 1})]
    assert plans[0].nodes == plans[1].nodes
    assert stack_files(plans[0], passwords) == stack_files(plans[1], passwords)


def test_the_example_of_the_guide_is_valid() -> None:
    section = GUIDE.partition("## What you promise")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    loaded = parse_spec(f"topology: cluster\n{example}")
    assert loaded.findings.problems == ()
    assert loaded.spec is not None
    assert loaded.spec.objectives.lost["crash"] == 0.2


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_example_that_each_spec_holds_as_a_comment_is_valid(topology: str) -> None:
    text = (ROOT / "configs" / f"{topology}.yaml").read_text()
    before, _, example = text.partition("# objectives:\n")
    loaded = parse_spec(f"{before}objectives:\n" + "".join(line.removeprefix("# ") for line in example.splitlines(keepends=True)))
    assert (loaded.findings.problems, loaded.findings.warnings) == ((), ())
    assert loaded.spec is not None
    assert loaded.spec.objectives.unavailable
