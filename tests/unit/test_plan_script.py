"""scripts/plan.py: what it shows, in golden files, and how it ends."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from operations.errors import ExitCode
from scripts import plan as script
from scripts._command import exit_code

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 GiB and a pipe of 100 columns, wherever the tests run."""
    monkeypatch.setattr(script, "machine_memory_bytes", lambda: 16 * 1024**3)
    monkeypatch.setenv("COLUMNS", "120")


def ended(*arguments: str) -> int:
    return exit_code(script.main, arguments, "plan.py")


@pytest.mark.parametrize("topology", ["standalone", "replication", "sentinel", "cluster"])
def test_the_view_of_each_topology_is_as_recorded(
    topology: str, golden: Callable[[str, str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    assert ended(str(CONFIGS / f"{topology}.yaml")) == ExitCode.OK
    shown = capfd.readouterr().out
    golden(f"view-{topology}.txt", "".join(f"{line.rstrip()}\n" for line in shown.splitlines()))


def test_a_narrow_terminal_does_without_the_column_of_volumes(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ended(str(CONFIGS / "cluster.yaml")) == ExitCode.OK
    shown = capfd.readouterr().out
    assert "redis-cluster-<node>-data" in shown
    assert "redis-cluster-node-1-1-data" not in shown
    assert "127.0.0.1:24786  825.6 MiB" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_json_holds_every_node_volume_and_the_memory_in_all(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(str(CONFIGS / "sentinel.yaml"), "--json", "--stack", "shop") == ExitCode.OK
    shown = json.loads(capfd.readouterr().out)
    assert shown["valid"] is True
    assert [node["name"] for node in shown["nodes"]] == ["node-1", "node-2", "node-3", "sentinel-1", "sentinel-2", "sentinel-3"]
    assert shown["volumes"][0] == "redis-shop-config"
    assert len(set(shown["volumes"])) == 7
    assert shown["memory_total_bytes"] == sum(node["memory_limit_bytes"] for node in shown["nodes"])
    assert shown["warnings"] == shown["problems"] == []


def test_an_invalid_spec_ends_with_65_and_every_problem_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "shop.yaml"
    target.write_text("topology: sentinel\nsentinel: {quorum: 4}\nshards: x\n")
    assert ended(str(target)) == ExitCode.INVALID
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        f"{target} is not a valid spec, 2 problems:\n"
        "  - shards is x but must be a whole number; use 1 or more (line 3)\n"
        "  - sentinel.quorum is 4 but only 3 sentinels exist; use 1 to 3 (line 2)\n"
    )
    assert ended(str(target), "--json") == ExitCode.INVALID
    shown = json.loads(capfd.readouterr().out)
    assert shown["valid"] is False
    assert shown["problems"][1] == {
        "path": "sentinel.quorum",
        "value": 4,
        "reason": "but only 3 sentinels exist",
        "remedy": "use 1 to 3",
        "where": "line 2",
        "message": "sentinel.quorum is 4 but only 3 sentinels exist; use 1 to 3",
    }


def test_a_missing_file_ends_with_65_in_both_forms(capfd: pytest.CaptureFixture[str]) -> None:
    missing = str(CONFIGS / "clutser.yaml")
    assert ended(missing) == ExitCode.INVALID
    sentence = f"there is no file {missing}; did you mean {CONFIGS}/cluster.yaml?"
    assert capfd.readouterr() == ("", f"{sentence}\n")
    assert ended(missing, "--json") == ExitCode.INVALID
    assert json.loads(capfd.readouterr().out)["problems"] == [{"message": sentence}]


def test_overrides_work_as_those_of_pulumi_config(capfd: pytest.CaptureFixture[str]) -> None:
    cluster = str(CONFIGS / "cluster.yaml")
    assert ended(cluster, "--set", "shards=5", "--set", "replicas=2", "--json") == ExitCode.OK
    assert len(json.loads(capfd.readouterr().out)["nodes"]) == 15
    assert ended(cluster, "--set", "shard=5") == ExitCode.INVALID
    assert "shard is not a field of a spec; did you mean shards? (pulumi config)" in capfd.readouterr().err
    assert ended(cluster, "--set", "shards") == ExitCode.USAGE
    assert capfd.readouterr().err.startswith("--set is 'shards' but must be path=value; write for example")


def test_warnings_are_shown_and_do_not_end_badly(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(str(CONFIGS / "cluster.yaml"), "--set", "memory.maxmemory=4gb") == ExitCode.OK
    assert "warning: memory.maxmemory is 4gb, which makes 6.8 GiB per node" in capfd.readouterr().out


def test_a_wrong_stack_name_is_a_problem_of_the_spec(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(str(CONFIGS / "cluster.yaml"), "--stack", "My_Stack") == ExitCode.INVALID
    assert "stack is My_Stack but becomes part of container and volume names" in capfd.readouterr().err


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("topology: standalone"))
    assert ended("-", "--json") == ExitCode.OK
    assert json.loads(capfd.readouterr().out)["stack"] == "preview"


@pytest.mark.parametrize(
    ("file", "stack"),
    [("configs/cluster.yaml", "cluster"), ("x/My Shop.yml", "my-shop"), ("-", "preview"), ("___.yaml", "preview")],
)
def test_the_stack_is_called_like_the_file(file: str, stack: str) -> None:
    assert script.stack_of(file) == stack


def test_it_runs_from_any_folder_and_without_docker(tmp_path: Path) -> None:
    environment = {"PATH": "/nonexistent", "DOCKER_HOST": "unix:///nonexistent", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "scripts" / "plan.py"), str(CONFIGS / "cluster.yaml")]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (answer.returncode, answer.stderr) == (ExitCode.OK, "")
    assert "Stack cluster, topology cluster: 3 shards, each 1 primary and 1 replica; redis 8.0" in answer.stdout
