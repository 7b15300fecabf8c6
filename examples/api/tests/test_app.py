"""What the shop does while Redis is away."""

import time
from typing import Any

from starlette.testclient import TestClient


def test_pages_come_without_the_cache_and_say_so(shop: Any) -> None:
    with TestClient(shop) as client:
        client.get("/products/tea")
        answer = client.get("/products/tea")
    assert (answer.status_code, answer.headers["x-cache"]) == (200, "off")
    assert answer.json()["product"] == "tea"


def test_a_login_is_tried_for_as_long_as_a_person_waits_and_then_refused_in_good_order(shop: Any) -> None:
    began = time.monotonic()
    with TestClient(shop) as client:
        answer = client.post("/login", params={"user": "ann"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert 0.3 <= time.monotonic() - began < 5


def test_who_has_no_session_is_told_so_without_asking_redis(shop: Any) -> None:
    with TestClient(shop) as client:
        assert client.get("/me").status_code == 401
        assert client.post("/products/tea/orders").status_code == 401


def test_whether_a_session_is_alive_is_not_guessed(shop: Any) -> None:
    with TestClient(shop, cookies={"session": "x"}) as client:
        assert client.get("/me").status_code == 503
