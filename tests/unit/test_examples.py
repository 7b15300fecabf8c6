"""The examples' own tests, which run in the examples' own environments; without these they are skipped, which is not run."""

import os
import subprocess

import pytest

from tests.live.harness import ROOT

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
