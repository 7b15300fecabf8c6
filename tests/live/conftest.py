"""Hooks of the live tier."""

import contextlib
import random
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import FAILURES, Stack, engine, throw_away_stack

SHARE_OF_KILLS = 4
"""A kill of a backup, a restore or a rehearsal takes four times as long as one of a slot move."""
BASE = "redis-topologies/node:redis-8.0"
BROKEN = "t-broken-engine:1"
DOCKERFILE = f"""
FROM {BASE}
USER root
RUN server=$(command -v redis-server) && mv "$server" "$server.real" && \\
    printf '#!/bin/sh\\n[ "$1" = --version ] && exec %s.real --version\\n' "$server" > "$server" && \\
    printf 'echo this build cannot run here\\nexit 3\\n' >> "$server" && \\
    chmod 755 "$server"
USER redis
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count failures, so that --keep-failed knows which stacks to leave."""
    report = yield
    if report.failed:
        item.config.stash[FAILURES] = item.config.stash.get(FAILURES, 0) + 1
    return report


@pytest.fixture
def make(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Callable[[dict[str, Any]], Stack]]:
    """Makes throw-away stacks from specs and brings them up; removed at the end of the test."""
    with contextlib.ExitStack() as stacks:

        def made(spec: dict[str, Any]) -> Stack:
            stack = stacks.enter_context(throw_away_stack("shape", spec, tmp_path, pytestconfig))
            stack.up().ok()
            return stack

        yield made


@pytest.fixture
def chance() -> random.Random:
    """Random instants; the seed stands in the output of a test that fails."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return random.Random(seed)  # noqa: S311 - a seed repeats it


@pytest.fixture
def instants(pytestconfig: pytest.Config, chance: random.Random) -> list[float]:
    """When to kill, as shares of the time that it takes otherwise."""
    kills: int = pytestconfig.getoption("--kills")
    return [chance.random() for _ in range(max(1, kills // SHARE_OF_KILLS))]


@pytest.fixture(scope="module")
def broken_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose server says its version, and does not start."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    engine().images.build(path=str(folder), tag=BROKEN, rm=True, network_mode="none")
    yield BROKEN
    engine().images.remove(BROKEN, force=True)
