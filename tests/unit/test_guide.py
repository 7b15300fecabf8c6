"""docs/guide/spec.md describes every field, with the default that the models have."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from operations.bounds import FaultKind
from operations.sizes import write_bytes
from topologies.fields import FREE_SECTION, all_fields, by_word, section_of
from topologies.parameters import recorded

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "spec.md").read_text()
ROWS = {
    path: (default, text) for path, default, text in re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*) \|$", GUIDE, re.MULTILINE)
}
BY_WORD = {f"{path}.{word}" for path, info in all_fields().items() for word in by_word(info)}
LEAVES = {
    path: info for path, info in all_fields().items() if section_of(info) is None and path != FREE_SECTION and path not in BY_WORD
}


def written(info: FieldInfo) -> str:
    """A default as the guide writes it."""
    value: Any = info.default
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value >= 1024**2:
        return write_bytes(value)
    if isinstance(value, tuple):
        return str([list(pair) for pair in value])
    return str(value)


@pytest.mark.parametrize("path", LEAVES)
def test_the_guide_has_a_row_for_every_field(path: str) -> None:
    assert path in ROWS
    assert ROWS[path][1].strip()


def test_the_guide_describes_no_field_that_there_is_not() -> None:
    assert {path for path in ROWS if "." in path} <= set(LEAVES)


@pytest.mark.parametrize(
    "path", [path for path, info in LEAVES.items() if info.default is not None and info.default is not PydanticUndefined]
)
def test_the_guide_says_the_default_of_the_models(path: str) -> None:
    shown = ROWS[path][0].replace("`", "").split(" (")[0]
    assert shown == written(LEAVES[path])


def test_the_guide_names_the_engines_that_there_are() -> None:
    versions = [version for _, version in recorded()]
    assert all(f"{version}" in ROWS["engine.version"][1] for version in versions)


def test_the_guide_says_of_every_kind_of_fault_what_is_promised() -> None:
    section = GUIDE.partition("Defaults by kind of fault")[2].partition("What a policy **cannot** meet")[0]
    described = [
        word for line in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for word in re.findall(r"`([a-z-]+)`", line)
    ]
    assert described == list(get_args(FaultKind))
