"""The database behind the caches on PostgreSQL, with pg8000, a driver that is Python alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from applications.origin import Origin, OriginDown, postgres_at

TIMEOUT_SECONDS = 2.0
UNIQUE_VIOLATION = "23505"


class PostgresOrigin(Origin):
    """Rows in a table of their own. Connects when first asked, and anew after an error. Raises ValueError for a URL that
    names no PostgreSQL."""

    def __init__(self, url: str, table: str) -> None:
        super().__init__(table)
        self._where = {**postgres_at(url), "timeout": TIMEOUT_SECONDS}
        self._connection: Connection | None = None

    def _run(self, statement: str, words: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            if self._connection is None:
                self._connection = Connection(**self._where)
            return self._connection.run(statement, **words) or ()
        except (InterfaceError, DatabaseError, OSError) as error:
            self.close()
            raise OriginDown(_words_of(error)) from None

    def create(self) -> None:
        """Two that make one table at the same moment: the second is told that it is there."""
        try:
            super().create()
        except OriginDown as error:
            if UNIQUE_VIOLATION not in str(error):
                raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (InterfaceError, OSError):
                return  # it was broken already


def _words_of(error: Exception) -> str:
    """What the server said, with its code; what the driver says otherwise. Neither names the password."""
    told = error.args[0] if error.args else error
    return f"{told.get('M')} ({told.get('C')})" if isinstance(told, dict) else str(told)
