"""The peer: the same nodes by plain `docker run`, formed by `redis-cli --cluster create`, with nothing around them.

Equal where it counts: same image, same server parameters, own data volumes and static addresses. What the toolkit adds (users,
hardening, carrier, state) is not there: that is what its time is compared against.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from operations.inventory import Access, Credentials, Inventory
from topologies.outputs import inventory
from topologies.plan import Plan
from topologies.render import CONFIG, DATA, USERS, shared_files, stack_files, start_command

PASSWORD_OF = "bench-{}"  # noqa: S105 - of throw-away nodes on loopback
CREATE_SECONDS = 60


def docker(*arguments: str, check: bool = True) -> str:
    """Run the docker command; raises CalledProcessError with its complaint."""
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and answer.returncode != 0:
        raise RuntimeError(f"docker {arguments[0]} failed: {answer.stderr.strip()}")
    return answer.stdout


@dataclass(frozen=True)
class Bare:
    """Nodes without Pulumi; `label` finds everything that belongs to them."""

    plan: Plan

    @property
    def label(self) -> str:
        return f"redis-topologies-bench={self.plan.stack}"

    def remove(self) -> None:
        containers = docker("ps", "-aq", "--filter", f"label={self.label}").split()
        if containers:
            docker("rm", "-f", *containers)
        volumes = docker("volume", "ls", "-q", "--filter", f"label={self.label}").split()
        if volumes:
            docker("volume", "rm", *volumes)
        docker("network", "rm", self.plan.network, check=False)

    def network(self) -> None:
        docker("network", "create", "--label", self.label, "--subnet", self.plan.subnet, self.plan.network)

    def run_all(self, options: Sequence[str], command: Sequence[Sequence[str]]) -> None:
        """Start every data node at the same time: `docker run` with `options`, one command line for each node."""

        def start(number: int) -> None:
            node = self.plan.data_nodes[number]
            docker(
                *("run", "-d", "--label", self.label, "--name", node.container, "--network", self.plan.network),
                *("--ip", node.announced_address, "-p", f"{node.host}:{node.host_port}:{node.port}"),
                *("--mount", f"type=volume,src={node.volume},dst={DATA},volume-label={self.label}"),
                *("--user", self.plan.user, *options, *command[number]),
            )

        with ThreadPoolExecutor(len(self.plan.data_nodes)) as pool:
            list(pool.map(start, range(len(self.plan.data_nodes))))

    def addresses(self) -> list[str]:
        return [f"{node.announced_address}:{node.port}" for node in self.plan.data_nodes]

    def create_cluster(self, *login: str, password: str = "") -> None:
        """`redis-cli --cluster create` from within the first node, as the documentation tells."""
        first = self.plan.data_nodes[0].container
        environment = ("-e", f"REDISCLI_AUTH={password}") if password else ()
        docker(
            *("exec", *environment, first, "redis-cli", *login, "--cluster", "create", *self.addresses()),
            *("--cluster-replicas", str(self.plan.spec.replica_count), "--cluster-yes"),
        )

    def await_ok(self) -> None:
        """Until CLUSTER INFO of every node says ok; the peer has no users, so no login is needed."""
        deadline = time.monotonic() + CREATE_SECONDS
        waiting = [node.container for node in self.plan.data_nodes]
        while waiting:
            waiting = [
                name
                for name in waiting
                if "cluster_state:ok" not in docker("exec", name, "redis-cli", "cluster", "info", check=False)
            ]
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ok after {CREATE_SECONDS} s: {', '.join(waiting)}")

    def await_ping(self) -> None:
        deadline = time.monotonic() + CREATE_SECONDS
        for node in self.plan.data_nodes:
            while "PONG" not in docker("exec", node.container, "redis-cli", "ping", check=False):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{node.container} does not answer")


@contextmanager
def removed(plan: Plan) -> Iterator[Bare]:
    """Bare nodes that are removed before and after, whatever happens."""
    bare = Bare(plan)
    bare.remove()
    try:
        yield bare
    finally:
        bare.remove()


def plain_commands(plan: Plan) -> list[list[str]]:
    """Image and command of a server with the same parameters, without users and files."""
    return [
        [
            *(plan.image, "redis-server", "--port", str(node.port), "--dir", DATA, "--protected-mode", "no"),
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(round(plan.spec.cluster.node_timeout_seconds * 1000))),
            *("--cluster-require-full-coverage", "no", "--appendonly", "yes", "--save", ""),
            *("--maxmemory", str(plan.spec.memory.maxmemory)),
        ]
        for node in plan.data_nodes
    ]


@contextmanager
def configured(plan: Plan) -> Iterator[tuple[Bare, Access]]:
    """Running, blank nodes with the toolkit's own files: what both ways of forming start from."""
    passwords = {user: PASSWORD_OF.format(user) for user in USERS}
    with removed(plan) as bare, TemporaryDirectory() as folder:
        bare.network()
        files = shared_files() | stack_files(plan, passwords)
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o444)
        Path(folder).chmod(0o755)
        mount = f"type=bind,src={folder},dst={CONFIG},ro"
        bare.run_all(
            ["--init", "--read-only", "--tmpfs", "/tmp", "--mount", mount, "--entrypoint", "sh"],  # noqa: S108
            [[plan.image, *start_command(node)[1:]] for node in plan.data_nodes],
        )
        data = json.loads(json.dumps(inventory(plan, "", "")))
        yield bare, Access(inventory=Inventory.model_validate(data), credentials=Credentials.of(passwords))
