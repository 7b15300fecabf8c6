"""A resource that takes part in locking: it remembers the highest token that it has met, and refuses older ones.

Here it is a table in SQLite; in any database it is one column more and one condition more. Reading raises the mark too: a
holder that has read must not be overwritten by one before it.
"""

import sqlite3
from pathlib import Path

from applications.lock import Tenure


class StaleHolder(Exception):
    """Somebody with a newer token was here; `highest` is the newest."""

    def __init__(self, token: int, highest: int) -> None:
        super().__init__(f"token {token} is refused: {highest} was here before")
        self.highest = highest


class FencedCounter:
    """Numbers by name, changed by whoever holds the lock of that name. One object per thread."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS fenced (name TEXT PRIMARY KEY, number INT, token INT, owner TEXT)")

    def read(self, name: str, tenure: Tenure) -> int:
        """The number. Raises StaleHolder."""
        return self._enter(name, tenure, None)

    def write(self, name: str, tenure: Tenure, number: int) -> None:
        """Set the number. Raises StaleHolder."""
        self._enter(name, tenure, number)

    def _enter(self, name: str, tenure: Tenure, number: int | None) -> int:
        """Two holders may have one token, when a failover forgot that it was given: the first that comes is the one."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.execute("INSERT OR IGNORE INTO fenced VALUES (?, 0, 0, '')", (name,))
            row = self._database.execute("SELECT number, token, owner FROM fenced WHERE name = ?", (name,)).fetchone()
            if (tenure.token, tenure.owner) != (row[1], row[2]) and tenure.token <= row[1]:
                raise StaleHolder(tenure.token, row[1])
            kept = row[0] if number is None else number
            self._database.execute(
                "UPDATE fenced SET number = ?, token = ?, owner = ? WHERE name = ?", (kept, tenure.token, tenure.owner, name)
            )
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        return int(kept)

    def read_unfenced(self, name: str) -> int:
        """What a resource does that trusts its callers."""
        row = self._database.execute("SELECT number FROM fenced WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def write_unfenced(self, name: str, number: int) -> None:
        """The same for writing."""
        self._database.execute(
            "INSERT INTO fenced VALUES (?, ?, 0, '') ON CONFLICT (name) DO UPDATE SET number = excluded.number", (name, number)
        )

    def close(self) -> None:
        self._database.close()
