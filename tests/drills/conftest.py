"""Hooks of the drills tier: the same as those of the live tier."""

from tests.live.conftest import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
