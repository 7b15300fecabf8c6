"""What the Pulumi program declares, seen through Pulumi's mocks: hardening, loopback, volumes, chain, secrets."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks

from topologies.addresses import addressing
from topologies.components import TopologyArgs, topology_class
from topologies.components import topology as topology_module
from topologies.components.node import node_container
from topologies.plan import NodePlan, Plan, make_plan
from topologies.render import USERS
from topologies.spec import Spec

PASSWORDS = {user: f"{user}-secret" for user in USERS}
CONTAINER = "docker:index/container:Container"


class Recorder(Mocks):
    """Keeps every registered resource; answers like the providers would."""

    def __init__(self) -> None:
        self.resources: list[MockResourceArgs] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.resources.append(args)
        outputs = dict(args.inputs)
        if args.typ.endswith("RemoteImage"):
            outputs["imageId"] = "sha256:feed"
        if args.typ.endswith(":Credentials"):
            outputs["passwords"] = PASSWORDS
        if args.typ.endswith(":Convergence"):
            outputs["version"] = "8.0.2"
        return f"{args.name}-id", outputs

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program must not call {args.token}")

    def of_type(self, suffix: str) -> dict[str, dict[str, Any]]:
        return {resource.name: resource.inputs for resource in self.resources if resource.typ.endswith(suffix)}


def plan_of(topology: str, **fields: object) -> Plan:
    return make_plan(Spec.model_validate({"topology": topology, **fields}), "shop", addressing(7), "0123456789ab")


def register(plan: Plan, standing: tuple[str, ...] = ()) -> tuple[Recorder, dict[str, Any]]:
    """Run the component under mocks; returns what was registered and the resolved outputs."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="redis-topologies", stack="shop", preview=False)
    resolved: dict[str, Any] = {}

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def program() -> pulumi.Output[Any]:
        topology = topology_class(plan)("shop", TopologyArgs(plan=plan, standing=standing))
        outputs = {"inventory": topology.inventory, "credentials": topology.credentials, "connection": topology.connection}
        return pulumi.Output.all(**outputs).apply(resolved.update)

    program()
    return recorder, resolved


@pytest.fixture(params=["standalone", "replication", "sentinel", "cluster"])
def registered(request: pytest.FixtureRequest) -> Iterator[tuple[Plan, Recorder, dict[str, Any]]]:
    plan = plan_of(request.param)
    recorder, outputs = register(plan)
    yield plan, recorder, outputs


Registered = tuple[Plan, Recorder, dict[str, Any]]


def test_a_schedule_brings_an_agent_that_is_hardened_and_told_by_the_carrier_alone() -> None:
    plan = plan_of("cluster", backup={"schedule": "0 3 * * *", "repository": "/srv/backups"})
    recorder, _ = register(plan)
    agent = recorder.of_type("Container")["backup-agent"]
    assert agent["readOnly"] is True
    assert agent["capabilities"] == {"drops": ["ALL"]}
    assert "hostname" not in agent, "locks are told apart by it"
    assert agent["networksAdvanced"][0]["ipv4Address"] == "10.213.7.252"
    assert {mount["containerPath"]: mount.get("hostPath") or mount.get("volumeName") for mount in agent["volumes"]} == {
        "/config": "redis-shop-config", "/backup": "redis-shop-backup", "/repository": "/srv/backups",
    }  # fmt: skip
    assert not any(secret in json.dumps(agent) for secret in PASSWORDS.values())
    request = json.loads(
        next(
            one["content"] for one in recorder.of_type("Container")["carrier"]["uploads"] if one["file"].endswith("request.json")
        )
    )
    assert request["passwords"] == {"backup": "backup-secret"}
    assert request["inventory"]["nodes"][0]["host"] == "10.213.7.10"


def test_an_agent_that_archives_reads_the_volumes_of_all_data_nodes_and_writes_none() -> None:
    plan = plan_of("sentinel", backup={"point_in_time": True})
    recorder, _ = register(plan)
    agent = recorder.of_type("Container")["backup-agent"]
    assert agent["capabilities"] == {"adds": ["DAC_READ_SEARCH"], "drops": ["ALL"]}
    read = {mount["volumeName"]: mount["readOnly"] for mount in agent["volumes"] if mount["containerPath"].startswith("/nodes/")}
    assert read == {node.volume: True for node in plan.data_nodes}
    assert "redis-shop-archive" in {mount.get("volumeName") for mount in agent["volumes"]}


