"""Declared and live values are compared by meaning."""

import pytest

from operations.inventory import NodeEntry
from operations.parameters import Applied, described, differing, same


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


def test_what_was_set_and_what_waits_for_a_restart_are_told_apart() -> None:
    node = NodeEntry(
        name="node-1", role="primary", shard=1, member=1, container="c", volume="v", docker_host="local",
        address="10.0.0.1", port=6379, bus_port=0, host="127.0.0.1", host_port=1,
    )  # fmt: skip
    lines = described({"node-1": Applied(("maxmemory",), ("databases",))}, (node,))
    assert lines == ["maxmemory set live on node-1", "databases takes effect at the next start of node-1"]
