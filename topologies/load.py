"""Reading a spec: YAML and overrides in, a valid `Spec` or every problem at once out.

YAML is read by the rules of its version 1.2, so that `no`, `0700` and `1:30` stay what they look like, and a field that is
text stays text: `version: 8.0` means "8.0". Only plain values, lists and mappings are admitted.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from operations.errors import InvalidInput
from topologies.explain import explain, field_path, path_of
from topologies.fields import FREE_SECTION, all_fields, listed, names_in, near, text_fields
from topologies.findings import NO_VALUE, Finding, Findings
from topologies.rules import check
from topologies.spec import Spec

LONGEST_FILE = 1024 * 1024
MOST_VALUES = 20_000
"""Aliases can make a small file huge; no spec comes near."""
OVERRIDE = "pulumi config"
ANY_STACK = "spec"
"""Stands in for the stack's name where only a file is read."""

_TAG = "tag:yaml.org,2002:"
_BOOL = {"true": True, "false": False}


class _Loader(yaml.SafeLoader):
    """Resolves plain values as YAML 1.2 does."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,300}", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


@dataclass
class _Reader:
    """Turns one YAML document into plain data, and remembers in which line each field stands."""

    places: dict[str, str] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    count: int = 0

    def data(self, node: yaml.Node | None, path: tuple[str, ...]) -> Any:
        self.count += 1
        if self.count > MOST_VALUES:
            raise InvalidInput(f"more than {MOST_VALUES} values, which is no spec; are there aliases (*name) in it?")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.data(item, path) for item in node.value]
        return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            inner, line = (*path, name), key.start_mark.line + 1
            if name in found:
                reason = f"is given twice, in lines {lines[name]} and {line}"
                self.problems.append(Finding(path_of(inner), NO_VALUE, reason, "keep one"))
            self.places.setdefault(path_of(inner), f"line {line}")
            lines.setdefault(name, line)
            found[name] = self.data(value, inner)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "null":
            return None
        if kind == "bool" and not _is_text(path):
            return _BOOL[text.lower()]
        if kind == "int" and not _is_text(path):
            return int(text)
        if kind == "float" and not _is_text(path):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if kind in ("str", "bool", "int", "float"):
            return text
        reason = f"has the YAML tag {node.tag.replace(_TAG, '!!')}"
        self.problems.append(Finding(path_of(path) or "the spec", NO_VALUE, reason, "write a plain value"))
        return text


def _is_text(path: tuple[str, ...]) -> bool:
    return path_of(path) in text_fields()


def _compose(text: str, source: str) -> yaml.Node | None:
    """The YAML tree of a text that holds one document; raises InvalidInput that says where it is not YAML."""
    try:
        return yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise InvalidInput(f"{source} is not YAML{place}: {what}; check indentation, colons and quotes there") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{source} is not YAML: {' '.join(str(error).split())}; save it as plain UTF-8 text") from None
    except RecursionError:
        raise InvalidInput(f"{source} is nested far too deeply for a spec; write it flat") from None


def _read(text: str, source: str, path: tuple[str, ...] = ()) -> tuple[Any, _Reader]:
    reader = _Reader()
    try:
        return reader.data(_compose(text, source), path), reader
    except RecursionError:
        raise InvalidInput(f"{source} refers to itself by an alias (*name); write the values out") from None
    except InvalidInput as error:
        raise InvalidInput(str(error) if source in str(error) else f"{source} holds {error}") from None


def _override(data: dict[str, Any], places: dict[str, str], name: str, text: str) -> Iterator[Finding]:
    """Put one override into the data, its fields into the places; yields what is wrong with it."""
    parts = _split(name)
    if path_of(parts) not in all_fields() and not (parts[0] == FREE_SECTION and len(parts) == 2):
        yield _unknown_override(name)
        return
    try:
        value, reader = _read(text, f"the override {name}", parts)
    except InvalidInput as error:
        yield Finding(name, text, f"but {error}", "quote it", where=OVERRIDE)
        return
    yield from reader.problems
    places.update(dict.fromkeys((path_of(parts), *reader.places), OVERRIDE))
    target = data
    for part in parts[:-1]:
        if target.get(part) is None:
            target[part] = {}
        target = target[part]
        if not isinstance(target, dict):
            return  # the section itself is wrong and has a sentence of its own
    target[parts[-1]] = _merged(target.get(parts[-1]), value)


def _split(name: str) -> tuple[str, ...]:
    """Path of an override; names of server parameters may hold dots."""
    head, _, rest = name.partition(".")
    return (head, rest) if head == FREE_SECTION and rest else tuple(name.split("."))


def _merged(old: Any, new: Any) -> Any:
    """A structured override changes the fields that it names; all else replaces."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merged(old.get(key), value) for key, value in new.items()}
    return new


