"""Drill files, words for targets, and what faults are made of, as far as no engine is needed."""

import random
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drills.bounds import Timing
from drills.checkers.base import Verdict
from drills.definition import catalogue, read
from drills.examine import Repetition, Setup, examine
from drills.faults import mistake
from drills.faults.base import Engine, FaultFailed
from drills.faults.choose import MAKERS
from drills.faults.elsewhere import HOME, KEEP, KEPT, PUT_BACK, LoseMachine, RestoreElsewhere
from drills.faults.flapping import flap_script
from drills.faults.lost import LoseData, restored_words
from drills.faults.mistake import Flush
from drills.faults.network import CHAIN_IN, CHAIN_OUT
from drills.faults.process import moment, signal_server
from drills.faults.replaced import came_back_empty
from drills.faults.rolling import rolling_order
from drills.objectives import Policy, default_objectives, objectives_of
from drills.records import State
from drills.synthetic import Failover, Story, failover
from drills.targets import Roles, resolve
from operations.apply import command, counts, failure
from operations.containers import run_script
from operations.errors import Busy, InvalidInput, ToolkitError, Unreachable
from operations.inventory import Access, Inventory, NodeEntry

ALL = {"standalone", "replication", "sentinel", "cluster"}
REPLICATED = ALL - {"standalone"}
FAILING_OVER = {"sentinel", "cluster"}
CHANCE = random.Random(5)  # noqa: S311 - choices that repeat


@pytest.mark.parametrize(
    ("name", "topologies"),
    [
        ("crash-primary", REPLICATED), ("crash-restart", ALL), ("power-loss", ALL), ("hang-primary", REPLICATED),
        ("split-replicas", {"sentinel"}), ("isolate-primary", REPLICATED), ("switchover", REPLICATED),
        ("reshard", {"cluster"}),
        ("crash-replica", REPLICATED),
        ("lose-sentinels", {"sentinel"}), ("lose-majority", FAILING_OVER), ("restart-all", ALL), ("rolling-restart", ALL),
        ("replace-node", REPLICATED), ("replace-primary", FAILING_OVER), ("fill-disk", ALL), ("slow-link", ALL),
        ("stop-primary", REPLICATED), ("flapping", ALL), ("deaf-primary", FAILING_OVER), ("mute-primary", FAILING_OVER),
        ("lose-everything", ALL),
        ("lose-one-shard", REPLICATED), ("corrupt-backup", ALL), ("point-in-time", ALL),
        ("restore-other-shape", ALL), ("lose-the-machine", ALL),
        ("crash-takeover", {"replication"}), ("hang-takeover", {"replication"}), ("isolate-takeover", {"replication"}),
    ],
)  # fmt: skip
def test_the_catalogue_has_a_drill_for_every_topology_where_it_means_something(name: str, topologies: set[str]) -> None:
    assert set(catalogue()[name].topologies) == topologies


def test_every_drill_of_the_catalogue_has_a_fault_and_targets_that_exist() -> None:
    for drill in catalogue().values():
        assert drill.fault.do in MAKERS, drill.name
        for topology in drill.topologies:
            stack = inventory(topology)
            primaries = {shard: f"node-{shard}-1" if topology == "cluster" else "node-1" for shard in stack.shards}
            assert resolve(drill.on_topology(topology).fault.target, Roles(stack, primaries), CHANCE), drill.name


def test_a_drill_without_takeover_by_itself_or_by_hand_waits_for_its_node() -> None:
    by_hand = {drill.name for drill in catalogue().values() if drill.then == "takeover"}
    assert by_hand == {"crash-takeover", "hang-takeover", "isolate-takeover"}


DRILL = """
title: t
description: d
kind: crash
topologies: [sentinel, cluster]
fault: {do: kill-held}
hold_seconds: 3
"""


def test_what_differs_on_a_topology_replaces_the_field_there_alone(tmp_path: Path) -> None:
    path = tmp_path / "my-drill.yaml"
    path.write_text(DRILL + "per_topology: {sentinel: {hold_seconds: 6, notes: [slow]}}\n")
    drill = read(path)
    assert (drill.on_topology("cluster").hold_seconds, drill.on_topology("sentinel").hold_seconds) == (3, 6)
    assert drill.on_topology("sentinel").notes == ("slow",)
    assert drill.on_topology("sentinel").fault == drill.fault


