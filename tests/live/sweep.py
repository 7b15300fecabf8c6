"""Removes throw-away stacks whose test process is gone: it was killed, or interrupted before it could clean up.

usage: python -m tests.live.sweep      (scripts/test.py does it after the live tiers)
"""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

from tests.live.harness import PREFIX, ROOT, Stack, process_mark


def forsaken(folder: Path = ROOT / ".stacks") -> list[Stack]:
    """Stacks that nobody takes care of any more."""
    found = []
    for path in sorted(folder.glob(f"{PREFIX}*.note.json")):
        note = json.loads(path.read_text())
        if process_mark(int(str(note["process"]).partition(":")[0])) != note["process"]:
            found.append(Stack(note["name"], Path(note["folder"]), Path(note["spec"])))
    return found


def end_updates(name: str) -> None:
    """End the Pulumi processes that a test had started for this very stack: they would go on making what is removed here."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"pulumi") and name.encode() in words:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)


def main() -> None:
    for stack in forsaken():
        print(f"sweep: removing {stack.name}, whose test did not end in order", flush=True)
        end_updates(stack.name)
        stack.remove()
        shutil.rmtree(stack.folder, ignore_errors=True)
        stack.note_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
