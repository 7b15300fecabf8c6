"""Processes and their rights"""

from tests.infra.subject import Subject

NONE = 0


def test_process_1_is_an_init_that_reaps_and_passes_signals_on(node: Subject) -> None:
    first = next(process for process in node.processes if process.pid == 1)
    assert node.limits["Init"] is True
    assert "init" in first.name or first.name == "tini", f"process 1 of {node.name} is {first.name}"


def test_exactly_one_server_runs_below_the_start_script(node: Subject) -> None:
    by_pid = {process.pid: process for process in node.processes}
    assert by_pid[node.server.parent].parent == 1, f"{node.name}: {[(p.pid, p.parent, p.name) for p in node.processes]}"


def test_the_server_runs_as_the_declared_user_and_not_as_root(node: Subject) -> None:
    engine = node.access.inventory.spec["engine"]
    assert node.inspection["Config"]["User"] == (engine["user"] or engine["name"])
    own_id = node.shell("id -u").strip()
    user_ids = {word for process in node.processes for word in process.status["Uid"].split()}
    assert user_ids == {own_id}
    assert own_id != "0"


def test_no_process_holds_a_capability_or_can_get_one(node: Subject) -> None:
    assert node.limits["CapDrop"] == ["ALL"]
    assert not node.limits["CapAdd"]
    assert not node.limits["Privileged"]
    for process in node.processes:
        held = {name: int(process.status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert set(held.values()) == {NONE}, f"{process.name} on {node.name} holds {held}"


def test_no_process_can_gain_privileges(node: Subject) -> None:
    assert {process.status["NoNewPrivs"] for process in node.processes} == {"1"}


def test_a_system_call_filter_is_in_force_as_far_as_the_engine_has_one(node: Subject, engine_has_seccomp: bool) -> None:
    wanted = "2" if engine_has_seccomp else "0"
    assert node.server.status["Seccomp"] == wanted


def test_the_server_may_open_as_many_files_as_declared(node: Subject) -> None:
    files = str(node.access.inventory.spec["limits"]["files"])
    assert node.server.limits["Max open files"] == files


def test_the_number_of_processes_is_bounded_as_declared(node: Subject) -> None:
    processes = str(node.access.inventory.spec["limits"]["processes"])
    assert node.server.limits["Max processes"] == processes


def test_the_server_names_its_node_in_its_process_title(data_node: Subject) -> None:
    mark = f"redis-topologies:{data_node.access.inventory.stack}/{data_node.name}"
    assert mark in " ".join(data_node.server.arguments).split()
    assert mark in str(data_node.config("proc-title-template")).split()
