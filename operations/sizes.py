"""Byte sizes as Redis writes them: 256mb is 256 * 1024**2, 256m is 256 * 1000**2."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

KIB, MIB, GIB = 1024, 1024**2, 1024**3
MAX_BYTES = 1024**5
"""Upper end of all sizes: far above any machine, far below what the server's own counters hold."""
SIZE_PATTERN = r"^\d{1,16}(\.\d{1,9})?\s*([kKmMgG]?[bB]?|[kKmMgG]i[bB])$"
_UNITS = {
    "": 1, "b": 1, "k": 1000, "kb": KIB, "kib": KIB, "m": 1000**2, "mb": MIB, "mib": MIB, "g": 1000**3, "gb": GIB, "gib": GIB,
}  # fmt: skip
_SIZE = re.compile(SIZE_PATTERN)
_NUMBER = re.compile(r"^[\d.]+")


def parse_bytes(value: object) -> object:
    """Turn '256mb' into bytes; anything but text is left for the type check. Raises ValueError for other text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    number = _NUMBER.match(text)
    if number is None or _SIZE.fullmatch(text) is None:
        raise ValueError("is not a size; write for example 256mb or 2gb")
    return int(Decimal(number[0]) * _UNITS[text[number.end() :].strip().lower()])


def format_bytes(size: float) -> str:
    """A size for people: 268435456 -> '256.0 MiB'."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def write_bytes(size: int) -> str:
    """A size as a spec writes it, exact: 268435456 -> '256mb', 1000 -> '1000'."""
    for unit, factor in (("gb", GIB), ("mb", MIB), ("kb", KIB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes, json_schema_input_type=int | Annotated[str, Field(pattern=SIZE_PATTERN)]),
    Field(ge=0, le=MAX_BYTES),
]
