"""Hooks of the live tier."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import FAILURES, Stack, throw_away_stack


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
