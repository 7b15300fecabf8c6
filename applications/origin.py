"""A small database behind the caches: rows with a version that grows with every change. SQLite, one object per thread."""

import sqlite3
from pathlib import Path


class Origin:
    """Rows by key."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS row (key TEXT PRIMARY KEY, version INT, value TEXT)")

    def read(self, key: str) -> tuple[int, str] | None:
        """Version and value, or None where there is no such row."""
        found = self._database.execute("SELECT version, value FROM row WHERE key = ?", (key,)).fetchone()
        return (int(found[0]), str(found[1])) if found else None

    def write(self, key: str, value: str) -> int:
        """Change a row; its new version."""
        found = self._database.execute(
            "INSERT INTO row VALUES (?, 1, ?) ON CONFLICT (key) DO UPDATE SET version = version + 1, value = excluded.value "
            "RETURNING version",
            (key, value),
        ).fetchone()
        return int(found[0])

    def apply(self, key: str, number: int, value: str) -> None:
        """Take a change with its number over, unless the row has that one or a newer one already."""
        self._database.execute(
            "INSERT INTO row VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value "
            "WHERE excluded.version > row.version",
            (key, number, value),
        )

    def all_keys(self) -> list[str]:
        return [str(key) for (key,) in self._database.execute("SELECT key FROM row ORDER BY key")]
