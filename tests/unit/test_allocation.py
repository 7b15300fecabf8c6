"""Stacks side by side: a stack keeps its slot index, and takes none that collides."""

from topologies.addresses import BLOCK, FIRST_PORT, preferred_index, subnet_of
from topologies.allocation import allocate
from topologies.engine import EngineState, FoundNetwork, FoundVolume
from topologies.plan import LABEL_PREFIX
from topologies.spec import Spec

SPEC = Spec(topology="cluster")


def labels(stack: str, index: int) -> dict[str, str]:
    return {f"{LABEL_PREFIX}.stack": stack, f"{LABEL_PREFIX}.index": str(index)}


def test_a_new_stack_takes_its_preferred_index_on_an_empty_engine() -> None:
    assert allocate(SPEC, "shop", EngineState("local")).index == preferred_index("shop")


def test_a_stack_that_stands_keeps_its_index() -> None:
    index = (preferred_index("shop") + 5) % 64
    state = EngineState("local", networks=(FoundNetwork("redis-shop", (str(subnet_of(index)),), labels("shop", index)),))
    assert allocate(SPEC, "shop", state).index == index


def test_kept_volumes_keep_the_index_of_a_destroyed_stack() -> None:
    index = (preferred_index("shop") + 9) % 64
    state = EngineState("local", volumes=(FoundVolume("redis-shop-node-1-1-data", labels("shop", index)),))
    assert allocate(SPEC, "shop", state).index == index


def test_an_index_held_by_kept_volumes_of_another_stack_is_passed_over() -> None:
    index = preferred_index("shop")
    state = EngineState("local", volumes=(FoundVolume("redis-else-node-1-data", labels("else", index)),))
    assert allocate(SPEC, "shop", state).index == (index + 1) % 64


def test_a_subnet_that_overlaps_any_network_is_passed_over() -> None:
    index = preferred_index("shop")
    state = EngineState("local", networks=(FoundNetwork("office", (str(subnet_of(index)),), {}),))
    assert allocate(SPEC, "shop", state).index == (index + 1) % 64


def test_a_block_in_which_somebody_listens_is_passed_over() -> None:
    index = preferred_index("shop")
    state = EngineState("local", busy_ports=frozenset({FIRST_PORT + index * BLOCK + 200}))
    assert allocate(SPEC, "shop", state).index == (index + 1) % 64


def test_what_the_user_declared_is_taken_as_it_is() -> None:
    spec = Spec.model_validate({"topology": "standalone", "network": {"subnet": "10.50.0.0/24", "port_base": 7000}})
    found = allocate(spec, "shop", EngineState("local"))
    assert found.address(10) == "10.50.0.10"
    assert found.host_port(10) == 7010
