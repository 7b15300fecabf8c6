"""A change of topology of a stack that runs, before it begins: what will be done, in words, and what forbids it.

The live servers are asked, through the engine alone: in preview the stack's outputs may be those of another shape already.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import docker

from operations.change import departure, quorum_problems, widened, without_slots
from operations.connect import Fleet
from operations.containers import Containers
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Access, Credentials, Inventory, NodeEntry
from operations.observe import Observation, look
from operations.reshard.plan import Headroom, megabytes
from operations.reshard.proposal import Unfinished, propose
from operations.reshard.words import headline, memory_lines, move_lines
from operations.settle import memory_problem
from operations.sizes import MIB
from topologies import outputs
from topologies.engine import EngineState, read_file, some_image
from topologies.plan import Plan
from topologies.standing import Shape, own_containers

EMPTY_NODE_BYTES = 4_000_000
"""What a server without keys counts as used (2.5 MB measured, Redis 8.0), with some clients; its backlog comes on top."""
PASSWORD_FILE = "data/admin.password"  # noqa: S105 - where it stands


@dataclass(frozen=True)
class Outlook:
    """What a change would do (`lines`) and why it must not; `change.accept_loss` lets the `losses` through, not `problems`."""

    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


def outlook(client: docker.DockerClient, state: EngineState, plan: Plan, shape: Shape) -> Outlook:
    """Look at the servers and say what `up` would do; nothing is changed."""
    password = _password(client, state, plan)
    if password is None:
        problem = f"the configuration volume {plan.config_volume} holds no password, so the servers cannot be asked"
        return Outlook(tuple(_who(shape)), () if shape.only_grows(plan) else (problem,))
    joining = {node.name for node in shape.joining}
    declared = _declared(plan)
    staying = tuple(node for node in declared.nodes if node.name not in joining)
    present = widened(declared.model_copy(update={"nodes": staying}), (*shape.leaving, *shape.temporary))
    access = Access(inventory=present, credentials=Credentials.of({"admin": password}))
    with Fleet(access) as fleet:
        seen = look(fleet, present)
    found = foreseen(plan, shape, seen)
    if not seen.answering or found.problems or not moves_slots(plan, shape, seen):
        return found
    leaving = _data(shape)
    backlog = plan.spec.replication.backlog if plan.spec.replica_count else 0
    room = Headroom(EMPTY_NODE_BYTES + backlog, plan.spec.memory.maxmemory)
    served = {node.shard for node in staying}
    rooms = {node.name: room for node in plan.primaries if node.shard not in served}
    lines, problems = _slots(access, without_slots(seen, departure(seen, _declared(plan), leaving), leaving), rooms)
    return Outlook((*found.lines, *lines), problems, found.losses)


def memory_refusal(client: docker.DockerClient, state: EngineState, plan: Plan) -> str | None:
    """Why less memory than now is too little for what the nodes hold; None when it is not, or nobody can be asked.

    The convergence refuses it too, but the limits of the containers come down before, and the kernel ends what is above them.
    """
    standing = {found.name for found in own_containers(plan, state)}
    declared = _declared(plan)
    nodes = tuple(node for node in declared.data_nodes if node.container in standing)
    if not nodes or not _comes_down(plan, declared, nodes):
        return None
    password = _password(client, state, plan)
    if password is None:
        return None
    present = declared.model_copy(update={"nodes": nodes})
    with Fleet(Access(inventory=present, credentials=Credentials.of({"admin": password}))) as fleet:
        return memory_problem(look(fleet, present), declared)


def _comes_down(plan: Plan, declared: Inventory, nodes: Collection[NodeEntry]) -> bool:
    """Whether a container may use less memory than now."""
    containers = Containers(declared)
    planned = -(-max(node.memory_limit_bytes for node in plan.data_nodes) // MIB) * MIB
    found = (containers.inspect(node) for node in nodes)
    return any(one["HostConfig"].get("Memory", 0) > planned for one in found if one)


def foreseen(plan: Plan, shape: Shape, seen: Observation) -> Outlook:
    """What comes of a change apart from the slots that move. Pure; `seen` has all nodes that stand."""
    lines = tuple(_who(shape))
    if not seen.answering:
        silent = f"no server answers ({seen.nodes[0].problem})"
        if shape.leaving:
            return Outlook(lines, (f"{silent}, so whether nodes can leave cannot be told; start them with `make up` first",))
        return Outlook((*lines, f"what moves cannot be told yet, because {silent}"))
    declared = _declared(plan)
    found = departure(seen, declared, _data(shape))
    voters = quorum_problems(seen, declared, shape.leaving, sum(node.is_sentinel for node in shape.joining))
    lines += tuple(_copies(shape, seen, declared))
    lines += tuple(f"{new} takes over from {old}, which leaves" for old, new in found.switches.items())
    lines += found.lent_lines
    return Outlook(lines, found.obstacles, (*found.problems, *voters))


def moves_slots(plan: Plan, shape: Shape, seen: Observation) -> bool:
    """Whether slots have to find other primaries. Pure."""
    if plan.spec.topology != "cluster":
        return False
    return shape.shards not in (None, plan.spec.shard_count) or bool(departure(seen, _declared(plan), _data(shape)).drained)


def _declared(plan: Plan) -> Inventory:
    return Inventory.model_validate(outputs.inventory(plan, "", ""))


def _data(shape: Shape) -> list[NodeEntry]:
    return [node for node in shape.leaving if not node.is_sentinel]


def _slots(access: Access, drained: Collection[str], joining: Mapping[str, Headroom]) -> tuple[tuple[str, ...], tuple[str, ...]]:
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
    for verb, nodes in (("join", shape.joining), ("leave", shape.leaving)):
        if nodes:
            yield f"{', '.join(node.name for node in nodes)} {verb}{'s' if len(nodes) == 1 else ''}"


def _copies(shape: Shape, seen: Observation, declared: Inventory) -> Iterator[str]:
    """What new replicas of shards that serve already have to copy; a primary may use more for other things than keys."""
    stands = {state.name: state.info for state in seen.nodes}
    for node in shape.joining:
        used = [info.used_memory_bytes for n in declared.data_nodes if n.shard == node.shard and (info := stands.get(n.name))]
        if used and not node.is_sentinel:
            yield f"{node.name} copies its primary's data, at most {megabytes(max(used))}"


def _password(client: docker.DockerClient, state: EngineState, plan: Plan) -> str | None:
    """The administrator's password, as the nodes themselves read it."""
    image = some_image(state, plan)
    known = any(volume.name == plan.config_volume for volume in state.volumes)
    text = read_file(client, plan.config_volume, image, PASSWORD_FILE) if image and known else None
    return text.strip() if text else None
