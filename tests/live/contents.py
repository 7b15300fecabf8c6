"""All that a stack holds, by key: type, value in an order of its own, and expiry; for comparing before and after."""

from collections.abc import Callable
from typing import Any

from operations.connect import node_client
from operations.inventory import Access
from operations.observe import observe

KEYS_PER_TYPE = 200
FAR_AWAY_SECONDS = 1_000_000


def fill_all_types(client: Any, prefix: str, count: int = KEYS_PER_TYPE) -> None:
    """Keys of every type, with and without expiry, streams with a group, values that are no text."""
    for number in range(count):
        name = f"{prefix}:{number}"
        client.set(f"string:{name}", bytes([number % 256, 0, 255]) * 5, ex=FAR_AWAY_SECONDS + number if number % 2 else None)
        client.rpush(f"list:{name}", *range(number % 7 + 1))
        client.sadd(f"set:{name}", *range(number % 5 + 1), "word")
        client.hset(f"hash:{name}", mapping={"field": number, "other": "x" * (number % 90)})
        client.zadd(f"zset:{name}", {"a": number, "b": 0.5})
        client.xadd(f"stream:{name}", {"field": number}, id=f"{number + 1}-1")
        if number % 10 == 0:
            client.xgroup_create(f"stream:{name}", "readers", id="0")
            client.expire(f"hash:{name}", FAR_AWAY_SECONDS)


def value_of(client: Any, key: bytes) -> Any:
    """The value of a key, comparable whatever its encoding."""
    kind = client.type(key)
    read: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: client.get(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: sorted(client.smembers(key)),
        b"hash": lambda: sorted(client.hgetall(key).items()),
        b"zset": lambda: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda: (client.xrange(key), [(g["name"], g["last-delivered-id"]) for g in client.xinfo_groups(key)]),
    }
    return kind, read[kind](), client.pexpiretime(key)


def contents(access: Access) -> dict[bytes, Any]:
    """Everything on the primaries; a key that two of them hold is an error."""
    seen, found = observe(access), {}
    for node in access.inventory.data_nodes:
        if not seen.of(node.name).is_primary:
            continue
        client: Any = node_client(access, node)
        for key in client.scan_iter(count=1000):
            assert key not in found, f"{key!r} stands twice"
            found[key] = value_of(client, key)
        client.close()
    return found
