"""A backup into so many shards: a target that is up is asked for its number, one that does not exist is made with it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from operations.backup.fit import MEMORY_RESERVE
from operations.backup.launch import Place
from operations.backup.manifest import Manifest
from operations.errors import CheckFailed, ExitCode, InvalidInput, ToolkitError, UsageError
from operations.inventory import Inventory
from operations.scratch_stack import LEFT_OUT
from scripts import pulumi_cli, stack_files
from topologies.engine import connect
from topologies.plan import LABEL_PREFIX
from topologies.rules import check
from topologies.spec import Spec


def require_shards(inventory: Inventory, shards: int) -> None:
    """Raises UsageError when a running stack has another number of shards."""
    has = len(inventory.shards)
    if has != shards:
        count = "1 shard" if has == 1 else f"{has} shards"
        raise UsageError(
            f"stack {inventory.stack} has {count}, not {shards}; leave --shards out, name a new stack with --to, or change its "
            f"spec first (pulumi config set shards {shards}). Nothing was touched"
        )


def is_new(stack: str) -> bool:
    """Whether nothing stands behind the name of a stack. Raises UsageError for one that is known and not up."""
    if pulumi_cli.exists(stack):
        return False
    if stack in stack_files.possible_stacks():
        raise UsageError(
            f"stack {stack} has a spec and is not up; set its shards there and bring it up (make up STACK={stack}), or use a "
            "name that is free"
        )
    return True


def spec_of(manifest: Manifest, place: Place, shards: int, stack: str) -> dict[str, Any]:
    """The spec of a cluster of so many shards that is born from a backup, else as its source was.

    Raises InvalidInput when there is no such cluster, CheckFailed when the data does not fit into it.
    """
    kept = {name: value for name, value in manifest.spec.items() if name not in (*LEFT_OUT, "sentinel")}
    born = {"stack": manifest.stack, "backup": manifest.id, "repository": place.settings.repository}
    spec = Spec.model_validate({**kept, "topology": "cluster", "shards": shards, "restore_from": born})
    if problems := check(spec, stack).problems:
        told = tuple(str(problem) for problem in problems)
        raise InvalidInput(f"backup {manifest.id} cannot be restored into a cluster of {shards} shards:", told)
    needed = sum(shard.used_memory_bytes for shard in manifest.shards) * MEMORY_RESERVE / shards
    if needed > spec.memory.maxmemory:
        raise CheckFailed(
            f"each of {shards} shards would hold about {needed / 1e6:.0f} MB, memory.maxmemory is "
            f"{spec.memory.maxmemory / 1e6:.0f} MB; use more shards. Nothing was touched"
        )
    made: dict[str, Any] = spec.model_dump(mode="json", exclude_defaults=True)
    return made


def bring_up(stack: str, spec: Mapping[str, Any]) -> Path:
    """Make a new stack of `spec`, which is kept beside the stack's own file; returns where.

    Raises UsageError for a name whose volumes hold data, ToolkitError when `pulumi up` fails.
    """
    volumes = connect().api.volumes(filters={"label": f"{LABEL_PREFIX}.stack={stack}"})["Volumes"] or ()
    if volumes:
        raise UsageError(
            f"volumes of an earlier stack {stack} are still there ({volumes[0]['Name']}, …); use a name that is free"
        )
    path = pulumi_cli.ROOT / stack_files.GENERATED / f"{stack}.yaml"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(spec)))
    settings = {"config": {f"{pulumi_cli.PROJECT}:{stack_files.SPEC_KEY}": str(path)}}
    (path.parent / stack_files.file_name(stack)).write_text(yaml.safe_dump(settings))
    command = [sys.executable, str(pulumi_cli.ROOT / "scripts" / "up.py"), "--stack", stack]
    code = pulumi_cli.run_visible(["sh", "-c", 'exec "$@" >&2', "up", *command])  # stdout is for the outcome alone
    if code != ExitCode.OK:
        raise ToolkitError(f"stack {stack} is not up; why stands above, `make up STACK={stack}` goes on")
    return path
