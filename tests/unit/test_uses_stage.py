"""Where simulated applications play: which things each side uses, what a client's crash means, what is recorded."""

import json
from typing import Any, ClassVar

import pytest
import redis
from redis.crc import key_slot

from drills.records import Event, decode
from drills.workload import connections
from drills.workload.application import Company
from drills.workload.plan import Load, use_settings
from drills.workload.settings import Settings, Target
from drills.workload.uses.repertoire import REPERTOIRE
from drills.workload.uses.stage import Actor, Crashed, Stage, Use, UseSettings
from operations.inventory import Access, Credentials
from tests.unit.states import inventory_of

SLOTS = {1: [(0, 5460)], 2: [(5461, 10922)], 3: [(10923, 16383)]}


def told(side: str = "main", shards: list[int] | None = None, **load: Any) -> UseSettings:
    access = Access(inventory=inventory_of("cluster"), credentials=Credentials.of({"app": "secret"}))
    return use_settings(access, Load(**load), "run", SLOTS, ["lock"], 1, "/shared", True, side, shards)


def shard_of(tag: str) -> int:
    slot = key_slot(tag.encode())
    return next(shard for shard, ((low, high),) in SLOTS.items() if low <= slot <= high)


def test_the_first_things_lie_in_all_shards_in_turn() -> None:
    assert [shard_of(tag) for tag in told().tags[:6]] == [1, 2, 3, 1, 2, 3]


def test_instances_that_are_cut_off_use_the_things_of_others_that_they_reach() -> None:
    main, away = told(), told("cut-off", [2])
    assert {shard_of(tag) for tag in away.tags} == {2}
    assert set(away.tags) <= set(main.tags)
    assert away.tags[0] == main.tags[1]


def test_settings_survive_the_way_into_the_container_and_replicas_are_waited_for_as_the_load_does() -> None:
    there = UseSettings.from_data(json.loads(json.dumps(told(mode="wait", acks=1).to_data())))
    assert there == told(mode="wait", acks=1)
    assert (there.confirm, told().confirm) == (1, 0)


class Trial(Use):
    """A use whose turns do what the test says."""

    name = "trial"
    turns_per_second = 1000

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        what = self.does[actor.turns - 1] if actor.turns <= len(self.does) else None
        if what is None:
            actor.halt.set()
        else:
            raise what

    does: list[BaseException]


def played(*does: BaseException) -> tuple[Actor, list[Event]]:
    settings = told()
    use = Trial(Stage(settings, "trial"))
    use.does = list(does)
    actor = Actor(use, 7)
    actor.begin.set()
    actor.run()
    events = [decode(line) for line in use.stage.lines]
    assert use.stage.events == len(events)
    return actor, [event for event in events if isinstance(event, Event)]


def test_who_crashes_comes_back_without_memory_and_it_is_on_record() -> None:
    actor, events = played(Crashed())
    assert [event.verb for event in events] == ["crash"]
    assert actor.lives == 1


@pytest.mark.parametrize(
    ("error", "outcome"), [(redis.TimeoutError("timed out"), "info"), (redis.ReadOnlyError("READONLY"), "fail")]
)
def test_trouble_with_redis_is_on_record_and_does_not_end_an_instance(error: redis.RedisError, outcome: str) -> None:
    actor, events = played(error, error)
    assert [(event.verb, event.outcome) for event in events] == [("trouble", outcome)] * 2
    assert actor.broken is None


def test_an_instance_that_breaks_by_itself_breaks_the_drill() -> None:
    actor, _ = played(ValueError("a mistake in the use"))
    assert actor.broken == "trial-7 broke: ValueError: a mistake in the use"


def test_what_may_be_repeated_is_repeated_until_it_is_known_and_recorded_from_the_first_attempt() -> None:
    settings = told()
    actor = Actor(Trial(Stage(settings, "trial")), 1)
    answers = iter([redis.TimeoutError("timed out"), None])

    def do() -> None:
        if (answer := next(answers)) is not None:
            raise answer

    assert actor.surely("put", "job", do)
    (event,) = [decode(line) for line in actor.stage.lines]
    assert isinstance(event, Event)
    assert event.outcome == "ok"
    assert event.end - event.start >= 0.09e9


def test_what_was_not_known_when_the_load_ended_is_recorded_as_unknown() -> None:
    actor = Actor(Trial(Stage(told(), "trial")), 1)
    actor.halt.set()

    def do() -> None:
        raise redis.TimeoutError("timed out")

    assert not actor.surely("put", "job", do)
    (event,) = [decode(line) for line in actor.stage.lines]
    assert isinstance(event, Event)
    assert event.outcome == "info"


def test_every_use_casts_instances_on_its_side_with_numbers_of_their_own() -> None:
    for use in REPERTOIRE.values():
        main = [actor.number for actor in use(Stage(told(), use.name)).cast()]
        away = [actor.number for actor in use(Stage(told("cut-off", [1]), use.name)).cast()]
        assert main and not set(main) & set(away)


class Roles:
    """Nodes by their port: what they say of themselves, or how they fail."""

    says: ClassVar[dict[int, Any]] = {}

    def __init__(self, port: int, **_: Any) -> None:
        self.port = port

    def execute_command(self, _word: str) -> list[bytes]:
        said = self.says[self.port]
        if isinstance(said, redis.RedisError):
            raise said
        return [said]

    def close(self) -> None:
        """There is nothing to close."""


DIRECT = Settings("run", "direct", tuple(Target(f"node-{port}", "127.0.0.1", port) for port in (1, 2)), "app", "secret")


def test_where_nobody_tells_who_is_primary_the_nodes_are_asked_and_one_that_hangs_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = connections.application(DIRECT).connection_pool
    monkeypatch.setattr("drills.workload.connections.redis.Redis", Roles)
    for said in (redis.TimeoutError("timed out"), redis.ConnectionError("refused"), b"slave"):
        Roles.says = {1: said, 2: b"master"}
        assert pool.get_master_address() == ("127.0.0.1", 2)
    Roles.says = {1: b"master", 2: b"slave"}
    assert pool.get_master_address() == ("127.0.0.1", 1)
    Roles.says = dict.fromkeys((1, 2), redis.TimeoutError("timed out"))
    with pytest.raises(redis.ConnectionError, match="no primary answers"):
        pool.get_master_address()


def test_what_cannot_be_read_back_because_no_node_can_be_reached_is_unread_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("no primary answers")

    monkeypatch.setattr(connections, "application", nobody)
    assert Company(told(), lambda _lines: None).audit(seconds=0) == {"unread": ["lock"]}


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(told())
    assert isinstance(told().client, Settings)
