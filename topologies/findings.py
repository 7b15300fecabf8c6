"""What is wrong or doubtful in a spec, as values: field path, value, reason, remedy. Their text is one sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from operations.errors import InvalidInput

NO_VALUE: Final = object()
"""Stands in `Finding.value` when the sentence is about the field itself: it is missing, unknown, or a whole section."""
HIDDEN: Final = "***"
"""Shown instead of a value that may be a secret."""
LONGEST_VALUE = 60
_PLAIN = re.compile(r"^[\w.:/@+-]+$")


def show(value: object) -> str:
    """A value in a sentence: as YAML writes it, quoted only where it would be hard to see, and not endless."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if _PLAIN.fullmatch(value) or value == HIDDEN else '"' + value.encode("unicode_escape").decode() + '"'
    elif isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{show(key)}: {show(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(item) for item in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


@dataclass(frozen=True)
class Finding:
    """One sentence about one field: `<path> is <value> <reason>; <remedy>`.

    `about` names further fields that the reason speaks of; `where` says where the value was read: a line, an override.
    """

    path: str
    value: Any
    reason: str
    remedy: str
    about: tuple[str, ...] = ()
    where: str = field(default="", compare=False)

    def __str__(self) -> str:
        given = "" if self.value is NO_VALUE else f" is {show(self.value)}"
        given += "," if given and self.reason.startswith(("so ", "which ")) else ""
        return f"{self.path}{given} {self.reason}; {self.remedy}"

    @property
    def located(self) -> str:
        """The sentence with the place of the value, for lists."""
        return f"{self} ({self.where})" if self.where else str(self)

    def as_data(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "path": self.path,
            "value": None if self.value is NO_VALUE else self.value,
            "reason": self.reason,
            "remedy": self.remedy,
            "where": self.where,
            "message": str(self),
        }


@dataclass(frozen=True)
class Findings:
    """All that a check found: with a problem the spec is refused, a warning is only shown."""

    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def raise_if_invalid(self, source: str) -> None:
        """Raise InvalidInput that lists every problem at once; `source` is what was read, for example a file."""
        if self.problems:
            count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "1 problem"
            raise InvalidInput(f"{source} is not a valid spec, {count}:", tuple(p.located for p in self.problems))

    def as_data(self) -> dict[str, list[dict[str, Any]]]:
        """Plain data for `--json`."""
        return {
            "problems": [problem.as_data() for problem in self.problems],
            "warnings": [warning.as_data() for warning in self.warnings],
        }

    def located(self, places: Mapping[str, str]) -> "Findings":
        """The same findings with the place of each value; `places` maps field paths to places."""

        def place(finding: Finding) -> Finding:
            return replace(finding, where=finding.where or places.get(finding.path.partition("[")[0], ""))

        return Findings(tuple(map(place, self.problems)), tuple(map(place, self.warnings)))
