"""Leaderboards: does every player have the points of the acknowledged operations, each counted once?"""

from collections import defaultdict
from dataclasses import replace

from applications.call import NoCommonSlot
from applications.careless.board import BoardWithTotal
from drills.uses.base import EXAMPLES, Facts, Finding, allowed, lost, plural, unknown, workload
from drills.uses.kept import nearest
from operations.inventory import Inventory


def unfit(inventory: Inventory) -> str | None:
    """Why a transaction over keys without a common slot cannot be played on a stack, or None."""
    return str(NoCommonSlot(BoardWithTotal(None, "chess").keys)) if inventory.topology == "cluster" else None


def judge_as(use: str, title: str, facts: Facts) -> Finding:
    """The judgement of a leaderboard under the name of its workload."""
    acknowledged: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    tried: dict[str, dict[int, int]] = defaultdict(dict)
    for event in facts.of("add", "again"):
        tried[event.subject][event.other] = event.value
        if event.outcome == "ok" and event.verb == "add":
            acknowledged[event.subject][event.other] = (event.value, event.end)
    final = {event.subject: event.value for event in facts.of("final")}
    total = sum(points for operations in acknowledged.values() for points, _ in operations.values())
    too_many = {who: final.get(who, 0) - sum(operations.values()) for who, operations in tried.items()}
    too_many = {who: extra for who, extra in too_many.items() if extra > 0}
    missing = {
        who: sum(points for points, _ in operations.values()) - final.get(who, 0) for who, operations in acknowledged.items()
    }
    missing = {who: less for who, less in missing.items() if less > 0}
    # Which operations are missing the points do not tell: those acknowledged nearest to a fault, in favour of the stack.
    moments = [
        moment for who, less in missing.items() for moment in nearest(facts, [end for _, end in acknowledged[who].values()], less)
    ]
    first = f"{sum(missing.values()):,} of {plural(total, 'acknowledged point')} lost"
    second = f"{sum(too_many.values()):,} counted twice"
    if not total or not final:
        outcomes = [unknown(use, "lost", "no point was acknowledged, or the board could not be read")]
    else:
        outcomes = [
            lost(facts, use, "lost", moments, first),
            allowed(use, "counted twice", 0, sum(too_many.values()), f"{plural(sum(too_many.values()), 'point')} counted twice"),
        ]
    details = [f"{who} has {extra} points too many" for who, extra in list(too_many.items())[:EXAMPLES]]
    details += [f"{who} has {less} points too few" for who, less in list(missing.items())[:EXAMPLES]]
    figures = {"points": total, "lost": sum(missing.values()), "counted_twice": sum(too_many.values())}
    return Finding(use, title, f"{first}, {second}", tuple(outcomes), figures, tuple(details), tuple(moments))


BOARDS = (
    workload("leaderboard", "Leaderboard with idempotent increments", judge_as),
    workload("leaderboard-careless", "Leaderboard by ZINCRBY", judge_as, "leaderboard"),
    replace(workload("leaderboard-total", "Leaderboards and their total in one MULTI", judge_as, "leaderboard"), unfit=unfit),
)
