"""The buffer is a dictionary in the process, flushed now and then: who crashes loses what had been acknowledged."""

from applications.behind import Apply


class BufferInProcess:
    """The calls of `applications.behind.WriteBehind`."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, str]] = {}

    def write(self, key: str, number: int, value: str) -> None:
        self._waiting[key] = (number, value)

    def flush(self, apply: Apply) -> None:
        for key, (number, value) in self._waiting.items():
            apply(key, number, value)
        self._waiting.clear()