def _unknown_override(name: str) -> Finding:
    known = [path for path in all_fields() if path != FREE_SECTION]
    section, _, last = name.rpartition(".")
    inside = names_in(section) if section else ()
    same_end = [path for path in known if path.rpartition(".")[2] == last]
    if meant := near(last, inside):
        remedy = f"did you mean {section}.{meant}?"
    elif inside:
        remedy = f"use {listed(inside)} in {section}"
    elif meant := near(name, known):
        remedy = f"did you mean {meant}?"
    else:
        remedy = f"did you mean {listed(same_end)}?" if same_end else f"use {listed(names_in(''))}"
    return Finding(path_of(_split(name)), NO_VALUE, "is not a field of a spec", remedy, where=OVERRIDE)


@dataclass(frozen=True)
class Loaded:
    """What a text gave: the spec, when its fields are valid by themselves, and all findings."""

    spec: Spec | None
    findings: Findings


def parse_spec(
    text: str,
    overrides: Mapping[str, str] | None = None,
    *,
    source: str = "the spec",
    stack: str = ANY_STACK,
    machine_memory_bytes: int | None = None,
) -> Loaded:
    """Read a spec from text; wrong fields do not hide broken rules among the others. Raises InvalidInput for no YAML at all."""
    data, reader = _read(text, source)
    if data is None:
        raise InvalidInput(f"{source} is empty; write at least one line, for example topology: cluster")
    if not isinstance(data, dict):
        raise InvalidInput(f"{source} holds {_noun(data)} where a mapping is needed; write for example topology: cluster")
    problems, places = list(reader.problems), dict(reader.places)
    for name in sorted(overrides or {}, key=lambda name: (name.count("."), name)):
        problems += _override(data, places, name, (overrides or {})[name])
    spec, refused, wrong = _validate(data)
    found = Findings(problems=(*problems, *refused))
    if spec is not None:
        ruled = check(spec, stack, machine_memory_bytes)
        found = Findings(
            problems=(*found.problems, *(f for f in ruled.problems if not _touches(f, wrong))),
            warnings=tuple(f for f in ruled.warnings if not _touches(f, wrong)),
        )
    return Loaded(None if found.problems else spec, found.located(places))


def _noun(data: Any) -> str:
    return "a list" if isinstance(data, list) else "a single value"


def _validate(data: dict[str, Any]) -> tuple[Spec | None, tuple[Finding, ...], frozenset[str]]:
    """The spec, or the one that is left without the refused fields, so that rules can look at the rest."""
    try:
        return Spec.model_validate(data), (), frozenset()
    except ValidationError as error:
        errors = error.errors(include_url=False)
    rest = copy.deepcopy(data)
    for one in errors:
        _remove(rest, one["loc"])
    wrong = frozenset(field_path(one["loc"]) for one in errors if one["type"] != "extra_forbidden")
    problems = explain(errors, data)
    try:
        return Spec.model_validate(rest), problems, wrong
    except ValidationError:
        return None, problems, wrong


def _remove(data: dict[str, Any], location: tuple[int | str, ...]) -> None:
    target: Any = data
    parts = list(location)
    while parts:
        part = parts.pop(0)
        if not isinstance(target, dict) or part not in target:
            return
        if not parts or not isinstance(target[part], dict):
            del target[part]
            return
        target = target[part]


def _touches(finding: Finding, wrong: Iterable[str]) -> bool:
    """Whether a rule speaks of a field whose value was refused and replaced by the default."""
    return any(
        path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")
        for path in (finding.path, *finding.about)
        for other in wrong
    )


def read_text(path: Path) -> str:
    """The text of a spec file; raises InvalidInput that names the specs that exist."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}; {_others(path)}") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder, not a spec; {_others(path / 'spec.yaml')}") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    if len(content) > LONGEST_FILE:
        raise InvalidInput(f"{path} has {len(content)} bytes, which is no spec; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None


def _others(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either; name an existing YAML file"
    names = sorted(other.name for other in (*folder.glob("*.yaml"), *folder.glob("*.yml")))
    if not names:
        return f"no YAML file is in {folder}; name an existing one, for example configs/cluster.yaml"
    meant = near(path.name, names)
    return f"did you mean {folder / meant}?" if meant else f"in {folder} are {listed(names)}"


def load_spec(path: Path, overrides: Mapping[str, str] | None = None) -> Spec:
    """The spec in a file, with single fields overridden (`persistence.aof.fsync` -> `always`).

    Raises InvalidInput that lists every problem at once: fields, overrides and rules. Warnings are for `check`.
    """
    loaded = parse_spec(read_text(path), overrides, source=str(path))
    loaded.findings.raise_if_invalid(str(path))
    if loaded.spec is None:
        raise InvalidInput(f"{path} is not a valid spec")
    return loaded.spec
