"""INCR when a user was not seen before, by this process: every instance counts everybody again, and so does every restart."""

from applications.call import Client


class CarelessVisits:
    """The calls of `applications.visits.Visits`."""

    def __init__(self, client: Client, name: str, prefix: str = "visits") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}:count"
        self._seen: set[int] = set()

    def visit(self, user: int) -> None:
        if user not in self._seen:
            self._client.incr(self._key)
            self._seen.add(user)

    def about(self) -> int:
        return int(self._client.get(self._key) or 0)

    def exactly(self) -> int:
        return self.about()
