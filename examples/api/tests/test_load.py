"""The requests: when they are due, and against whom they are not made."""

import pytest
from load import KINDS, due, refusal


def test_requests_are_due_at_the_rate_whatever_the_answers_do() -> None:
    found = list(due(50, 2))
    assert len(found) == 100
    assert found[50][0] == 1.0
    assert [kind for _, _, kind in found[:10]] == list(KINDS)


@pytest.mark.parametrize("url", ["http://example.org", "http://10.0.0.1:8000", "http://127.0.0.1.example.org", "nothing"])
def test_only_this_machine_is_asked(url: str) -> None:
    assert "not on this machine" in str(refusal(url, 50, 60))


@pytest.mark.parametrize(("rate", "seconds"), [(0, 60), (301, 60), (50, 0), (50, 1e6), (float("nan"), 60)])
def test_the_load_is_bounded(rate: float, seconds: float) -> None:
    assert refusal("http://127.0.0.1:1", rate, seconds)


def test_a_bounded_load_on_this_machine_is_made() -> None:
    assert refusal("http://localhost:8000", 300, 1800) is None
    assert refusal("http://[::1]:8000", 1, 1) is None
