"""The damage that a drill does to a repository: one bit of one file, in a folder and behind a REST server, and its end."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from drills.faults import damage_agent
from drills.faults.damage_agent import main

CONTENT = b"some bytes of a pack"
NAME = hashlib.sha256(CONTENT).hexdigest()
LOGIN = "Basic YmFja3VwczpzZWNyZXQ="


@contextmanager
def server(files: dict[str, bytes], checks: bool) -> Iterator[str]:
    """As restic-rest-server: files are made and removed, never changed; one that checks takes none under a wrong name."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, code: int, body: bytes = b"") -> None:
            self.send_response(code if self.headers["Authorization"] == LOGIN else 401)
            self.end_headers()
            self.wfile.write(body)

        @property
        def file(self) -> str:
            return self.path.removeprefix("/shop/data/")

        def do_GET(self) -> None:
            sizes = [{"name": name, "size": len(data)} for name, data in files.items()]
            self.answer(200, files[self.file] if self.file else json.dumps(sizes).encode())

        def do_DELETE(self) -> None:
            del files[self.file]
            self.answer(200)

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.file in files or (checks and hashlib.sha256(data).hexdigest() != self.file):
                self.answer(400)
                return
            files[self.file] = data
            self.answer(200)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"rest:http://127.0.0.1:{made.server_port}/shop/"
        made.shutdown()


@pytest.fixture(autouse=True)
def _secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage_agent, "SECRETS", tmp_path / "secrets.json")
    (tmp_path / "secrets.json").write_text(json.dumps({"RESTIC_REST_USERNAME": "backups", "RESTIC_REST_PASSWORD": "secret"}))


def bits_that_differ(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


def test_one_bit_of_a_file_in_a_folder_is_flipped_and_flipped_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "data" / NAME[:2] / NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    main(str(tmp_path), "list")
    assert json.loads(capsys.readouterr().out) == {NAME: len(CONTENT)}
    main(str(tmp_path), "flip", NAME)
    assert bits_that_differ(file.read_bytes(), CONTENT) == 1
    main(str(tmp_path), "flip", NAME)
    assert file.read_bytes() == CONTENT


def test_one_bit_of_a_file_behind_a_rest_server_is_flipped_and_flipped_back(capsys: pytest.CaptureFixture[str]) -> None:
    files = {NAME: CONTENT}
    with server(files, checks=False) as place:
        main(place, "list")
        assert json.loads(capsys.readouterr().out) == {NAME: len(CONTENT)}
        main(place, "flip", NAME)
        assert bits_that_differ(files[NAME], CONTENT) == 1
        main(place, "flip", NAME)
        assert files == {NAME: CONTENT}


def test_a_rest_server_that_checks_uploads_keeps_the_file_as_it_was() -> None:
    files = {NAME: CONTENT}
    with server(files, checks=True) as place, pytest.raises(SystemExit, match="--no-verify-upload"):
        main(place, "flip", NAME)
    assert files == {NAME: CONTENT}


def test_a_repository_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(SystemExit, match=r"rest:http://127\.0\.0\.1:1/ cannot be reached"):
        main("rest:http://127.0.0.1:1/", "list")
