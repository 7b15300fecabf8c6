"""In which order standing nodes are replaced: pure, from the plan and from what stands on the engine."""

from collections import Counter

from topologies.engine import EngineState
from topologies.plan import NodePlan, Plan
from topologies.standing import Shape


def replaced(plan: Plan, state: EngineState) -> frozenset[str]:
    """Containers of this plan that stand with another image than the planned one; none while that image is not here yet."""
    wanted = state.images.get(plan.image)
    names = {node.container for node in plan.nodes}
    return frozenset(c.name for c in state.containers if c.name in names and wanted and c.image_id != wanted)


def standing_order(plan: Plan, state: EngineState) -> tuple[str, ...]:
    """Containers that stand, the first to be replaced first.

    Those that do not run, or whose image is not that of most others (a replacement that failed), come first: to replace them
    takes nothing away. Then replicas, then primaries, by their role now where it is known: each shard hands over once, and to a
    node that is done already. Neighbours are of different shards, as far as there are several; sentinels come last.
    """
    found = {container.name: container for container in state.containers}
    nodes = [node for node in plan.replacement_order if node.container in found]
    images = Counter(found[node.container].image_id for node in nodes)
    common = images.most_common(1)[0][0] if images else ""

    def is_primary(node: NodePlan) -> bool:
        return node.container in state.primaries if state.primaries else node.role == "primary"

    seen: Counter[tuple[int, bool]] = Counter()
    ranks: dict[str, int] = {}
    for node in nodes:
        ranks[node.name] = seen[node.shard, is_primary(node)]
        seen[node.shard, is_primary(node)] += 1

    def key(node: NodePlan) -> tuple[bool, bool, bool, int, int]:
        container = found[node.container]
        is_odd = not container.running or container.image_id != common
        return not is_odd, node.is_sentinel, is_primary(node), ranks[node.name], node.shard

    return tuple(node.container for node in sorted(nodes, key=key))


def joining_too(shape: Shape, state: EngineState) -> str | None:
    """Why containers cannot be replaced in the same `up` in which nodes join; None when none does.

    A gate opens while the stack is as declared, but nodes join after the last gate only. A node whose volume was used is not new:
    it was lost, or stands between its old container and its new one, and comes back by itself.
    """
    used = {volume.name for volume in state.volumes if volume.identity}
    known = {volume.name for volume in state.volumes}
    names = [node.name for node in shape.joining if node.volume not in (known if node.is_sentinel else used)]
    if not names:
        return None
    return (
        f"{', '.join(names)} would join in the same `up` in which another image replaces other containers, and that is done "
        "only while the stack is as declared; set one of the two back, run `pulumi up`, then change it"
    )
