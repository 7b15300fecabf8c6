"""The volume with the files of a second: gone at the end, named when it cannot be, and what killed restores have left with it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from docker.errors import APIError, DockerException

from operations.archive import launch
from operations.archive.launch import MOMENT, moment_volume
from operations.errors import CheckFailed, Unreachable


class Volume:
    def __init__(self, engine: "Engine", name: str, age: timedelta = timedelta()) -> None:
        self.name, self._engine = name, engine
        self.attrs = {"CreatedAt": (datetime.now(UTC) - age).isoformat(timespec="seconds")}

    def remove(self) -> None:
        if self.name in self._engine.in_use:
            raise APIError("409 Client Error", explanation="volume is in use")
        self._engine.there.remove(self)


class Engine:
    """As docker-py's client and its `volumes`."""

    def __init__(self) -> None:
        self.there: list[Volume] = []
        self.in_use: set[str] = set()
        self.broken = False
        self.volumes = self

    def create(self, name: str, labels: dict[str, str]) -> None:
        if self.broken:
            raise DockerException("no engine")
        assert MOMENT in labels
        self.there.append(Volume(self, name))

    def list(self, filters: dict[str, Any]) -> "list[Volume]":
        if self.broken:
            raise DockerException("no engine")
        assert MOMENT in filters["label"]
        return [*self.there]

    def close(self) -> None:
        return


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()
    monkeypatch.setattr("operations.archive.launch.docker.from_env", lambda **_: found)
    monkeypatch.setattr(launch, "FREE_SECONDS", 0.0)
    return found


def test_it_goes_with_what_a_killed_restore_left_and_not_with_what_another_one_needs(engine: Engine) -> None:
    engine.there = [Volume(engine, "left", timedelta(hours=7)), Volume(engine, "at work", timedelta(hours=1))]
    said: list[str] = []
    with pytest.raises(CheckFailed), moment_volume("shop", 1234, said.append) as name:
        assert name == "redis-shop-archive-1234"
        raise CheckFailed("the restore failed")
    assert [one.name for one in engine.there] == ["at work"]
    assert said == []


def test_one_that_cannot_be_removed_is_named(engine: Engine) -> None:
    said: list[str] = []
    with moment_volume("shop", 1234, said.append) as name:
        engine.in_use.add(name)
    assert said == ["volume redis-shop-archive-1234 holds data in the clear and cannot be removed: volume is in use"]


def test_an_engine_that_is_gone_at_the_end_is_said_and_one_that_is_gone_before_refuses(engine: Engine) -> None:
    said: list[str] = []
    with moment_volume("shop", 1234, said.append):
        engine.broken = True
    assert said == ["volume redis-shop-archive-1234 may be there still, with data in the clear: no engine"]
    with pytest.raises(Unreachable, match="no volume can be made"), moment_volume("shop", 1235, said.append):
        pass