@pytest.mark.parametrize("wrong", ["sentinel: {holdd_seconds: 6}", "mesh: {hold_seconds: 6}", "cluster: {hold_seconds: -1}"])
def test_a_field_that_does_not_exist_is_refused_when_the_file_is_read(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "my-drill.yaml"
    path.write_text(DRILL + f"per_topology: {{{wrong}}}\n")
    with pytest.raises(InvalidInput, match="is not a drill"):
        read(path)


def node(name: str, role: str, shard: int) -> dict[str, Any]:
    return {
        "name": name, "role": role, "shard": shard, "container": name, "docker_host": "local", "address": f"10.0.0.{len(name)}",
        "port": 6379, "bus_port": 16379, "member": 1, "volume": f"{name}-data", "host": "127.0.0.1", "host_port": 13000,
    }  # fmt: skip


def inventory(topology: str, **spec: Any) -> Inventory:
    names: list[dict[str, Any]]
    if topology == "cluster":
        names = [node(f"node-{s}-{m}", "primary" if m == 1 else "replica", s) for s in (1, 2, 3) for m in (1, 2)]
    else:
        count = 1 if topology == "standalone" else 3
        names = [node(f"node-{n}", "primary" if n == 1 else "replica", 1) for n in range(1, count + 1)]
        names += [node(f"sentinel-{n}", "sentinel", 0) for n in (1, 2, 3)] if topology == "sentinel" else []
    return Inventory.model_validate(
        {
            "schema_version": 1, "topology": topology, "stack": "s", "owner": "o", "tls": False, "nodes": names, "replicas": 1,
            "engine": {"name": "redis", "version": "8.0.2", "image": "i", "image_id": "i"},
            "network": {"name": "n", "subnet": "10.0.0.0/24"}, "parameters": {}, "spec": spec,
        }
    )  # fmt: skip


def voters(topology: str, primaries: dict[int, str]) -> set[str]:
    found = resolve("majority of voters", Roles(inventory(topology), primaries), CHANCE)
    assert len(found) == 2
    return {entry.name for entry in found}


def test_voters_are_the_sentinels_where_there_are_any_and_else_the_primaries() -> None:
    assert voters("sentinel", {1: "node-1"}) < {"sentinel-1", "sentinel-2", "sentinel-3"}
    assert voters("cluster", {1: "node-1-2", 2: "node-2-1", 3: "node-3-1"}) < {"node-1-2", "node-2-1", "node-3-1"}


def entries(topology: str) -> tuple[NodeEntry, ...]:
    return inventory(topology).nodes


def test_a_rolling_restart_takes_sentinels_then_replicas_and_primaries_last_wherever_they_are_now() -> None:
    order = [entry.name for entry in rolling_order(entries("sentinel")[::-1], ["node-2"])]
    assert order == ["sentinel-3", "sentinel-2", "sentinel-1", "node-3", "node-1", "node-2"]


def test_a_rolling_restart_of_a_cluster_changes_each_primary_once() -> None:
    order = [entry.name for entry in rolling_order(entries("cluster"), ["node-1-2", "node-2-1", "node-3-1"])]
    assert order == ["node-1-1", "node-2-2", "node-3-2", "node-1-2", "node-2-1", "node-3-1"]


def test_a_flapping_link_is_left_up() -> None:
    script = flap_script(["10.0.0.5"], times=3, down=1.0, up=1.5)
    assert f"-A {CHAIN_IN} -s 10.0.0.5 -j DROP" in script
    assert "seq 2 3" in script
    assert script.rstrip("; done").endswith(f"iptables -w -D OUTPUT -j {CHAIN_OUT}")
    # the first time by the rules themselves, then once per turn
    assert script.count(f"-I INPUT -j {CHAIN_IN}") == 2
    assert script.count(f"-D INPUT -j {CHAIN_IN}") == 2


UPDATED = """Updating (c):
 +  docker:index:Container node-2-2 created (0.57s)
Resources:
    + 2 created
    ~ 1 updated
    3 changes. 17 unchanged

Duration: 6s
"""


def test_the_counts_of_an_update_are_those_that_pulumi_told() -> None:
    assert counts(UPDATED) == "2 created, 1 updated, 17 unchanged"
    assert counts("Resources:\n    20 unchanged\n\nDuration: 3s\n") == "20 unchanged"
    assert counts("nothing of that kind") == "done"


def test_an_update_asks_nothing_and_looks_at_what_exists_only_when_told_so() -> None:
    assert {"--yes", "--non-interactive", "--skip-preview"} <= set(command("c", refresh=False))
    assert "--refresh" not in command("c", refresh=False)
    assert "--refresh" in command("c", refresh=True)


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("error: no stack named 'c' found", Unreachable),
        ("error: the stack is currently locked by 1 lock(s)", Busy),
        ("Diagnostics:\n  error: update failed", ToolkitError),
        ("", ToolkitError),
    ],
)
def test_a_failed_update_tells_the_stack_and_the_last_words(output: str, kind: type[ToolkitError]) -> None:
    error = failure("my-stack", output)
    assert type(error) is kind
    assert "my-stack" in str(error)


