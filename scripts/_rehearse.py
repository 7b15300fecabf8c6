"""A rehearsal: a backup is restored into a scratch stack in a network of its own, used, measured and removed.

It runs on the machine that has Pulumi. The scratch stack is named after its source and has a Pulumi backend in a temporary
folder; what a rehearsal that was killed has left is removed by the next one.
"""

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import redis
import yaml
from docker.errors import APIError, NotFound

from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest
from operations.backup.proof import prove
from operations.backup.restore import Restored, restore
from operations.clients import application_client
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access, parse_access
from scripts.pulumi_cli import PROJECT, ROOT, explain
from topologies.plan import LABEL_PREFIX
from topologies.spec import Spec

SUFFIX = "-rehearsal"
LONGEST_NAME = 40
UP_SECONDS = 600
SMOKE_KEYS = 200
LEFT_OUT = ("backup", "restore_from", "network", "data", "objectives")
"""Parts of the source's spec that a scratch stack must not have: addresses, agents, kept volumes."""

Report = Callable[[dict[str, Any]], None]


def scratch_name(stack: str) -> str:
    """The name of the scratch stack of a source."""
    return stack[: LONGEST_NAME - len(SUFFIX)].rstrip("-") + SUFFIX


def scratch_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The source's topology, engine and sizes, on addresses of its own and with volumes that go with it."""
    whole = Spec.model_validate({name: value for name, value in spec.items() if name not in LEFT_OUT})
    kept: dict[str, Any] = whole.model_dump(mode="json", exclude_defaults=True)
    return {**kept, "topology": whole.topology, "data": {"on_destroy": "delete"}}


def rehearse(place: Place, source: Access, backup: str, report: Report) -> dict[str, Any]:
    """Restore `backup` into a scratch stack and use it; returns what was measured, after noting it in the catalogue.

    Raises CheckFailed when it does not work, or takes longer than `backup.objectives.rto_seconds`.
    """
    manifest = Manifest.model_validate(run_job(place, "show", backup=backup))
    if manifest.digest is None:
        digest = prove(place, source.inventory.engine.image, manifest, report)
        manifest = manifest.model_copy(update={"digest": digest.to_data()})
    began = time.monotonic()
    try:
        with _scratch_stack(scratch_name(place.stack), scratch_spec(source.inventory.spec), report) as access:
            up_seconds = time.monotonic() - began
            done = restore(place, access, manifest, False, report)
            _smoke(access)
            outcome = _outcome(manifest, done, up_seconds)
            limit = place.settings.objectives.rto_seconds
            if limit and outcome["rto_seconds"] > limit:
                raise CheckFailed(f"it took {outcome['rto_seconds']:.1f} s, backup.objectives.rto_seconds is {limit:g}")
    except ToolkitError as error:
        run_job(place, "record", kind="rehearsal", backup=manifest.id, state="failed", content={"reason": str(error)})
        raise CheckFailed(f"the rehearsal of backup {manifest.id} failed: {error}") from None
    run_job(place, "record", kind="rehearsal", backup=manifest.id, state="passed", content=outcome)
    return outcome


def _outcome(manifest: Manifest, done: Restored, up_seconds: float) -> dict[str, Any]:
    return {
        "id": manifest.id,
        "keys": sum(done.keys.values()),
        "digest_keys": done.comparison.compared if done.comparison else None,
        "up_seconds": round(up_seconds, 3),
        "fetched_seconds": round(done.fetched_seconds, 3),
        "loaded_seconds": round(done.loaded_seconds, 3),
        "open_seconds": round(done.open_seconds, 3),
        "rto_seconds": round(up_seconds + done.open_seconds, 3),
    }


def _smoke(access: Access) -> None:
    """Write and read as an application does, on every shard; raises CheckFailed when something comes back otherwise."""
    client: Any = application_client(access, decode_responses=True)
    try:
        for number in range(SMOKE_KEYS):
            key = f"rehearsal:{secrets.token_hex(8)}"
            client.set(key, number, ex=60)
            if client.get(key) != str(number):
                raise CheckFailed(f"the restored stack answered {client.get(key)!r} for a key that was set to {number}")
            client.delete(key)
    except redis.RedisError as error:
        raise CheckFailed(f"the restored stack does not serve applications: {error}") from None
    finally:
        client.close()


@contextmanager
def _scratch_stack(name: str, spec: Mapping[str, Any], report: Report) -> Iterator[Access]:
    """A stack that is up for the time of the context, and gone afterwards whatever happens."""
    stack_file = ROOT / ".stacks" / f"Pulumi.{name}.yaml"
    remove(name)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        home = Path(folder)
        (home / "state").mkdir()
        (home / "passphrase").write_text(secrets.token_hex(16))
        (home / "spec.yaml").write_text(yaml.safe_dump(dict(spec)))
        environment = {
            **{key: value for key, value in os.environ.items() if key != "PULUMI_CONFIG_PASSPHRASE"},
            "PULUMI_BACKEND_URL": f"file://{home}/state",
            "PULUMI_CONFIG_PASSPHRASE_FILE": f"{home}/passphrase",
        }
        try:
            stack_file.unlink(missing_ok=True)
            _pulumi(["stack", "init", name], name, environment)
            settings = yaml.safe_load(stack_file.read_text()) if stack_file.exists() else None
            settings = {**(settings or {}), "config": {f"{PROJECT}:spec": str(home / "spec.yaml")}}
            stack_file.write_text(yaml.safe_dump(settings))
            report({"event": "phase", "text": f"bringing up the scratch stack {name}"})
            _pulumi(["up", "--yes", "--skip-preview", "--stack", name], name, environment)
            outputs = _pulumi(["stack", "output", "--json", "--show-secrets", "--stack", name], name, environment)
            yield parse_access(json.loads(outputs), name)
        finally:
            report({"event": "phase", "text": f"removing the scratch stack {name}"})
            remove(name)
            stack_file.unlink(missing_ok=True)


def _pulumi(arguments: list[str], stack: str, environment: Mapping[str, str]) -> str:
    command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
    try:
        answer = subprocess.run(
            command, cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=UP_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"`pulumi {arguments[0]}` did not end within {UP_SECONDS} s") from None
    if answer.returncode != 0:
        raise explain(answer.stderr + answer.stdout[-2000:], stack)
    return answer.stdout


def remove(name: str) -> None:
    """Remove every Docker object of a scratch stack, by its label; its name is nobody else's."""
    client = docker.from_env(timeout=120)
    filters: dict[str, str | list[str] | bool] = {"label": f"{LABEL_PREFIX}.stack={name}"}
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        with contextlib.suppress(NotFound):
            container.remove(force=True)
    for kind in (client.networks, client.volumes):
        for one in kind.list(filters=filters):
            with contextlib.suppress(NotFound, APIError):
                one.remove()
