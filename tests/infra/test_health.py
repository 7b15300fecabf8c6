"""Health and the machine's settings"""

from collections.abc import Callable

import pytest

from operations.inventory import Access
from operations.observe import observe
from operations.verdict import State, verdict
from tests.infra.subject import Subject
from tests.waiting import wait_until

FIRST_CHECK_SECONDS = 25
"""The engine looks for the first time one interval after the start."""
HINT = "hint"
"""Key under which a setting of the machine that could be better is reported; it is not a failure of the stack."""
HINTS: dict[str, tuple[str, Callable[[str], bool], str]] = {
    "overcommit": (
        "/proc/sys/vm/overcommit_memory",
        lambda value: value == "1",
        "vm.overcommit_memory is {}: a snapshot can fail when memory is short; set it to 1 on the Docker host",
    ),
    "huge pages": (
        "/sys/kernel/mm/transparent_hugepage/enabled",
        lambda value: "[always]" not in value,
        "transparent huge pages are on ({}): snapshots cost more memory and time; set them to madvise on the Docker host",
    ),
}


def test_the_health_check_succeeds_when_it_is_run_now(node: Subject) -> None:
    kind, *command = node.inspection["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    node.shell(" ".join(command))


def test_the_engine_calls_the_container_healthy(node: Subject) -> None:
    def missing() -> str:
        health = node.look()["State"]["Health"]
        return "" if health["Status"] == "healthy" else f"{health['Status']}: {[entry['Output'] for entry in health['Log'][-1:]]}"

    wait_until(f"a healthy {node.name}", missing, FIRST_CHECK_SECONDS, poll_seconds=0.5)


def test_the_container_runs_and_is_not_being_restarted(node: Subject) -> None:
    state = node.look()["State"]
    assert (state["Running"], state["Restarting"], state["OOMKilled"], state["Paused"]) == (True, False, False, False)


def test_the_stack_as_a_whole_is_as_declared(access: Access) -> None:
    found = verdict(observe(access), access.inventory)
    assert (found.state, found.reasons) == (State.OK, ())


@pytest.mark.parametrize("setting", HINTS)
def test_what_the_machine_could_do_better_is_reported(
    setting: str, subjects: dict[str, Subject], record_property: Callable[[str, object], None]
) -> None:
    path, is_good, advice = HINTS[setting]
    subject = next(iter(subjects.values()))
    value = subject.shell(f"cat {path}").strip()
    assert value, f"{path} is empty"
    if not is_good(value):
        record_property(HINT, advice.format(value))
