"""A leaderboard and its counters, which count everything once: whoever adds says which operation it is, and may say it again.

Requests end unknown, and queues deliver twice; an increment that is simply sent again counts twice. The number of the operation
is kept beside the board (same slot) for as long as it can come again, and set in the same step as the score.
"""

from applications.call import Client, Confirm, Script, run

REMEMBERED_SECONDS = 600

_ADD = Script("""
if redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[3]) then
    redis.call('ZINCRBY', KEYS[1], ARGV[2], ARGV[1])
    return 1
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 0
""")


class Board:
    """One board; `name` becomes the hash tag of its keys."""

    def __init__(self, client: Client, name: str, confirm: Confirm | None = None, prefix: str = "board") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._confirm = confirm

    def add(self, player: str, points: int, operation: str) -> bool:
        """Add points, once per operation; whether this was the first time. Raises redis.RedisError: then say it again."""
        keys = [self._key, f"{self._key}:once:{operation}"]
        return bool(run(self._client, _ADD, keys, player, points, REMEMBERED_SECONDS, confirm=self._confirm))

    def top(self, count: int = 10) -> list[tuple[str, int]]:
        """The best, with their points. Raises redis.RedisError."""
        found = self._client.zrevrange(self._key, 0, count - 1, withscores=True)
        return [(name.decode() if isinstance(name, bytes) else str(name), int(score)) for name, score in found]
