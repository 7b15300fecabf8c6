"""The containers of a stack's nodes on the Docker engine: restart, start, kill, and tell why one does not run.

Only for what a server cannot do to itself. A restart sends SIGTERM, so a primary hands over before it stops
(configs/node/handover.sh); volume, address and name stay.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from operations.errors import CheckFailed, Unreachable
from operations.inventory import Inventory, NodeEntry

ANSWER_SECONDS = 60
"""Longest time for an answer of the engine, besides the time that a node may take to stop."""
LAST_WORDS = 3
ENDS = 3
LONGEST_SAMPLE_SECONDS = 60.0
DATA = "/data"
END = "-- end --"
TRIES = 3
_FATAL = "FATAL CONFIG FILE ERROR"


def run_script(container: Any, script: str, tries: int = TRIES) -> tuple[int, str]:
    """Exit code and output of a shell script in a container. Raises docker's APIError.

    Docker may lose the output of a process that ends at once (moby issue 27289; seen on a busy machine, with exit code 0). So the
    end of the output is marked, and a script that succeeded without its mark runs again, up to `tries` times in all.
    """
    code, text = 0, ""
    for _ in range(tries):
        answer = container.exec_run(["sh", "-c", f"{script}\n{{ code=$?; echo; echo {END}; exit $code; }}"])
        code, text = answer.exit_code, answer.output.decode(errors="replace").strip()
        if code != 0 or text.endswith(END):
            break
    return code, text.removesuffix(END).strip()


def absent(client: Any, nodes: Iterable[NodeEntry]) -> list[NodeEntry]:
    """Nodes whose container does not exist on the engine of a docker `client`."""
    found = {name.lstrip("/") for entry in client.api.containers(all=True) for name in entry["Names"]}
    return [node for node in nodes if node.container not in found]


class Containers:
    """The engine that DOCKER_HOST names, seen from one stack; every error comes out as Unreachable or CheckFailed."""

    def __init__(self, inventory: Inventory) -> None:
        self._stop_seconds = int(inventory.spec["limits"]["stop_timeout_seconds"])
        self.inventory = inventory
        self._restarts: dict[str, int] = {}
        try:
            self._client: Any = docker.from_env(timeout=self._stop_seconds + ANSWER_SECONDS)
            self._client.ping()
        except DockerException as error:
            raise Unreachable(f"the Docker engine does not answer: {error}; is it running, and may this user use it?") from None

    def inspect(self, node: NodeEntry) -> dict[str, Any] | None:
        """What `docker inspect` says; None when there is no such container."""
        try:
            found: dict[str, Any] = self._client.api.inspect_container(node.container)
        except NotFound:
            return None
        except APIError as error:
            raise Unreachable(f"the Docker engine does not tell about {node.container}: {error.explanation or error}") from None
        return found

    def processor_share(self, node: NodeEntry) -> float | None:
        """Processor seconds per second that a node's processes take now, over about one second; None when it does not run."""
        found = self.inspect(node)
        if found is None or not found["State"]["Running"]:
            return None
        try:
            sample = self._client.api.stats(node.container, stream=False)
        except APIError as error:
            raise Unreachable(f"the Docker engine does not tell about {node.container}: {error.explanation or error}") from None
        return share_of(sample)

    def restart(self, node: NodeEntry, patience_seconds: int | None = None) -> None:
        """Stop the node, with its declared patience or that one, and start it again."""
        try:
            self._client.api.restart(node.container, timeout=self._stop_seconds if patience_seconds is None else patience_seconds)
        except NotFound:
            raise CheckFailed(f"there is no container {node.container}; run `make up STACK={self.inventory.stack}`") from None
        except APIError as error:
            raise CheckFailed(f"{node.container} cannot be restarted: {error.explanation or error}") from None

    def start(self, nodes: Iterable[NodeEntry]) -> None:
        """Start those that do not run, all at once."""
        self._each(nodes, self._client.api.start)

    def kill(self, nodes: Iterable[NodeEntry]) -> None:
        """End servers at once, without a handover; Docker does not bring back what was killed by request."""

        def end(name: str) -> None:
            state = self._client.api.inspect_container(name)["State"]
            if state["Running"] or state["Restarting"]:
                self._client.api.kill(name)
                self._client.api.wait(name)

        self._each(nodes, end)

    def run(self, node: NodeEntry, script: str) -> str:
        """What a shell script that may run again printed in a node's container; raises CheckFailed with that when it fails."""
        try:
            code, output = run_script(self._client.containers.get(node.container), script)
        except APIError as error:
            raise CheckFailed(f"nothing can be run in {node.container}: {error.explanation or error}") from None
        if code != 0:
            raise CheckFailed(f"a step failed in {node.container}: {output or f'code {code}'}")
        return output

    def make_like(self, pattern: NodeEntry, node: NodeEntry, image: str, user: str, label: str) -> None:
        """Start a container for `node` that is as that of `pattern` (limits, rights, mounts) but for its name, address and image.

        Its data lies on a volume without a name, which goes with it. `label` marks it.
        """
        found = self.inspect(pattern)
        if found is None:
            raise CheckFailed(f"there is no container {pattern.container}; run `make up STACK={self.inventory.stack}`")
        config = like(found, pattern, node, self.inventory.network.name, label) | {"Image": image, "User": user}
        try:
            self._client.api.create_container_from_config(config, name=node.container)
            self._client.api.start(node.container)
        except APIError as error:
            raise CheckFailed(f"{node.container} cannot be made: {error.explanation or error}") from None

    def remove(self, node: NodeEntry) -> None:
        """Remove the container of a node and its volumes without a name, at once; nothing when there is none."""
        self._remove(node.container)

    def remove_labelled(self, label: str) -> None:
        """Remove all containers of this stack that carry `label`."""
        own = [f"redis-topologies.{name}" for name in ("stack", "owner")]
        values = (self.inventory.stack, self.inventory.owner)
        wanted = [label, *(f"{name}={value}" for name, value in zip(own, values, strict=True))]
        for found in self._client.api.containers(all=True, filters={"label": wanted}):
            self._remove(found["Id"])

    def _remove(self, name: str) -> None:
        try:
            self._client.api.remove_container(name, v=True, force=True)
        except NotFound:
            return
        except APIError as error:
            raise CheckFailed(f"{name} cannot be removed: {error.explanation or error}") from None

    def _each(self, nodes: Iterable[NodeEntry], do: Callable[[str], None]) -> None:
        def one(node: NodeEntry) -> None:
            try:
                do(node.container)
            except NotFound:
                raise CheckFailed(f"there is no container {node.container}; run `make up STACK={self.inventory.stack}`") from None
            except APIError as error:
                raise CheckFailed(f"{node.container}: {error.explanation or error}") from None

        with ThreadPoolExecutor() as pool:
            list(pool.map(one, nodes))

    def gave_up(self, nodes: Iterable[NodeEntry]) -> str | None:
        """Whether one of `nodes`, which do not answer, keeps on ending: at least three times since this was first asked."""
        for node in nodes:
            found = self.inspect(node)
            if found is None:
                continue
            count = int(found["RestartCount"])
            if count - self._restarts.setdefault(node.name, count) >= ENDS or found["State"]["Status"] == "exited":
                return f"{node.name} does not start: {self.last_words(node)}"
        return None

    def last_words(self, node: NodeEntry) -> str:
        """State of the container and what it printed last, for an error message."""
        found = self.inspect(node)
        if found is None:
            return f"there is no container {node.container}"
        try:
            text = self._client.api.logs(node.container, tail=60).decode(errors="replace")
        except APIError as error:
            return f"{node.container} is {found['State']['Status']}; its log cannot be read: {error.explanation or error}"
        return f"{node.container} is {found['State']['Status']}; it said: {words(text)}"


