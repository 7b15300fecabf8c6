"""A small database behind the caches: rows with a version that grows with every change. Here SQLite, one object per thread;
`applications.origin_postgres` has the same on PostgreSQL."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SCHEMES = ("postgresql", "postgres")


class OriginDown(ConnectionError):
    """The database does not answer."""


_CREATE = "CREATE TABLE IF NOT EXISTS ROWS (key TEXT PRIMARY KEY, version INT, value TEXT)"
_READ = "SELECT version, value FROM ROWS WHERE key = :key"
_WRITE = (
    "INSERT INTO ROWS VALUES (:key, 1, :value) "
    "ON CONFLICT (key) DO UPDATE SET version = ROWS.version + 1, value = excluded.value RETURNING version"
)
_APPLY = (
    "INSERT INTO ROWS VALUES (:key, :number, :value) ON CONFLICT (key) DO UPDATE "
    "SET version = excluded.version, value = excluded.value WHERE excluded.version > ROWS.version"
)


class Origin(ABC):
    """Rows by key, in a table of their own. Everything may raise OriginDown."""

    def __init__(self, table: str) -> None:
        if not table.isidentifier():
            raise ValueError(f"{table!r} cannot be the name of a table; use letters, digits and _")
        self._table = table

    @abstractmethod
    def _run(self, statement: str, words: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Rows that one statement gives; `:name` in it stands for a word."""

    def _ask(self, statement: str, **words: Any) -> Sequence[Sequence[Any]]:
        return self._run(statement.replace("ROWS", self._table), words)

    def create(self) -> None:
        """Make the table where it is not there yet."""
        self._ask(_CREATE)

    def drop(self) -> None:
        """Remove the table with all rows."""
        self._ask("DROP TABLE IF EXISTS ROWS")

    def read(self, key: str) -> tuple[int, str] | None:
        """Version and value, or None where there is no such row."""
        found = self._ask(_READ, key=key)
        return (int(found[0][0]), str(found[0][1])) if found else None

    def write(self, key: str, value: str) -> int:
        """Change a row; its new version."""
        return int(self._ask(_WRITE, key=key, value=value)[0][0])

    def apply(self, key: str, number: int, value: str) -> None:
        """Take a change with its number over, unless the row has that one or a newer one already."""
        self._ask(_APPLY, key=key, number=number, value=value)

    def all_keys(self) -> list[str]:
        return [str(key) for (key,) in self._ask("SELECT key FROM ROWS ORDER BY key")]


def postgres_at(url: str) -> dict[str, Any]:
    """Where a PostgreSQL is, in the words of its drivers. Raises ValueError for another URL, without showing it."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname or not parts.username or not parts.path.strip("/"):
        raise ValueError("it is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return {
        "user": unquote(parts.username), "password": unquote(parts.password or ""), "host": parts.hostname,
        "port": parts.port or 5432, "database": parts.path.strip("/"),
    }  # fmt: skip


class SqliteOrigin(Origin):
    """Rows in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__("origin")
        self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self.create()

    def _run(self, statement: str, words: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return self._database.execute(statement, words).fetchall()
