"""What only one may do at a time: refused or waited for while another process does it, and free however that one ended."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operations import alone as module
from operations.alone import alone
from operations.errors import Busy

HOLDER = """
import sys
from pathlib import Path
from operations import alone
alone.FOLDER = Path(sys.argv[1])
with alone.alone("shop", "restore"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "FOLDER", tmp_path / "stacks")
    return tmp_path / "stacks"


@contextmanager
def held(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_one_is_refused_until_the_first_has_ended_however(folder: Path) -> None:
    with held(folder) as process:
        with pytest.raises(Busy, match="another restore of stack shop is under way"), alone("shop", "restore"):
            pass
        with alone("other", "restore"), alone("shop", "digest"):
            pass
        process.kill()
        process.wait()
        with alone("shop", "restore"):
            pass
    assert list(folder.iterdir()) == []


def test_whoever_is_patient_is_told_and_waits(folder: Path) -> None:
    told: list[str] = []
    with held(folder) as process:

        def end_it(text: str) -> None:
            told.append(text)
            process.kill()

        with alone("shop", "restore", end_it):
            assert process.wait() != 0
            with pytest.raises(Busy), alone("shop", "restore"):
                pass
    assert list(folder.iterdir()) == []
    assert told == ["another restore of stack shop is under way on this machine: waiting for its end"]
