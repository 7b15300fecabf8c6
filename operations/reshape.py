"""Changes the topology of a running stack: new nodes join, slots move, nodes that leave hand over and are forgotten.

Nothing is taken away before the rest has what it had: containers go only after this has ended well. Every step looks at the live
servers first, so an interrupted change is simply run again; slots have a journal of their own (`operations/reshard/`).
"""

import time
from collections.abc import Callable, Collection
from dataclasses import replace

from operations.change import Change, Departure, decide_departure, departure, is_apart, widened, without_slots
from operations.connect import IDENTITY_PARAMETER, Fleet, Link, Refused, identity
from operations.converge import ConvergeResult, converge, default_seconds, reach_shape, refuse_strangers
from operations.errors import CheckFailed, ToolkitError, Unreachable
from operations.inventory import Access, Inventory, NodeEntry
from operations.observe import PLACEHOLDER, Observation, look
from operations.parameters import apply_parameters
from operations.parse import info_fields, items, role, sentinel_entry, text
from operations.reshard.mover import Progress
from operations.reshard.plan import megabytes
from operations.reshard.proposal import Proposal, Unfinished, propose
from operations.reshard.run import abort, carry_out
from operations.reshard.words import headline, memory_lines, move_lines
from operations.settle import let_in
from operations.steps import Action, Addresses, act
from operations.switchover import switchover

Report = Callable[[str], None]

ROUNDS = 5
"""Each round of handing over and moving slots leaves less to do, unless nodes fail in between."""
FORGET_SECONDS = 60.0
POLL_SECONDS = 0.1
PROGRESS_SECONDS = 2.0
AGAIN = "nothing was removed, run `pulumi up` once more"
LEFT = "left"
"""Word in the process title of a node that left: when it stops it empties its volume (configs/node/handover.sh)."""


def reshape(access: Access, change: Change, report: Report = print) -> ConvergeResult:
    """Bring a running stack to another topology, and then to everything else that is declared, as `converge` does.

    Raises what `converge` raises, CheckFailed when a node cannot leave or its slots find no room, Busy while somebody else moves
    slots of the stack. Nodes that were to leave are then still part of it, or can be told to leave again.
    """
    if not change:
        return converge(access, report)
    target = access.inventory
    if change.sentinels and not change.accept_loss:
        _await_staying(access)
    with Fleet(access, change.leaving) as leavers:
        seen = look(leavers, widened(target, change.leaving))
        _dismiss(leavers, change.sentinels, report)
    present = tuple(node for node in change.data_nodes if not is_apart(seen.of(node.name)))
    whole = access.model_copy(update={"inventory": widened(target, present)})
    dismissed = frozenset((node.address, node.port) for node in change.sentinels)
    with Fleet(whole) as fleet:
        let_in(whole, fleet, report)
        try:
            reach_shape(fleet, whole, report, gone=dismissed)
        except (CheckFailed, Unreachable) as error:
            if not change.accept_loss:
                raise
            report(f"{error}\ngoing on all the same: change.accept_loss is set")
        _make_way(fleet, whole, target, replace(change, leaving=present), report, dismissed)
        if present:
            apply_parameters(fleet, target, "min-replicas-to-write")  # it counts those that leave
            (_forget if target.topology == "cluster" else _detach)(fleet, whole, target, present, report)
    if target.topology == "cluster":
        with Fleet(access, change.data_nodes) as leavers:
            for node in change.data_nodes:
                if seen.of(node.name).reachable:
                    _empty(leavers.links[node.name], target)
    return converge(access, report, gone=frozenset((node.address, node.port) for node in change.leaving))


# Sentinels


def _await_staying(access: Access) -> None:
    """Sentinels go on watching until all data nodes that stay answer: without these the change comes to nothing.

    Raises Unreachable after the time that a stack has for reaching its shape.
    """
    inventory = access.inventory
    deadline = time.monotonic() + default_seconds(inventory)
    with Fleet(access, inventory.data_nodes) as fleet:
        while True:
            seen = look(fleet, inventory)
            refuse_strangers(seen)
            silent = [node for node in seen.nodes if not node.reachable]
            if not silent:
                return
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"stack {inventory.stack} keeps its sentinels, which go on watching, because {silent[0].problem}; bring "
                    f"{', '.join(node.name for node in silent)} back first (`make up STACK={inventory.stack}`)"
                )
            time.sleep(POLL_SECONDS)


