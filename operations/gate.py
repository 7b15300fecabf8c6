"""The gate before the replacement of a node: it opens when taking the node down takes nothing from the stack.

Every node has one. `pulumi up` goes through it only when something changed that replaces the node's container, and the chain of
replacements goes through one gate after the other. A gate that stays shut fails the update, so that all nodes behind it are left
as they are (docs/decisions/0036).
"""

from collections.abc import Callable

from operations.change import widened
from operations.connect import Fleet
from operations.containers import Containers
from operations.converge import refuse_strangers
from operations.errors import CheckFailed, Unreachable
from operations.inventory import Access
from operations.observe import Observation, look
from operations.restart import await_settled
from operations.rolling import unsafe_to_take
from operations.surge import Surge, borrow
from operations.verdict import node_health

Report = Callable[[str], None]


def await_turn(access: Access, name: str, report: Report, surge: Surge | None = None) -> None:
    """Wait until `name` may be taken down; raises CheckFailed with what is in the way when that takes too long.

    With `surge` every shard has a temporary replica in sync before that; not for a node that is ill itself, whose replacement
    takes nothing away and may be what the others wait for.
    """
    if surge:
        access = _with_temporary(access, name, surge, report)
    inventory = access.inventory
    told: set[str] = set()

    def problem_of(seen: Observation) -> str | None:
        refuse_strangers(seen)
        problem = unsafe_to_take(seen, inventory, name)
        if problem and problem not in told:
            told.add(problem)
            report(f"{name} waits for its turn: {problem}")
        return problem

    containers = Containers(inventory)
    with Fleet(access) as fleet:
        seen, problem = await_settled(fleet, containers, report, problem_of, taken=name)
    if problem is None:
        report(f"{name} is replaced now" + ("" if inventory.replicas or inventory.node(name).is_sentinel else _alone(name)))
        return
    silent = [node for node in inventory.nodes if node.name != name and not seen.of(node.name).reachable]
    why = "".join(f"\n{seen.of(node.name).problem}; {containers.last_words(node)}" for node in silent)
    raise CheckFailed(
        f"{name} was not replaced, and neither were the nodes after it, because {problem}; they run as before. Mend that, or set "
        f"back what you changed, then `pulumi up` again: it goes on from here{why}"
    )


def _with_temporary(access: Access, name: str, surge: Surge, report: Report) -> Access:
    """The stack together with the temporary replicas that stand, once those that are missing were made."""
    inventory = access.inventory
    if not inventory.node(name).is_sentinel:
        with Fleet(access) as fleet:
            seen = look(fleet, inventory)
        refuse_strangers(seen)
        if node_health(seen, inventory, name) == "ok":
            try:
                borrow(access, surge, report)
            except (CheckFailed, Unreachable) as error:
                raise CheckFailed(f"{name} was not replaced, and neither were the nodes after it: {error}") from None
    present = surge.standing(Containers(inventory))
    return access.model_copy(update={"inventory": widened(inventory, present)})


def _alone(name: str) -> str:
    return f"; {name} has no replica, so its keys are not served until it is back"
