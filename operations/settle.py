"""The last step of convergence: declared parameters on a stack whose shape is as declared already.

Live first and all or nothing, then the append-only file, then restarts in place for what servers read at their start only.
"""

import contextlib
from collections.abc import Callable

from operations.append_only import switch_append_only
from operations.connect import Fleet, Link, Refused
from operations.drift import announced_parameters, login_parameters, users_of
from operations.errors import CheckFailed, ToolkitError, Unreachable
from operations.inventory import Access, Inventory
from operations.observe import Observation
from operations.parameters import apply_parameters, described, differing, live_values
from operations.restart import restart_in_place
from operations.users import DEFAULT

Report = Callable[[str], None]


def settle_parameters(access: Access, fleet: Fleet, observation: Observation, report: Report) -> list[str]:
    """Bring every data node's parameters to what is declared; returns one line for each change, told to `report` as it happens.

    Raises CheckFailed when a server refuses a value (nothing is changed then), would have to drop data, or does not come back.
    """
    inventory = access.inventory
    problem = memory_problem(observation, inventory)
    if problem:
        raise CheckFailed(problem)
    lines = restore_users(access, fleet, report)
    applied = apply_parameters(fleet, inventory)
    for line in described(applied, inventory.data_nodes):
        lines.append(line)
        report(line)
    lines += switch_append_only(fleet, inventory, report)
    waiting = {name: one.waiting for name, one in applied.items() if one.waiting}
    if not waiting:
        return lines
    lines += restart_in_place(access, fleet, waiting, report)
    still = {name: one.waiting for name, one in apply_parameters(fleet, inventory).items() if one.waiting}
    if still:
        where = "; ".join(f"{', '.join(names)} on {node}" for node, names in still.items())
        raise CheckFailed(f"restarted, but the server started with another value of {where}: does its image set it by itself?")
    return lines


def restore_users(access: Access, fleet: Fleet, report: Report) -> list[str]:
    """Let servers whose users were changed by hand read the declared ones again; others keep all their connections.

    Connections whose login was refused are closed, for a sentinel keeps such a one for ever and pings in vain. They count
    as those of `default`, as whom nobody can log in. Raises the first error of a server that could not be asked, at the end.
    """
    lines, errors = [], []
    for name, problems in fleet.each(lambda link: users_of(link, access), seconds=30).items():
        if isinstance(problems, ToolkitError):
            errors.append(problems)
        elif problems:
            link = fleet.links[name]
            link.ensure_ours()
            link.ask("ACL", "LOAD")
            link.close()  # Redis 7.0 closes it too
            link.ensure_ours()
            link.ask("CLIENT", "KILL", "USER", DEFAULT)
            lines.append(f"users of {name} are as declared again: {', '.join(sorted(problems))}")
            report(lines[-1])
    if errors:
        raise errors[0]
    return lines


def restore_own(access: Access, fleet: Fleet, report: Report) -> None:
    """Let data nodes follow as the declared user and announce their own address again; those that cannot be asked are left."""

    def restore(link: Link) -> list[str]:
        declared = login_parameters(access, link.node) | announced_parameters(access.inventory, link.node)
        changed = list(differing(declared, live_values(link, declared)))
        if changed:
            link.ensure_ours()
        for name in changed:
            link.ask("CONFIG", "SET", name, declared[name])
        return changed

    for name, changed in fleet.each(restore, seconds=30).items():
        if changed and not isinstance(changed, ToolkitError):
            report(f"{' and '.join(changed)} of {name} as declared again")


def let_in(access: Access, fleet: Fleet, report: Report) -> None:
    """Restore users, logins and addresses before the shape is looked at: without them nobody follows, watches or is found.

    Servers that cannot be asked are left to the shape, which waits for them.
    """
    with contextlib.suppress(Unreachable, Refused):
        restore_users(access, fleet, report)
    restore_own(access, fleet, report)


def memory_problem(observation: Observation, inventory: Inventory) -> str | None:
    """Why the declared maxmemory must not be set now: a node holds more, and would refuse writes or evict at once."""
    declared = int(inventory.parameters.get("data", {}).get("maxmemory", "0"))
    over = [
        f"{node.name} uses {node.info.used_memory_bytes // 1024**2} MB"
        for node in observation.nodes
        if node.info and 0 < declared < node.info.used_memory_bytes and declared != node.info.maxmemory_bytes
    ]
    if not over:
        return None
    policy = inventory.parameters["data"].get("maxmemory-policy")
    effect = "refuse every write" if policy == "noeviction" else f"evict keys at once ({policy})"
    return (
        f"memory.maxmemory is {declared // 1024**2} MB, but {', '.join(over)}: it would {effect}, so no parameter was set on any "
        "node; set memory.maxmemory higher, or make room first"
    )
