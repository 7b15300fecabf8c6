"""The way of the data in one place: configuration -> spec -> addressing -> plan -> guard -> components -> outputs."""

import dataclasses
from pathlib import Path

import pulumi

from operations.errors import ToolkitError, Unreachable
from operations.owner import current_owner_id
from topologies import engine, trial
from topologies.allocation import ALL_PORTS, allocate
from topologies.change import Outlook, memory_refusal, outlook
from topologies.components import TopologyArgs, topology_class
from topologies.guard import problems
from topologies.load import load_spec
from topologies.plan import Plan, make_plan
from topologies.replacement import joining_too, replaced, standing_order
from topologies.rules import check
from topologies.spec import Spec
from topologies.standing import shape_of

ROOT = Path(__file__).resolve().parent.parent
SPEC_KEY = "spec"


def run() -> None:
    """Register the stack; a problem that the user can solve ends in sentences, not in a traceback."""
    try:
        args = prepare(pulumi.get_stack(), _settings())
    except ToolkitError as error:
        raise pulumi.RunError(str(error)) from None
    topology = topology_class(args.plan)(args.plan.stack, args)
    pulumi.export("inventory", topology.inventory)
    pulumi.export("credentials", topology.credentials)
    pulumi.export("connection", topology.connection)


def _settings() -> dict[str, str]:
    """Our keys of the stack's configuration: `spec` and the overrides of single fields."""
    prefix = f"{pulumi.get_project()}:"
    return {
        key.removeprefix(prefix): value for key, value in pulumi.runtime.config.CONFIG.get().items() if key.startswith(prefix)
    }


def read_spec(stack: str, settings: dict[str, str]) -> Spec:
    """The stack's spec: the file that `spec` names, else configs/<stack>.yaml, with single fields overridden."""
    path = Path(settings.get(SPEC_KEY, f"configs/{stack}.yaml"))
    overrides = {key: value for key, value in settings.items() if key != SPEC_KEY}
    return load_spec(path if path.is_absolute() else ROOT / path, overrides)


def prepare(stack: str, settings: dict[str, str]) -> TopologyArgs:
    """The plan of a stack and what of it stands already; raises ToolkitError when it must not be."""
    spec = read_spec(stack, settings)
    client = engine.connect()
    state = engine.read_state(client, ALL_PORTS)
    findings = check(spec, stack, state.memory_bytes or None)
    findings.raise_if_invalid(f"the spec of stack {stack}")
    for warning in findings.warnings:
        pulumi.log.warn(str(warning))
    addressing = allocate(spec, stack, state)
    plan = make_plan(spec, stack, addressing, current_owner_id(stack))
    own_ports = [node.host_port for node in plan.nodes if node.host_port and node.host_port not in ALL_PORTS]
    if own_ports and engine.is_local(state.address):
        state = dataclasses.replace(state, busy_ports=state.busy_ports | engine.listening(own_ports))
    state = engine.with_identities(client, state, plan)
    changing = replaced(plan, state)
    if changing:
        state = engine.with_standing_data(client, state, plan)
    shape = shape_of(plan, state)
    joining = joining_too(shape, state) if changing else None
    found = (*problems(plan, state), *([joining] if joining else []))
    if found:
        raise Refused(plan.stack, found)
    refused = memory_refusal(client, state, plan)
    if refused is None and trial.is_due(plan, state):
        refused = trial.refusal(client, plan)
    if refused:
        raise Refused(plan.stack, (refused,))
    order = standing_order(plan, state)
    if changing:
        names = {node.container: node.name for node in plan.nodes}
        told = ", ".join(names[name] for name in order if name in changing)
        pulumi.log.info(f"{told} are replaced one after the other in this order, each when all others are in sync")
    if shape.is_another(plan):
        _announce(plan, outlook(client, state, plan, shape))
    if shape.temporary:
        found_names = ", ".join(node.name for node in shape.temporary)
        pulumi.log.info(f"{found_names} stood in while containers were replaced, which was interrupted; at the end they go")
    return TopologyArgs(plan, order, (*shape.leaving, *shape.temporary), shape.shards)


def _announce(plan: Plan, change: Outlook) -> None:
    """Tell what a change of topology will do; raises Refused when it must not be."""
    losses = () if plan.spec.change.accept_loss else change.losses
    if change.problems or losses:
        way_out = (f"to go on all the same: pulumi config set change.accept_loss true --stack {plan.stack}",) if losses else ()
        raise Refused(plan.stack, (*change.problems, *losses, *way_out))
    for line in change.losses:
        pulumi.log.warn(f"change.accept_loss: {line}")
    pulumi.log.info("\n  ".join((f"stack {plan.stack} changes while it runs; no data node is replaced for it:", *change.lines)))


class Refused(Unreachable):
    """The plan does not fit what stands on the engine; nothing was touched."""

    def __init__(self, stack: str, found: tuple[str, ...]) -> None:
        lines = "\n".join(f"  - {problem}" for problem in found)
        super().__init__(f"stack {stack} was not touched, because:\n{lines}")
