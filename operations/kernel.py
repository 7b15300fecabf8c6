"""Settings of the Docker host that a container cannot change, read from inside a node, with what to do about them."""

import subprocess
from collections.abc import Mapping

from operations.inventory import Inventory

OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
BACKLOG = "/proc/sys/net/core/somaxconn"
SERVER_HUGE_PAGES = "THP_enabled"
"""Line of /proc/<pid>/status: 0 when the server has switched huge pages off for itself (`disable-thp yes`)."""

WANTED_BACKLOG = 511
"""The servers' own default of tcp-backlog."""

READ_SECONDS = 5.0

_SCRIPT = f"""
for file in {OVERCOMMIT} {HUGE_PAGES} {BACKLOG}; do echo "$file=$(cat $file 2>/dev/null)"; done
for process in /proc/[0-9]*; do
  case "$(cat $process/comm 2>/dev/null)" in
    redis-server|valkey-server) echo "{SERVER_HUGE_PAGES}=$(sed -n 's/^{SERVER_HUGE_PAGES}:[^0-9]*//p' $process/status)";;
  esac
done
"""


def kernel_hints(settings: Mapping[str, str], docker_host: str) -> tuple[str, ...]:
    """What should be changed on a Docker host, from its settings as `read_kernel` found them. Pure; unknown is no hint."""
    hints = []
    where = f"on Docker host {docker_host}"
    overcommit = settings.get(OVERCOMMIT, "")
    if overcommit and overcommit != "1":
        hints.append(
            f"vm.overcommit_memory is {overcommit} {where}: snapshots and rewrites fail when memory is short; "
            "run `sysctl -w vm.overcommit_memory=1` there"
        )
    if "[always]" in settings.get(HUGE_PAGES, "") and settings.get(SERVER_HUGE_PAGES) != "0":
        hints.append(
            f"transparent huge pages are always on {where}: snapshots cost more memory and time; "
            f"run `echo madvise > {HUGE_PAGES}` there"
        )
    backlog = settings.get(BACKLOG, "")
    if backlog.isdigit() and int(backlog) < WANTED_BACKLOG:
        hints.append(
            f"net.core.somaxconn is {backlog} in the nodes {where}: bursts of new connections are refused; "
            f"set it to {WANTED_BACKLOG} or more"
        )
    return tuple(hints)


def read_kernel(container: str) -> dict[str, str]:
    """The settings as a container sees them, by file; empty when it cannot be asked."""
    try:
        answer = subprocess.run(
            ["docker", "exec", container, "sh", "-c", _SCRIPT],
            capture_output=True,
            text=True,
            timeout=READ_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = (line.partition("=") for line in answer.stdout.splitlines())
    return {name: value.strip() for name, _, value in lines if value.strip()}


def host_hints(inventory: Inventory, running: list[str]) -> tuple[str, ...]:
    """Hints for every Docker host of a stack, asked through one running data node each; `running` names candidates."""
    hints: list[str] = []
    hosts = dict.fromkeys(node.docker_host for node in inventory.data_nodes)
    for host in hosts:
        node = next((n for n in inventory.data_nodes if n.docker_host == host and n.name in running), None)
        if node is not None:
            hints += kernel_hints(read_kernel(node.container), host)
    return tuple(hints)
