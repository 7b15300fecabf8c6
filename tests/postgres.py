"""A PostgreSQL that lives as long as a test, from Debian's package, as an ordinary user and in a folder of its own."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pg8000.native import Connection

from applications.origin import postgres_at

USER, DATABASE = "drill", "postgres"
SECONDS = 30
_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
MISSING = "" if _FOUND else "PostgreSQL is missing; bash toolchain/steps/postgres.sh installs it"


class Server:
    """Listens at one address, with a password. Use as a context."""

    def __init__(self, address: str) -> None:
        self.password = secrets.token_urlsafe(16)
        self._address = address
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's folders are closed to other users
        with socket.socket() as free:
            free.bind((address, 0))
            self._port: int = free.getsockname()[1]
        self.url = f"postgresql://{USER}:{self.password}@{address}:{self._port}/{DATABASE}"

    def __enter__(self) -> Self:
        secret = self._home / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self._home, secret):
                shutil.chown(path, "nobody")
        how = ("--auth", "scram-sha-256", "--no-locale", "--encoding", "UTF8", "--no-sync")
        self._run("initdb", "--username", USER, "--pwfile", str(secret), *how)
        with (self._home / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")
        self.start()
        return self

    def start(self) -> None:
        settings = {"listen_addresses": self._address, "port": self._port, "unix_socket_directories": "''", "fsync": "off"}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", "--timeout", str(SECONDS), "--log", str(self._home / "log"), "--options", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode", "immediate")

    def ask(self, statement: str) -> list[list[Any]]:
        """Rows that a statement gives, on a connection of its own."""
        with contextlib.closing(Connection(**postgres_at(self.url))) as connection:
            return [list(row) for row in connection.run(statement) or ()]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._home)

    def _run(self, program: str, *arguments: str) -> None:
        """As `nobody` where the tests run as root, which PostgreSQL refuses to do."""
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = pwd.getpwnam("nobody")
            as_user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        command = [str(_FOUND[-1].parent / program), *arguments, "--pgdata", str(self._home / "data")]
        told = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=2 * SECONDS, **as_user)
        assert told.returncode == 0, told.stdout + told.stderr
