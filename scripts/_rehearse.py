"""A rehearsal: a backup is restored into a scratch stack in a network of its own, used, measured and removed.

It runs on the machine that has Pulumi. The scratch stack is named after its source; what a rehearsal that was killed has left is
removed by the next one.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

import redis

from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest
from operations.backup.proof import prove
from operations.backup.restore import Restored, restore
from operations.clients import application_client
from operations.errors import Busy, CheckFailed, ToolkitError
from operations.inventory import Access
from operations.scratch_stack import same_shape, scratch_name, scratch_stack

SUFFIX = "rehearsal"
SMOKE_KEYS = 200

Report = Callable[[dict[str, Any]], None]


def rehearse(place: Place, source: Access, backup: str, report: Report) -> dict[str, Any]:
    """Restore `backup` into a scratch stack and use it; returns what was measured, after noting it in the catalogue.

    Raises CheckFailed when it does not work, or takes longer than `backup.objectives.rto_seconds`, Busy while another one runs.
    """
    manifest = Manifest.model_validate(run_job(place, "show", backup=backup))
    if manifest.digest is None:
        digest = prove(place, source.inventory.engine.image, manifest, report)
        manifest = manifest.model_copy(update={"digest": digest.to_data()})

    def say(text: str) -> None:
        report({"event": "phase", "text": text})

    began = time.monotonic()
    try:
        with scratch_stack(scratch_name(place.stack, SUFFIX), same_shape(source.inventory.spec), say) as scratch:
            up_seconds = time.monotonic() - began
            done = restore(place, scratch.access, manifest, False, report)
            _smoke(scratch.access)
            outcome = _outcome(manifest, done, up_seconds)
            limit = place.settings.objectives.rto_seconds
            if limit and outcome["rto_seconds"] > limit:
                raise CheckFailed(f"it took {outcome['rto_seconds']:.1f} s, backup.objectives.rto_seconds is {limit:g}")
    except Busy:  # another one is at work, which proves nothing about this backup
        raise
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
