"""Messages to everybody, through a stream: who was away for a moment reads on from where it stopped.

Publish / subscribe tells those who listen at that moment; a failover breaks every subscription, and what is published meanwhile
is gone. A stream of the last `kept` messages costs one entry per message, however many read it. `publish` may be repeated: the
same message goes in once.

A failover may forget messages that were heard already. Then a reader stands at a place that is not there any more, and what the
new primary took meanwhile may lie before that place: a reader behind a partition would never hear it. So a place names its
message, too, and where that is gone the reader goes back by `again_seconds`: it hears some twice, and their numbers tell.
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
        self, client: Client, name: str, confirm: Confirm | None = None, kept: int = 10_000, again_seconds: float = 60.0,
        prefix: str = "broadcast",
    ) -> None:  # fmt: skip
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._confirm = confirm
        self._kept = kept
        self._again_ms = int(again_seconds * 1000)

    def publish(self, number: str, body: str = "") -> None:
        """Raises redis.RedisError: then publish it again under the same number."""
        keys = [self._key, f"{self._key}:once:{number}"]
        run(self._client, _PUBLISH, keys, number, body, REMEMBERED_SECONDS, self._kept, confirm=self._confirm)

    def after(self, place: str, count: int = 100) -> tuple[list[Message], str]:
        """Messages after `place` ("0": from the beginning), and the place after them. Keep the place where the reader's other
        state is kept, and it survives the reader. Raises redis.RedisError."""
        last, _, number = place.partition(" ")
        if not number:
            entries = self._entries("-", count)
        else:
            entries = self._entries(last, count + 1)
            if entries and (entries[0][0], entries[0][1].number) == (last, number):
                del entries[0]
            else:
                entries = self._entries(max(int(last.partition("-")[0]) - self._again_ms, 0), count)
        if entries:
            place = f"{entries[-1][0]} {entries[-1][1].number}"
        return [message for _, message in entries], place

    def _entries(self, first: str | int, count: int) -> list[tuple[str, Message]]:
        """Places in the stream and messages, from `first` on."""
        found = []
        for entry, fields in self._client.execute_command("XRANGE", self._key, first, "+", "COUNT", count):
            told = {_text(name): _text(value) for name, value in dict(fields).items()}
            found.append((_text(entry), Message(told["n"], told["b"])))
        return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
