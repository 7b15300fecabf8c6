"""What goes wrong on other people's machines: each ends in a clear message or a repair, and never in a half-made stack."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from operations.inventory import Access
from tests.live.harness import PREFIX, ROOT, Stack, engine, run, throw_away_stack
from tests.live.ledger import fill, lost
from tests.waiting import wait_until
from topologies.addresses import FIRST_DATA_OCTET, addressing, preferred_index

SPEC = {"topology": "replication", "replicas": 1}
UNREACHABLE, INVALID, BROKEN, USAGE = 69, 65, 30, 64
UP_SECONDS = 60


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A stack that is not up yet."""
    with throw_away_stack("trouble", SPEC, tmp_path, request.config) as made:
        yield made


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is up, for everything that only looks at it."""
    with throw_away_stack("standing", SPEC, tmp_path_factory.mktemp("standing"), request.config) as made:
        made.up().ok()
        yield made


def nothing_was_made(stack: Stack) -> None:
    assert stack.leftovers() == []


# ---- the Docker engine ------------------------------------------------------------------------------------------------


def test_an_engine_that_does_not_answer_is_named_with_the_way_out(stack: Stack) -> None:
    stack.extra_env["DOCKER_HOST"] = f"unix://{stack.folder}/no-engine.sock"
    try:
        stack.preview().failed().says(f"no Docker engine answers at unix://{stack.folder}/no-engine.sock", "make setup")
        stack.script("up").failed(UNREACHABLE).says("Docker engine at", "does not answer")
    finally:
        del stack.extra_env["DOCKER_HOST"]
    nothing_was_made(stack)


def test_an_image_that_nobody_has_is_named_before_a_node_is_made(stack: Stack) -> None:
    stack.configure(**{"engine.image": "127.0.0.1:1/nobody/has-this:1"})
    stack.up().failed().says("127.0.0.1:1/nobody/has-this:1")
    assert [container.name for container in stack.containers()] == []


# ---- addresses ---------------------------------------------------------------------------------------------------------


def test_a_default_port_that_is_taken_moves_the_stack_to_another_block(stack: Stack) -> None:
    wanted = addressing(preferred_index(stack.name)).host_port(FIRST_DATA_OCTET)
    with socket.create_server(("127.0.0.1", wanted)):
        stack.up().ok()
        ports = {node.host_port for node in stack.access().inventory.nodes}
        assert wanted not in ports
        stack.preview("--expect-no-changes").ok()


def test_a_declared_port_that_is_taken_is_refused_with_the_port(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        stack.configure(**{"network.port_base": str(taken - FIRST_DATA_OCTET)})
        stack.preview().failed().says(f"port {taken} for node-1 is taken", "network.port_base")
        stack.up().failed().says(f"port {taken} for node-1 is taken")
    nothing_was_made(stack)


@pytest.fixture
def foreign_network(stack: Stack) -> Iterator[Network]:
    """Somebody else's network on the subnet that the stack would take."""
    subnet = str(addressing(preferred_index(stack.name)).subnet)
    network = engine().networks.create(
        f"{stack.name}-foreign", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]), labels={"redis-topologies.test": "yes"}
    )
    network.reload()
    yield network
    network.remove()


def test_a_default_subnet_that_is_taken_is_left_alone(stack: Stack, foreign_network: Network) -> None:
    (subnet,) = (config["Subnet"] for config in foreign_network.attrs["IPAM"]["Config"])
    stack.up().ok()
    assert stack.access().inventory.network.subnet != subnet


def test_a_declared_subnet_that_is_taken_is_refused_with_the_network(stack: Stack, foreign_network: Network) -> None:
    subnet = str(addressing(preferred_index(stack.name)).subnet)
    stack.configure(**{"network.subnet": subnet})
    stack.preview().failed().says(f"network.subnet {subnet} overlaps {subnet} of the Docker network {foreign_network.name}")
    assert [name for name in stack.leftovers() if not name.endswith("-foreign")] == []


def test_a_container_of_the_same_name_that_is_not_ours_is_never_taken_over(stack: Stack) -> None:
    image = "redis-topologies/node:redis-8.0"
    stranger = engine().containers.create(image, ["true"], name=f"redis-{stack.name}-node-1", network_disabled=True)
    try:
        stack.preview().failed().says(f"container redis-{stack.name}-node-1 exists and was not made by this Pulumi stack")
        stack.up().failed()
        stranger.reload()
    finally:
        stranger.remove(force=True)
    nothing_was_made(stack)


# ---- interrupted updates -------------------------------------------------------------------------------------------------


