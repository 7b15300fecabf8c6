"""A repository in an object store: moto's S3 server (https://docs.getmoto.org), installed for the time of the test."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.contents import contents
from tests.live.harness import Stack, throw_away_stack
from tests.live.ledger import fill, lost
from tests.live.rest import listens, unused_place
from tests.live.test_backup import made
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.full]

MOTO = "moto[server,s3]==5.2.5"
"""Not among the project's requirements: it brings a good thirty packages for this test alone."""
LOGIN = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "an example, which moto does not check"}
SPEC: dict[str, Any] = {
    "topology": "cluster", "replicas": 0, "cluster": {"node_timeout_seconds": 2}, "memory": {"maxmemory": "64mb"},
    "replication": {"backlog": "4mb"},
}  # fmt: skip


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket that does not exist yet, as a spec names it."""
    venv = tmp_path_factory.mktemp("moto")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = subprocess.run([venv / "bin" / "pip", "install", "--quiet", MOTO], capture_output=True, text=True, check=False)
    if install.returncode != 0:
        pytest.skip(f"{MOTO} cannot be installed here: {install.stderr.strip().splitlines()[-1]}")
    host, port = unused_place()
    with (venv / "log").open("w") as log:
        server = subprocess.Popen([venv / "bin" / "moto_server", "-H", host, "-p", str(port)], stdout=log, stderr=log)
    try:
        wait_until("moto", lambda: "" if listens(host, port) else Path(log.name).read_text() or "no word", 60)
        yield f"s3:http://{host}:{port}/backups/shop"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def stack(bucket: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    spec = {**SPEC, "backup": {"repository": bucket, "retention": {"last": 1, "daily": 0, "weekly": 0, "monthly": 0}}}
    with throw_away_stack("s3", spec, tmp_path_factory.mktemp("s3"), request.config) as made:
        made.up().ok()
        made.wait_healthy(made.access(), 60)
        yield made


def test_backups_in_a_bucket_are_made_verified_checked_pruned_and_restored(stack: Stack) -> None:
    access = stack.access()
    fill(access, "kept", 2000)
    stack.script("backup", "create").failed(69)  # without keys
    for name, value in LOGIN.items():
        stack.script("backup", "secret", name, text=value).ok()
    made(stack)
    ledger = fill(access, "more", 2000)
    before = contents(access)
    newest = made(stack)["id"]
    fill(access, "later", 100)
    stack.script("backup", "verify").ok().says("are as they were stored")
    stack.script("backup", "prune").ok()
    checked = stack.script("backup", "check", "--read-data")
    assert "BAD integrity" not in checked.text, checked.told()
    stack.script("restore", "--from", newest, "--replace").ok().says("digest as in the catalogue")
    assert lost(access, ledger) == []
    assert contents(access) == before