POLICY = Policy(Timing("cluster", node_timeout=2.0), replicas=1, aof=True, fsync="everysec", lag=None)
NODES = ("node-1-1", "node-1-2", "node-2-1", "node-2-2", "node-3-1", "node-3-2")
SETUP = Setup("crash", (1, 2, 3), NODES, NODES, default_objectives(POLICY), POLICY, roles_kept=True)


def judged(applied: dict[str, str | None] | None) -> tuple[Repetition, ...]:
    """Two repetitions; after the last a `pulumi up`, after which nodes have these roles."""
    story: Story | None = None
    for number in (1, 2):
        story = failover(Failover(rate=12), start=(number - 1) * 18.0, repetition=number, story=story)
    assert story is not None
    finals = [record for record in story.records if isinstance(record, State) and record.moment == "final"][-len(NODES) :]
    if applied is not None:
        story.records += [state._replace(moment="applied", role=applied.get(state.node, state.role)) for state in finals]
    return examine(lambda: story.records, SETUP)


def test_roles_after_another_apply_are_asked_of_the_last_repetition_alone() -> None:
    first, last = judged({})
    assert first.verdict is last.verdict is Verdict.TRUE
    assert [check.name for check in first.checks].count("roles-kept") == 0
    assert [check.verdict for check in last.checks if check.name == "roles-kept"] == [Verdict.TRUE]


def test_roles_that_another_apply_turned_back_fail_the_drill() -> None:
    assert [found.verdict for found in judged({"node-1-1": "primary"})] == [Verdict.TRUE, Verdict.FALSE]


def test_an_apply_that_was_not_run_is_unknown_never_passed() -> None:
    assert [found.verdict for found in judged(None)] == [Verdict.TRUE, Verdict.UNKNOWN]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("2026-11-26T23:29:50.123456789Z", 50.123456), ("2026-11-26T23:29:50Z", 50.0), ("2026-11-27T01:29:50.5+02:00", 50.5)],
)
def test_times_are_read_as_docker_writes_them(told: str, seconds: float) -> None:
    assert (moment(told) - moment("2026-11-26T23:29:00Z")).total_seconds() == pytest.approx(seconds)


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(FaultFailed, match="'yesterday', which is none"):
        moment("yesterday")


class Ended:
    """A container whose scripts end with a status; each gives one of `outputs` in turn, the last one from then on."""

    def __init__(self, status: int, *outputs: bytes) -> None:
        self.status = status
        self.outputs = outputs or (b"20\n",)
        self.runs = 0

    def exec_run(self, _command: list[str]) -> Any:
        self.runs += 1
        return SimpleNamespace(output=self.outputs[min(self.runs, len(self.outputs)) - 1], exit_code=self.status)


def engine_ending_with(status: int, monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine.__new__(Engine)
    monkeypatch.setattr(engine, "container", lambda _node: Ended(status))
    return engine


def test_a_shell_that_ends_with_the_server_that_it_killed_has_done_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    node = inventory("cluster").nodes[0]
    assert signal_server(engine_ending_with(137, monkeypatch), node, "KILL") == "20"


def test_any_other_end_of_a_shell_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    node = inventory("cluster").nodes[0]
    for status, signal in ((1, "KILL"), (137, "STOP")):
        with pytest.raises(FaultFailed, match="a step in"):
            signal_server(engine_ending_with(status, monkeypatch), node, signal)


def test_a_drill_that_loses_all_data_is_refused_where_backups_promise_nothing() -> None:
    drill = catalogue()["lose-everything"]
    assert "append-only files with times" in (catalogue()["point-in-time"].fits(inventory("cluster")) or "")
    for topology in sorted(ALL):
        assert "backup.objectives" in (drill.fits(inventory(topology)) or "")
    promising = inventory("cluster", backup={"objectives": {"rpo_seconds": 60, "rto_seconds": 120}})
    assert drill.fits(promising) is None
    limits = objectives_of(promising)
    assert (limits.lost["data-loss"], limits.unavailable["data-loss"]) == (60, 120)


def test_a_fault_that_loses_everything_removes_nothing_without_a_backup_of_its_own() -> None:
    node = inventory("standalone").nodes[0]
    fault = LoseData(Engine(inventory("standalone")), [node])
    with pytest.raises(FaultFailed, match="nothing is removed"):
        fault.inject()
    assert fault.heal() == "nothing was lost"


@pytest.mark.parametrize("made", [RestoreElsewhere, LoseMachine])
def test_data_that_go_by_way_of_another_stack_are_only_lost_once_there_is_a_backup(made: type[RestoreElsewhere]) -> None:
    fault = made(Engine(inventory("cluster")), [inventory("cluster").nodes[0]], lambda _: None)
    with pytest.raises(FaultFailed, match="nothing is removed"):
        fault.inject()
    assert fault.heal() == "nothing was lost"


def test_the_other_stack_has_two_shards_more_than_a_cluster_or_is_one() -> None:
    for topology, shards in (("cluster", 5), ("sentinel", 3), ("standalone", 3)):
        stack = inventory(topology).model_copy(update={"spec": {"topology": topology}})
        spec = RestoreElsewhere(Engine(stack), [stack.nodes[0]], lambda _: None)._spec
        assert (spec["topology"], spec["shards"]) == ("cluster", shards)
        assert LoseMachine(Engine(stack), [stack.nodes[0]], lambda _: None)._spec["topology"] == topology


def test_what_is_kept_aside_is_put_back_only_when_it_is_whole(tmp_path: Path) -> None:
    def run(script: str) -> None:
        there = script.replace(HOME, str(tmp_path / "home")).replace(KEPT, str(tmp_path / "kept"))
        subprocess.run(["sh", "-c", f"set -e; {there}"], check=True)

    for folder in ("home", "kept"):
        (tmp_path / folder).mkdir()
    password = tmp_path / "home" / "password"
    password.write_text("of the repository")
    (tmp_path / "kept" / "password").write_text("half")
    run(PUT_BACK)
    assert password.read_text() == "of the repository"
    run(KEEP)
    password.write_text("of another machine")
    (tmp_path / "home" / "more").touch()
    run(PUT_BACK)
    assert [(path.name, path.read_text()) for path in (tmp_path / "home").iterdir()] == [("password", "of the repository")]


def test_a_drill_of_a_mistake_leaves_archiving_to_the_agent_that_does_it_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistake, "call_script", lambda *_: {"all": [[100, 200]]})
    started: list[str] = []
    monkeypatch.setattr(Flush, "_start_archiver", lambda _: started.append("archiver"))
    for backup, times in (({"point_in_time": True}, 0), ({}, 1)):
        stack, access = inventory("standalone", backup=backup), SimpleNamespace()
        Flush(Engine(stack), cast(Access, access), [stack.nodes[0]]).prepare()
        assert len(started) == times


