"""What fields a spec has: looked up by path, for messages, overrides and reading YAML."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from topologies.spec import Spec

FREE_SECTION = "parameters"
"""The one section whose keys are not fields of the spec but names of server parameters."""


def _types(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, without Annotated, Optional and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _types(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _types(part)
    elif annotation is not type(None):
        yield annotation


def section_of(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section of its own."""
    found = next(_types(info.annotation), None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def by_word(info: FieldInfo) -> dict[str, FieldInfo]:
    """The fields of a section whose names are a fixed list of words with values of one kind, as faults have; else nothing."""
    found = next(_types(info.annotation), None)
    if get_origin(found) is not Mapping or get_origin(get_args(found)[0]) is not Literal:
        return {}
    words, value = get_args(found)
    return {word: FieldInfo.from_annotation(value) for word in get_args(words)}


@cache
def all_fields() -> dict[str, FieldInfo]:
    """Every field by dotted path, sections included."""

    def walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
        for name, info in model.model_fields.items():
            yield prefix + name, info
            if section := section_of(info):
                yield from walk(section, f"{prefix}{name}.")
            for word, inner in by_word(info).items():
                yield f"{prefix}{name}.{word}", inner

    return dict(walk(Spec, ""))


def choices(info: FieldInfo) -> tuple[str, ...]:
    """What a field may say, when that is a fixed list of words."""
    return tuple(str(word) for part in _types(info.annotation) if get_origin(part) is Literal for word in get_args(part))


def takes_numbers(info: FieldInfo) -> bool:
    """Whether a field that has a list of words takes numbers, too."""
    return any(part in (int, float) for part in _types(info.annotation))


@cache
def text_fields() -> frozenset[str]:
    """Paths of fields that are text, so that `version: 8.0` is read as it is written, not as a number."""

    def is_text(info: FieldInfo) -> bool:
        return all(part is str or get_origin(part) is Literal for part in _types(info.annotation))

    return frozenset(path for path, info in all_fields().items() if is_text(info))


def names_in(section: str) -> tuple[str, ...]:
    """Names of the fields of a section, '' for the top."""
    prefix = f"{section}." if section else ""
    return tuple(
        path.removeprefix(prefix) for path in all_fields() if path.startswith(prefix) and "." not in path.removeprefix(prefix)
    )


def near(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or ''."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


def listed(words: Iterable[object]) -> str:
    """'a, b or c'."""
    *most, last = (str(word) for word in words)
    return f"{', '.join(most)} or {last}" if most else last


def bounds(info: FieldInfo) -> str:
    """The range of a number in words: '1 to 7', '1 or more', 'more than 0, up to 3600'; '' without one."""
    low = next((m.ge for m in info.metadata if isinstance(m, Ge)), None)
    above = next((m.gt for m in info.metadata if isinstance(m, Gt)), None)
    high = next((m.le for m in info.metadata if isinstance(m, Le)), None)
    if above is not None:
        return f"more than {above}" + (f", up to {high}" if high is not None else "")
    if low is not None:
        return f"{low} to {high}" if high is not None else f"{low} or more"
    return ""
