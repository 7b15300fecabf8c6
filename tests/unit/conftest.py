"""Golden files: what a pure function gives, kept as a readable file. `pytest tests/unit --update-golden` writes them anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
# A busy machine is no failure: how long one example takes says nothing about what is tested.

GOLDEN = Path(__file__).resolve().parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/unit/golden anew from what the code gives now")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the golden file of that name, or writes the file with --update-golden."""

    def compare(name: str, text: str) -> None:
        target = GOLDEN / name
        if request.config.getoption("--update-golden", default=False):
            target.write_text(text)
        assert target.is_file(), f"{target} does not exist; write it with: pytest tests/unit --update-golden"
        assert text == target.read_text(), f"differs from {target}; if that is meant: pytest tests/unit --update-golden"

    return compare
