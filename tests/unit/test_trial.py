"""Declared parameters are tried on a server of their own when they, or the image, are new."""

import dataclasses

from topologies.addresses import addressing
from topologies.engine import EngineState, FoundContainer
from topologies.plan import PARAMETERS_LABEL, Plan, make_plan
from topologies.spec import Spec
from topologies.trial import is_due


def plan_of(**fields: object) -> Plan:
    return make_plan(Spec.model_validate({"topology": "replication", **fields}), "shop", addressing(7))


def state_of(plan: Plan, brought: Plan | None = None) -> EngineState:
    """The image is there; `brought` is the plan whose files the carrier brought last."""
    carrier = () if brought is None else (FoundContainer(plan.carrier, brought.carrier_labels, "", frozenset(), False),)
    return EngineState("", carrier, images={plan.image: "sha256:1"})


def test_new_parameters_and_a_new_image_are_tried_and_nothing_else() -> None:
    plan, other = plan_of(parameters={"hz": 20}), plan_of(parameters={"hz": 30})
    newer = plan_of(parameters={"hz": 20}, engine={"name": "redis", "version": "7.0"})
    assert is_due(plan, state_of(plan))
    assert is_due(plan, state_of(plan, other))
    assert is_due(newer, state_of(newer, plan))
    assert not is_due(plan, state_of(plan, plan))
    larger = plan_of(parameters={"hz": 20}, memory={"maxmemory": "1gb"})
    assert not is_due(larger, state_of(larger, plan))


def test_without_parameters_nothing_is_tried_and_no_label_is_added() -> None:
    plan = plan_of()
    assert not is_due(plan, state_of(plan))
    assert PARAMETERS_LABEL not in plan.carrier_labels


def test_more_open_files_than_by_default_are_tried_since_the_engine_may_have_less() -> None:
    plan, parameters = plan_of(limits={"files": 30000}), plan_of(parameters={"hz": 20})
    assert is_due(plan, state_of(plan))
    assert not is_due(plan, state_of(plan, plan))
    fewer = plan_of(limits={"files": 10000}, parameters={"hz": 20})
    assert fewer.carrier_labels == parameters.carrier_labels


def test_an_image_that_is_still_to_be_pulled_cannot_be_tried() -> None:
    plan = plan_of(parameters={"hz": 20})
    assert not is_due(plan, dataclasses.replace(state_of(plan), images={}))
