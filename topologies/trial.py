"""Try declared parameters, and a raised limit of open files, on a server that starts for nothing else, before any node does.

A value that a server refuses at its start would otherwise stand in the file of every node until the next boot fails on it. The
lists in configs/parameters/ catch most of that without a server; this catches the rest, with any image, in preview too.
"""

import contextlib
import time
from collections.abc import Iterator

import docker
from docker.errors import APIError
from docker.models.containers import Container
from docker.types import Ulimit

from operations.containers import words
from topologies.engine import EngineState
from topologies.plan import LABEL_PREFIX, PARAMETERS_LABEL, Plan
from topologies.render import as_file, declared

TRIAL_SECONDS = 15.0
POLL_SECONDS = 0.05
LIMIT_REFUSED = "error setting rlimit"
READY = "Ready to accept connections"
FOLDER = "/tmp"  # noqa: S108 - inside the container
SCRIPT = 'printf "%s" "$0" > /tmp/trial.conf; exec "$(command -v redis-server || command -v valkey-server)" /tmp/trial.conf'
LABEL = f"{LABEL_PREFIX}.trial"


def is_due(plan: Plan, state: EngineState) -> bool:
    """Whether these parameters were not tried with this image yet: the carrier tells what it brought last."""
    carrier = next((container for container in state.containers if container.name == plan.carrier), None)
    tried = carrier.labels.get(PARAMETERS_LABEL) if carrier else None
    wanted = plan.carrier_labels.get(PARAMETERS_LABEL)
    return wanted is not None and plan.image in state.images and tried != wanted


def refusal(client: docker.DockerClient, plan: Plan) -> str | None:
    """Why the planned image does not start with the declared parameters, in its own words; None when it starts.

    A server that neither starts nor ends in 15 s proves nothing and is let through.
    """
    with _server(client, plan) as container:
        try:
            container.start()
        except APIError as error:
            if LIMIT_REFUSED not in str(error.explanation):
                raise
            return (
                f"limits.files is {plan.spec.limits.files}, and the Docker engine may not allow that many open files to anybody: "
                "no node would start. Choose less, or raise the engine's own limit (LimitNOFILE of its service) and restart it"
            )
        deadline = time.monotonic() + TRIAL_SECONDS
        while time.monotonic() < deadline:
            container.reload()
            log = container.logs(tail=60).decode(errors="replace")
            if READY in log:
                return None
            if container.status == "exited":
                return f"{plan.image} does not start with the declared parameters: {words(log)}"
            time.sleep(POLL_SECONDS)
    return None


@contextlib.contextmanager
def _server(client: docker.DockerClient, plan: Plan) -> Iterator[Container]:
    """A server without network, volume or password, bounded as a node is; always removed."""
    container = client.containers.create(
        plan.image,
        ["-c", SCRIPT, as_file({**declared(plan.spec), "dir": FOLDER, "logfile": ""})],
        entrypoint=["sh"],
        user=plan.user,
        network_mode="none",
        tmpfs={FOLDER: "rw,size=64m"},
        working_dir=FOLDER,
        read_only=True,
        cap_drop=["ALL"],
        mem_limit=plan.data_nodes[0].memory_limit_bytes,
        ulimits=[Ulimit(name="nofile", soft=plan.spec.limits.files, hard=plan.spec.limits.files)],
        labels={LABEL: plan.stack, f"{LABEL_PREFIX}.owner": plan.owner},
    )
    try:
        yield container
    finally:
        with contextlib.suppress(APIError):
            container.remove(force=True)
