"""Version and configuration"""

import docker

from tests.infra.subject import Subject


def test_the_server_is_of_the_engine_and_version_of_the_inventory(node: Subject) -> None:
    engine, server = node.access.inventory.engine, node.info("server")
    assert server.get("valkey_version" if engine.name == "valkey" else "redis_version") == engine.version
    assert ("valkey_version" in server) == (engine.name == "valkey")


def test_the_version_is_of_the_declared_series(node: Subject) -> None:
    declared = node.access.inventory.spec["engine"]["version"]
    assert node.access.inventory.engine.version.startswith(f"{declared}.")


def test_the_container_runs_the_image_of_the_inventory(node: Subject, engine: docker.DockerClient) -> None:
    wanted = node.access.inventory.engine
    assert node.inspection["Image"] == wanted.image_id
    assert engine.images.get(wanted.image).id == wanted.image_id, f"{wanted.image} names a newer image than the one that runs"


def test_the_live_configuration_is_the_declared_one(data_node: Subject) -> None:
    declared = data_node.access.inventory.parameters["data"]
    live = {name: data_node.config(name) for name in declared}
    wrong = {name: (live[name], wanted) for name, wanted in declared.items() if live[name] != wanted}
    assert not wrong, f"{data_node.name} differs from what is declared, parameter: (live, declared): {wrong}"


def test_the_declared_limits_and_policies_stand_in_the_inventory(data_node: Subject) -> None:
    spec, parameters = data_node.access.inventory.spec, data_node.access.inventory.parameters["data"]
    assert parameters["maxmemory"] == str(spec["memory"]["maxmemory"])
    assert parameters["maxmemory-policy"] == spec["memory"]["eviction"]
    assert parameters["appendonly"] == ("yes" if spec["persistence"]["policy"] in ("aof", "both") else "no")


def test_the_server_accepts_as_many_clients_as_its_files_allow(data_node: Subject) -> None:
    assert data_node.config("maxclients") == data_node.access.inventory.parameters["data"]["maxclients"]
    assert int(str(data_node.config("maxclients"))) + 32 <= int(data_node.server.limits["Max open files"])


def test_the_server_announces_its_address_in_the_network_of_the_stack(data_node: Subject) -> None:
    kind = "cluster" if data_node.access.inventory.topology == "cluster" else "replica"
    assert data_node.config(f"{kind}-announce-ip") == data_node.entry.address
    assert data_node.config(f"{kind}-announce-port") == str(data_node.entry.port)
