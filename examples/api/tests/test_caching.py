"""The response cache: what is kept, what is not, and that it never stands in the way."""

from typing import Any

import pytest
import redis
from caching import LARGEST_BYTES, CachedResponses, Shelf, may_be_kept
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient


class Memory:
    """A Redis client of which only GET and SET are used."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.lives: list[int] = []
        self.calls = 0
        self.down = False

    def _answer(self) -> None:
        self.calls += 1
        if self.down:
            raise redis.ConnectionError("away")

    def get(self, key: str) -> str | None:
        self._answer()
        return self.kept.get(key)

    def set(self, key: str, value: str, px: int) -> None:
        self._answer()
        self.kept[key] = value
        self.lives.append(px)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def client(memory: Memory) -> Any:
    loads = iter(range(100))

    def page(request: Request) -> PlainTextResponse:
        status = int(request.query_params.get("status", 200))
        headers = {"set-cookie": "a=b"} if "private" in request.query_params else {"x-mine": "yes"}
        return PlainTextResponse(f"load {next(loads)}", status, headers)

    routes = [Route("/products/{name}", page, methods=["GET", "POST"]), Route("/other", page)]
    app = CachedResponses(Starlette(routes=routes), Shelf(lambda: memory, 10), ("/products/",))
    with TestClient(app) as client:
        yield client


def test_the_second_visitor_gets_what_the_first_one_saw(client: Any) -> None:
    first, second = client.get("/products/tea"), client.get("/products/tea")
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.content == second.content == b"load 0"
    assert second.headers["x-mine"] == "yes"


def test_another_question_is_another_page(client: Any) -> None:
    assert client.get("/products/tea?size=1").text != client.get("/products/tea?size=2").text


@pytest.mark.parametrize("path", ["/products/tea?private=1", "/products/tea?status=404", "/other"])
def test_what_is_not_for_everybody_is_not_kept(client: Any, memory: Memory, path: str) -> None:
    assert client.get(path).text != client.get(path).text
    assert memory.kept == {}


def test_only_get_is_answered_from_the_shelf(client: Any) -> None:
    client.get("/products/tea")
    assert "x-cache" not in client.post("/products/tea").headers


def test_entries_do_not_all_end_at_one_moment(client: Any, memory: Memory) -> None:
    for number in range(20):
        client.get(f"/products/{number}")
    assert len(set(memory.lives)) > 1
    assert all(8000 <= life <= 10000 for life in memory.lives)


def test_after_an_error_redis_is_left_alone_for_a_while(client: Any, memory: Memory) -> None:
    memory.down = True
    assert [client.get("/products/tea").status_code for _ in range(5)] == [200] * 5
    assert memory.calls == 1


def test_a_page_that_is_too_large_is_not_kept() -> None:
    assert may_be_kept(200, [], b"x" * LARGEST_BYTES)
    assert not may_be_kept(200, [], b"x" * (LARGEST_BYTES + 1))
    assert not may_be_kept(200, [["cache-control", "no-store"]], b"")
