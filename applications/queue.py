"""A queue of jobs on a stream with a consumer group: what was put is processed at least once, also when workers die.

- `put` may be repeated: the same job number goes in once, so a producer that does not know how its request ended asks again.
- A job belongs to a worker until it is `done`. When nothing was heard of it for `idle_seconds`, another one gets it.
- A job that was handed out `deliveries` times and never done goes to the dead letters, where somebody can look at it.
- Twice is possible (a worker that was only slow): what a job does has to bear that.
"""

from dataclasses import dataclass
from typing import Any

import redis

from applications.call import Client, Confirm, Script, run

GROUP = "workers"
REMEMBERED_SECONDS = 600
"""So long the number of a job is known, and a repeated `put` does nothing."""

_PUT = Script("""
if not redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[3]) then
    redis.call('EXPIRE', KEYS[2], ARGV[3])
    return 0
end
redis.call('XADD', KEYS[1], '*', 'job', ARGV[1], 'body', ARGV[2])
return 1
""")
_TAKE = Script("""
local stream, dead, group, worker, idle, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
while true do
    local stale = redis.call('XPENDING', stream, group, 'IDLE', idle, '-', '+', 1)[1]
    if not stale then break end
    if stale[4] < most then
        local claimed = redis.call('XCLAIM', stream, group, worker, idle, stale[1])[1]
        if claimed then return {claimed[1], claimed[2]} end
    else
        local entry = redis.call('XRANGE', stream, stale[1], stale[1])[1]
        if entry then redis.call('XADD', dead, '*', unpack(entry[2])) end
    end
    redis.call('XACK', stream, group, stale[1])
    redis.call('XDEL', stream, stale[1])
end
local new = redis.call('XREADGROUP', 'GROUP', group, worker, 'COUNT', 1, 'STREAMS', stream, '>')
if not new then return false end
return new[1][2][1]
""")
_DONE = Script("""
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])
""")


@dataclass(frozen=True)
class Job:
    """A job in the hands of a worker; `entry` is its place in the stream."""

    entry: str
    number: str
    body: str


class StreamQueue:
    """One queue; `name` becomes the hash tag of its keys."""

    def __init__(
        self, client: Client, name: str, confirm: Confirm | None = None, idle_seconds: float = 30.0, deliveries: int = 3,
        prefix: str = "queue",
    ) -> None:  # fmt: skip
        self._client = client
        self.key = f"{prefix}:{{{name}}}"
        self.dead_key = f"{self.key}:dead"
        self._confirm = confirm
        self._idle_ms = int(idle_seconds * 1000)
        self._deliveries = deliveries

    def put(self, number: str, body: str = "") -> bool:
        """Put a job in, once; whether it was new. Raises redis.RedisError: then put it again under the same number."""
        keys = [self.key, f"{self.key}:put:{number}"]
        return bool(run(self._client, _PUT, keys, number, body, REMEMBERED_SECONDS, confirm=self._confirm))

    def take(self, worker: str) -> Job | None:
        """A job that somebody left behind, else a new one, else None. Raises redis.RedisError."""
        arguments = (GROUP, worker, self._idle_ms, self._deliveries)
        try:
            entry = run(self._client, _TAKE, [self.key, self.dead_key], *arguments)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._create_group()
            return None
        if not entry:
            return None
        fields = [_text(field) for field in entry[1]]
        told = dict(zip(fields[::2], fields[1::2], strict=True))
        return Job(_text(entry[0]), told["job"], told["body"])

    def done(self, job: Job) -> None:
        """The job is over. Raises redis.RedisError: then it may be handed out again."""
        run(self._client, _DONE, [self.key], GROUP, job.entry)

    def left(self) -> int:
        """Jobs that are not done."""
        return int(self._client.xlen(self.key))

    def dead(self) -> list[str]:
        """Numbers of the dead letters."""
        return [_text(fields.get(b"job", fields.get("job"))) for _, fields in self._client.xrange(self.dead_key)]

    def _create_group(self) -> None:
        try:
            self._client.execute_command("XGROUP CREATE", self.key, GROUP, "0", "MKSTREAM")
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
