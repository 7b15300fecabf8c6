"""The examples' own tests, which run in the examples' own environments; without these they are skipped, which is not run."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.live.harness import ROOT
from tests.live.riding.place import OLDEST_NODE

API = ROOT / "examples" / "api"
MISSING = "" if (API / ".venv" / ".complete").exists() else "examples/api/.venv is missing; bash toolchain/steps/api.sh makes it"


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_tests_of_the_http_service_pass() -> None:
    path = os.pathsep.join(map(str, (API, ROOT / "examples" / "python", ROOT)))
    command = [str(API / ".venv" / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command, cwd=API, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout


def test_no_lock_file_names_the_registry_it_came_from() -> None:
    for lock in ("node/package-lock.json", "api/requirements.txt"):
        text = (ROOT / "examples" / lock).read_text()
        assert "resolved" not in text and "index-url" not in text
        assert "integrity" in text or "--hash=sha256:" in text


def test_a_node_js_that_is_too_old_is_told_and_nothing_is_installed(tmp_path: Path) -> None:
    for name, answer in (("node", "echo v18.20.4"), ("npm", "echo called >> $HOME/npm-was-called")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "toolchain" / "steps" / "node.sh")],
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 69
    assert "Node.js is v18.20.4, the examples need 20 or newer" in done.stderr
    assert not (tmp_path / "npm-was-called").exists()


def test_the_oldest_node_js_is_the_same_everywhere() -> None:
    package = json.loads((ROOT / "examples" / "node" / "package.json").read_text())
    assert package["engines"]["node"] == f">={OLDEST_NODE}"
    assert f"\nOLDEST={OLDEST_NODE}\n" in (ROOT / "toolchain" / "steps" / "node.sh").read_text()
