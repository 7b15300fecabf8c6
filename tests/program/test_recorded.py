"""A stack made by an earlier release: this release must replace nothing of it that runs or holds data."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.program.record import FOLDER, resources
from topologies.components.topology import COMPONENT_TYPE
from topologies.providers import ConvergenceProvider, CredentialsProvider

RECORDED = sorted(FOLDER.glob("*/*.json"))
IN_PLACE = {
    # What the Docker provider changes on a running container; everything else of a container replaces it.
    "docker:index/container:Container": {"memory", "memorySwap", "memoryReservation", "cpuShares", "restart", "maxRetryCount"},
    # Nothing is made anew for these: the image stays the one that was found, the providers below diff by themselves.
    "docker:index/remoteImage:RemoteImage": {"keepLocally"},
    "pulumi-python:dynamic/redis:Convergence": {"inventory", "credentials", "revisions", "standing", "version"},
    "pulumi-python:dynamic/redis:Credentials": {"users", "passwords"},
}

Found = dict[tuple[str, str], dict[str, Any]]


def by_name(found: list[dict[str, Any]]) -> Found:
    return {(one["type"], one["name"]): one["inputs"] for one in found}


def replaced(before: Found, after: Found) -> list[str]:
    """What would be deleted or made anew, in words."""
    gone = [f"{name} ({kind}) is gone" for kind, name in before if (kind, name) not in after]
    changed = [
        f"{name} ({kind}) changes {', '.join(sorted(fatal))}"
        for (kind, name), inputs in before.items()
        if name != "carrier" and (now := after.get((kind, name))) is not None
        if (fatal := {key for key in inputs.keys() | now.keys() if inputs.get(key) != now.get(key)} - IN_PLACE.get(kind, set()))
    ]
    return [*gone, *changed]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_this_release_replaces_nothing_of_a_stack_made_by_an_earlier_one(path: Path) -> None:
    assert replaced(by_name(json.loads(path.read_text())), by_name(resources(path.stem))) == []


def test_every_topology_of_an_earlier_release_is_on_record() -> None:
    assert {path.stem for path in RECORDED} >= {"standalone", "replication", "sentinel", "cluster"}


def test_what_would_be_replaced_is_noticed() -> None:
    before = by_name(json.loads((RECORDED[0]).read_text()))
    node = next(key for key in before if key[1].startswith("node-") and key[0].endswith(":Container"))
    assert replaced(before, {key: value for key, value in before.items() if key != node}) == [f"{node[1]} ({node[0]}) is gone"]
    other = {**before, node: {**before[node], "image": "sha256:beef", "memory": 1}}
    assert replaced(before, other) == [f"{node[1]} ({node[0]}) changes image"]


def test_names_that_stand_in_the_state_of_every_stack_stay() -> None:
    """They are part of URNs, or of the reference under which Pulumi finds a provider's code."""
    assert COMPONENT_TYPE == "redis:topology:Topology"
    assert [(one.__module__, one.__qualname__) for one in (ConvergenceProvider, CredentialsProvider)] == [
        ("topologies.providers", "ConvergenceProvider"),
        ("topologies.providers", "CredentialsProvider"),
    ]
