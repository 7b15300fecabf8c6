"""Requests at a fixed rate, whether the answers come or not, as visitors do. For measurements beside a drill.

usage: load.py --url http://127.0.0.1:8000 --rate 50 --seconds 60 > results.jsonl

It ends after so many seconds, or when its standard input does. One line of JSON per request:
{"at": when it was due (Unix time), "kind", "status": 0 without an answer, "seconds": from when it was due to the answer}.
Latencies count from when a request was due: a service that stands still does not look quick because nobody could ask.
"""

import argparse
import asyncio
import ipaddress
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit

import httpx2

KINDS = ("page", "page", "page", "page", "session", "session", "session", "order", "order", "login")
"""What ten visitors do."""
USERS = 30
PRODUCTS = 60
LARGEST_RATE = 300.0
LONGEST_SECONDS = 1800.0
TIMEOUT_SECONDS = 10.0
IN_FLIGHT = 1000
"""More than so many without an answer are not asked at all, and count as not answered."""


def due(rate: float, seconds: float) -> Iterator[tuple[float, int, str]]:
    """Every request: seconds from the start, its number, its kind."""
    kinds = cycle(KINDS)
    for number in range(int(rate * seconds)):
        yield number / rate, number, next(kinds)


def refusal(url: str, rate: float, seconds: float) -> str | None:
    """Why this load is not made: it is for a service on this machine, and bounded."""
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        return f"--url is {url}, which is not on this machine; use http://127.0.0.1:PORT"
    if not 0 < rate <= LARGEST_RATE:
        return f"--rate is {rate:g}; use more than 0 and at most {LARGEST_RATE:g} requests per second"
    if not 0 < seconds <= LONGEST_SECONDS:
        return f"--seconds is {seconds:g}; use more than 0 and at most {LONGEST_SECONDS:g}"
    return None


class Visitors:
    """The requests, and the sessions that some of them need."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._cookies: list[str] = []

    async def log_in(self) -> None:
        """Begin the sessions that are used later; raises httpx2.HTTPError when the service does not answer."""
        for number in range(USERS):
            answer = await self._client.post("/login", params={"user": f"user-{number}"})
            answer.raise_for_status()
            self._cookies.append(answer.cookies["session"])
        self._client.cookies.clear()

    async def visit(self, kind: str, number: int) -> int:
        """One request; returns the status, 0 when there was no answer."""
        headers = {"cookie": f"session={self._cookies[number % USERS]}"} if kind in ("session", "order") else {}
        method, path = {
            "page": ("GET", f"/products/{number % PRODUCTS}"),
            "session": ("GET", "/me"),
            "order": ("POST", f"/products/{number % PRODUCTS}/orders"),
            "login": ("POST", f"/login?user=guest-{number}"),
        }[kind]
        try:
            answer = await self._client.request(method, path, headers=headers)
        except httpx2.HTTPError:
            return 0
        self._client.cookies.clear()
        return answer.status_code


async def run(url: str, rate: float, seconds: float) -> None:
    limits = httpx2.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=100)
    async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False) as client:
        visitors = Visitors(client)
        await visitors.log_in()
        stop = asyncio.Event()
        asyncio.get_running_loop().run_in_executor(None, wait_for_the_end, asyncio.get_running_loop(), stop)
        waiting: set[asyncio.Task[None]] = set()
        began, began_wall = time.monotonic(), time.time()

        async def one(after: float, number: int, kind: str) -> None:
            status = await visitors.visit(kind, number) if len(waiting) < IN_FLIGHT else 0
            took = time.monotonic() - began - after
            tell({"at": round(began_wall + after, 4), "kind": kind, "status": status, "seconds": round(took, 4)})

        for after, number, kind in due(rate, seconds):
            await asyncio.sleep(max(0.0, began + after - time.monotonic()))
            if stop.is_set():
                break
            task = asyncio.create_task(one(after, number, kind))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)


def wait_for_the_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    sys.stdin.read()
    loop.call_soon_threadsafe(stop.set)


def tell(result: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    if problem := refusal(chosen.url, chosen.rate, chosen.seconds):
        print(problem, file=sys.stderr)
        return 64
    try:
        asyncio.run(run(chosen.url, chosen.rate, chosen.seconds))
    except httpx2.HTTPError as error:
        print(f"{chosen.url} does not serve: {error or type(error).__name__}", file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the thread that waits for the end of standard input must not keep the process
