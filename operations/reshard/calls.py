"""The keys of slots, in calls of MIGRATE that are bounded by keys and bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from operations.inventory import Access, NodeEntry
from operations.reshard.wire import KeyLink, RawCommand, worked

GROUP_KEYS = 4000
CALL_KEYS = 200
CALL_BYTES = 128_000
"""Most that one MIGRATE carries, unless a single key is larger."""
GATHER_KEYS = 400
"""Keys that are listed and weighed in one question."""
BLOCKING_BYTES_PER_SECOND = 40e6
"""What MIGRATE carries while its node answers nobody (redis-facts: 10 MB in 232 ms)."""
MIGRATE_TIMEOUT_MS = 100
"""Longest silence of the target that a source waits for in each MIGRATE, answering nobody. Every call into a dead target
waits so long, and a source that waits too long is taken for dead itself (seen): hence the bound on calls in `_carry`."""

GATHER = """
local keys_left, max_keys, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}
for i = 4, #ARGV do
  if keys_left <= 0 then break end
  local keys = redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[i], keys_left)
  local calls, call, bytes = {}, {0}, 0
  for _, key in ipairs(keys) do
    local size = redis.call('MEMORY', 'USAGE', key) or 0
    if #call > 1 and (#call > max_keys or bytes + size > max_bytes) then
      call[1] = bytes
      calls[#calls + 1] = call
      call, bytes = {0}, 0
    end
    call[#call + 1] = key
    bytes = bytes + size
  end
  if #call > 1 then call[1] = bytes; calls[#calls + 1] = call end
  found[#found + 1] = {#keys, calls}
  keys_left = keys_left - #keys
end
return found
"""


@dataclass(frozen=True)
class Call:
    """The keys of one MIGRATE, all of one slot."""

    slot: int
    weight_bytes: int
    keys: tuple[bytes, ...]

    @property
    def seconds(self) -> float:
        """A first guess of what it takes; corrected by experience."""
        return 100e-6 + 12e-6 * len(self.keys) + self.weight_bytes / BLOCKING_BYTES_PER_SECOND


def gather(source: KeyLink, slots: Sequence[int]) -> list[Call]:
    """The keys of slots in calls of bounded size; of a slot with very many keys only the first ones."""
    waiting, calls = list(slots), []
    listed = 0
    while waiting and listed < GROUP_KEYS:
        found: Any = worked(source.raw([("EVAL", GATHER, 0, GATHER_KEYS, CALL_KEYS, CALL_BYTES, *waiting)])[0])
        for slot, (count, parts) in zip(waiting, found, strict=False):
            calls += [Call(slot, part[0], tuple(part[1:])) for part in parts]
            listed += count
        del waiting[: len(found)]
    return calls


def migrate_command(access: Access, target: NodeEntry, call: Call, replace: bool = True) -> RawCommand:
    """MIGRATE of a call's keys; without `replace`, keys that the target has stay on both sides."""
    milliseconds = MIGRATE_TIMEOUT_MS + int(call.weight_bytes / BLOCKING_BYTES_PER_SECOND * 2000)
    login: RawCommand = ("AUTH2", "admin", access.credentials.password("admin"))
    words: RawCommand = ("REPLACE",) if replace else ()
    return ("MIGRATE", target.address, target.port, "", 0, milliseconds, *words, *login, "KEYS", *call.keys)
