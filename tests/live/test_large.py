"""A large cluster on a small machine; part of the full run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FIGURE
from tests.live.faults import server_process
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.lifecycle import Record

pytestmark = pytest.mark.full

SHARDS = 12
SPEC: dict[str, Any] = {
    "topology": "cluster",
    "shards": SHARDS,
    "replicas": 1,
    "memory": {"maxmemory": "32mb"},
    "replication": {"backlog": "4mb", "replica_buffer": "16mb"},
}
UP_SECONDS = 240


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with throw_away_stack("large", SPEC, tmp_path_factory.mktemp("large"), request.config) as made:
        yield made


def resident_bytes(pid: int) -> int:
    """Resident memory of a process of this machine."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024


def test_24_nodes_come_up_and_an_idle_node_needs_little_memory(stack: Stack, record_property: Record) -> None:
    came = stack.up(seconds=UP_SECONDS).ok()
    access = stack.access()
    assert len(access.inventory.nodes) == 2 * SHARDS
    stack.wait_healthy(access, 30)
    resident = sorted(resident_bytes(server_process(stack, node.name)) / 2**20 for node in access.inventory.nodes)
    limit = stack.container(access.inventory.nodes[0].name).attrs["HostConfig"]["Memory"] / 2**20
    spread = " / ".join(f"{value:.1f}" for value in (resident[0], resident[len(resident) // 2], resident[-1]))
    record_property(FIGURE, f"{stack.name}: {len(resident)} nodes up in {came.seconds:.1f} s")
    record_property(FIGURE, f"{stack.name}: an idle node holds {spread} MiB (min / median / max) of {limit:.0f} MiB")
    assert resident[-1] < limit / 3
    assert lost(access, fill(access, "large", 3000)) == []


def test_24_nodes_show_no_changes_on_a_second_up(stack: Stack, record_property: Record) -> None:
    again = stack.up("--expect-no-changes").ok()
    record_property(FIGURE, f"{stack.name}: pulumi up without changes {again.seconds:.1f} s")
