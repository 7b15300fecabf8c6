"""Sentinels"""

import pytest

from operations.connect import endpoint
from operations.inventory import Inventory, SentinelSettings
from operations.parse import SentinelEntry, items, pairs, sentinel_entry
from tests.infra.subject import Subject
from tests.infra.test_access import SENTINEL_MAY, SENTINEL_MUST_NOT, assert_refused_without_password


@pytest.fixture
def settings(inventory: Inventory) -> SentinelSettings:
    assert inventory.sentinel is not None
    return inventory.sentinel


def watched(sentinel: Subject, settings: SentinelSettings) -> SentinelEntry:
    return sentinel_entry(sentinel.ask("SENTINEL", "MASTER", settings.service))


def seen(sentinel: Subject, what: str, settings: SentinelSettings) -> dict[tuple[str, int], SentinelEntry]:
    entries = [sentinel_entry(entry) for entry in items(sentinel.ask("SENTINEL", what, settings.service))]
    return {(entry.address, entry.port): entry for entry in entries}


def test_it_watches_this_stack_and_nothing_else(sentinel: Subject, settings: SentinelSettings) -> None:
    names = [sentinel_entry(entry).fields["name"] for entry in items(sentinel.ask("SENTINEL", "MASTERS"))]
    assert names == [settings.service]


def test_all_name_the_node_that_says_it_is_primary(
    sentinel: Subject, settings: SentinelSettings, subjects: dict[str, Subject], inventory: Inventory
) -> None:
    address, port = items(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", settings.service))
    primary = [(entry.address, entry.port) for entry in inventory.data_nodes if subjects[entry.name].is_primary]
    assert [(str(address), int(str(port)))] == primary


def test_it_sees_every_replica_alive(
    sentinel: Subject, settings: SentinelSettings, subjects: dict[str, Subject], inventory: Inventory
) -> None:
    replicas = {(entry.address, entry.port) for entry in inventory.data_nodes if not subjects[entry.name].is_primary}
    found = seen(sentinel, "REPLICAS", settings)
    assert set(found) == replicas
    assert {where: entry.is_down for where, entry in found.items()} == dict.fromkeys(replicas, False)
    assert {entry.fields["master-link-status"] for entry in found.values()} == {"ok"}


def test_it_sees_every_other_sentinel_alive(sentinel: Subject, settings: SentinelSettings, inventory: Inventory) -> None:
    peers = {(entry.address, entry.port) for entry in inventory.sentinels if entry.name != sentinel.name}
    found = seen(sentinel, "SENTINELS", settings)
    assert set(found) == peers
    assert {where: entry.is_down for where, entry in found.items()} == dict.fromkeys(peers, False)


def test_enough_sentinels_agree_for_a_failover(sentinel: Subject, settings: SentinelSettings, inventory: Inventory) -> None:
    answer = str(sentinel.ask("SENTINEL", "CKQUORUM", settings.service))
    assert answer.startswith(f"OK {len(inventory.sentinels)} usable Sentinels")


def test_it_does_not_see_the_primary_as_down(sentinel: Subject, settings: SentinelSettings) -> None:
    assert watched(sentinel, settings).flags == {"master"}


def test_its_settings_are_the_declared_ones(sentinel: Subject, settings: SentinelSettings, inventory: Inventory) -> None:
    fields = watched(sentinel, settings).fields
    declared = {**inventory.parameters["sentinel"], "quorum": str(settings.quorum)}
    assert {name: fields[name] for name in declared} == declared


def test_it_announces_its_own_address(sentinel: Subject) -> None:
    announced = pairs(sentinel.ask("SENTINEL", "CONFIG", "GET", "announce-*"))
    assert (announced["announce-ip"], announced["announce-port"]) == (sentinel.entry.address, str(sentinel.entry.port))


def test_every_sentinel_has_an_identity_of_its_own(subjects: dict[str, Subject], inventory: Inventory) -> None:
    names = {str(subjects[entry.name].ask("SENTINEL", "MYID")) for entry in inventory.sentinels}
    assert len(names) == len(inventory.sentinels)


def test_no_replica_is_barred_from_promotion(data_node: Subject) -> None:
    assert data_node.config("replica-priority") == "100"


def test_the_published_port_is_the_one_of_the_inventory(sentinel: Subject) -> None:
    assert endpoint(sentinel.entry) == (sentinel.entry.host, sentinel.entry.host_port)
    assert sentinel.role()[0] == "sentinel"


@pytest.mark.parametrize("command", ["PING", "INFO", "SENTINEL MASTERS", "ACL LIST"])
def test_a_client_of_a_sentinel_without_a_password_is_refused(sentinel: Subject, command: str) -> None:
    assert_refused_without_password(sentinel, command)


@pytest.mark.parametrize("user", SENTINEL_MAY)
def test_a_user_of_a_sentinel_can_do_what_it_needs(sentinel: Subject, user: str) -> None:
    refused = [command for command in SENTINEL_MAY[user] if not sentinel.may(user, command)]
    assert not refused, f"{sentinel.name} refuses {user}: {refused}"


@pytest.mark.parametrize("user", [user for user, commands in SENTINEL_MUST_NOT.items() if commands])
def test_a_user_of_a_sentinel_cannot_do_what_it_must_not(sentinel: Subject, user: str) -> None:
    allowed = [command for command in SENTINEL_MUST_NOT[user] if sentinel.may(user, command)]
    assert not allowed, f"{sentinel.name} lets {user} run {allowed}"