def _dismiss(fleet: Fleet, sentinels: Collection[NodeEntry], report: Report) -> None:
    """Sentinels that leave stop watching first: they must not vote, and nobody may learn of them again."""
    for node in sentinels:
        link = fleet.links[node.name]
        try:
            watched = [sentinel_entry(entry).fields.get("name", "") for entry in items(link.ask("SENTINEL", "MASTERS"))]
            for service in watched:
                link.ask("SENTINEL", "REMOVE", service)
                report(f"{node.name} stops watching {service}: it leaves")
        except ToolkitError as error:
            report(f"{node.name} leaves without a word: {error}")


# Handing over


def _make_way(fleet: Fleet, whole: Access, target: Inventory, change: Change, report: Report, dismissed: Addresses) -> None:
    """Successors take over from primaries that leave, and slots go to those that stay."""
    rebalance = change.rebalance and target.topology == "cluster"
    for _ in range(ROUNDS):
        seen = look(fleet, whole.inventory)
        found = departure(seen, target, change.leaving)
        reasons = (*found.obstacles, *(() if change.accept_loss else found.problems))
        if reasons:
            raise CheckFailed("\n".join((f"stack {target.stack} keeps its nodes:", *(f"  - {line}" for line in reasons))))
        if found.switches or found.unsynced:
            for old, new in (*found.switches.items(), *found.unsynced.items()):
                report(f"{new} takes over from {old}, which leaves")
                switchover(whole, to=new, takeover=old in found.unsynced)
            reach_shape(fleet, whole, report, gone=dismissed)
        elif rebalance or found.drained:
            _move_slots(whole, without_slots(seen, found, change.leaving), report)
            rebalance = False
        elif found.lent:
            _lend(fleet, whole, seen, found, report)
        else:
            return
    raise CheckFailed(f"nodes that leave became primaries again and again; {AGAIN}")


def _lend(fleet: Fleet, whole: Access, seen: Observation, found: Departure, report: Report) -> None:
    """Let replicas that are to spare follow primaries that would be left without any, and wait until they have copied."""
    for line in found.lent_lines:
        report(line)
    led = {name: view.my_id for name, primary in found.lent.items() if (view := seen.of(primary).cluster)}
    steps = [Action(name, (("CLUSTER", "REPLICATE", node_id),), None) for name, node_id in led.items()]
    if refusals := act(fleet, steps, whole.credentials):
        raise CheckFailed("\n".join(("no replica could be lent:", *(f"  - {refusal}" for refusal in refusals))))
    reach_shape(fleet, whole, report)


def _move_slots(access: Access, drained: Collection[str], report: Report) -> None:
    """Equal shares of slots for the primaries that stay, none for the drained ones."""
    proposal = _proposal(access, drained, report)
    if not proposal.moves:
        return
    for line in (headline(proposal), *move_lines(proposal), *memory_lines(proposal)):
        report(line)
    done = carry_out(access, proposal, report=report, watch=_progress(report))
    report(f"moved {done.slots:,} slots with {done.keys:,} keys, about {megabytes(done.bytes)}, in {done.seconds:.1f} s")


def _proposal(access: Access, drained: Collection[str], report: Report) -> Proposal:
    """The plan; a move that was interrupted is first ended where it stands, since the goal may be another one now."""
    weights = dict.fromkeys(drained, 0.0)
    try:
        return propose(access, weights)
    except Unfinished as error:
        report(str(error).split(". ", maxsplit=1)[0] + "; what stands open is ended first")
    abort(access, report=report)
    return propose(access, weights)


def _progress(report: Report) -> Callable[[Progress], None]:
    last = [time.monotonic()]

    def watch(progress: Progress) -> None:
        if time.monotonic() - last[0] >= PROGRESS_SECONDS:
            last[0] = time.monotonic()
            report(
                f"{progress.slots:,} of {progress.total_slots:,} slots moved, {progress.keys:,} keys, {megabytes(progress.bytes)}"
            )

    return watch


# Leaving


