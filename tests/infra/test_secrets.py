"""Secrets"""

import json

import docker

from operations.inventory import Access
from tests.infra.subject import LABEL, SHORT_LIVED, Subject


def passwords(access: Access) -> dict[str, str]:
    return {user: access.credentials.password(user) for user in access.credentials.passwords}


def found_in(text: str, access: Access) -> list[str]:
    """Users whose password stands in the text."""
    return [user for user, password in passwords(access).items() if password in text]


def test_every_user_has_a_long_password_of_its_own(access: Access) -> None:
    known = passwords(access)
    assert min(len(password) for password in known.values()) >= 32
    assert len(set(known.values())) == len(known)


def test_docker_inspect_shows_no_password_of_any_container_of_the_stack(access: Access, engine: docker.DockerClient) -> None:
    labels: dict[str, str | list[str] | bool] = {"label": f"{LABEL}.stack={access.inventory.stack}"}
    inspected = engine.containers.list(all=True, filters=labels, ignore_removed=True)
    assert {container.name for container in inspected} >= {entry.container for entry in access.inventory.nodes}
    shown = {container.name: found_in(json.dumps(container.attrs), access) for container in inspected}
    assert not any(shown.values()), shown


def test_labels_of_volumes_and_network_hold_no_password(access: Access, engine: docker.DockerClient) -> None:
    attributes = [thing.attrs for thing in (*engine.volumes.list(), *engine.networks.list())]
    own = [one for one in attributes if access.inventory.stack in one["Name"]]
    assert len(own) > len(access.inventory.nodes)
    assert found_in(json.dumps(own), access) == []


def test_no_process_was_started_with_a_password_in_its_arguments(node: Subject) -> None:
    started = {process.name: found_in(" ".join(process.arguments), node.access) for process in node.processes}
    assert not any(started.values()), started


def test_no_process_that_stays_has_a_password_in_its_environment(node: Subject) -> None:
    stay = [process for process in node.processes if process.name not in SHORT_LIVED]
    assert len(stay) >= 3, "init, start script and server"
    shown = {process.name: found_in("\n".join(process.environment), node.access) for process in stay}
    assert not any(shown.values()), shown


def test_the_log_of_the_container_shows_no_password(node: Subject, engine: docker.DockerClient) -> None:
    log = engine.containers.get(node.entry.container).logs(tail=5000).decode(errors="replace")
    assert log, f"{node.entry.container} has logged nothing at all"
    assert found_in(log, node.access) == []


def test_the_server_lists_its_users_with_hashes_only(node: Subject) -> None:
    assert found_in(json.dumps(node.ask("ACL", "LIST")), node.access) == []
