"""Hooks of the live tier."""

from collections.abc import Generator

import pytest

from tests.live.harness import FAILURES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count failures, so that --keep-failed knows which stacks to leave."""
    report = yield
    if report.failed:
        item.config.stash[FAILURES] = item.config.stash.get(FAILURES, 0) + 1
    return report
