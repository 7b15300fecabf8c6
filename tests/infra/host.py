"""What the machine that runs the suite can tell when the engine runs on it too."""

import os
import socket
import struct
from pathlib import Path

LISTENING = "0A"


def reads_this_machine() -> bool:
    """Whether the engine publishes ports on this very machine, and this machine tells who listens."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return address.startswith("unix://") and Path("/proc/net/tcp").exists()


def listeners(port: int) -> set[str]:
    """Addresses on which something listens for TCP connections to `port` on this machine."""
    found = set()
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, _, hexadecimal = fields[1].partition(":")
            if fields[3] == LISTENING and int(hexadecimal, 16) == port:
                # The kernel prints each 32-bit word in the machine's own byte order.
                words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
                found.add(socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)))
    return found
