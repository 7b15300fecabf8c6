"""The JSON schema of a spec, for editors: `python -m topologies.schema` writes configs/spec.schema.json.

It knows fields, types, ranges and choices; how fields relate is left to `topologies/rules`.
"""

import json
from pathlib import Path
from typing import Any

from topologies.spec import Spec

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "configs" / "spec.schema.json"


def _without_titles(value: Any) -> Any:
    """Drop the titles that pydantic makes from field names; editors would show them above the descriptions."""
    if isinstance(value, dict):
        return {key: _without_titles(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    return [_without_titles(item) for item in value] if isinstance(value, list) else value


def json_schema() -> dict[str, Any]:
    """The schema as plain data."""
    schema = _without_titles(Spec.model_json_schema(mode="validation"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Spec of a Redis topology", **schema}


def schema_text() -> str:
    """The schema as it is committed."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text())