def test_a_stack_without_a_schedule_has_no_agent_and_one_without_restore_from_no_restoration() -> None:
    recorder, _ = register(plan_of("standalone"))
    assert "backup-agent" not in recorder.of_type("Container")
    assert not recorder.of_type(":Restoration")
    born, _ = register(plan_of("standalone", restore_from={"stack": "shop"}))
    assert born.of_type(":Restoration")["restoration"]["source"] == {"stack": "shop", "backup": "latest", "repository": "volume"}


def nodes(registered: Registered) -> dict[str, dict[str, Any]]:
    plan, recorder, _ = registered
    containers = recorder.of_type("Container")
    return {node.name: containers[node.name] for node in plan.nodes}


def test_every_planned_node_becomes_one_container_on_its_own_address(registered: Registered) -> None:
    plan, recorder, _ = registered
    containers = recorder.of_type("Container")
    assert set(containers) == {node.name for node in plan.nodes} | {"carrier"}
    for node in plan.nodes:
        (network,) = containers[node.name]["networksAdvanced"]
        assert network == {"name": "redis-shop", "ipv4Address": node.announced_address}


def test_every_node_is_hardened_and_bounded(registered: Registered) -> None:
    for name, inputs in nodes(registered).items():
        assert inputs["user"] == "redis", name
        assert inputs["readOnly"] is True, name
        assert inputs["init"] is True, name
        assert inputs["capabilities"] == {"drops": ["ALL"]}, name
        assert inputs["securityOpts"] == ["no-new-privileges:true"], name
        assert inputs["memory"] == inputs["memorySwap"] > 0, name
        assert {limit["name"] for limit in inputs["ulimits"]} == {"nofile", "nproc"}, name
        assert inputs["logOpts"] == {"max-size": "10m", "max-file": "3"}, name
        assert "privileged" not in inputs, name


def test_ports_are_published_on_loopback_alone(registered: Registered) -> None:
    for name, inputs in nodes(registered).items():
        assert [port["ip"] for port in inputs["ports"]] == ["127.0.0.1"], name


def test_without_publishing_no_port_is_opened_on_the_host() -> None:
    recorder, outputs = register(plan_of("standalone", network={"publish": False}))
    assert not recorder.of_type("Container")["node-1"].get("ports")
    assert outputs["inventory"]["nodes"][0]["host"] == "10.213.7.10"


def test_every_node_has_a_data_volume_and_reads_its_configuration(registered: Registered) -> None:
    plan, recorder, _ = registered
    volumes = {inputs["name"] for inputs in recorder.of_type("Volume").values()}
    for node in plan.nodes:
        mounts = {mount["containerPath"]: mount for mount in nodes(registered)[node.name]["volumes"]}
        assert mounts["/data"]["volumeName"] == node.volume
        assert mounts["/config"]["readOnly"] is True
        assert node.volume in volumes


def test_everything_on_the_engine_carries_the_labels_of_its_stack(registered: Registered) -> None:
    _, recorder, _ = registered
    for kind in ("Container", "Volume", "Network"):
        for name, inputs in recorder.of_type(kind).items():
            labels = {entry["label"]: entry["value"] for entry in inputs["labels"]}
            assert labels["redis-topologies.stack"] == "shop", name
            assert labels["redis-topologies.owner"] == "0123456789ab", name


def test_the_carrier_is_never_started_and_brings_every_file(registered: Registered) -> None:
    plan, recorder, _ = registered
    carrier = recorder.of_type("Container")["carrier"]
    assert carrier["start"] is False
    assert carrier["mustRun"] is False
    paths = {upload["file"] for upload in carrier["uploads"]}
    assert {f"/config/{node.name}/node.env" for node in plan.nodes} | {"/config/data/declared.conf"} <= paths
    assert "/config/scripts/start.sh" in paths


