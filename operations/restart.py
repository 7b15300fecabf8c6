"""Restart nodes in place, one after the other, for parameters that servers read only when they start.

Nothing is remembered between runs: which nodes still run with an old value is asked of the servers, so a run that was
interrupted or stopped at a sign of trouble is simply run again.
"""

import time
from collections.abc import Callable, Mapping

from operations.connect import Fleet
from operations.containers import Containers
from operations.errors import CheckFailed
from operations.hung import Revival
from operations.inventory import Access, Inventory
from operations.observe import Observation, look
from operations.rolling import is_copying, next_to_take, unsafe_to_take
from operations.switchover import members_of, switchover
from operations.verdict import node_health, verdict

Report = Callable[[str], None]

PATIENCE_SECONDS = 120.0
"""Time for a restarted node to answer, and for all to agree again."""
COPY_SECONDS = 900.0
"""The same while some node loads or copies its data."""
POLL_SECONDS = 0.1


def restart_in_place(access: Access, fleet: Fleet, waiting: Mapping[str, tuple[str, ...]], report: Report) -> list[str]:
    """Restart the nodes of `waiting` (node -> parameters that wait for it); returns one line for each.

    Replicas first, then each primary after a switchover, never before all others are in sync. Raises CheckFailed at the first
    sign of trouble; the nodes that were not reached keep running as they were.
    """
    inventory = access.inventory
    containers = Containers(inventory)
    left, done, switched = dict(waiting), list[str](), set[str]()
    while left:
        name, observation = _await_next(fleet, containers, left, report)
        if observation.of(name).is_primary and inventory.replicas:
            if name in switched:
                raise CheckFailed(f"{name} is primary again after a switchover; {_untouched(left)}")
            switched.add(name)
            _switch_from(access, observation, name, report)
            continue
        entry = inventory.node(name)
        loss = _would_lose(observation, inventory, name)
        if loss:
            raise CheckFailed(f"{loss}; {_untouched(left)}")
        alone = "" if inventory.replicas else "; it has no replica, so its keys are not served meanwhile"
        report(f"{name} restarts for {', '.join(left[name])}{alone} ({len(waiting) - len(left) + 1} of {len(waiting)})")
        began = time.monotonic()
        containers.restart(entry)
        parameters = left.pop(name)
        _await_back(fleet, containers, name, left, report)
        done.append(
            f"{', '.join(parameters)} taken over by {name}, in sync again {time.monotonic() - began:.1f} s after its stop"
        )
        report(done[-1])
    _, problem = await_settled(fleet, containers, report, lambda seen: next(iter(verdict(seen, inventory).reasons), None))
    if problem:
        raise CheckFailed(f"all nodes were restarted, but the stack is not as declared: {problem}")
    return done


def _await_next(
    fleet: Fleet, containers: Containers, left: Mapping[str, tuple[str, ...]], report: Report
) -> tuple[str, Observation]:
    """The next node, as soon as it may be taken down, and the look that says so."""
    inventory = containers.inventory

    def look_for(seen: Observation) -> str | None:
        return unsafe_to_take(seen, inventory, next_to_take(seen, inventory, left))

    seen, problem = await_settled(fleet, containers, report, look_for)
    name = next_to_take(seen, inventory, left)
    if problem:
        raise CheckFailed(f"{name} cannot be restarted now, because {problem}; {_untouched(left)}")
    return name, seen


def await_settled(
    fleet: Fleet,
    containers: Containers,
    report: Report,
    problem_of: Callable[[Observation], str | None],
    taken: str | None = None,
) -> tuple[Observation, str | None]:
    """Look until `problem_of` finds none, or there is no hope; the last look, and the problem that is left.

    There is none when a node (other than `taken`, which is to be replaced) keeps on ending, or when it takes too long; longer
    while data is copied. A cluster's server that hangs is started again.
    """
    inventory = containers.inventory
    revival = Revival(inventory, report)
    quiet_since = time.monotonic()
    began = quiet_since
    while True:
        seen = look(fleet, inventory)
        problem = problem_of(seen)
        now = time.monotonic()
        if is_copying(seen):
            quiet_since = now
        if problem is None or now - quiet_since > PATIENCE_SECONDS or now - began > COPY_SECONDS:
            return seen, problem
        revival.consider(seen)
        silent = [node for node in inventory.nodes if node.name != taken and not seen.of(node.name).reachable]
        if failed := containers.gave_up(silent):
            return seen, failed
        time.sleep(POLL_SECONDS)


def _switch_from(access: Access, observation: Observation, name: str, report: Report) -> None:
    inventory = access.inventory
    shard = next(s for s in inventory.shards if name in {node.name for node in members_of(inventory, observation, s)})
    done = switchover(access, shard)
    report(f"{done.new} took over shard {shard} from {name} in {done.took_seconds:.2f} s, so that {name} can restart")


def _await_back(fleet: Fleet, containers: Containers, name: str, left: Mapping[str, tuple[str, ...]], report: Report) -> None:
    """Until the restarted node itself is in sync again; whether all others agree is asked before the next one."""
    inventory = containers.inventory

    def problem_of(seen: Observation) -> str | None:
        health = node_health(seen, inventory, name)
        return None if health == "ok" else seen.of(name).problem or f"it is {health}"

    _, problem = await_settled(fleet, containers, report, problem_of)
    if problem is None:
        return
    raise CheckFailed(f"{name} did not come back in sync after its restart: {problem}; {_untouched(left)}")


def _would_lose(observation: Observation, inventory: Inventory, name: str) -> str | None:
    """A node whose data neither a file nor a replica keeps must not be restarted."""
    keys = observation.of(name).keys
    parameters = inventory.parameters.get("data", {})
    if inventory.replicas or not keys or parameters.get("appendonly") == "yes" or parameters.get("save"):
        return None
    container = inventory.node(name).container
    return (
        f"a restart of {name} would lose its {keys} keys, because persistence.policy is none and it has no replica; restart it "
        f"yourself when they may go: docker restart {container}"
    )


def _untouched(left: Mapping[str, tuple[str, ...]]) -> str:
    if not left:
        return "no other node was waiting"
    return f"not restarted, and serving as before: {', '.join(left)}. Run `up` again when the cause is gone: it goes on from here"
