"""Fixtures of the suite: the stack's outputs, and each node as a subject to ask.

Nothing but the stack's outputs says what is looked at: files that concern another topology are not collected, and each test
that takes a `node`, `data_node`, `replica_holder` or `sentinel` runs once for each of those.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from operations.clients import TopologyClient, application_client
from operations.errors import ToolkitError
from operations.inventory import Access, Inventory, load_access
from tests.infra.host import reads_this_machine
from tests.infra.outputs import load_connection
from tests.infra.subject import Subject

HERE = Path(__file__).resolve().parent
ACCESS = pytest.StashKey[Access]()
KEY_PREFIX = "verify:"
"""All keys that the suite writes begin so, followed by the number of this process; each test removes its own."""

PARAMETERS = ("node", "data_node", "sentinel")


def pytest_configure(config: pytest.Config) -> None:
    """Asked for by name, the suite needs a stack; as part of all tests it is left out without one."""
    asked = [Path(str(argument).split("::")[0]).resolve() for argument in config.args]
    if not config.getoption("--stack") and any(path == HERE or HERE in path.parents for path in asked):
        raise pytest.UsageError("tests/infra looks at a running stack; name it: pytest tests/infra --stack cluster")


def access_of(config: pytest.Config) -> Access:
    """The outputs of the stack that was named, read once."""
    if ACCESS not in config.stash:
        try:
            config.stash[ACCESS] = load_access(config.getoption("--stack"))
        except ToolkitError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[ACCESS]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What does not apply to the stack is not collected."""
    if not collection_path.name.startswith("test_"):
        return None
    if not config.getoption("--stack"):
        return True
    inventory = access_of(config).inventory
    applies = {
        "test_cluster.py": inventory.topology == "cluster",
        "test_sentinel.py": bool(inventory.sentinels),
        "test_replication.py": inventory.replicas > 0,
        "test_one_primary.py": inventory.topology != "cluster",
        "test_loopback.py": reads_this_machine() and inventory.spec["network"]["publish"],
    }
    return None if applies.get(collection_path.name, True) else True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per node of the inventory."""
    inventory = access_of(metafunc.config).inventory
    members = {"node": inventory.nodes, "data_node": inventory.data_nodes, "sentinel": inventory.sentinels}
    for name in PARAMETERS:
        if name in metafunc.fixturenames:
            entries = members[name]
            metafunc.parametrize(name, entries, ids=[entry.name for entry in entries], indirect=True)


@pytest.fixture(scope="session")
def access(pytestconfig: pytest.Config) -> Access:
    return access_of(pytestconfig)


@pytest.fixture(scope="session")
def inventory(access: Access) -> Inventory:
    return access.inventory


@pytest.fixture(scope="session")
def connection(inventory: Inventory) -> dict[str, Any]:
    """The stack output `connection`."""
    return load_connection(inventory.stack)


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    return docker.from_env(timeout=30)


@pytest.fixture(scope="session")
def engine_has_seccomp(engine: docker.DockerClient) -> bool:
    """Whether this engine filters system calls at all."""
    return any("seccomp" in option for option in engine.info().get("SecurityOptions") or ())


@pytest.fixture(scope="session")
def subjects(access: Access, engine: docker.DockerClient) -> Iterator[dict[str, Subject]]:
    """Every node by name."""
    found = {entry.name: Subject(entry, access, engine) for entry in access.inventory.nodes}
    yield found
    for subject in found.values():
        subject.close()


@pytest.fixture
def node(request: pytest.FixtureRequest, subjects: dict[str, Subject]) -> Subject:
    """Each node, sentinels included."""
    return subjects[request.param.name]


@pytest.fixture
def data_node(request: pytest.FixtureRequest, subjects: dict[str, Subject]) -> Subject:
    """Each node that holds data."""
    return subjects[request.param.name]


@pytest.fixture
def sentinel(request: pytest.FixtureRequest, subjects: dict[str, Subject]) -> Subject:
    """Each sentinel."""
    return subjects[request.param.name]


@pytest.fixture
def client(access: Access, subjects: dict[str, Subject]) -> Iterator[TopologyClient]:
    """An application's client on the published ports, once every server has shown that it is this stack's."""
    for subject in subjects.values():
        subject.ensure_ours()
    opened = application_client(access, decode_responses=True)
    yield opened
    opened.close()


@pytest.fixture
def keys(client: TopologyClient) -> Iterator[list[str]]:
    """Names of 64 keys of this test's own, spread over all slots, and removed afterwards."""
    names = [f"{KEY_PREFIX}{os.getpid()}:{number}" for number in range(64)]
    yield names
    for name in names:
        client.delete(name)
