"""Messages to everybody, through a stream: who was away for a moment reads on from where it stopped.

Publish / subscribe tells those who listen at that moment; a failover breaks every subscription, and what is published meanwhile
is gone. A stream of the last `kept` messages costs one entry per message, however many read it. `publish` may be repeated: the
same message goes in once.
"""

from dataclasses import dataclass

from applications.call import Client, Confirm, Script, run

REMEMBERED_SECONDS = 600

_PUBLISH = Script("""
if not redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[3]) then
    redis.call('EXPIRE', KEYS[2], ARGV[3])
    return 0
end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'n', ARGV[1], 'b', ARGV[2])
return 1
""")


@dataclass(frozen=True)
class Message:
    number: str
    body: str


class Channel:
    """One channel; `name` becomes the hash tag of its keys."""

    def __init__(
        self, client: Client, name: str, confirm: Confirm | None = None, kept: int = 10_000, prefix: str = "broadcast"
    ) -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._confirm = confirm
        self._kept = kept

    def publish(self, number: str, body: str = "") -> None:
        """Raises redis.RedisError: then publish it again under the same number."""
        keys = [self._key, f"{self._key}:once:{number}"]
        run(self._client, _PUBLISH, keys, number, body, REMEMBERED_SECONDS, self._kept, confirm=self._confirm)

    def after(self, place: str, count: int = 100) -> tuple[list[Message], str]:
        """Messages after `place` ("0": from the beginning), and the place after them. Keep the place where the reader's other
        state is kept, and it survives the reader. Raises redis.RedisError."""
        entries = self._client.execute_command("XRANGE", self._key, f"({place}" if place != "0" else "-", "+", "COUNT", count)
        found = []
        for entry, fields in entries:
            told = {_text(name): _text(value) for name, value in dict(fields).items()}
            found.append(Message(told["n"], told["b"]))
            place = _text(entry)
        return found, place


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
