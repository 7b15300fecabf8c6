"""A Bloom filter on a bitmap, which keeps questions for what does not exist away from cache and database.

"No" is certain as long as every bit that was set is there, and a failover may forget the last ones: then something that exists
is denied, which is worse than a question too many. So whoever owns the data adds a member *before* it exists (with `confirm`,
replicas have it), and adds all of them again now and then (`rebuild`): what a failover forgot is denied no longer than that.
When Redis does not answer, everything may exist.

Bits and hashes by the usual formulas: m = -n ln(p) / ln(2)², k = m / n · ln(2), positions h1 + i · h2 (Kirsch and Mitzenmacher).
"""

import hashlib
import math
from collections.abc import Iterable

from applications.call import TROUBLES, Client, Confirm, call

MOST_BITS = 1 << 32
"""A string of Redis has 512 MB."""
BATCH = 200


class Bloom:
    """One filter for about `expected` members, of which `error` of those that are none seem to be one. `name` becomes the hash
    tag of its key. Raises ValueError for a size that Redis cannot hold."""

    def __init__(
        self, client: Client, name: str, expected: int, error: float = 0.01, confirm: Confirm | None = None, prefix: str = "bloom"
    ) -> None:
        if expected < 1 or not 0 < error < 1:
            raise ValueError(f"a filter for {expected} members with error {error} cannot be; at least 1, and between 0 and 1")
        self.bits = math.ceil(-expected * math.log(error) / math.log(2) ** 2)
        if self.bits > MOST_BITS:
            raise ValueError(f"{self.bits} bits are more than a string of Redis has ({MOST_BITS}); use several filters")
        self.hashes = max(1, round(self.bits / expected * math.log(2)))
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._confirm = confirm
        self.failures = 0
        """Questions that Redis did not answer."""

    def places(self, member: str) -> list[int]:
        """The bits of a member."""
        digest = hashlib.blake2b(member.encode(), digest_size=16).digest()
        first, second = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
        return [(first + number * second) % self.bits for number in range(self.hashes)]

    def add(self, member: str) -> None:
        """Raises redis.RedisError: then add it again, before it exists."""
        self._set([member])

    def rebuild(self, members: Iterable[str]) -> None:
        """Add all that exist again; nothing is ever denied meanwhile. Raises redis.RedisError."""
        known = list(members)
        for begin in range(0, len(known), BATCH):
            self._set(known[begin : begin + BATCH])

    def may_have(self, member: str) -> bool:
        """False: certainly not there. True: perhaps, also when Redis does not answer."""
        asked = [word for place in self.places(member) for word in ("GET", "u1", place)]
        try:
            return all(self._client.execute_command("BITFIELD_RO", self._key, *asked))
        except TROUBLES:
            self.failures += 1
            return True

    def _set(self, members: list[str]) -> None:
        """Bits that are set already write nothing, and WAIT would confirm nothing: a counter behind them always does."""
        wanted = [word for member in members for place in self.places(member) for word in ("SET", "u1", place, 1)]
        counted = ("INCRBY", "u32", self.bits, 1)
        call(self._client, self._key, "BITFIELD", self._key, *wanted, *counted, confirm=self._confirm)
