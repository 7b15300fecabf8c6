"""The whole session as one JSON text: read, change, write back. A request that began before a logout ends by writing it back."""

import json
import time
from collections.abc import Mapping

from applications.call import Client


class CarelessSessions:
    """The calls of `applications.session.Sessions`; `work_seconds` is how long a request has the session in its hands."""

    def __init__(self, client: Client, idle_seconds: int, work_seconds: float = 0.0, prefix: str = "session") -> None:
        self._client = client
        self._idle_seconds = idle_seconds
        self._work_seconds = work_seconds
        self._prefix = prefix

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{{{name}}}"

    def start(self, name: str, fields: Mapping[str, str]) -> bool:
        self._client.set(self._key(name), json.dumps(dict(fields)), ex=self._idle_seconds)
        return True

    def use(self, name: str, fields: Mapping[str, str] | None = None) -> dict[str, str] | None:
        raw = self._client.get(self._key(name))
        if raw is None:
            return None
        found: dict[str, str] = json.loads(raw)
        time.sleep(self._work_seconds)
        found.update(fields or {})
        self._client.set(self._key(name), json.dumps(found), ex=self._idle_seconds)
        return found

    def logout(self, name: str) -> None:
        self._client.delete(self._key(name))
