"""Rules that relate several fields of a spec, and traps that single values set. Pure: a spec in, findings out.

Each rule is a small generator; what it refuses is a problem, what it doubts a warning. Figures in their sentences were
measured; docs/guide/spec.md says how.
"""

from collections.abc import Callable, Iterator

from operations.inventory import STACK_NAME
from topologies.findings import Findings
from topologies.parameters import check_parameters
from topologies.rules.backup import point_in_time, rehearsal
from topologies.rules.engine import engine_and_image, traps_in_parameters
from topologies.rules.failover import cluster, coming_back, lag_limits, sentinels, stopping
from topologies.rules.memory import eviction, memory, total_memory
from topologies.rules.network import network
from topologies.rules.objectives import objectives
from topologies.rules.ruling import Ruling, refuse
from topologies.rules.shape import belonging, shape, surge
from topologies.spec import Spec

__all__ = ["check"]

RULES: tuple[Callable[[Spec], Iterator[Ruling]], ...] = (
    belonging,
    shape,
    surge,
    engine_and_image,
    sentinels,
    cluster,
    coming_back,
    stopping,
    lag_limits,
    memory,
    eviction,
    network,
    traps_in_parameters,
    objectives,
    point_in_time,
    rehearsal,
)


def _stack_name(stack: str) -> Iterator[Ruling]:
    if not STACK_NAME.fullmatch(stack):
        yield refuse(
            "stack",
            stack,
            "but becomes part of container and volume names",
            "use up to 40 lower-case letters, digits and hyphens",
        )


def check(spec: Spec, stack: str, machine_memory_bytes: int | None = None) -> Findings:
    """Everything that can be known from a spec and the name of its stack; with the machine's memory, whether it is enough."""
    rulings = [
        *_stack_name(stack),
        *(found for rule in RULES for found in rule(spec)),
        *total_memory(spec, machine_memory_bytes),
    ]
    problems, warnings = check_parameters(spec)
    return Findings(
        problems=(*(ruling.finding for ruling in rulings if ruling.refused), *problems),
        warnings=(*(ruling.finding for ruling in rulings if not ruling.refused), *warnings),
    )
