"""Which stacks there can be, and the `Pulumi.<stack>.yaml` of one: made from a committed template, kept out of git."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from operations.errors import InvalidInput, UsageError
from operations.inventory import STACK_NAME
from scripts.pulumi_cli import PROJECT, ROOT

TEMPLATES = Path("configs/stacks")
SPECS = Path("configs")
GENERATED = Path(".stacks")
SPEC_KEY = "spec"
EMPTY = "config: {}\n"


def file_name(stack: str) -> str:
    return f"Pulumi.{stack}.yaml"


def possible_stacks(root: Path = ROOT) -> tuple[str, ...]:
    """Names for which a template, a spec or a stack file exists, sorted."""
    named = {path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in (root / TEMPLATES).glob("Pulumi.*.yaml")}
    named |= {path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in (root / GENERATED).glob("Pulumi.*.yaml")}
    return tuple(sorted(named | {path.stem for path in (root / SPECS).glob("*.yaml")}))


def check_name(stack: str) -> None:
    """Raises UsageError for a name that Docker objects cannot carry."""
    if not STACK_NAME.fullmatch(stack):  # match() would let a line end pass
        raise UsageError(
            f"{stack!r} cannot be a stack's name: use lower-case letters, digits and hyphens, at most 40, for example cluster-b"
        )


def prepare(stack: str, root: Path = ROOT) -> bool:
    """Make the stack's file when there is none; True when it was made now.

    From the template when there is one; else empty, which means the spec `configs/<stack>.yaml`. Raises InvalidInput for a name
    that nothing stands behind.
    """
    check_name(stack)
    target = root / GENERATED / file_name(stack)
    if target.exists():
        return False
    template = root / TEMPLATES / file_name(stack)
    if not template.exists() and not (root / SPECS / f"{stack}.yaml").exists():
        raise InvalidInput(
            f"there is no stack {stack}: neither {SPECS}/{stack}.yaml nor {TEMPLATES}/{file_name(stack)} exists; "
            f"write such a spec, or use one of: {', '.join(possible_stacks(root)) or 'none yet'}"
        )
    target.parent.mkdir(mode=0o700, exist_ok=True)
    _write(target, template.read_text() if template.exists() else EMPTY)
    return True


def forget_salt(stack: str, root: Path = ROOT) -> bool:
    """Drop the salt of a stack that the backend does not have: it fits a passphrase of an earlier state only.

    A file that holds encrypted values is left alone: they need that salt. True when a salt was dropped.
    """
    target = root / GENERATED / file_name(stack)
    lines = target.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("encryptionsalt:", "encryptedkey:"))]
    if kept == lines or any(line.strip().startswith(("secure:", "- secure:")) for line in lines):
        return False
    _write(target, "".join(kept) or EMPTY)
    return True


def _write(target: Path, text: str) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(target)


def settings(stack: str, root: Path = ROOT) -> dict[str, str]:
    """Our own keys of the stack's configuration, as the program sees them; encrypted values are left out."""
    target = root / GENERATED / file_name(stack)
    try:
        data: Any = yaml.load(target.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - texts only, nothing is constructed
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{GENERATED}/{file_name(stack)} cannot be read: {reason}; delete it to have it made anew") from None
    config = data.get("config") or {} if isinstance(data, Mapping) else {} if data in (None, "") else None
    if not isinstance(config, Mapping):
        raise InvalidInput(f"{GENERATED}/{file_name(stack)} is not a stack's configuration; delete it to have it made anew")
    prefix = f"{PROJECT}:"
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix) and isinstance(value, str)}


def spec_path(stack: str, values: Mapping[str, str], root: Path = ROOT) -> Path:
    """The spec file that the stack's configuration names; by default `configs/<stack>.yaml`."""
    path = Path(values.get(SPEC_KEY, f"{SPECS}/{stack}.yaml"))
    return path if path.is_absolute() else root / path
