"""A change of topology of a stack that runs, before it begins: what will be done, in words, and what forbids it.

The live servers are asked, through the engine alone: in preview the stack's outputs may be those of another shape already.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import docker

from operations.change import departure, quorum_problems, widened, without_slots
from operations.connect import Fleet
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Access, Credentials, Inventory
from operations.observe import look
from operations.reshard.proposal import Unfinished, propose
from operations.reshard.words import headline, memory_lines, move_lines
from topologies import outputs
from topologies.engine import EngineState, read_file, some_image
from topologies.plan import Plan
from topologies.standing import Shape

PASSWORD_FILE = "data/admin.password"  # noqa: S105 - where it stands


@dataclass(frozen=True)
class Outlook:
    """What a change would do (`lines`) and why it must not; `change.accept_loss` lets the `losses` through, not `problems`."""

    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


def outlook(client: docker.DockerClient, state: EngineState, plan: Plan, shape: Shape) -> Outlook:
    """Look at the servers and say what `up` would do; nothing is changed."""
    lines = tuple(_who(shape))
    password = _password(client, state, plan)
    if password is None:
        return Outlook(
            lines, () if shape.only_grows(plan) else (f"{plan.config_volume} holds no password to ask the servers with",)
        )
    declared = Inventory.model_validate(outputs.inventory(plan, "", ""))
    joining = {node.name for node in shape.joining}
    staying = tuple(node for node in declared.nodes if node.name not in joining)
    present = widened(declared.model_copy(update={"nodes": staying}), shape.leaving)
    access = Access(inventory=present, credentials=Credentials.of({"admin": password}))
    with Fleet(access) as fleet:
        seen = look(fleet, present)
    if not seen.answering:
        silent = f"no server answers ({seen.nodes[0].problem})"
        if shape.leaving:
            return Outlook(lines, (f"{silent}, so whether nodes can leave cannot be told; start them with `make up` first",))
        return Outlook((*lines, f"what moves cannot be told yet, because {silent}"))
    leaving = [node for node in shape.leaving if not node.is_sentinel]
    found = departure(seen, declared, leaving)
    voters = quorum_problems(seen, declared, shape.leaving, sum(node.is_sentinel for node in shape.joining))
    lines += tuple(f"{new} takes over from {old}, which leaves" for old, new in found.switches.items())
    problems: tuple[str, ...] = ()
    if found.drained or (plan.spec.topology == "cluster" and shape.shards not in (None, plan.spec.shard_count)):
        shards = {node.shard for node in staying}
        rooms = {node.name: plan.spec.memory.maxmemory for node in plan.primaries if node.shard not in shards}
        moved, problems = _slots(access, without_slots(seen, found, leaving), rooms)
        lines += moved
    return Outlook(lines, problems, (*found.problems, *voters))


def _slots(access: Access, drained: Collection[str], joining: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What would move, and what speaks against it."""
    try:
        proposal = propose(access, dict.fromkeys(drained, 0.0), joining=joining)
    except Unfinished as error:
        return (f"{error}. `pulumi up` does so too: it ends what stands open, then moves what is not in its place",), ()
    except (CheckFailed, Unreachable) as error:
        return (), (str(error),)
    if not proposal.moves:
        return ("no slot has to move",), ()
    details = (*move_lines(proposal), *memory_lines(proposal))
    return (headline(proposal), *(f"  {line}" for line in details)), proposal.problems


def _who(shape: Shape) -> Iterator[str]:
    if shape.joining:
        yield f"{', '.join(node.name for node in shape.joining)} join"
    if shape.leaving:
        yield f"{', '.join(node.name for node in shape.leaving)} leave, once nothing needs them any more"


def _password(client: docker.DockerClient, state: EngineState, plan: Plan) -> str | None:
    """The administrator's password, as the nodes themselves read it."""
    image = some_image(state, plan)
    known = any(volume.name == plan.config_volume for volume in state.volumes)
    text = read_file(client, plan.config_volume, image, PASSWORD_FILE) if image and known else None
    return text.strip() if text else None
