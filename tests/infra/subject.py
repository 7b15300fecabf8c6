"""One node under test: what the engine, its own /proc and its server say about it.

Nothing here needs procps or iproute2 in the image: processes are read from /proc with `sh` and `cat` alone.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import docker
import testinfra
from docker.errors import NotFound
from testinfra.host import Host

from operations.connect import Link, Refused
from operations.errors import ToolkitError
from operations.inventory import Access, NodeEntry
from operations.parse import Reply, info_fields, items, pairs, text

LABEL = "redis-topologies"
SERVERS = ("redis-server", "valkey-server")
SHORT_LIVED = ("redis-cli", "valkey-cli", "timeout")
"""Clients of the start and health scripts: they read the password from their own environment and end within a second."""

_RECORD, _FIELD = "\x1e", "\x1f"
_READ_PROCESSES = r"""
for process in /proc/[0-9]*; do
    printf '\036%s\037' "${process#/proc/}"
    for file in comm cmdline environ limits status; do cat "$process/$file" 2>/dev/null; printf '\037'; done
done
"""


@dataclass(frozen=True)
class Process:
    """One process in a node's container; `status` and `limits` are the lines of those files in /proc."""

    pid: int
    name: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    limits: dict[str, str]
    status: dict[str, str]

    @property
    def parent(self) -> int:
        return int(self.status["PPid"])


def read_processes(text: str) -> tuple[Process, ...]:
    """What the loop over /proc printed; processes that ended meanwhile are left out."""
    found = []
    for record in text.split(_RECORD)[1:]:
        pid, name, arguments, environment, limits, status = record.split(_FIELD)[:6]
        if not status.strip():
            continue
        found.append(
            Process(
                int(pid),
                name.strip(),
                tuple(filter(None, arguments.split("\0"))),
                tuple(filter(None, environment.split("\0"))),
                {line[:25].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]},
                {key: value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())},
            )
        )
    return tuple(found)


class Subject:
    """One node under test. Fixed facts are read once; a node that could not be reached is not tried again and again."""

    def __init__(self, entry: NodeEntry, access: Access, engine: docker.DockerClient) -> None:
        self.entry = entry
        self.access = access
        self._engine = engine
        self._links: dict[str, Link] = {}
        self._unreachable: ToolkitError | None = None

    @property
    def name(self) -> str:
        return self.entry.name

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    # ---- the container ----------------------------------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """What `docker inspect` says now."""
        try:
            inspection: dict[str, Any] = self._engine.api.inspect_container(self.entry.container)
        except NotFound:
            raise AssertionError(f"there is no container {self.entry.container} for {self.name}") from None
        return inspection

    @cached_property
    def inspection(self) -> dict[str, Any]:
        return self.look()

    @property
    def limits(self) -> dict[str, Any]:
        """The part of the inspection that says what the container may do."""
        limits: dict[str, Any] = self.inspection["HostConfig"]
        return limits

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.inspection["Config"]["Labels"])

    @cached_property
    def host(self) -> Host:
        """Commands inside the container, as the container's own user."""
        return testinfra.get_host(f"docker://{self.entry.container}")

    def shell(self, script: str) -> str:
        """What a script prints inside the container; a failure shows what it said."""
        result = self.host.run(script)
        assert result.rc == 0, f"in {self.entry.container}: {script!r} ended with {result.rc}: {result.stderr or result.stdout}"
        return str(result.stdout)

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """All processes but those of this look itself (an `exec` has no parent in the container)."""
        found = {process.pid: process for process in read_processes(self.shell(_READ_PROCESSES))}

        def own(process: Process) -> bool:
            while process.parent in found:
                process = found[process.parent]
            return process.pid == 1

        return tuple(process for process in found.values() if own(process))

    @property
    def server(self) -> Process:
        """The only server process."""
        servers = [process for process in self.processes if process.name in SERVERS]
        names = [process.name for process in self.processes]
        assert len(servers) == 1, f"{self.name} has {len(servers)} server processes; all are {names}"
        return servers[0]

    # ---- the server ---------------------------------------------------------------------------------------------------

    def ask(self, *command: str | int, user: str = "admin") -> Reply:
        """The reply to one command; raises Refused with the server's own error."""
        if self._unreachable is not None:
            raise self._unreachable
        if user not in self._links:
            self._links[user] = Link(self.access, self.entry, user)
        try:
            return self._links[user].ask(*command)
        except Refused:
            raise
        except ToolkitError as error:
            self._unreachable = error
            raise

    def refusal(self, *command: str | int, user: str) -> str:
        """The server's error to a command that must be refused."""
        try:
            self.ask(*command, user=user)
        except Refused as error:
            return str(error)
        # The reply itself may hold a secret, so it is not shown.
        raise AssertionError(f"{self.name} let {user} run {' '.join(map(str, command))}")

    def may(self, user: str, command: str) -> bool:
        """Whether the server would let `user` run a command; asked with ACL DRYRUN, so that nothing is run."""
        return self.ask("ACL", "DRYRUN", user, *command.split()) == "OK"

    def ensure_ours(self) -> None:
        """Raises NotOurs when another server answers at this node's address."""
        if self.entry.is_sentinel:
            return
        title = str(self.config("proc-title-template"))
        wanted = f"{LABEL}:{self.access.inventory.stack}/{self.name}"
        assert wanted in title.split(), f"the server at {self.entry.host}:{self.entry.host_port} is not {wanted}: {title!r}"

    def config(self, name: str) -> Reply:
        return pairs(self.ask("CONFIG", "GET", name)).get(name)

    def info(self, section: str) -> dict[str, str]:
        return info_fields(text(self.ask("INFO", section)))

    def role(self) -> list[Reply]:
        return list(items(self.ask("ROLE")))

    @property
    def is_primary(self) -> bool:
        return self.role()[0] == "master"