def like(found: Mapping[str, Any], pattern: NodeEntry, node: NodeEntry, network: str, label: str) -> dict[str, Any]:
    """What to create a container for `node` with, from the inspection of that of `pattern`. Pure.

    Environment and image are left out: those of the old image do not fit a new one.
    """
    old, host = found["Config"], found["HostConfig"]

    def own(words: Sequence[str] | None) -> list[str]:
        return [
            word.removesuffix(pattern.name) + node.name if word.endswith(f"/{pattern.name}") else word for word in words or ()
        ]

    kept = ("StopTimeout", "StopSignal", "WorkingDir", "Entrypoint")
    port = f"{node.port}/tcp"
    published = {port: [{"HostIp": node.host, "HostPort": str(node.host_port)}]} if node.host != node.address else {}
    labels = {name: value for name, value in (old.get("Labels") or {}).items() if name.startswith("redis-topologies.")}
    return {
        **{name: old[name] for name in kept if old.get(name)},
        "Hostname": node.name,
        "Cmd": own(old["Cmd"]),
        "Healthcheck": {**(old.get("Healthcheck") or {}), "Test": own((old.get("Healthcheck") or {}).get("Test"))},
        "Labels": {**labels, "redis-topologies.node": node.name, "redis-topologies.shard": str(node.shard), label: "yes"},
        "ExposedPorts": {port: {}},
        "Volumes": {DATA: {}},
        "HostConfig": {
            **host,
            "Binds": [bind for bind in host.get("Binds") or () if bind.split(":")[1] != DATA],
            "Mounts": [mount for mount in host.get("Mounts") or () if mount["Target"] != DATA],
            "PortBindings": published,
            "NetworkMode": network,
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": node.address}}}},
    }


def share_of(sample: Mapping[str, Any]) -> float | None:
    """Processor seconds per second between the two readings of one answer of `docker stats`; None when it has but one. Pure."""
    try:
        used = sample["cpu_stats"]["cpu_usage"]["total_usage"] - sample["precpu_stats"]["cpu_usage"]["total_usage"]
        seconds = (datetime.fromisoformat(sample["read"]) - datetime.fromisoformat(sample["preread"])).total_seconds()
    except KeyError:
        return None
    return used / 1e9 / seconds if 0 < seconds < LONGEST_SAMPLE_SECONDS else None


def words(log: str) -> str:
    """The lines of a server's log that tell why it ended: those of a refused configuration, else the last ones."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    refused = max((number for number, line in enumerate(lines) if _FATAL in line), default=None)
    chosen = lines[-LAST_WORDS:] if refused is None else lines[refused : refused + 4]
    return " | ".join(chosen) or "nothing"
