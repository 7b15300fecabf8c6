"""Processor time that something took: of the whole machine, and of one container."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.harness import engine

TICKS = os.sysconf("SC_CLK_TCK")
IDLE, WAITING = 3, 4
"""Fields of the first line of /proc/stat that are no work; see proc_stat(5). The guest's own time is part of others."""
FIELDS = 8


@dataclass
class Spent:
    """Seconds of processor time; `machine` of everything that ran meanwhile, so it is worth something where nobody else works."""

    machine: float = 0.0
    container: float = 0.0


@contextmanager
def processor_time(container: str) -> Iterator[Spent]:
    """Measures what is done within the context; the figures are there when it ends."""
    spent = Spent()
    machine, own = _machine(), _container(container)
    yield spent
    spent.machine, spent.container = _machine() - machine, _container(container) - own


def _machine() -> float:
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1 : FIELDS + 1]]
    return (sum(fields) - fields[IDLE] - fields[WAITING]) / TICKS


def _container(name: str) -> float:
    told = engine().api.stats(name, stream=False, one_shot=True)
    return float(told["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