def test_a_restore_is_told_by_files_or_key_by_key() -> None:
    files = {"backup": "b", "keys": {"node-1": 7}, "seconds": {"open": 2.0}, "digest": {"compared_keys": 7}}
    assert restored_words(files) == "backup b restored, 7 keys, digest compared over 7 keys; since its begin: open after 2.0 s"
    passed_on = {"backup": "b", "reshaped": True, "keys": 7, "keys_compared": 6, "loaded_seconds": 1, "verified_seconds": 2}
    assert "passed on key by key, 7 keys, digest compared over 6 keys" in restored_words(passed_on)


def test_a_script_whose_output_got_lost_runs_again_but_not_for_ever() -> None:
    whole = b"20\n\n-- end --\n"
    once, twice, never = Ended(0, whole), Ended(0, b"", whole), Ended(0, b"")
    assert [run_script(one, "x") for one in (once, twice, never)] == [(0, "20"), (0, "20"), (0, "")]
    assert (once.runs, twice.runs, never.runs) == (1, 2, 3)


def test_a_script_that_failed_or_may_run_but_once_is_not_repeated() -> None:
    failed, single = Ended(1, b"no server runs"), Ended(0, b"")
    assert run_script(failed, "x") == (1, "no server runs")
    assert run_script(single, "x", tries=1) == (0, "")
    assert (failed.runs, single.runs) == (1, 1)


def test_a_shard_as_a_target_is_all_of_its_nodes_and_no_sentinel() -> None:
    cluster, sentinel = inventory("cluster"), inventory("sentinel")
    found = resolve("shard", Roles(cluster, {1: "node-1-1", 2: "node-2-1", 3: "node-3-1"}), CHANCE)
    assert len({node.shard for node in found}) == 1
    assert len(found) == 2
    assert [node.name for node in resolve("shard", Roles(sentinel, {1: "node-1"}), CHANCE)] == ["node-1", "node-2", "node-3"]


def test_nodes_that_were_all_copies_of_a_shard_are_said_to_have_come_back_empty() -> None:
    cluster = inventory("cluster")
    assert came_back_empty(cluster, [cluster.node("node-1-1"), cluster.node("node-2-2")]) == ""
    told = came_back_empty(cluster, [cluster.node("node-2-1"), cluster.node("node-2-2")])
    assert "all copies of shard 2" in told
    assert "scripts/restore.py --stack s --replace" in told


def test_only_a_damage_that_reaches_the_files_of_a_repository_fits() -> None:
    drill = catalogue()["corrupt-backup"]
    for repository, told in (
        ("volume", None),
        ("/srv/backups", None),
        ("rest:https://host:8000/", None),
        ("b2:shop", "REST server"),
    ):
        promising = {"repository": repository, "objectives": {"rpo_seconds": 60, "rto_seconds": 120}}
        found = drill.fits(inventory("cluster", backup=promising))
        assert found is None if told is None else told in (found or "")
