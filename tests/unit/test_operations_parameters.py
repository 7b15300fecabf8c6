"""Declared and live values are compared by meaning, set live all or nothing, and those that wait for a restart are named."""

from collections.abc import Mapping

import pytest

from operations.append_only import files, switch_append_only
from operations.containers import words
from operations.errors import CheckFailed
from operations.parameters import Applied, apply_parameters, described, differing, same
from operations.settle import memory_problem
from tests.unit.fleets import FakeFleet
from tests.unit.states import inventory_of, observed, replicated

INVENTORY = inventory_of("replication", parameters={"tcp-backlog": 600, "hz": 20})
DECLARED = INVENTORY.parameters["data"]
IDLE = "aof_enabled:1\r\naof_rewrite_in_progress:0\r\naof_last_bgrewrite_status:ok\r\nrdb_last_bgsave_status:ok\r\n"


def fleet_with(**live: str) -> FakeFleet:
    """A fleet that runs as declared, but for `live` (underscores stand for hyphens)."""
    return FakeFleet(INVENTORY, DECLARED | {name.replace("_", "-"): value for name, value in live.items()})


@pytest.mark.parametrize(
    ("declared", "live"),
    [
        ("yes", "yes"),
        ("1mb", "1048576"),
        ("1m", "1000000"),
        ("normal 0 0 0 replica 268435456 67108864 60", "normal 0 0 0 slave 268435456 67108864 60"),
        ("", '""'),
    ],
)
def test_the_same_value_in_other_words_is_no_difference(declared: str, live: str) -> None:
    assert same(declared, live)


@pytest.mark.parametrize(("declared", "live"), [("yes", "no"), ("1mb", "1048577"), ("", "3600 1")])
def test_another_value_is_a_difference(declared: str, live: str) -> None:
    assert not same(declared, live)


def test_only_what_differs_and_what_the_server_knows_is_set() -> None:
    declared = {"maxmemory": "2mb", "hz": "10", "unknown-to-it": "1"}
    assert differing(declared, {"maxmemory": "1048576", "hz": "10"}) == {"maxmemory": "2mb"}


@pytest.mark.parametrize(
    ("declared", "live", "differs"), [("KEA", "AKE", False), ("Kg$", "g$K", False), ("Kx", "xE", True), ("", "", False)]
)
def test_the_order_of_events_is_the_servers_own(declared: str, live: str, differs: bool) -> None:
    assert bool(differing({"notify-keyspace-events": declared}, {"notify-keyspace-events": live})) is differs


def test_a_stack_as_declared_is_only_read() -> None:
    fleet = fleet_with()
    assert set(apply_parameters(fleet.as_fleet, INVENTORY).values()) == {Applied()}
    assert all(link.sent == [] for link in fleet.links.values())


def test_what_was_set_and_what_waits_for_a_restart_are_told_apart() -> None:
    fleet = fleet_with(hz="10", tcp_backlog="511")
    for link in fleet.links.values():
        link.fixed = frozenset({"tcp-backlog"})
    outcome = apply_parameters(fleet.as_fleet, INVENTORY)
    assert set(outcome.values()) == {Applied(("hz",), ("tcp-backlog",))}
    assert described(outcome, INVENTORY.data_nodes) == [
        "hz set live on node-1, node-2, node-3",
        "tcp-backlog takes effect at the next start of node-1, node-2, node-3",
    ]


def test_a_refused_value_is_told_with_the_servers_words_and_everything_is_set_back() -> None:
    fleet = fleet_with(hz="10", maxmemory_policy="allkeys-lru")
    fleet.links["node-2"].refuses = {"maxmemory-policy": "ERR not on this machine"}
    with pytest.raises(CheckFailed) as told:
        apply_parameters(fleet.as_fleet, INVENTORY)
    assert "node-2 refuses maxmemory-policy noeviction: ERR not on this machine" in str(told.value)
    assert "set back on every node" in str(told.value)
    assert {link.config["hz"] for link in fleet.links.values()} == {"10"}
    assert {link.config["maxmemory-policy"] for link in fleet.links.values()} == {"allkeys-lru"}


def test_a_refusal_by_the_first_node_leaves_the_others_alone() -> None:
    fleet = fleet_with(hz="10")
    for link in fleet.links.values():
        link.refuses = {"hz": "ERR no"}
    with pytest.raises(CheckFailed, match="Nothing was changed on any node"):
        apply_parameters(fleet.as_fleet, INVENTORY)
    assert [len(link.sent) for link in fleet.links.values()] == [1, 0, 0]


