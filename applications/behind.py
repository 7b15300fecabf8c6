"""Writing behind: a change is acknowledged when Redis has it, and reaches the database later, in order, at least once.

The buffer is a stream with a consumer group, so it outlives the process that wrote, and the one that carries over. The database
has to take a change twice without harm: here each carries a number that grows per key, and older ones are ignored.
"""

from collections.abc import Callable

from applications.call import Client, Confirm
from applications.queue import StreamQueue

Apply = Callable[[str, int, str], None]
"""Key, number and value into the database; what is not newer than what is there is ignored."""


class WriteBehind:
    """One buffer; `name` becomes its hash tag."""

    def __init__(self, client: Client, name: str, confirm: Confirm | None = None, idle_seconds: float = 5.0,
                 prefix: str = "behind") -> None:  # fmt: skip
        self._queue = StreamQueue(client, name, confirm, idle_seconds, deliveries=1_000_000, prefix=prefix)

    def write(self, key: str, number: int, value: str) -> None:
        """Acknowledged when it returns. Raises redis.RedisError: then write it again, with the same number."""
        self._queue.put(f"{key}/{number}", value)

    def carry(self, worker: str, apply: Apply) -> bool:
        """Carry one change over to the database; whether there was one. Whatever `apply` raises leaves it in the buffer."""
        job = self._queue.take(worker)
        if job is None:
            return False
        key, _, number = job.number.rpartition("/")
        apply(key, int(number), job.body)
        self._queue.done(job)
        return True

    def left(self) -> int:
        """Changes that have not reached the database."""
        return self._queue.left()
