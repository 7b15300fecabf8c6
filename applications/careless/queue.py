"""RPUSH and LPOP. What a worker has taken is nowhere else: when it dies, or the answer is lost on the way, the job is gone."""

from applications.call import Client
from applications.queue import Job


class ListQueue:
    """The calls of `applications.queue.StreamQueue`."""

    def __init__(self, client: Client, name: str, prefix: str = "queue") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"

    def put(self, number: str, body: str = "") -> bool:
        self._client.rpush(self._key, f"{number} {body}")
        return True

    def take(self, _worker: str) -> Job | None:
        taken = self._client.lpop(self._key)
        if taken is None:
            return None
        number, _, body = (taken.decode() if isinstance(taken, bytes) else str(taken)).partition(" ")
        return Job("", number, body)

    def done(self, _job: Job) -> None:
        """It was gone with the taking."""

    def left(self) -> int:
        return int(self._client.llen(self._key))

    def dead(self) -> list[str]:
        return []
