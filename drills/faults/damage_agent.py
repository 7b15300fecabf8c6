"""Lists the data files of a restic repository, or inverts a bit of one: in a folder, or behind a REST server.

Runs by itself in a helper container, so it imports nothing of this toolkit: `python3 -c … PLACE list` or `PLACE flip FILE`.
The list is one line of JSON; what went wrong are its last words.

A file behind a REST server (https://restic.readthedocs.io/en/stable/REST_backend.html) can only be taken away and given again.
"""

import base64
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

SECRETS = Path("/backup/secrets.json")
VERSION = "application/vnd.x.restic.rest.v2"
ANSWER_SECONDS = 30.0


class Files(Protocol):
    """The data files of a repository by their names."""

    def sizes(self) -> dict[str, int]: ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None:
        """Replace what a file holds."""


class Folder:
    def __init__(self, place: str) -> None:
        self._data = Path(place) / "data"

    def sizes(self) -> dict[str, int]:
        return {file.name: file.stat().st_size for file in self._data.glob("*/*") if file.is_file()}

    def read(self, name: str) -> bytes:
        return (self._data / name[:2] / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        with (self._data / name[:2] / name).open("r+b") as file:  # which restic makes read-only; root may all the same
            file.write(data)


class Server:
    def __init__(self, place: str, secrets: Mapping[str, str]) -> None:
        parts = urllib.parse.urlsplit(place.removeprefix("rest:"))
        user = urllib.parse.unquote(parts.username or "") or secrets.get("RESTIC_REST_USERNAME", "")
        login = base64.b64encode(f"{user}:{secrets.get('RESTIC_REST_PASSWORD', '')}".encode()).decode()
        self._place = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        self._headers = {"Accept": VERSION, **({"Authorization": f"Basic {login}"} if user else {})}

    def sizes(self) -> dict[str, int]:
        return {one["name"]: one["size"] for one in json.loads(self._ask("GET", ""))}

    def read(self, name: str) -> bytes:
        return self._ask("GET", name)

    def write(self, name: str, data: bytes) -> None:
        before = self.read(name)
        self._ask("DELETE", name)
        try:
            self._ask("POST", name, data)
        except OSError as error:
            self._ask("POST", name, before)
            sys.exit(
                f"the REST server does not take a damaged file ({error}), so what it had was given back; a server that checks "
                "uploads cannot be damaged through its own door: start one with --no-verify-upload for this drill"
            )

    def _ask(self, method: str, name: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self._place}/data/{name}", data=data, method=method, headers=self._headers)  # noqa: S310
        if data is not None:
            request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http or https, as restic takes it
            found: bytes = answer.read()
        return found


def flipped(data: bytes) -> bytes:
    """The same with one bit in the middle inverted."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def main(place: str, what: str, *names: str) -> None:
    files: Files = Folder(place)
    if place.startswith("rest:"):
        files = Server(place, json.loads(SECRETS.read_text()) if SECRETS.exists() else {})
    try:
        for name in names:
            files.write(name, flipped(files.read(name)))
        if what == "list":
            print(json.dumps(files.sizes()))
    except (OSError, ValueError) as error:
        sys.exit(f"the repository at {place} cannot be reached: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
