"""Health and the machine's settings"""

from collections.abc import Callable

from operations.inventory import Access
from operations.kernel import BACKLOG, OVERCOMMIT, kernel_hints, read_kernel
from operations.observe import observe
from operations.verdict import State, verdict
from tests.infra.subject import Subject
from tests.waiting import wait_until

FIRST_CHECK_SECONDS = 25
"""The engine looks for the first time one interval after the start."""
HINT = "hint"
"""Key under which a setting of the machine that could be better is reported; it is not a failure of the stack."""


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


def test_what_the_machine_could_do_better_is_reported(node: Subject, record_property: Callable[[str, object], None]) -> None:
    settings = read_kernel(node.entry.container)
    assert {OVERCOMMIT, BACKLOG} <= {path for path, value in settings.items() if value}, f"{node.name} tells only {settings}"
    for hint in kernel_hints(settings, node.entry.docker_host):
        record_property(HINT, hint)
