"""Clients

What the stack output `connection` promises, tried as an application would: from the host, and inside the stack's network with
the engine's own client in a container of the same image.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from operations.inventory import Inventory

CLIENT = "client=$(command -v redis-cli || command -v valkey-cli)"
SECONDS = 30


@pytest.fixture
def key(client: Any) -> Iterator[str]:
    """One key of this test's own, removed afterwards."""
    name = f"verify:{os.getpid()}:client"
    yield name
    client.delete(name)


def login(connection: dict[str, Any]) -> dict[str, Any]:
    return {"username": connection["username"], "password": connection["password"], "decode_responses": True}


def host_client(connection: dict[str, Any], topology: str) -> Any:
    """A redis-py client made from the output's `host` part alone."""
    part = connection["host"]
    remap = {tuple(inner.rsplit(":", 1)): tuple(outer.rsplit(":", 1)) for inner, outer in part["address_remap"].items()}

    def mapped(where: tuple[str, int]) -> tuple[str, int]:
        host, port = remap.get((where[0], str(where[1])), where)
        return str(host), int(port)

    if topology == "cluster":
        make = cast(Callable[..., Any], ClusterNode)
        nodes = [make(host, port) for host, port in part["startup_nodes"]]
        return RedisCluster(startup_nodes=nodes, address_remap=mapped, **login(connection))
    if topology == "sentinel":
        found: Any = Sentinel(  # type: ignore[no-untyped-call]
            [tuple(where) for where in part["sentinels"]], sentinel_kwargs=login(connection), **login(connection)
        )
        host, port = mapped(found.discover_master(part["service"]))
        return redis.Redis(host=host, port=port, **login(connection))
    if topology == "replication":
        for host, port in part["nodes"]:
            candidate: Any = redis.Redis(host=host, port=port, **login(connection))
            if candidate.execute_command("ROLE")[0] in (b"master", "master"):
                return candidate
        raise AssertionError("no node says that it is primary")
    return redis.Redis.from_url(part["url"], decode_responses=True)


def test_an_application_on_the_host_connects_with_the_output_alone(
    connection: dict[str, Any], inventory: Inventory, key: str
) -> None:
    client = host_client(connection, inventory.topology)
    try:
        assert client.set(key, "from the host")
        assert client.get(key) == "from the host"
    finally:
        client.close()


def inside(inventory: Inventory, password: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a new container in the stack's network; the password goes in by standard input."""
    command = [
        "docker", "run", "--rm", "--interactive", "--network", inventory.network.name, "--cap-drop", "ALL",
        "--read-only", "--user", "65534:65534", "--label", "redis-topologies.verify=client", "--entrypoint", "sh",
        inventory.engine.image_id, "-s",
    ]  # fmt: skip
    text = f"REDISCLI_AUTH={password}; VALKEYCLI_AUTH=$REDISCLI_AUTH; export REDISCLI_AUTH VALKEYCLI_AUTH; {CLIENT}\n{script}\n"
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)


def ask(user: str, host: str, port: int, words: str, cluster: bool = False) -> str:
    return f'"$client" {"-c " if cluster else ""}--no-auth-warning --user {user} -h {host} -p {port} {words}'


def test_an_application_inside_the_network_connects_with_the_output_alone(
    connection: dict[str, Any], inventory: Inventory, key: str
) -> None:
    part, user, is_cluster = connection["inside"], connection["username"], inventory.topology == "cluster"
    if inventory.topology == "sentinel":
        host, port = part["sentinels"][0]
        where = f"where=$({ask(user, host, port, 'SENTINEL get-master-addr-by-name ' + part['service'])}); set -- $where\n"
        first, at = "$1", "$2"
    elif inventory.topology == "replication":
        probes = "".join(
            f'[ "$({ask(user, host, port, "ROLE")} | head -n 1)" = master ] && set -- {host} {port}\n'
            for host, port in part["nodes"]
        )
        where, first, at = probes, "$1", "$2"
    else:
        host, port = part["startup_nodes"][0] if is_cluster else part["url"].rpartition("@")[2].split("/")[0].split(":")
        where, first, at = "", str(host), str(port)
    script = where + "\n".join(
        ask(user, first, cast(int, at), words, is_cluster) for words in (f'SET {key} "from inside"', f"GET {key}")
    )
    result = inside(inventory, connection["password"], script)
    assert result.stdout.splitlines() == ["OK", "from inside"], result.stdout + result.stderr


def test_a_client_inside_the_network_without_a_password_is_refused(inventory: Inventory) -> None:
    node = inventory.nodes[0]
    result = inside(inventory, "wrong", f'unset REDISCLI_AUTH VALKEYCLI_AUTH; "$client" -h {node.address} -p {node.port} GET x')
    assert "NOAUTH" in result.stdout + result.stderr


def test_the_output_names_every_node_for_the_host(connection: dict[str, Any], inventory: Inventory) -> None:
    wanted = {f"{node.address}:{node.port}": f"{node.host}:{node.host_port}" for node in inventory.nodes}
    if inventory.spec["network"]["publish"]:
        assert connection["host"]["address_remap"] == wanted
    else:
        assert set(connection["host"]["address_remap"]) == set(wanted)


def test_the_output_is_for_the_application_user_alone(connection: dict[str, Any], inventory: Inventory) -> None:
    assert connection["username"] == "app"
    assert connection["network"] == inventory.network.name
