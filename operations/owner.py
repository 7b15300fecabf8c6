"""Whose a stack is: an id of the Pulumi backend and stack, put on every Docker object as a label.

Two backends may both have a stack `cluster`; on one Docker engine their objects would have the same names. The label tells
them apart, so that nothing is adopted, replaced or removed that another backend owns.
"""

import hashlib
import json
import os
import socket
from pathlib import Path

FILE_SCHEME = "file://"
DEFAULT_BACKEND = "https://api.pulumi.com"
"""What Pulumi uses when it was never told anything else."""
OWNER_LENGTH = 12
MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def owner_id(backend_url: str, machine_id: str, stack: str) -> str:
    """12 hexadecimal digits for `stack` in the backend at `backend_url`.

    A local backend (`file://`) is one machine's own: the same path on another machine is another backend, hence `machine_id`.
    Every other backend is the same from wherever it is used, so the machine does not count. `file://~` means the home folder.
    """
    url = backend_url.strip()
    if url.startswith(FILE_SCHEME):
        path, _, _ = url.removeprefix(FILE_SCHEME).partition("?")
        url = f"{FILE_SCHEME}{Path(path).expanduser().resolve()}"
        parts: tuple[str, ...] = (url, machine_id.strip(), stack)
    else:
        parts = (url.rstrip("/"), stack)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:OWNER_LENGTH]


def backend_url() -> str:
    """The backend that Pulumi uses in this environment: PULUMI_BACKEND_URL, else where `pulumi login` logged in to."""
    named = os.environ.get("PULUMI_BACKEND_URL")
    if named:
        return named
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        current = json.loads((home / "credentials.json").read_text()).get("current")
    except (OSError, ValueError):
        current = None
    return str(current or DEFAULT_BACKEND)


def machine_id() -> str:
    """This machine's own id; its host name where the system keeps none."""
    for path in MACHINE_ID_FILES:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text and text != "uninitialized":
            return text
    return socket.gethostname()


def current_owner_id(stack: str) -> str:
    """The owner id of `stack` in the backend and on the machine at hand."""
    return owner_id(backend_url(), machine_id(), stack)
