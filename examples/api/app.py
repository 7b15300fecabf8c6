"""A small shop that uses Redis for what shops use it for: cached pages, sessions, a rate limit, and a lock around the stock.

What each use does while Redis fails over is decided here, use by use:

- Pages come without the cache: slower, but they come.
- The rate limit lets everybody pass: better too many than none.
- Sessions and orders are tried again for `PERSON_SECONDS`; then the answer is 503, with the time to come back.

Environment: CONNECTION and PLACE as in docs/guide/connecting.md, STOCK (a file of SQLite), PERSON_SECONDS,
RATE_LIMIT (requests of one visitor in ten seconds).
"""

import importlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import redis
from caching import CachedResponses, Shelf
from common import connection, patiently
from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisClusterException

from applications.fenced import FencedCounter, StaleHolder
from applications.limiter import FixedWindow
from applications.lock import FencedLock, Tenure
from applications.session import Sessions

T = TypeVar("T")

PERSON_SECONDS = float(os.environ.get("PERSON_SECONDS", "2"))
"""So long a person waits for an answer. Far less than a failover takes, and enough for a switchover."""
RATE_LIMIT = int(os.environ.get("RATE_LIMIT", "100"))
STOCK = Path(os.environ.get("STOCK", "stock.sqlite"))
RATE_SECONDS = 10
SESSION_SECONDS = 1800.0
LOCK_SECONDS = 5.0
PAGE_SECONDS = 5.0
THREADS = 100
"""Requests that wait for Redis at the same time; others wait for a thread."""
ORIGIN_SECONDS = 0.02
"""What the page costs that the cache saves."""

client: Callable[[], Any] = importlib.import_module(connection["topology"]).client


class Current:
    """A client that is looked up anew for each command: what uses it goes on after the primary has changed."""

    def execute_command(self, *command: Any) -> Any:
        return client().execute_command(*command)


redis_now = Current()
sessions = Sessions(redis_now, SESSION_SECONDS)
limiter = FixedWindow(redis_now, RATE_LIMIT, RATE_SECONDS)


def ask(call: Callable[[], T]) -> T:
    """What `call` gives, tried again for as long as a person waits."""
    return patiently(call, PERSON_SECONDS)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


app = FastAPI(title="shop", lifespan=lifespan)
app.add_middleware(CachedResponses, shelf=Shelf(client, PAGE_SECONDS), paths=("/products/",))


@app.exception_handler(StaleHolder)
def too_late(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "somebody else was faster; please try again"}, 409)


@app.exception_handler(redis.RedisError)
@app.exception_handler(RedisClusterException)
def not_now(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "not now; please try again"}, 503, {"retry-after": "2"})


def admitted(request: Request) -> None:
    """The rate limit of a visitor. It protects the shop, and must not close it: without Redis everybody passes."""
    visitor = request.client.host if request.client else "unknown"
    try:
        answer = limiter.ask(visitor)
    except (redis.RedisError, RedisClusterException):
        return
    if not answer.admitted:
        left = RATE_SECONDS - answer.at_microseconds / 1e6 % RATE_SECONDS  # until the next window
        raise HTTPException(429, "too many requests", {"retry-after": str(int(left) + 1)})


def visitor(session: Annotated[str | None, Cookie()] = None) -> str:
    """Whose session the cookie names."""
    fields = ask(lambda: sessions.use(session)) if session else None
    if fields is None:
        raise HTTPException(401, "please log in")
    return fields["user"]


@app.get("/products/{name}")
def product(name: str) -> dict[str, str]:
    time.sleep(ORIGIN_SECONDS)
    return {"product": name, "text": f"Everything about {name}."}


@app.post("/login", dependencies=[Depends(admitted)])
def login(user: str, response: Response) -> dict[str, str]:
    session = secrets.token_urlsafe(32)  # chosen before the first try, so that a repeated one begins no second session
    ask(lambda: sessions.start(session, {"user": user}))
    response.set_cookie("session", session, httponly=True, samesite="lax")
    return {"user": user}


@app.get("/me")
def me(user: Annotated[str, Depends(visitor)]) -> dict[str, str]:
    return {"user": user}


@app.post("/logout")
def logout(response: Response, session: Annotated[str | None, Cookie()] = None) -> dict[str, str]:
    if session:
        ask(lambda: sessions.logout(session))
    response.delete_cookie("session")
    return {"user": ""}


@app.post("/products/{name}/orders", status_code=201)
def order(name: str, user: Annotated[str, Depends(visitor)]) -> dict[str, str | int]:
    """Order one piece. The lock keeps others away meanwhile; its token keeps out whoever only believes to hold it."""
    lock = FencedLock(redis_now, f"product:{name}", LOCK_SECONDS)
    try:
        number = one_more(name, hold(lock))
    except StaleHolder as stale:
        lock.least = stale.highest  # a failover forgot the last tokens: go on above them
        number = one_more(name, hold(lock))
    finally:
        give_back(lock)
    return {"product": name, "user": user, "number": number}


def one_more(name: str, tenure: Tenure) -> int:
    """The number of the order, counted by the database. Raises StaleHolder."""
    with closing(FencedCounter(STOCK)) as orders:
        number = orders.read(name, tenure) + 1
        orders.write(name, tenure, number)
    return number


def hold(lock: FencedLock) -> Tenure:
    """The lock, as soon as it is free; 503 when a person would wait too long for it."""
    deadline = time.monotonic() + PERSON_SECONDS
    while time.monotonic() < deadline:
        tenure = patiently(lock.acquire, deadline - time.monotonic())
        if tenure:
            return tenure
        time.sleep(0.01)
    raise HTTPException(503, "this product is being ordered by many; please try again", {"retry-after": "1"})


def give_back(lock: FencedLock) -> None:
    """Free the lock, if Redis answers; else it frees itself after LOCK_SECONDS."""
    try:
        lock.release()
    except (redis.RedisError, RedisClusterException):
        return
