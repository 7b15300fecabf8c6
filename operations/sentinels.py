"""Sentinels: what they watch and how, decided from what each of them believes. Pure.

A sentinel owns its own file, so everything here is said to it over the wire and kept by itself. It is told the primary only once
the replicas are connected: it reads them from the primary at once then, and only every 10 s later.
"""

from operations.inventory import Inventory, NodeEntry, SentinelSettings
from operations.observe import NodeState, Observation, SentinelView
from operations.steps import Action, Addresses, Decision, Overdue, PasswordOf, Wait, Word, decision
from operations.verdict import sentinel_problems

PARALLEL_SYNCS = 1
"""Replicas that copy from a new primary at the same time; the others go on serving reads."""
FOLLOW_SECONDS = 15.0
"""Within this time after a failover every sentinel has heard of the new primary (hello messages every 2 s, some lost)."""

BLIND_SECONDS = 5.0
"""Within this time and down-after every sentinel notices that a primary answers again."""


def decide_sentinels(
    observation: Observation, inventory: Inventory, primary: str, overdue: Overdue = frozenset(), gone: Addresses = frozenset()
) -> Decision:
    """The next steps until every sentinel watches `primary` with the declared settings and sees everybody.

    `gone` are addresses of nodes that left the stack; they are forgotten, alive or not.
    """
    settings = inventory.sentinel
    if settings is None:
        return decision()
    target = inventory.node(primary)
    states = [observation.of(entry.name) for entry in inventory.sentinels]
    waits = [Wait("nodes", f"{state.name} to answer: {state.problem}") for state in states if not state.reachable]
    actions: list[Action] = []
    for state in states:
        view = state.sentinel
        if view is None:
            continue
        actions += _tidy(state.name, view)
        if view.watched is None:
            actions.append(Action(state.name, _monitor(settings, target), f"{state.name} watches {primary}"))
        elif (view.watched.address, view.watched.port) != (target.address, target.port):
            wait = _stale(state.name, view, primary, inventory, overdue)
            if wait:
                waits.append(wait)
            else:
                commands = (("SENTINEL", "REMOVE", settings.service), *_monitor(settings, target))
                actions.append(Action(state.name, commands, f"{state.name} watches {primary} instead of {view.watched.address}"))
        else:
            blind = _blind(state.name, view, settings, observation.of(primary))
            waits += blind
            actions += _set_again(state.name, view, settings, any(wait.key in overdue for wait in blind))
    if not actions:
        actions += _forget(states, inventory, gone)
    for state in states:
        problems = list(sentinel_problems(state.name, state.sentinel, inventory, (primary,))) if state.sentinel else []
        if problems:
            waits.append(Wait("sentinel views", f"the sentinels to see everybody: {problems[0]}"))
    return decision(actions, waits)


def _monitor(settings: SentinelSettings, target: NodeEntry) -> tuple[tuple[Word, ...], ...]:
    return ("SENTINEL", "MONITOR", settings.service, target.address, target.port, settings.quorum), _set(settings)


def _set(settings: SentinelSettings) -> tuple[Word, ...]:
    """All settings in one command, so that a sentinel never connects with half of them."""
    declared: list[Word] = []
    for name, value in _declared(settings).items():
        declared += [name, value]
    return ("SENTINEL", "SET", settings.service, *declared, "auth-user", "sentinel", "auth-pass", PasswordOf("sentinel"))


def _blind(name: str, view: SentinelView, settings: SentinelSettings, primary: NodeState) -> list[Wait]:
    """The wait for a sentinel to see a primary that answers us; what it logs in with may have been changed."""
    if view.watched is None or not view.watched.is_down or not primary.reachable:
        return []
    patience = settings.down_after_ms / 1000 + BLIND_SECONDS
    return [Wait(f"{name} sees {primary.name}", f"{name} to see {primary.name}, which answers", patience)]


def _set_again(name: str, view: SentinelView, settings: SentinelSettings, is_blind: bool) -> list[Action]:
    """The declared settings where they differ, and for a sentinel that is blind: its password cannot be read back."""
    if _settings(view) != _declared(settings):
        return [Action(name, (_set(settings),), f"{name} gets its declared settings")]
    text = f"{name} gets its password again, because it sees a primary as down that answers"
    return [Action(name, (_set(settings),), text, again_after_seconds=60)] if is_blind else []


def _declared(settings: SentinelSettings) -> dict[str, int]:
    return {
        "quorum": settings.quorum,
        "down-after-milliseconds": settings.down_after_ms,
        "failover-timeout": settings.failover_timeout_ms,
        "parallel-syncs": PARALLEL_SYNCS,
    }


def _settings(view: SentinelView) -> dict[str, int]:
    """The same settings as the sentinel reports them."""
    names = ("quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs")
    return {name: view.watched.number(name) if view.watched else 0 for name in names}


def _stale(name: str, view: SentinelView, primary: str, inventory: Inventory, overdue: Overdue) -> Wait | None:
    """The wait for a sentinel to learn of a failover by itself; None when it watches a stranger or had its time."""
    if view.watched is None or inventory.at(view.watched.address, view.watched.port) is None:
        return None
    patience = FOLLOW_SECONDS + (inventory.sentinel.down_after_ms / 1000 if inventory.sentinel else 0)
    wait = Wait(f"{name} follows", f"{name} to hear that {primary} is primary", patience)
    return None if wait.key in overdue else wait


def _tidy(name: str, view: SentinelView) -> list[Action]:
    """A stack's sentinels watch its one service; another name is left from a time when it was called so."""
    return [
        Action(name, (("SENTINEL", "REMOVE", service),), f"{name} stops watching {service}") for service in view.other_services
    ]


def _forget(states: list[NodeState], inventory: Inventory, gone: Addresses) -> list[Action]:
    """Replicas and sentinels that are gone for good count in majorities until a sentinel is reset: one sentinel at a time."""
    if inventory.sentinel is None:
        return []
    former = {state.name: _former(state.sentinel, inventory, gone) for state in states if state.sentinel}
    for state in states:
        if former.get(state.name) and all(
            _is_complete(other.sentinel, inventory) for other in states if other is not state and other.sentinel
        ):
            text = f"{state.name} forgets {', '.join(former[state.name])}, which left the stack"
            return [Action(state.name, (("SENTINEL", "RESET", inventory.sentinel.service),), text)]
    return []


def _former(view: SentinelView, inventory: Inventory, gone: Addresses) -> list[str]:
    return [
        f"{entry.address}:{entry.port}"
        for entry in (*view.replicas, *view.peers)
        if (entry.address, entry.port) in gone or (entry.is_down and inventory.at(entry.address, entry.port) is None)
    ]


def _is_complete(view: SentinelView | None, inventory: Inventory) -> bool:
    """It sees every replica and peer of the inventory alive, whatever else it lists."""
    if view is None:
        return False
    replicas = sum(1 for entry in view.replicas if not entry.is_down)
    peers = sum(1 for entry in view.peers if not entry.is_down)
    return replicas >= len(inventory.data_nodes) - 1 and peers >= len(inventory.sentinels) - 1
