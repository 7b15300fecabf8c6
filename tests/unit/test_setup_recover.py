"""Recovery on real processes and lock files: what is alive is left alone, what is forsaken goes."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operations.errors import Busy
from scripts.pulumi_cli import PROJECT, ROOT
from scripts.recover import answers, end_forsaken_plugins, locks_of, process_name, release_lock


@contextmanager
def running(name: str, folder: Path, argument: str = "60", cwd: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """A process called `name`: a script that waits, given `argument`."""
    program = folder / name
    program.write_text("#!/bin/sh\nread -r line\n")
    program.chmod(0o755)
    process = subprocess.Popen([program, argument], stdin=subprocess.PIPE, cwd=cwd)
    deadline = time.monotonic() + 5
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # the kernel fills it in a moment after exec
        assert time.monotonic() < deadline
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The lock folder of stack `shop` in a file backend of its own."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}?metadata=skip")
    folder = tmp_path / ".pulumi" / "locks" / "organization" / PROJECT / "shop"
    folder.mkdir(parents=True)
    return folder


def write_lock(folder: Path, pid: int, hostname: str) -> None:
    lock = {"pid": pid, "username": "me", "hostname": hostname, "timestamp": "2026-01-02T03:04:05Z"}
    (folder / "one.json").write_text(json.dumps(lock))


def test_a_living_process_has_a_name_and_a_dead_one_has_none() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process_name(process.pid) == "sleep"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_name(process.pid) is None, "a zombie holds nothing"
    assert process_name(process.pid) is None


def test_a_lock_held_by_a_running_pulumi_means_busy(backend: Path, tmp_path: Path) -> None:
    pulumi = tmp_path / "pulumi"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", pulumi)
    with subprocess.Popen([pulumi, "60"]) as process:
        try:
            write_lock(backend, process.pid, socket.gethostname())
            with pytest.raises(Busy, match=f"process {process.pid}"):
                release_lock("shop")
        finally:
            process.kill()
    assert (backend / "one.json").exists()


def test_a_lock_from_another_machine_means_busy_and_names_the_way_out(backend: Path) -> None:
    write_lock(backend, 1, "some-other-machine")
    with pytest.raises(Busy, match="pulumi cancel --stack shop"):
        release_lock("shop")


def test_locks_of_other_stacks_do_not_count(backend: Path) -> None:
    write_lock(backend, 1, "some-other-machine")
    assert len(locks_of("shop")) == 1
    assert locks_of("shop-b") == ()


def test_other_backends_keep_their_locks_to_themselves(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lock(backend, 1, "some-other-machine")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    assert locks_of("shop") == ()


def test_a_plugin_without_its_engine_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with running("pulumi-resource-trial", tmp_path, address) as plugin:
        end_forsaken_plugins()
        assert plugin.wait(5) != 0
    assert "pulumi-resource-trial" in capsys.readouterr().out


def test_a_plugin_whose_engine_answers_is_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as engine:
        address = f"127.0.0.1:{engine.getsockname()[1]}"
        assert answers(address)
        with running("pulumi-resource-trial", tmp_path, address) as plugin:
            end_forsaken_plugins()
            assert plugin.poll() is None


def test_a_plugin_of_another_project_is_left_alone(tmp_path: Path) -> None:
    with running("pulumi-resource-trial", tmp_path, "127.0.0.1:1", cwd=tmp_path) as plugin:
        end_forsaken_plugins()
        assert plugin.poll() is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_an_address_where_nobody_listens_does_not_answer(address: str) -> None:
    assert not answers(address)