def test_no_secret_is_in_a_node_container_or_in_the_inventory(registered: Registered) -> None:
    _, _, outputs = registered
    text = json.dumps([nodes(registered), outputs["inventory"]])
    for password in PASSWORDS.values():
        assert password not in text


def test_labels_that_replace_nodes_do_not_depend_on_the_topology() -> None:
    labels = []
    for topology in ("standalone", "replication", "sentinel"):
        recorder, _ = register(plan_of(topology))
        labels.append(recorder.of_type("Container")["node-1"]["labels"])
    assert labels[0] == labels[1] == labels[2]


def test_a_change_of_topology_keeps_names_and_parents_of_the_data_nodes() -> None:
    inputs = [register(plan_of(topology))[0].of_type("Container")["node-1"] for topology in ("standalone", "sentinel")]
    changed = {key for key in inputs[0] if inputs[0][key] != inputs[1][key]}
    # Updated in place by the provider; everything else would replace the container.
    assert changed <= {"memory", "memorySwap"}


def test_outputs_tell_applications_how_to_connect(registered: Registered) -> None:
    plan, _, outputs = registered
    connection = outputs["connection"]
    assert connection["username"] == "app"
    assert connection["password"] == "app-secret"
    assert connection["network"] == "redis-shop"
    if plan.spec.topology == "sentinel":
        assert connection["inside"]["sentinels"][0] == ["10.213.7.3", 26379]
        assert connection["host"]["service"] == "main"
    else:
        assert connection["inside"]["url"] == "redis://app:app-secret@10.213.7.10:6379/0"
        assert connection["host"]["url"] == f"redis://app:app-secret@127.0.0.1:{plan.nodes[0].host_port}/0"


def test_the_inventory_names_exact_version_and_image() -> None:
    _, outputs = register(plan_of("cluster"))
    assert outputs["inventory"]["engine"] == {
        "name": "redis",
        "version": "8.0.2",
        "image": "redis-topologies/node:redis-8.0",
        "image_id": "sha256:feed",
    }


def dependencies(plan: Plan, standing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Which containers each container waits for; mocks do not tell, so the building block is watched."""
    seen: dict[str, set[str]] = {}
    gates: dict[str, set[str]] = {}

    class WatchedGate(topology_module.Gate):
        def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
            gates[name] = {str(one._name) for one in opts.depends_on}  # type: ignore[union-attr]
            super().__init__(name, props, opts)

    monkeypatch.setattr(topology_module, "Gate", WatchedGate)

    def watch(plan: Plan, node: NodePlan, *args: Any) -> Any:
        waits = {resource._name for resource in args[3]}
        seen[node.name] = {name for wait in waits for name in ({wait} if wait not in gates else gates[wait] | {"gate"})}
        return node_container(plan, node, *args)

    monkeypatch.setattr(topology_module, "node_container", watch)
    register(plan, standing)
    return seen


def test_a_first_creation_starts_all_nodes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = dependencies(plan_of("cluster"), (), monkeypatch)
    assert len(waits) == 6
    assert all(names == {"carrier"} for names in waits.values())


def test_standing_nodes_are_replaced_one_after_the_other_never_two_of_a_shard_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("cluster")
    waits = dependencies(plan, tuple(node.container for node in plan.replacement_order), monkeypatch)
    order = [node.name for node in plan.replacement_order]
    for before, after in itertools.pairwise(order):
        assert waits[after] == {"carrier", "gate", before}
    shards = [node.shard for node in plan.replacement_order]
    assert [node.member for node in plan.replacement_order] == [2, 2, 2, 1, 1, 1]
    assert all(a != b for a, b in itertools.pairwise(shards))


def test_a_new_or_missing_node_comes_before_any_standing_one_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = plan_of("replication", replicas=1), plan_of("replication", replicas=2)
    waits = dependencies(after, tuple(node.container for node in before.replacement_order), monkeypatch)
    assert waits["node-3"] == {"carrier"}
    assert waits["node-2"] == {"carrier", "gate", "node-3"}
    assert waits["node-1"] == {"carrier", "gate", "node-3", "node-2"}
