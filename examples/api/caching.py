"""Keeps responses in Redis for a while. A cache makes pages quick; it must never be the reason that there is no page."""

import base64
import json
import random
import time
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import redis
from redis.exceptions import RedisClusterException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JITTER = 0.2
"""Entries live up to a fifth shorter than told, so that what was filled at one moment does not end at one moment."""
SKIP_SECONDS = 1.0
"""After an error Redis is left alone for so long: a page does not wait for a cache."""
LARGEST_BYTES = 256 * 1024


class Shelf:
    """Where responses lie. Never raises: without Redis there is nothing on it."""

    def __init__(self, client: Callable[[], Any], ttl_seconds: float, prefix: str = "page") -> None:
        self._client = client
        self._ttl_seconds = ttl_seconds
        self._prefix = prefix
        self._skip_until = 0.0

    def _try(self, call: Callable[[Any], Any]) -> Any:
        if time.monotonic() < self._skip_until:
            return None
        try:
            return call(self._client())
        except (redis.RedisError, RedisClusterException):
            self._skip_until = time.monotonic() + SKIP_SECONDS
            return None

    @property
    def is_open(self) -> bool:
        """Whether Redis is asked at all, just now."""
        return time.monotonic() >= self._skip_until

    def get(self, name: str) -> dict[str, Any] | None:
        kept = self._try(lambda client: client.get(f"{self._prefix}:{name}"))
        return json.loads(kept) if kept else None

    def put(self, name: str, response: dict[str, Any]) -> None:
        milliseconds = int(self._ttl_seconds * 1000 * random.uniform(1 - JITTER, 1))  # noqa: S311 - spreads load, hides nothing
        self._try(lambda client: client.set(f"{self._prefix}:{name}", json.dumps(response), px=milliseconds))


class CachedResponses:
    """Middleware: answers `GET` of the given paths from the shelf, and says so in the header `x-cache` (hit, miss, off)."""

    def __init__(self, app: ASGIApp, shelf: Shelf, paths: tuple[str, ...]) -> None:
        self._app = app
        self._shelf = shelf
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(self._paths):
            await self._app(scope, receive, send)
            return
        name = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        kept = await anyio.to_thread.run_sync(self._shelf.get, name)
        if kept is not None:
            await send(start(kept["status"], kept["headers"], "hit"))
            await send({"type": "http.response.body", "body": base64.b64decode(kept["body"])})
            return
        await self._fill(name, scope, receive, send)

    async def _fill(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        status, headers, body = 500, [], b""

        async def overhear(message: Message) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [[key.decode("latin-1"), value.decode("latin-1")] for key, value in message["headers"]]
                message = start(status, headers, "miss" if self._shelf.is_open else "off")
            else:
                body += message.get("body", b"")
            await send(message)

        await self._app(scope, receive, overhear)
        if may_be_kept(status, headers, body):
            kept = {"status": status, "headers": headers, "body": base64.b64encode(body).decode()}
            await anyio.to_thread.run_sync(self._shelf.put, name, kept)


def may_be_kept(status: int, headers: list[list[str]], body: bytes) -> bool:
    """Whether everybody may see this response, and it is worth the room."""
    private = any(key == "set-cookie" or (key == "cache-control" and "no-store" in value) for key, value in headers)
    return status == 200 and not private and len(body) <= LARGEST_BYTES


def start(status: int, headers: list[list[str]], cache: str) -> Message:
    pairs = [*headers, ["x-cache", cache]]
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(key.encode("latin-1"), value.encode("latin-1")) for key, value in pairs],
    }
