"""When the dynamic resources of a stack want an update, and what a refresh notes; no server is asked."""

from typing import Any

import pytest

from operations import drift
from operations.inventory import Access
from tests.unit.states import inventory_of
from topologies.addresses import addressing
from topologies.outputs import inventory as inventory_data
from topologies.plan import make_plan
from topologies.providers import ConvergenceProvider, GateProvider
from topologies.spec import Spec

PLAN = make_plan(Spec.model_validate({"topology": "cluster"}), "shop", addressing(7))
PROPS: dict[str, Any] = {
    "inventory": inventory_data(PLAN, "", ""),
    "credentials": {"app": "secret"},
    "revisions": {"files": "1", "containers": ["a"]},
}


def test_a_gate_is_gone_through_only_when_something_replaces_its_container() -> None:
    gate = GateProvider()
    known = {"node": "node-1-1", "revision": "1", "inventory": {"nodes": []}}
    assert gate.create(known).id == "gate-node-1-1"
    assert not gate.diff("gate-node-1-1", known, {**known, "inventory": {"nodes": ["another"]}}).changes
    assert gate.diff("gate-node-1-1", known, {**known, "revision": "2"}).changes


def test_what_a_refresh_noted_asks_for_an_update() -> None:
    provider = ConvergenceProvider()
    assert not provider.diff("c", PROPS, PROPS).changes
    assert provider.diff("c", {**PROPS, "drift": ["node-1: hz is 10, declared 20"]}, PROPS).changes


@pytest.mark.parametrize("found", [(), ("node-1: hz is 10, declared 20",)])
def test_a_refresh_keeps_everything_and_notes_the_drift_of_now(found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "noticed", lambda _access: found)
    outs = ConvergenceProvider().read("c", {**PROPS, "drift": ["an old one"]}).outs
    assert outs == PROPS | ({"drift": list(found)} if found else {})


def test_a_stack_that_does_not_answer_is_noted_and_fails_no_refresh() -> None:
    access = Access.model_validate({"inventory": inventory_of("standalone"), "credentials": {"passwords": {"admin": "x"}}})
    silent = access.inventory.nodes[0].model_copy(update={"host_port": 1})
    gone = access.model_copy(update={"inventory": access.inventory.model_copy(update={"nodes": (silent,)})})
    (noted,) = drift.noticed(gone)
    assert "no node answers" in noted
