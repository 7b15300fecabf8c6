"""Whose locks are taken away from a repository, and whose never."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from operations.backup import locks
from operations.backup.locks import ended, present, release
from operations.backup.session import Home, Session

ME = "me"
HOLDER = """
import sys
from pathlib import Path
from operations.backup.locks import present
from operations.backup.session import Home
with present(Home(Path(sys.argv[1])), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


class Locks:
    """What restic would say of the locks in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder.parent / "config").touch()
        self.unlocked = 0

    def add(self, name: str, host: str) -> None:
        (self.folder / name).write_text(json.dumps({"hostname": host}))

    @property
    def names(self) -> list[str]:
        return sorted(file.name for file in self.folder.iterdir())

    def run(self, *words: str) -> str:
        if words[0] == "unlock":
            self.unlocked += 1
            return ""
        if words[:2] == ("list", "locks"):
            return "\n".join(self.names)
        assert words[:2] == ("cat", "lock")
        return (self.folder / words[2]).read_text()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr("socket.gethostname", lambda: ME)
    return Home(tmp_path / "home")


@pytest.fixture
def found(tmp_path: Path) -> Locks:
    return Locks(tmp_path / "repository" / "locks")


@pytest.fixture
def session(home: Home, found: Locks, monkeypatch: pytest.MonkeyPatch) -> Session:
    session = Session({"stack": "shop", "settings": {}}, home, lambda _: None)
    session.repository.place = str(found.folder.parent)
    monkeypatch.setattr(session.repository, "run", found.run)
    return session


def killed(home: Home, host: str) -> None:
    """A job that was there and got kill -9."""
    with held(home, host) as process:
        process.kill()


def held(home: Home, host: str) -> "subprocess.Popen[str]":
    """A job that is there."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", HOLDER, str(home.folder), host]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_lock_of_a_job_that_was_killed_is_taken_away_and_its_host_forgotten(
    session: Session, home: Home, found: Locks
) -> None:
    told: list[object] = []
    session.report = told.append
    killed(home, "dead")
    found.add("a", "dead")
    assert ended(home) == {"dead"}
    release(session)
    assert (found.names, found.unlocked, ended(home)) == ([], 0, set())
    release(session)
    assert told == [{"event": "unlocked", "locks": 1}]


def test_locks_of_jobs_that_live_and_of_anybody_else_stay_and_restic_is_asked_about_them(
    session: Session, home: Home, found: Locks
) -> None:
    killed(home, "dead")
    with held(home, "alive") as process:
        found.add("a", "alive")
        found.add("b", "somebody")
        found.add("c", "dead")
        release(session)
        assert (found.names, found.unlocked) == (["a", "b"], 1)
        process.communicate()
    release(session)
    assert found.names == ["b"], "it ended, so its lock is nobody's"


def test_a_lock_from_an_earlier_life_of_this_container_is_taken_away(session: Session, home: Home, found: Locks) -> None:
    with present(home):
        found.add("a", ME)
        release(session)
        assert found.names == []
        assert [file.name for file in (home.folder / locks.HOSTS).iterdir()] == [ME]


def test_a_lock_that_cannot_be_read_counts_as_somebody_elses(session: Session, home: Home, found: Locks) -> None:
    killed(home, "dead")
    (found.folder / "a").write_text("half a")
    release(session)
    assert (found.names, found.unlocked) == (["a"], 1)


def test_where_nothing_is_locked_nobody_is_asked(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.repository, "run", lambda *_: pytest.fail("restic was asked"))
    release(session)


def test_where_locks_cannot_be_taken_away_one_by_one_restic_is_left_to_it_and_the_host_is_known_on(
    session: Session, home: Home, found: Locks
) -> None:
    session.repository.place = "s3:https://host/bucket"
    killed(home, "dead")
    found.add("a", "dead")
    release(session)
    assert (found.names, found.unlocked, ended(home)) == (["a"], 1, {"dead"})


class Server(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]
    code = 200

    def do_DELETE(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    Server.asked, Server.code = [], 200
    with HTTPServer(("127.0.0.1", 0), Server) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def test_behind_a_rest_server_the_lock_is_deleted_with_the_stacks_login(
    session: Session, home: Home, found: Locks, server: HTTPServer
) -> None:
    session.repository.place = f"rest:http://127.0.0.1:{server.server_port}/shop/"
    home.store_secret("RESTIC_REST_USERNAME", "joe")
    home.store_secret("RESTIC_REST_PASSWORD", "pw")
    killed(home, "dead")
    found.add("a", "dead")
    found.add("b", "somebody")
    release(session)
    assert Server.asked == [("/shop/locks/a", "Basic am9lOnB3")]
    assert found.unlocked == 1


def test_a_rest_server_that_refuses_is_told_of_and_restic_has_the_last_word(
    session: Session, home: Home, found: Locks, server: HTTPServer
) -> None:
    told: list[object] = []
    session.report = told.append
    Server.code = 403
    session.repository.place = f"rest:http://127.0.0.1:{server.server_port}/"
    killed(home, "dead")
    found.add("a", "dead")
    release(session)
    assert "403" in str(told) and found.unlocked == 1 and ended(home) == {"dead"}
