"""The cache of `applications` beside an origin that is down: how often is it asked, and what do readers get?"""

from typing import Any

import pytest
import redis

from applications import cache as module
from applications.cache import Cache
from applications.call import Script
from applications.origin import OriginDown

Loaded = tuple[int, str]


class Server:
    """What the cache needs of Redis, with the clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.refuses: tuple[str, ...] = ()
        self._held: dict[str, tuple[Any, float]] = {}

    def get(self, key: str) -> Any:
        value, until = self._held.get(key, (None, 0.0))
        return value if self.now < until else None

    def set(self, key: str, value: Any, nx: bool = False, px: int = 0) -> bool:
        if nx and self.get(key) is not None:
            return False
        self._held[key] = (str(value).encode(), self.now + px / 1000)
        return True

    def execute_command(self, _word: str, digest: str, _count: int, key: str, *rest: Any) -> Any:
        if digest in self.refuses:
            raise redis.ConnectionError("gone")
        if digest == module._STORE.digest:
            return self.set(key, rest[1], px=rest[2])
        assert digest == module._LET_GO.digest
        owner, down_ms = rest
        assert self.get(key) == owner.encode()
        return self.set(key, "down", px=down_ms) if down_ms else self._held.pop(key)


class Origin:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.down = False
        self.asked = 0

    def load(self, _key: str) -> Loaded | None:
        self.asked += 1
        if self.down:
            raise OriginDown
        return 1, "value"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def origin() -> Origin:
    return Origin()


def instance(server: Server, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr("applications.cache.time.monotonic", lambda: server.now)
    return Cache(server, origin.load, fresh_seconds=1.0, grace_seconds=1.0, jitter=0.0, clock=lambda: server.now)


@pytest.mark.parametrize("value", ["value", "", "with spaces and\nlines", "null", None])
def test_a_value_comes_back_as_it_was_loaded(value: str | None, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("applications.cache.time.monotonic", lambda: server.now)
    loaded = None if value is None else (7, value)
    one = Cache(server, lambda _key: loaded, fresh_seconds=1.0, clock=lambda: server.now)
    version = 0 if value is None else 7
    assert [tuple(one.get("row")) for _ in range(2)] == [(version, value, "origin"), (version, value, "cache")]


def test_what_was_changed_is_gone_and_an_older_version_does_not_come_back(
    server: Server, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instance(server, origin, monkeypatch)
    one.get("row")
    one.changed("row", 2)
    assert one.get("row").source == "origin"


def test_an_origin_that_is_down_is_asked_once_by_all_instances_until_its_time_has_come(
    server: Server, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.down = True
    instances = [instance(server, origin, monkeypatch) for _ in range(5)]
    for one in instances:
        with pytest.raises(OriginDown):
            one.get("row")
    assert origin.asked == 1
    server.now += 0.6
    origin.down = False
    assert [one.get("row").source for one in instances] == ["origin", "cache", "cache", "cache", "cache"]
    assert origin.asked == 2


def test_while_the_origin_is_down_an_old_value_is_served_to_its_end_and_not_beyond(
    server: Server, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instance(server, origin, monkeypatch)
    one.get("row")
    origin.down = True
    server.now += 1.5
    assert [one.get("row").source for _ in range(3)] == ["stale"] * 3
    assert origin.asked == 2
    server.now += 0.6
    with pytest.raises(OriginDown):
        one.get("row")


@pytest.mark.parametrize("refused", [(module._STORE, module._LET_GO), (module._LET_GO,)])
def test_when_redis_goes_away_while_the_origin_is_asked_it_is_not_asked_again(
    refused: tuple[Script, ...], server: Server, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instance(server, origin, monkeypatch)
    server.refuses = tuple(script.digest for script in refused)
    assert (one.get("row").source, origin.asked) == ("origin", 1)
    monkeypatch.setattr(server, "get", gone)
    server.now += 0.1
    assert one.get("row").source == ("local" if module._STORE in refused else "origin")
    origin.down = True
    server.now += 0.6
    with pytest.raises(OriginDown):
        one.get("row")


def test_what_is_remembered_without_redis_does_not_grow_without_an_end(
    server: Server, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LOCAL", 3)
    one = instance(server, origin, monkeypatch)
    monkeypatch.setattr(server, "get", gone)
    for number in range(10):
        one.get(f"row-{number}")
        assert len(one._local) <= 3


def gone(_key: str) -> None:
    raise redis.ConnectionError("gone")