def _forget(fleet: Fleet, whole: Access, target: Inventory, leaving: Collection[NodeEntry], report: Report) -> None:
    """Everybody that stays forgets those that leave, once these serve nothing; then those forget the cluster."""
    deadline = time.monotonic() + FORGET_SECONDS
    while True:
        seen = look(fleet, whole.inventory)
        _require_empty(seen, leaving)
        step = decide_departure(seen, target, leaving)
        if step.is_done:
            break
        if time.monotonic() > deadline:
            awaited = "; ".join(dict.fromkeys(wait.text for wait in step.waits)) or "the others to forget them"
            raise CheckFailed(f"{_names(leaving)} could not leave within {FORGET_SECONDS:g} s; still waiting for {awaited}")
        for line in dict.fromkeys(action.text for action in step.actions if action.text):
            report(line)
        act(fleet, step.actions, whole.credentials)
        time.sleep(POLL_SECONDS)
    for node in leaving:
        try:
            fleet.links[node.name].ensure_ours()
            fleet.links[node.name].ask("CLUSTER", "RESET", "HARD")
        except Refused as error:
            raise CheckFailed(f"{node.name} does not leave: {error}") from None


def _require_empty(seen: Observation, leaving: Collection[NodeEntry]) -> None:
    for node in leaving:
        state = seen.of(node.name)
        if state.cluster is None:
            continue  # it died; what it served is served by others, or the move of slots would have failed
        if state.cluster.slots:
            raise CheckFailed(f"{node.name} was to leave and serves slots again; {AGAIN}")
        if state.is_primary and state.keys:
            raise CheckFailed(
                f"{node.name} was to leave, serves no slot and still holds {state.keys} keys. Nothing was removed; look at them "
                f"with `make cli STACK={seen.stack} NODE={node.name}`, or let `scripts/repair.py --stack {seen.stack}` decide"
            )


def _empty(link: Link, inventory: Inventory) -> None:
    """A node that knows nobody drops what it copied, so that its volume cannot bring it back later; it says so when it stops."""
    link.ensure_ours()
    if info_fields(text(link.ask("CLUSTER", "INFO"))).get("cluster_known_nodes") != "1":
        raise CheckFailed(f"{link.node.name} was to leave and still knows other nodes; {AGAIN}")
    link.ask("FLUSHALL")
    _mark_left(link, inventory)


def _mark_left(link: Link, inventory: Inventory) -> None:
    title = f"{{title}} {{listen-addr}} {{server-mode}} {identity(inventory.stack, link.node.name)} {LEFT}"
    link.ask("CONFIG", "SET", IDENTITY_PARAMETER, title)


def _detach(fleet: Fleet, whole: Access, target: Inventory, leaving: Collection[NodeEntry], report: Report) -> None:
    """Replicas outside a cluster follow nobody any more. Sentinels lose their way in first, so that none promotes them."""
    _repoint(fleet, whole, target, {node.address for node in leaving}, report)
    for node in leaving:
        link = fleet.links[node.name]
        link.ensure_ours()
        link.ask_all([("ACL", "SETUSER", "sentinel", "off"), ("CLIENT", "KILL", "USER", "sentinel")])
        if role(link.ask("ROLE")).role == "primary":
            raise CheckFailed(f"{node.name} was to leave and became primary; {AGAIN}")
        link.ask("REPLICAOF", *PLACEHOLDER)
        link.ask("CONFIG", "REWRITE")
        _mark_left(link, target)
        report(f"{node.name} leaves: it follows nobody any more")


def _repoint(fleet: Fleet, whole: Access, target: Inventory, addresses: Collection[str], report: Report) -> None:
    """Nodes that stay and follow one that leaves (a chain, which somebody made) follow the primary from now on."""
    seen = look(fleet, whole.inventory)
    primary = next(node for node in target.data_nodes if seen.of(node.name).is_primary)
    for node in target.data_nodes:
        followed = seen.of(node.name).replication
        if followed is not None and followed.primary_address in addresses:
            report(f"{node.name} follows {primary.name} from now on")
            fleet.links[node.name].ensure_ours()
            fleet.links[node.name].ask("REPLICAOF", primary.address, primary.port)
            fleet.links[node.name].ask("CONFIG", "REWRITE")
            reach_shape(fleet, whole, report)


def _names(nodes: Collection[NodeEntry]) -> str:
    return ", ".join(node.name for node in nodes)
