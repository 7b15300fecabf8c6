"""Sentinels go on watching until the nodes that stay answer."""

from typing import Any

import pytest

from operations import reshape
from operations.change import Change
from operations.errors import Unreachable
from operations.inventory import Access, Credentials
from tests.unit.states import inventory_of, observed, replicated, silent

SENTINEL, REPLICATION = inventory_of("sentinel"), inventory_of("replication")
PASSWORDS = Credentials.of(dict.fromkeys(("admin", "replication", "sentinel"), "s3cret"))


def test_sentinels_do_not_stop_watching_while_a_node_that_stays_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change would come to nothing without it, and its failover may still be needed."""
    states = replicated(REPLICATION) | {"node-2": silent("node-2")}
    told: list[Any] = []
    monkeypatch.setattr(reshape, "look", lambda *_: observed(REPLICATION, states))
    monkeypatch.setattr(reshape, "default_seconds", lambda _: -1.0)
    monkeypatch.setattr(reshape, "_dismiss", lambda *arguments: told.append(arguments))
    change = Change(leaving=SENTINEL.sentinels)
    with pytest.raises(Unreachable, match="keeps its sentinels, which go on watching, because nothing listens for node-2"):
        reshape.reshape(Access(inventory=REPLICATION, credentials=PASSWORDS), change)
    assert told == []


def test_they_are_waited_for_only_as_long_as_a_node_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [replicated(REPLICATION) | {"node-2": silent("node-2")}, replicated(REPLICATION)]
    monkeypatch.setattr(reshape, "look", lambda *_: observed(REPLICATION, looks.pop(0)))
    reshape._await_staying(Access(inventory=REPLICATION, credentials=PASSWORDS))
    assert looks == []
