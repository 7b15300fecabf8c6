"""Cluster"""

from operations.clients import TopologyClient
from operations.inventory import Inventory
from operations.parse import SLOT_COUNT, ClusterNode, cluster_nodes, cluster_shards, info_fields, slot_total, text, uncovered
from tests.infra.subject import Subject
from tests.waiting import wait_until

FIRST_OFFSET_SECONDS = 15
"""A replica of an empty shard counts as loading until its primary has sent it anything, which it does every 10 s."""


def view(subject: Subject) -> tuple[ClusterNode, ...]:
    """The cluster as one node sees it."""
    return cluster_nodes(text(subject.ask("CLUSTER", "NODES")))


def essence(nodes: tuple[ClusterNode, ...]) -> dict[str, tuple[object, ...]]:
    """What all views must have in common: address, role, primary and slots of every node."""
    return {node.node_id: (node.address, node.port, node.is_primary, node.primary_id, node.slots) for node in nodes}


def test_the_node_says_that_the_cluster_is_well(data_node: Subject) -> None:
    state = info_fields(text(data_node.ask("CLUSTER", "INFO")))
    assert state["cluster_state"] == "ok"
    assert (state["cluster_slots_fail"], state["cluster_slots_pfail"]) == ("0", "0")


def test_the_nodes_own_view_is_the_view_of_all_others(
    data_node: Subject, subjects: dict[str, Subject], inventory: Inventory
) -> None:
    own = essence(view(data_node))
    for entry in inventory.data_nodes:
        assert essence(view(subjects[entry.name])) == own, f"{entry.name} sees another cluster than {data_node.name}"


def test_it_knows_all_nodes_of_the_stack_and_no_stranger(data_node: Subject, inventory: Inventory) -> None:
    known = {(node.address, node.port) for node in view(data_node)}
    assert known == {(entry.address, entry.port) for entry in inventory.data_nodes}
    assert not [node for node in view(data_node) if node.in_handshake]


def test_it_sees_no_node_failing_or_disconnected(data_node: Subject) -> None:
    troubled = [(node.address, sorted(node.flags)) for node in view(data_node) if node.is_failing or not node.connected]
    assert not troubled


def test_every_slot_is_served_exactly_once(data_node: Subject) -> None:
    owned = [node.slots for node in view(data_node)]
    assert uncovered(owned) == ()
    assert sum(slot_total(slots) for slots in owned) == SLOT_COUNT
    assert info_fields(text(data_node.ask("CLUSTER", "INFO")))["cluster_slots_ok"] == str(SLOT_COUNT)


def test_no_slot_is_open(data_node: Subject) -> None:
    assert not [slot for node in view(data_node) for slot in node.open_slots]


def test_as_many_primaries_serve_slots_as_there_are_shards(data_node: Subject, inventory: Inventory) -> None:
    serving = [node for node in view(data_node) if node.slots]
    assert len(serving) == len(inventory.shards)
    assert all(node.is_primary for node in serving)
    assert len([node for node in view(data_node) if node.is_primary]) == len(serving), "a primary serves no slot"


def test_every_primary_has_its_declared_number_of_replicas(data_node: Subject, inventory: Inventory) -> None:
    nodes = view(data_node)
    following = {node.node_id: [other for other in nodes if other.primary_id == node.node_id] for node in nodes if node.slots}
    assert {name: len(replicas) for name, replicas in following.items()} == dict.fromkeys(following, inventory.replicas)


def test_no_two_primaries_share_an_epoch(data_node: Subject) -> None:
    epochs = [node.config_epoch for node in view(data_node) if node.is_primary]
    assert len(set(epochs)) == len(epochs)


def test_clients_are_told_of_every_node_as_online(data_node: Subject, inventory: Inventory) -> None:
    wanted = {(entry.address, entry.port): "online" for entry in inventory.data_nodes}

    def missing() -> str:
        shards = [shard for shard in cluster_shards(data_node.ask("CLUSTER", "SHARDS")) if shard.slots]
        told = {(member.address, member.port): member.health for shard in shards for member in shard.members}
        return "" if told == wanted else f"{data_node.name} tells {told}"

    wait_until("every node told as online", missing, FIRST_OFFSET_SECONDS)


def test_the_node_keeps_its_identity_on_its_volume(data_node: Subject) -> None:
    kept = data_node.shell("cat /data/nodes.conf")
    assert [line for line in kept.splitlines() if line.startswith(f"{data_node.ask('CLUSTER', 'MYID')} ") and "myself" in line]


def test_keys_of_all_shards_come_back_through_a_cluster_client(
    client: TopologyClient, keys: list[str], subjects: dict[str, Subject], inventory: Inventory
) -> None:
    for key in keys:
        assert client.set(key, f"value of {key}")
    assert [client.get(key) for key in keys] == [f"value of {key}" for key in keys]
    owners = {node.node_id for node in view(subjects[inventory.data_nodes[0].name]) if node.slots}
    touched = {node_of(subjects, inventory, key) for key in keys}
    assert touched == owners, "64 keys lie in every shard"


def node_of(subjects: dict[str, Subject], inventory: Inventory, key: str) -> str:
    """Id of the node that serves a key's slot."""
    subject = subjects[inventory.data_nodes[0].name]
    slot = int(str(subject.ask("CLUSTER", "KEYSLOT", key)))
    return next(node.node_id for node in view(subject) if any(first <= slot <= last for first, last in node.slots))


def test_a_wrong_node_sends_the_client_to_the_right_one_by_its_address_in_the_network(
    data_node: Subject, inventory: Inventory, keys: list[str]
) -> None:
    own = {data_node.ask("CLUSTER", "MYID")}
    addresses = {entry.address for entry in inventory.data_nodes}
    nodes = view(data_node)
    for key in keys:
        slot = int(str(data_node.ask("CLUSTER", "KEYSLOT", key)))
        owner = next(node for node in nodes if any(first <= slot <= last for first, last in node.slots))
        if owner.node_id not in own:
            _, _, target = data_node.refusal("GET", key, user="app").partition(" ")
            assert target.rpartition(" ")[2] == f"{owner.address}:{owner.port}"
            assert owner.address in addresses
            return
    raise AssertionError("no key lies outside this node")
