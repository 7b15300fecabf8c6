"""One cut through all shards: only what was cut before the servers ended the pause by themselves counts as one."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from operations.backup import create
from operations.backup.create import _Cut
from operations.backup.settings import BackupSettings
from operations.backup.sources import choose
from operations.errors import CheckFailed
from tests.unit.test_backup_parts import cluster, record

PAUSE_SECONDS = 60


def take(monkeypatch: pytest.MonkeyPatch, elapsed: list[float], is_cut: bool) -> float | None:
    """Back up three shards; `elapsed` is how long the pause lasts whenever somebody asks, once the replicas have caught up."""

    @contextlib.contextmanager
    def paused(*_: object) -> Iterator[Any]:
        yield lambda: elapsed.pop(0)

    def shard(
        _access: Any, _repository: Any, _identity: str, source: Any, _pace: Any, cut: _Cut, ready: threading.Event,
        stopping: threading.Event, _report: Any,
    ) -> Any:  # fmt: skip
        ready.wait()
        if is_cut:
            cut.one()
        else:
            stopping.wait()
        return record(source.shard)

    monkeypatch.setattr(create, "_paused", paused)
    monkeypatch.setattr(create, "_shard", shard)
    shop, seen = cluster()
    nothing: Any = None
    settings = BackupSettings(pause_milliseconds=PAUSE_SECONDS * 1000)
    sources = choose(seen, shop, "replica", 10)
    return create._take(nothing, nothing, settings, nothing, "20260101", sources, [], lambda _: None)


def test_shards_that_are_cut_within_the_pause_are_one_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert take(monkeypatch, [1.0, 2.0], is_cut=True) == 2.0


def test_the_time_in_which_replicas_caught_up_is_part_of_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckFailed, match="were not all cut within a pause of 60000 ms"):
        take(monkeypatch, [PAUSE_SECONDS - 0.01, PAUSE_SECONDS + 0.01], is_cut=False)


def test_a_cut_that_came_after_the_servers_had_ended_the_pause_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckFailed, match="were not all cut"):
        take(monkeypatch, [1.0, PAUSE_SECONDS + 0.01], is_cut=True)
