"""What sentinels are told, from what each believes."""

from dataclasses import replace

from operations.inventory import Credentials
from operations.observe import NodeState
from operations.parse import SentinelEntry
from operations.sentinels import decide_sentinels
from operations.steps import Decision, PasswordOf, _resolved
from tests.unit.states import inventory_of, observed, sentinel, silent, watched

SENTINEL = inventory_of("sentinel")


def step(states: dict[str, NodeState], overdue: frozenset[str] = frozenset(), primary: str = "node-1") -> Decision:
    return decide_sentinels(observed(SENTINEL, states), SENTINEL, primary, overdue)


def sent(decided: Decision) -> dict[str, list[str]]:
    return {a.node: [" ".join(str(word) for word in command[:3]) for command in a.commands] for a in decided.actions}


def test_sentinels_that_agree_are_left_alone() -> None:
    assert step(watched(SENTINEL)).is_done
    assert step(watched(SENTINEL, "node-3"), primary="node-3").is_done


def test_a_blank_sentinel_gets_primary_and_all_settings_in_one_go() -> None:
    decided = step(watched(SENTINEL) | {"sentinel-2": sentinel(SENTINEL, "sentinel-2", leader=None)})
    (action,) = decided.actions
    monitor, settings = action.commands
    assert monitor == ("SENTINEL", "MONITOR", "main", SENTINEL.node("node-1").address, 6379, 2)
    assert settings[:3] == ("SENTINEL", "SET", "main")
    told = dict(zip(settings[3::2], settings[4::2], strict=True))
    assert told == {
        "quorum": 2,
        "down-after-milliseconds": 5000,
        "failover-timeout": 15000,
        "parallel-syncs": 1,
        "auth-user": "sentinel",
        "auth-pass": PasswordOf("sentinel"),
    }


def test_the_password_is_put_in_only_for_the_wire() -> None:
    decided = step(watched(SENTINEL) | {"sentinel-2": sentinel(SENTINEL, "sentinel-2", leader=None)})
    assert "hunter2" not in repr(decided)
    words = _resolved(decided.actions[0].commands[1], Credentials.of({"sentinel": "hunter2"}))
    assert words[-2:] == ["auth-pass", "hunter2"]


def test_changed_settings_are_set_back() -> None:
    states = watched(SENTINEL)
    view = states["sentinel-1"].sentinel
    assert view is not None
    assert view.watched is not None
    changed = replace(view.watched, fields=view.watched.fields | {"quorum": "3"})
    states["sentinel-1"] = NodeState("sentinel-1", sentinel=replace(view, watched=changed))
    assert sent(step(states)) == {"sentinel-1": ["SENTINEL SET main"]}


def test_a_sentinel_that_takes_a_primary_that_answers_for_down_gets_its_password_again_after_a_while() -> None:
    states = watched(SENTINEL) | {"sentinel-1": sentinel(SENTINEL, "sentinel-1", down=("node-1",))}
    assert step(states).actions == ()
    keys = frozenset(wait.key for wait in step(states).waits if wait.patience_seconds)
    (action,) = step(states, keys).actions
    assert (action.node, action.again_after_seconds) == ("sentinel-1", 60)
    assert action.commands[0][-2:] == ("auth-pass", PasswordOf("sentinel"))
    assert step(states | {"node-1": silent("node-1")}, keys).actions == (), "it is down indeed"


def test_a_sentinel_that_lags_behind_a_failover_is_waited_for_and_then_corrected() -> None:
    states = watched(SENTINEL, "node-2") | {"sentinel-3": sentinel(SENTINEL, "sentinel-3", leader="node-1")}
    decided = step(states, primary="node-2")
    assert decided.actions == ()
    keys = frozenset(wait.key for wait in decided.waits if wait.patience_seconds)
    assert sent(step(states, keys, "node-2")) == {
        "sentinel-3": ["SENTINEL REMOVE main", "SENTINEL MONITOR main", "SENTINEL SET main"]
    }


def test_a_sentinel_that_watches_a_stranger_is_corrected_at_once() -> None:
    states = watched(SENTINEL)
    view = states["sentinel-3"].sentinel
    assert view is not None
    stranger = SentinelEntry("10.9.9.9", 6379, frozenset({"master"}))
    states["sentinel-3"] = NodeState("sentinel-3", sentinel=replace(view, watched=stranger))
    assert sent(step(states))["sentinel-3"][0] == "SENTINEL REMOVE main"


def test_a_service_under_an_old_name_is_removed() -> None:
    states = watched(SENTINEL)
    view = states["sentinel-1"].sentinel
    assert view is not None
    states["sentinel-1"] = NodeState("sentinel-1", sentinel=replace(view, other_services=("oldname",)))
    assert sent(step(states)) == {"sentinel-1": ["SENTINEL REMOVE oldname"]}


def with_dead_peer(states: dict[str, NodeState], name: str) -> dict[str, NodeState]:
    view = states[name].sentinel
    assert view is not None
    dead = SentinelEntry("10.213.7.200", 26379, frozenset({"sentinel", "s_down"}))
    return states | {name: NodeState(name, sentinel=replace(view, peers=(*view.peers, dead)))}


def test_a_sentinel_that_left_is_forgotten_by_one_after_the_other() -> None:
    states = watched(SENTINEL)
    for name in ("sentinel-1", "sentinel-2", "sentinel-3"):
        states = with_dead_peer(states, name)
    assert sent(step(states)) == {"sentinel-1": ["SENTINEL RESET main"]}


def test_no_sentinel_is_reset_while_another_misses_somebody() -> None:
    states = with_dead_peer(watched(SENTINEL), "sentinel-1")
    states["sentinel-2"] = sentinel(SENTINEL, "sentinel-2", down=("node-3",))
    assert step(states).actions == ()


def test_a_dead_node_of_the_stack_itself_is_waited_for_and_not_forgotten() -> None:
    states = watched(SENTINEL) | {n: sentinel(SENTINEL, n, down=("sentinel-3",)) for n in ("sentinel-1", "sentinel-2")}
    decided = step(states | {"sentinel-3": silent("sentinel-3")})
    assert decided.actions == ()
    assert {wait.key for wait in decided.waits} == {"nodes", "sentinel views"}