def start_up(stack: Stack, *command: str) -> subprocess.Popen[str]:
    """Start an update that the test interrupts, in a session of its own."""
    words = command or ("pulumi", "up", "--yes", "--skip-preview", "--stack", stack.name, "--non-interactive")
    return subprocess.Popen(
        words, cwd=ROOT, env=stack.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for_first_container(stack: Stack, process: subprocess.Popen[str]) -> None:
    def missing() -> str:
        assert process.poll() is None, f"the update ended before it could be interrupted: {process.communicate()[0]}"
        return "" if stack.containers() else "no container yet"

    wait_until("the first container of the stack", missing, 60, poll_seconds=0.02)


def comes_up_after_all(stack: Stack) -> Access:
    stack.script("up").ok()
    access = stack.access()
    stack.wait_healthy(access, UP_SECONDS)
    stack.preview("--expect-no-changes").ok()
    names = [container.name for container in stack.containers()]
    assert len(names) == len(set(names)) == len(access.inventory.nodes) + 1, names
    return access


def test_a_pulumi_killed_in_the_middle_of_an_update_is_repaired_by_the_next_up(stack: Stack) -> None:
    process = start_up(stack)
    wait_for_first_container(stack, process)
    # The engine of Pulumi alone, as the OOM killer would: its plugins stay behind.
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    stack.up().failed().says("locked")
    comes_up_after_all(stack)


def test_an_up_interrupted_by_ctrl_c_goes_on_with_the_next_up(stack: Stack) -> None:
    process = start_up(stack, sys.executable, "scripts/up.py", "--stack", stack.name)
    wait_for_first_container(stack, process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    comes_up_after_all(stack)


def test_a_pulumi_killed_while_it_replaces_nodes_loses_no_data(stack: Stack) -> None:
    stack.up().ok()
    ledger = fill(stack.access(), "before-kill", 500)
    stack.configure(**{"limits.files": "19000"})
    before = {container.id for container in stack.containers()}
    process = start_up(stack)

    def missing() -> str:
        assert process.poll() is None, f"the update ended before it could be interrupted: {process.communicate()[0]}"
        return "" if {container.id for container in stack.containers()} - before else "no node is replaced yet"

    wait_until("the first replaced container", missing, 90, poll_seconds=0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    access = comes_up_after_all(stack)
    assert lost(access, ledger) == []


# ---- names, passphrases, specs --------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_is_said_to_be_wrong(standing: Stack) -> None:
    wrong = standing.folder / "wrong-passphrase"
    wrong.write_text("not the one")
    standing.extra_env["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(wrong)
    try:
        for script in ("status", "verify", "up", "down"):
            standing.script(script).failed(UNREACHABLE).says("passphrase", "PULUMI_CONFIG_PASSPHRASE")
    finally:
        del standing.extra_env["PULUMI_CONFIG_PASSPHRASE_FILE"]
    standing.wait_healthy(standing.access(), 5)


@pytest.mark.parametrize("script", ["status", "verify", "recover"])
def test_a_stack_that_does_not_exist_is_named(standing: Stack, script: str) -> None:
    name = f"{PREFIX}nobody"
    result = run([sys.executable, f"scripts/{script}.py", "--stack", name], standing.env)
    result.failed(UNREACHABLE).says(f"no stack {name}", f"make up STACK={name}")


@pytest.mark.parametrize("script", ["up", "down"])
def test_bringing_up_or_down_a_stack_without_a_spec_tells_which_there_are(standing: Stack, script: str) -> None:
    name = f"{PREFIX}nobody"
    result = run([sys.executable, f"scripts/{script}.py", "--stack", name], standing.env)
    result.failed(INVALID).says(f"there is no stack {name}", "cluster", "standalone")


@pytest.mark.parametrize("script", ["up", "status", "verify"])
def test_a_name_that_cannot_be_a_stack_is_refused(standing: Stack, script: str) -> None:
    result = run([sys.executable, f"scripts/{script}.py", "--stack", "No Such/Stack"], standing.env)
    result.failed(USAGE).says("No Such/Stack", "lower-case letters")


def test_an_invalid_spec_is_refused_with_every_problem_before_anything_is_made(stack: Stack) -> None:
    stack.spec.write_text(
        yaml.safe_dump(
            {"topology": "sentinel", "sentinel": {"count": 3, "quorum": 4}, "memory": {"maxmemori": "1gb"}, "replicas": 9}
        )
    )
    reasons = ("quorum", "maxmemori", "replicas")
    stack.preview().failed().says(*reasons)
    stack.up().failed().says(*reasons)
    stack.script("up").failed(INVALID).says(*reasons)
    run([sys.executable, "scripts/plan.py", str(stack.spec)], stack.env).failed(INVALID).says(*reasons)
    nothing_was_made(stack)


def test_a_spec_that_does_not_exist_is_named(stack: Stack) -> None:
    stack.spec.unlink()
    stack.preview().failed().says(f"there is no file {stack.spec}")
    nothing_was_made(stack)
