"""The JSON schema is the one of the models, and says the same as they do."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from topologies.schema import SCHEMA_FILE, json_schema, schema_text

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SPECS = sorted(CONFIGS.glob("*.yaml"))


def refused(data: Any) -> bool:
    return not jsonschema.Draft202012Validator(json_schema()).is_valid(data)


def test_the_committed_schema_is_that_of_the_models() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "write it anew: python -m topologies.schema"


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_each_committed_spec_names_the_schema_and_fits_it(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=spec.schema.json\n")
    assert not refused(yaml.safe_load(text))


def test_all_four_topologies_have_a_spec() -> None:
    assert {path.stem for path in SPECS} >= {"standalone", "replication", "sentinel", "cluster"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"topology": "clutser"},
        {"topology": "cluster", "shard": 3},
        {"topology": "cluster", "shards": "3"},
        {"topology": "cluster", "memory": {"maxmemory": "much"}},
        {"topology": "cluster", "engine": {"nam": "redis"}},
        {"topology": "cluster", "parameters": {"hz": [1]}},
        {"topology": "sentinel", "sentinel": {"count": 9}},
    ],
)
def test_an_editor_marks_what_the_models_refuse(data: dict[str, Any]) -> None:
    assert refused(data)


@pytest.mark.parametrize("size", [268435456, "256mb", "1.5gb"])
def test_an_editor_takes_sizes_in_both_forms(size: object) -> None:
    assert not refused({"topology": "cluster", "memory": {"maxmemory": size}})


def test_every_field_has_a_description() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    fields = [(name, field) for section in sections for name, field in section["properties"].items()]
    assert [name for name, field in fields if "description" not in field and "$ref" not in field] == []
