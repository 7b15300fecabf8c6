"""Measurements over time, one stream per sensor: each counts once, however often it is sent.

The moment of a measurement is its place in the stream (`MILLISECONDS-0`), so the same one cannot be there twice, and a stretch of
time is one XRANGE. What is older than `kept_seconds` goes when something new comes. A sensor sends in the order of time and goes
on when its request is answered; one that does not know how a request ended sends it again.
"""

from dataclasses import dataclass

from applications.call import Client, Confirm, Script, run

_ADD = Script("""
if not redis.call('XRANGE', KEYS[1], ARGV[1] .. '-0', ARGV[1] .. '-0')[1] then
    local added = redis.pcall('XADD', KEYS[1], 'MINID', '~', ARGV[3], ARGV[1] .. '-0', 'v', ARGV[2])
    if type(added) == 'table' and added.err then
        if string.find(added.err, 'equal or smaller', 1, true) then return 0 end
        return added
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
""")


@dataclass(frozen=True)
class Point:
    at_ms: int
    value: float


class Series:
    """The measurements of one sensor; `name` becomes the hash tag of its key."""

    def __init__(
        self, client: Client, name: str, confirm: Confirm | None = None, kept_seconds: float = 7 * 86400.0, prefix: str = "series"
    ) -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._confirm = confirm
        self._kept_ms = int(kept_seconds * 1000)

    def add(self, at_ms: int, value: float) -> bool:
        """One measurement; False when a later one is there already. Raises redis.RedisError: then send it again."""
        oldest = max(at_ms - self._kept_ms, 0)
        return bool(run(self._client, _ADD, [self._key], at_ms, value, oldest, self._kept_ms, confirm=self._confirm))

    def between(self, first_ms: int, last_ms: int) -> list[Point]:
        """All of a stretch of time, both ends included. Raises redis.RedisError."""
        entries = self._client.execute_command("XRANGE", self._key, first_ms, last_ms)
        return [Point(int(_text(entry).partition("-")[0]), float(fields_of(fields)["v"])) for entry, fields in entries]

    def sums(self, first_ms: int, last_ms: int, every_ms: int) -> dict[int, float]:
        """Sums by the begin of each step of `every_ms`. Raises redis.RedisError."""
        found: dict[int, float] = {}
        for point in self.between(first_ms, last_ms):
            begin = point.at_ms // every_ms * every_ms
            found[begin] = found.get(begin, 0.0) + point.value
        return found


def fields_of(fields: dict[object, object]) -> dict[str, str]:
    """Names and values of an entry as text."""
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
