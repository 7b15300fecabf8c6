"""What would be done about findings. Pure: a dry run and a repair print the same steps.

The order is such that no step takes keys away that exist only once: a second owner stops serving a slot before it can hear of the
first, since a server that loses a claim to a higher epoch deletes the keys of the slot; whoever holds keys of a slot without
an owner gets it; keys go home without replacing what is there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from operations.inventory import Inventory
from operations.repair.findings import (
    Disbelieved,
    Doubled,
    Finding,
    Forgotten,
    Ghost,
    Interrupted,
    Leaderless,
    Open,
    Orphans,
    Silent,
    Stranger,
    Unowned,
    words,
)
from operations.reshard.plan import ranges_of
from operations.steps import Action, Word

Stage = Literal["restart", "takeover", "yield", "meet", "assign", "convince", "home", "finish", "forget"]
ORDER: tuple[Stage, ...] = ("restart", "takeover", "yield", "meet", "assign", "convince", "home", "finish", "forget")
CONSENT = "--accept-loss"


@dataclass(frozen=True)
class Step:
    """Something to do. `actions` are commands for nodes; `home` are orphans to bring home, `restart` a node to start again, for
    the stages of these names.
    """

    stage: Stage
    text: str
    actions: tuple[Action, ...] = ()
    home: Orphans | None = None
    restart: str | None = None


@dataclass(frozen=True)
class Plan:
    """Steps in order, and what is not going to be done, with the reason and the way out."""

    steps: tuple[Step, ...]
    held_back: tuple[str, ...]

    @property
    def next(self) -> tuple[Step, ...]:
        """The steps of the first stage; after them the cluster is looked at again."""
        return tuple(step for step in self.steps if step.stage == self.steps[0].stage)


def propose(findings: Sequence[Finding], inventory: Inventory, ids: dict[str, str], accept_loss: bool = False) -> Plan:
    """The steps for findings; `ids` maps each node that answers to its cluster id.

    Nothing is done while two clusters are connected, and nothing but takeovers while some slots have no primary: what looks wrong
    then may be right again afterwards. A server that hangs is started again in any case.
    """
    stack = inventory.stack
    hung = [finding for finding in findings if isinstance(finding, Silent) and finding.hangs]
    held = [_held_back(finding, stack) for finding in findings if isinstance(finding, Silent | Stranger) and finding not in hung]
    if any(isinstance(finding, Stranger) for finding in findings):
        return Plan((), tuple(held))
    leaderless = [finding for finding in findings if isinstance(finding, Leaderless)]
    considered: Iterable[Finding] = (*hung, *leaderless) if leaderless else findings
    steps: list[Step] = []
    for finding in considered:
        reason = _needs(finding, stack, accept_loss)
        if reason:
            held.append(reason)
        else:
            steps += _steps(finding, inventory, ids)
    if any(isinstance(finding, Open | Interrupted) for finding in considered):
        steps.append(_finish([finding for finding in considered if isinstance(finding, Open | Interrupted)]))
    return Plan(tuple(sorted(steps, key=lambda step: ORDER.index(step.stage))), tuple(held))


def _held_back(finding: Silent | Stranger, stack: str) -> str:
    if isinstance(finding, Silent):
        return f"{finding.text}. Start it: `make up STACK={stack}`"
    return (
        f"{finding.text}. Nothing is changed while that is so. Stop that node, or cut the two networks apart, then send CLUSTER "
        f"FORGET {finding.node_id} to every node of stack {stack}"
    )


def _needs(finding: Finding, stack: str, accept_loss: bool) -> str | None:
    """Why nothing is done about a finding, or None when something is."""
    if isinstance(finding, Leaderless) and not finding.replicas:
        return f"{finding.text}, and no replica of it answers. Bring one of them back: `make up STACK={stack}`"
    if accept_loss:
        return None
    if isinstance(finding, Leaderless):
        return (
            f"{finding.text}. Bring it back (`make up STACK={stack}`) and nothing is lost. If it is gone for good, "
            f"{CONSENT} promotes {finding.replicas[0][0]}; writes that only the old primary has are lost then"
        )
    if isinstance(finding, Unowned) and finding.lost_with:
        return (
            f"{finding.text}. Bring back its volume or a backup; {CONSENT} gives the slots, empty, to {finding.owner}, so that "
            "they can be written again"
        )
    return None


def _steps(finding: Finding, inventory: Inventory, ids: dict[str, str]) -> Iterator[Step]:
    match finding:
        case Silent(node=node, hangs=True):
            yield Step("restart", f"{node}, which hangs and serves nobody, is started again", restart=node)
        case Leaderless(replicas=replicas):
            best = replicas[0][0]
            how = "FORCE" if finding.majority else "TAKEOVER"
            text = (
                f"{best}, the most advanced replica of {finding.label}, takes over slots {words(finding.slots)} (FAILOVER {how})"
            )
            yield Step("takeover", text, (Action(best, (("CLUSTER", "FAILOVER", how),), None),))
        case Doubled(winner=winner, loser=loser, slots=slots):
            text = f"{loser} stops serving slots {words(slots)}, which {winner} owns by the higher epoch; its keys are kept"
            yield Step("yield", text, (Action(loser, tuple(_slots_commands("DELSLOTS", slots)), None),))
        case Forgotten(node=node, other=other):
            entry = inventory.node(other)
            meet: tuple[Word, ...] = ("CLUSTER", "MEET", entry.address, entry.port, *([entry.bus_port] if entry.bus_port else []))
            yield Step("meet", f"{node} meets {other}", (Action(node, (meet,), None),))
        case Unowned(owner=owner, slots=slots):
            text = f"{owner} gets slots {words(slots)}" + (f" with {finding.keys:,} keys" if finding.keys else ", empty")
            claims = tuple(("CLUSTER", "SETSLOT", slot, "NODE", ids[owner]) for slot in slots)
            yield Step("assign", text, (Action(owner, (*claims, ("CLUSTER", "BUMPEPOCH")), None),))
        case Disbelieved(owner=owner, slots=slots):
            text = f"{owner} takes a new epoch, so that all believe its claim to slots {words(slots)}"
            yield Step("convince", text, (Action(owner, (("CLUSTER", "BUMPEPOCH"),), None),))
        case Orphans(node=node, owner=owner, slots=slots):
            text = (
                f"{finding.keys:,} keys of slots {words(slots)} go from {node} home to {owner}; those that {owner} has too are "
                f"removed from {node}, since {owner} is whom clients ask"
            )
            yield Step("home", text, home=finding)
        case Ghost(node_id=node_id, by=by):
            forget = tuple(Action(name, (("CLUSTER", "FORGET", node_id),), None) for name in by)
            yield Step("forget", f"all nodes forget {node_id[:8]}, which is gone", forget)
        case _:
            return


def _slots_commands(verb: str, slots: tuple[int, ...]) -> Iterator[tuple[str | int, ...]]:
    for first, last in ranges_of(slots):
        yield ("CLUSTER", f"{verb}RANGE", first, last)


def _finish(findings: Sequence[Open | Interrupted]) -> Step:
    open_slots = [slot for finding in findings if isinstance(finding, Open) for slot in finding.slots]
    ended = [f"slots {words(open_slots)} that stand open are moved to their end"] if open_slots else []
    moves = [f"the interrupted move goes on ({finding.goal})" for finding in findings if isinstance(finding, Interrupted)]
    return Step("finish", "; ".join((*ended, *moves)))