def test_a_parameter_that_a_server_does_not_know_is_refused_before_anything_is_set() -> None:
    fleet = fleet_with(maxmemory="1")
    for link in fleet.links.values():
        del link.config["hz"]
    with pytest.raises(CheckFailed, match="node-1 does not know hz, so nothing was set"):
        apply_parameters(fleet.as_fleet, INVENTORY)
    assert all(link.sent == [] for link in fleet.links.values())


def test_one_parameter_alone_can_be_set() -> None:
    fleet = fleet_with(hz="10", maxmemory="1", slowlog_max_len="7")
    assert apply_parameters(fleet.as_fleet, INVENTORY, "hz")["node-1"] == Applied(("hz",))
    assert {link.config["maxmemory"] for link in fleet.links.values()} == {"1"}


def test_what_nobody_declares_is_set_to_the_default_of_the_engine() -> None:
    fleet = fleet_with(slowlog_max_len="7")
    assert apply_parameters(fleet.as_fleet, INVENTORY)["node-2"] == Applied(("slowlog-max-len",))
    assert fleet.links["node-2"].config["slowlog-max-len"] == "128"


def test_the_append_only_file_is_noted_as_on_only_after_it_was_written() -> None:
    fleet = fleet_with(appendonly="no")
    for link in fleet.links.values():
        link.info = IDLE
    switch_append_only(fleet.as_fleet, INVENTORY, lambda _: None)
    assert fleet.links["node-3"].sent == [("CONFIG", "SET", "appendonly", "yes"), ("CONFIG", "REWRITE")]


def test_an_append_only_file_that_cannot_be_written_is_switched_off_again() -> None:
    fleet = fleet_with(appendonly="no")
    fleet.links["node-1"].info = IDLE.replace("bgrewrite_status:ok", "bgrewrite_status:err")
    with pytest.raises(CheckFailed, match="node-1 could not write its append-only file"):
        switch_append_only(fleet.as_fleet, INVENTORY, lambda _: None)
    assert fleet.links["node-1"].config["appendonly"] == "no"
    assert ("CONFIG", "REWRITE") not in fleet.links["node-1"].sent
    assert fleet.links["node-2"].sent == []


@pytest.mark.parametrize(
    ("policy", "before"),
    [("rdb", [("BGSAVE",)]), ("none", [])],
)
def test_a_snapshot_is_written_before_the_append_only_file_goes(policy: str, before: list[tuple[str, ...]]) -> None:
    inventory = inventory_of("standalone", persistence={"policy": policy})
    fleet = FakeFleet(inventory, inventory.parameters["data"] | {"appendonly": "yes"})
    fleet.links["node-1"].info = IDLE
    switch_append_only(fleet.as_fleet, inventory, lambda _: None)
    assert fleet.links["node-1"].sent == [*before, ("CONFIG", "SET", "appendonly", "no"), ("CONFIG", "REWRITE")]


@pytest.mark.parametrize("line", ["aof_rewrite_scheduled:1", "rdb_bgsave_in_progress:1", "loading:1"])
def test_a_server_that_writes_or_is_about_to_is_busy(line: str) -> None:
    assert files(f"{IDLE}{line}\r\n").is_busy
    assert not files(IDLE).is_busy


@pytest.mark.parametrize(
    ("eviction", "effect"), [("noeviction", "refuse every write"), ("allkeys-lru", r"evict keys at once \(allkeys-lru\)")]
)
def test_a_maxmemory_below_what_is_used_is_refused(eviction: str, effect: str) -> None:
    def problem(maxmemory: str) -> str | None:
        memory: Mapping[str, object] = {"maxmemory": maxmemory, "eviction": eviction}
        inventory = inventory_of("replication", memory=memory)
        return memory_problem(observed(inventory, replicated(inventory)), inventory)

    assert problem("64mb") is None
    told = problem("900kb")
    assert told is not None and "node-1 uses 0 MB" in told
    assert effect.replace("\\", "") in told


def test_the_reason_of_a_server_that_does_not_start_is_found_in_its_log() -> None:
    log = (
        "1:C Redis is starting\n*** FATAL CONFIG FILE ERROR (Redis 8.0.2) ***\nReading the configuration file, at line 3\n"
        ">>> 'io-threads 999'\nargument must be between 1 and 128 inclusive\n00:01 start.sh[node-1]: stopped\n"
    )
    assert words(log).endswith(">>> 'io-threads 999' | argument must be between 1 and 128 inclusive")
    assert words("a\nb\nc\nd\n") == "b | c | d"
    assert words("") == "nothing"
