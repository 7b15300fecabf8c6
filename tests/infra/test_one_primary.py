"""One primary"""

from operations.clients import TopologyClient
from operations.inventory import Inventory
from tests.infra.subject import Subject


def test_exactly_one_node_is_primary_and_takes_writes(subjects: dict[str, Subject], inventory: Inventory) -> None:
    names = [entry.name for entry in inventory.data_nodes if subjects[entry.name].is_primary]
    assert len(names) == 1, f"primaries are {names}"


def test_no_node_waits_for_a_role(data_node: Subject) -> None:
    role = data_node.role()
    assert role[:3] != ["slave", "127.0.0.1", 1], f"{data_node.name} is blank and was never given a role"


def test_the_role_survives_a_restart_because_it_stands_in_the_servers_own_file(data_node: Subject) -> None:
    lines = data_node.shell("cat /data/server.conf").splitlines()
    kept = [line.split()[1:] for line in lines if line.startswith(("replicaof ", "slaveof "))]
    role = data_node.role()
    assert kept == ([] if role[0] == "master" else [[str(role[1]), str(role[2])]])


def test_written_keys_come_back_and_can_be_removed(client: TopologyClient, keys: list[str]) -> None:
    for key in keys:
        assert client.set(key, f"value of {key}")
    assert [client.get(key) for key in keys] == [f"value of {key}" for key in keys]
