"""Pydantic's errors as sentences of ours: what was given, why it cannot work, what to do."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from topologies.fields import FREE_SECTION, all_fields, bounds, choices, listed, names_in, near, takes_numbers
from topologies.findings import NO_VALUE, Finding, show

SAVE_POINTS = "write save points as [seconds, changes], for example [[3600, 1], [60, 10000]]"
_PATTERNS = {
    "engine.version": ("must be major.minor", 'write for example version: "8.0"'),
    "sentinel.service": ("may hold letters, digits, dots, hyphens and underscores alone", "use a name such as main"),
}
_KEY = "[key]"
"""Ends the place of an error that is about the name of a field, not about its value."""
_NOT_OURS = "default_factory_not_called"
"""A default that follows from a refused field: the refused field has its own sentence."""


def path_of(location: Iterable[int | str]) -> str:
    """('persistence', 'rdb', 'save', 0) -> 'persistence.rdb.save[0]'."""
    text = ""
    for part in location:
        name = part if isinstance(part, int) else show(part)
        text += f"[{name}]" if isinstance(part, int) else f".{name}" if text else str(name)
    return text


def field_path(location: tuple[int | str, ...]) -> str:
    """The field of the spec that an error is in: without list positions and what pydantic adds for unions."""
    if location and location[0] == FREE_SECTION:
        return path_of(location[:2])
    known = all_fields()
    length = len(location)
    while length > 1 and path_of(location[:length]) not in known:
        length -= 1
    return path_of(location[:length])


def _options(path: str, info: FieldInfo) -> str:
    """What to write instead."""
    if words := choices(info):
        return f"use {listed(('seconds (0 or more)', *words) if takes_numbers(info) else words)}"
    if path.startswith("persistence.rdb.save"):
        return SAVE_POINTS
    if path in ("memory.maxmemory", "replication.backlog", "replication.replica_buffer"):
        return "write for example 256mb or 2gb"
    if limits := bounds(info):
        return f"use {limits}"
    return f"see {path} in docs/guide/spec.md"


def _kind(path: str, info: FieldInfo, error: str) -> str:
    """Why a value of the wrong type, or outside the range, cannot work."""
    if choices(info) and not error.startswith(("greater_than", "less_than")):
        return "which is not possible here"
    if path.startswith("persistence.rdb.save"):
        return "but is not a pair of whole numbers from 1 up" if path.endswith("]") else "but must be a list of save points"
    if error.startswith(("greater_than", "less_than")):
        return "which is out of range"
    for start, kind in (("int", "a whole number"), ("float", "a number"), ("finite", "a number"), ("bool", "true or false")):
        if error.startswith(start):
            return f"but must be {kind}"
    return "but must be text"


def _unknown(location: tuple[int | str, ...]) -> Finding:
    section, name = path_of(location[:-1]), str(location[-1])
    known = names_in(section)
    where = f"a field of {section}" if section else "a field of a spec"
    meant = near(name, known)
    if meant:
        remedy = f"did you mean {meant}?"
    elif elsewhere := [path for path in all_fields() if path.rpartition(".")[2] == name]:
        remedy = f"did you mean {listed(elsewhere)}?"
    else:
        remedy = f"use {listed(known)}"
    return Finding(path_of(location), NO_VALUE, f"is not {where}", remedy)


def explain(errors: Iterable[ErrorDetails], data: Mapping[str, Any]) -> tuple[Finding, ...]:
    """One finding per refused field of `data`, in the order of the errors."""
    found: dict[str, Finding] = {}
    for error in errors:
        if error["type"] == _NOT_OURS:
            continue
        finding = _explain(error, data)
        found.setdefault(finding.path, finding)
    return tuple(found.values())


def _explain(error: ErrorDetails, data: Mapping[str, Any]) -> Finding:
    location, kind, value = error["loc"], error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown(location)
    if location and location[-1] == _KEY and location[0] != FREE_SECTION:
        return _unknown(location[:-1])
    field = field_path(location)
    info = all_fields().get(field)
    if location and location[0] == FREE_SECTION and len(location) > 1:
        return Finding(field, value, "but a server parameter has a single value", "write text, a number, true or false")
    if info is None:
        return Finding(path_of(location) or "spec", value, f"which is refused: {error['msg']}", "see docs/guide/spec.md")
    if kind == "missing" and field == path_of(location):
        return Finding(field, NO_VALUE, "is missing", _options(field, info))
    shown, value = _outermost(location, field, value, data)
    return Finding(shown, value, *_judgement(error, field, info, shown))


def _judgement(error: ErrorDetails, field: str, info: FieldInfo, shown: str) -> tuple[str, str]:
    """Reason and remedy for a value of a known field."""
    kind, value = error["type"], error["input"]
    if kind in ("model_type", "model_attributes_type", "dict_type", "mapping_type"):
        inside = names_in(field)
        remedy = f"write its fields below it, for example {field}.{inside[0]}" if inside else "write name: value below it"
        return "but is a section of several fields", remedy
    if kind == "value_error":
        context: Mapping[str, Any] = error.get("ctx", {})
        reason, _, remedy = str(context["error"]).partition("; ")
        return f"which {reason}", remedy
    if kind == "string_pattern_mismatch" and field in _PATTERNS:
        reason, remedy = _PATTERNS[field]
        return f"but {reason}", remedy
    meant = near(value, choices(info)) if isinstance(value, str) else ""
    return _kind(shown, info, kind), f"did you mean {meant}?" if meant else _options(field, info)


def _outermost(location: tuple[int | str, ...], field: str, value: Any, data: Mapping[str, Any]) -> tuple[str, Any]:
    """Path and value to show: for save points the pair that is wrong, for all else the field."""
    position = next((index for index, part in enumerate(location) if isinstance(part, int)), None)
    if position is None:
        return field, value
    found: Any = data
    for part in location[: position + 1]:
        found = found[part]
    return f"{field}[{location[position]}]", found
