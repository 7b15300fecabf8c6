"""Containers: root file system, limits, ports, labels"""

import docker

from operations.inventory import Inventory
from tests.infra.subject import LABEL, Subject
from topologies.plan import SENTINEL_MEMORY_BYTES, data_memory_limit_bytes
from topologies.spec import Spec

LARGEST_LOG_BYTES = 100 * 1024**2
MIB = 1024**2
TMP = "/tmp"  # noqa: S108 - in the container


def mounts(node: Subject) -> dict[str, set[str]]:
    """Options of the file systems in the container, by the folder that they are mounted on."""
    lines = (line.split() for line in node.shell("cat /proc/mounts").splitlines())
    return {fields[1]: set(fields[3].split(",")) for fields in lines}


def test_the_root_file_system_is_read_only(node: Subject) -> None:
    assert node.limits["ReadonlyRootfs"] is True
    assert "ro" in mounts(node)["/"]


def test_the_configuration_is_mounted_read_only(node: Subject) -> None:
    assert "ro" in mounts(node)["/config"]


def test_the_server_can_write_to_its_data_and_nowhere_else_but_tmp(node: Subject) -> None:
    writable = node.shell(
        "for folder in / /config /etc /usr /var /data /tmp /home /run; do [ ! -w $folder ] || echo $folder; done"
    ).split()
    assert writable == ["/data", TMP]


def test_nothing_can_be_executed_from_tmp(node: Subject) -> None:
    assert {"noexec", "nosuid", "nodev"} <= mounts(node)[TMP]


def test_the_data_lies_on_the_volume_of_the_inventory(node: Subject) -> None:
    mounted = {mount["Destination"]: mount.get("Name") for mount in node.inspection["Mounts"]}
    assert mounted["/data"] == node.entry.volume
    assert set(mounted) == {"/data", "/config"}, "nothing else of the host is mounted"


def test_the_memory_limit_is_the_planned_one_without_swap(node: Subject) -> None:
    spec = Spec.model_validate(node.access.inventory.spec)
    planned = SENTINEL_MEMORY_BYTES if node.entry.is_sentinel else data_memory_limit_bytes(spec)
    assert planned <= node.limits["Memory"] < planned + MIB
    assert node.limits["MemorySwap"] == node.limits["Memory"], "swap would hide a node that is too large, by being slow"


def test_the_memory_limit_leaves_room_for_a_snapshot_under_writes(data_node: Subject) -> None:
    spec = data_node.access.inventory.spec
    data = spec["memory"]["maxmemory"] * (1 + spec["memory"]["copy_on_write_headroom"])
    assert data_node.limits["Memory"] > data + spec["replication"]["backlog"]


def test_the_kernel_enforces_the_memory_limit(node: Subject) -> None:
    enforced = node.shell("cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes").strip()
    assert enforced == str(node.limits["Memory"])


def test_logs_are_bounded(node: Subject) -> None:
    log = node.limits["LogConfig"]
    size, files = log["Config"]["max-size"], int(log["Config"]["max-file"])
    unit = {"k": 1024, "m": MIB, "g": 1024 * MIB}[size[-1].lower()]
    assert log["Type"] in ("json-file", "local")
    assert int(size[:-1]) * unit * files <= LARGEST_LOG_BYTES


def test_the_restart_policy_is_the_declared_one(node: Subject) -> None:
    spec = Spec.model_validate(node.access.inventory.spec)
    stays_down = spec.restart_policy == "never" and not node.entry.is_sentinel
    assert node.limits["RestartPolicy"]["Name"] == ("no" if stays_down else "unless-stopped")


def test_a_stop_waits_as_long_as_declared_before_it_kills(node: Subject) -> None:
    assert node.inspection["Config"]["StopTimeout"] == node.access.inventory.spec["limits"]["stop_timeout_seconds"]


def test_only_the_server_port_is_published_and_only_on_loopback(node: Subject) -> None:
    published = {port: bindings for port, bindings in node.inspection["NetworkSettings"]["Ports"].items() if bindings}
    if not node.access.inventory.spec["network"]["publish"]:
        assert published == {}
        return
    binding = {"HostIp": "127.0.0.1", "HostPort": str(node.entry.host_port)}
    assert published == {f"{node.entry.port}/tcp": [binding]}


def test_the_node_has_the_address_that_it_announces_in_the_network_of_the_stack_alone(node: Subject) -> None:
    networks = node.inspection["NetworkSettings"]["Networks"]
    assert {name: network["IPAddress"] for name, network in networks.items()} == {
        node.access.inventory.network.name: node.entry.address
    }


def test_the_container_is_labelled_with_stack_owner_node_and_shard(node: Subject) -> None:
    inventory = node.access.inventory
    wanted = {"stack": inventory.stack, "owner": inventory.owner, "node": node.name, "shard": str(node.entry.shard)}
    assert {name: node.labels.get(f"{LABEL}.{name}") for name in wanted} == wanted
    assert node.labels[f"{LABEL}.index"].isdecimal()


def test_the_data_volume_is_labelled_with_stack_and_node(node: Subject, engine: docker.DockerClient) -> None:
    labels = engine.volumes.get(node.entry.volume).attrs["Labels"] or {}
    assert labels.get(f"{LABEL}.stack") == node.access.inventory.stack
    assert labels.get(f"{LABEL}.node") == node.name


def test_the_network_is_the_stacks_own_with_the_subnet_of_the_inventory(
    inventory: Inventory, engine: docker.DockerClient
) -> None:
    (network,) = engine.networks.list(names=[f"^{inventory.network.name}$"])
    network.reload()
    assert [config["Subnet"] for config in network.attrs["IPAM"]["Config"]] == [inventory.network.subnet]
    assert network.attrs["Labels"][f"{LABEL}.stack"] == inventory.stack
    assert network.attrs["Driver"] == "bridge"


def test_pending_connections_may_wait_in_a_queue_longer_than_the_kernels_old_default(node: Subject) -> None:
    assert int(node.shell("cat /proc/sys/net/core/somaxconn")) >= 511
