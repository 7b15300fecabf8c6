"""A new stack gets its data from a backup of another one, whatever the shape of both: `restore_from` in a spec."""

from collections.abc import Callable, Mapping
from typing import Any

from operations.backup.fit import OtherShape
from operations.backup.launch import Place, run_job
from operations.backup.manifest import Manifest
from operations.backup.reshape import restore_reshaped
from operations.backup.restore import restore
from operations.backup.settings import BackupSettings
from operations.errors import HoldsData
from operations.inventory import Access


def born_from(access: Access, source: Mapping[str, str], report: Callable[[str], None]) -> str:
    """Bring a backup into a stack that was just made; returns what was done. `source` is a spec's `restore_from`.

    A stack that holds data (it adopted kept volumes) is left as it is.
    """
    place = Place(source["stack"], BackupSettings(repository=source["repository"]), access)
    manifest = Manifest.model_validate(run_job(place, "show", backup=source["backup"]))

    def tell(event: dict[str, Any]) -> None:
        if event.get("event") == "phase":
            report(str(event["text"]))

    try:
        keys = _restored(place, access, manifest, tell)
    except HoldsData as error:
        report(f"restore_from is left alone: {error}")
        return "left alone: it holds data"
    report(f"born from backup {manifest.id} of stack {source['stack']}: {keys:,} keys")
    return manifest.id


def _restored(place: Place, access: Access, manifest: Manifest, tell: Callable[[dict[str, Any]], None]) -> int:
    """The number of keys that were restored: by files where the shapes are the same, else key by key."""
    try:
        return sum(restore(place, access, manifest, replace=False, report=tell).keys.values())
    except OtherShape:
        tell({"event": "phase", "text": "the stack has another shape: every key is passed on to the shard where it belongs"})
        return restore_reshaped(place, access, manifest, False, tell).keys
