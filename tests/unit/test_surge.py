"""Temporary replicas: where they are planned, what a container for one is made of, and when they leave. No engine is asked."""

import dataclasses
from typing import Any

import pytest

from operations import surge
from operations.change import Change
from operations.containers import like
from operations.inventory import Inventory, NodeEntry
from operations.surge import LABEL, Surge, joined
from tests.unit.test_guard import OWNER, engine_with, standing
from topologies.addresses import addressing
from topologies.guard import problems
from topologies.outputs import entry
from topologies.outputs import inventory as inventory_data
from topologies.plan import Plan, make_plan
from topologies.render import USERS, stack_files
from topologies.rules import check
from topologies.spec import Spec
from topologies.standing import shape_of


def plan_of(topology: str = "cluster", **fields: Any) -> Plan:
    spec = Spec.model_validate({"topology": topology, "change": {"surge": True}, **fields})
    return make_plan(spec, "shop", addressing(7), OWNER)


def inventory_of(plan: Plan) -> Inventory:
    return Inventory.model_validate(inventory_data(plan, "", ""))


PLAN = plan_of()
NODES = tuple(NodeEntry.model_validate(entry(node)) for node in PLAN.surge)


def test_each_shard_gets_the_replica_that_one_more_would_be_and_none_without_surge() -> None:
    assert [node.name for node in PLAN.surge] == ["node-1-3", "node-2-3", "node-3-3"]
    more = {node.name: node for node in plan_of(replicas=2).nodes}
    assert all(more[node.name].announced_address == node.announced_address for node in PLAN.surge)
    assert plan_of(change={"surge": False}).surge == ()
    assert [node.name for node in plan_of("sentinel", replicas=1).surge] == ["node-3"]


def test_it_is_no_node_of_the_stack_but_has_its_file() -> None:
    assert not {node.name for node in PLAN.surge} & {node.name for node in PLAN.nodes}
    files = stack_files(PLAN, dict.fromkeys(USERS, "secret"))
    assert "NODE='node-1-3'" in files["node-1-3/node.env"]
    assert PLAN.surge[0].announced_address not in files["node-1-1/node.env"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"topology": "standalone"}, "no redundancy to keep"),
        ({"topology": "cluster", "replicas": 0}, "no redundancy to keep"),
        ({"topology": "sentinel", "replicas": 4}, "no address is left"),
    ],
)
def test_it_is_refused_where_it_can_do_nothing(spec: dict[str, Any], reason: str) -> None:
    problems = check(Spec.model_validate({**spec, "change": {"surge": True}}), "shop").problems
    assert [str(problem) for problem in problems if problem.path == "change.surge" and reason in str(problem)]


FOUND: dict[str, Any] = {
    "Config": {
        "User": "redis",
        "Env": ["PATH=/old"],
        "Entrypoint": ["sh"],
        "Cmd": ["/config/scripts/start.sh", "/config/node-1-1"],
        "Healthcheck": {"Test": ["CMD", "sh", "/config/scripts/health.sh", "/config/node-1-1"], "Interval": 10},
        "StopTimeout": 60,
        "Labels": {"redis-topologies.stack": "shop", "redis-topologies.node": "node-1-1", "rolling": "1"},
    },
    "HostConfig": {
        "Binds": ["redis-shop-config:/config:ro", "redis-shop-node-1-1-data:/data:rw"],
        "Memory": 7,
        "ReadonlyRootfs": True,
        "PortBindings": {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]},
        "NetworkMode": "default",
    },
}


def test_its_container_is_like_another_one_with_its_own_name_address_and_volume() -> None:
    pattern, node = inventory_of(PLAN).node("node-1-1"), NODES[0]
    made = like(FOUND, pattern, node, "redis-shop", LABEL)
    assert made["Cmd"] == ["/config/scripts/start.sh", "/config/node-1-3"]
    assert made["Healthcheck"]["Test"][-1] == "/config/node-1-3"
    assert (made["Hostname"], made["StopTimeout"], made["Entrypoint"]) == ("node-1-3", 60, ["sh"])
    assert made["Labels"] == {
        "redis-topologies.stack": "shop",
        "redis-topologies.node": "node-1-3",
        "redis-topologies.shard": "1",
        LABEL: "yes",
    }
    assert "Env" not in made
    host = made["HostConfig"]
    assert (host["Memory"], host["ReadonlyRootfs"], host["NetworkMode"]) == (7, True, "redis-shop")
    assert host["Binds"] == ["redis-shop-config:/config:ro"], "data of another node is never mounted"
    assert host["PortBindings"] == {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(node.host_port)}]}
    assert made["NetworkingConfig"]["EndpointsConfig"]["redis-shop"]["IPAMConfig"]["IPv4Address"] == node.address


def test_those_that_stand_leave_with_the_others_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surge, "Containers", lambda _inventory: None)
    monkeypatch.setattr(surge, "is_temporary", lambda _containers, node: node.name != "node-2-3")
    inventory = inventory_of(PLAN)
    left = joined(inventory, Change(leaving=(NODES[0],), rebalance=True), Surge(NODES, "image"))
    assert [node.name for node in left.leaving] == ["node-1-3", "node-3-3"]
    assert left.rebalance
    assert joined(inventory, Change(), None) == Change()


def left_over() -> tuple[Any, ...]:
    """Containers of the stack, with the temporary replicas of a replacement that was interrupted."""
    more = standing(plan_of(replicas=2))
    names = {node.container for node in PLAN.surge}
    return tuple(dataclasses.replace(c, labels={**c.labels, LABEL: "yes"}) if c.name in names else c for c in more)


def test_what_an_interrupted_replacement_left_leaves_and_is_no_other_shape() -> None:
    plan = plan_of(change={"surge": False})
    shape = shape_of(plan, engine_with(plan, containers=left_over()))
    assert [node.name for node in shape.temporary] == ["node-1-3", "node-2-3", "node-3-3"]
    assert shape.leaving == ()
    assert not shape.is_another(plan), "nothing about it is asked or refused in preview"


def test_more_replicas_wait_until_a_temporary_one_of_that_name_is_gone() -> None:
    plan = plan_of(replicas=2)
    assert any("node-1-3 is a temporary replica" in line for line in problems(plan, engine_with(plan, containers=left_over())))
    assert not problems(plan, engine_with(plan, containers=standing(plan)))
