"""The channel of `applications`: who reads on from a place hears everything, also when a failover forgot that place."""

from typing import Any

import pytest
import redis

from applications.broadcast import Channel
from drills.workload.uses.broadcast import BroadcastUse
from drills.workload.uses.stage import Actor, Stage
from tests.unit.test_uses_stage import told

MINUTE_MS = 60_000


class Stream:
    """Entries of a stream by their place; a failover is another list."""

    def __init__(self, *entries: tuple[str, str]) -> None:
        self.entries = list(entries)

    def execute_command(self, _word: str, _key: str, first: str | int, _end: str, _count: str, count: int) -> list[Any]:
        least = (0, 0) if first == "-" else place(str(first))
        found = [(entry.encode(), {b"n": number.encode(), b"b": b""}) for entry, number in self.entries if place(entry) >= least]
        return found[:count]


def place(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number or 0)


def numbers(stream: Stream, begin: str, count: int = 100) -> tuple[list[str], str]:
    messages, after = Channel(stream, "news").after(begin, count)
    return [message.number for message in messages], after


def test_a_reader_goes_on_after_the_last_message_that_it_heard_however_many_it_takes_at_once() -> None:
    stream = Stream(("1000-0", "a"), ("1000-1", "b b"), ("1001-0", "c"))
    heard, begin = [], "0"
    for _ in range(5):
        found, begin = numbers(stream, begin, 1)
        heard += found
    assert heard == ["a", "b b", "c"]
    stream.entries.append(("1002-0", "d"))
    assert numbers(stream, begin)[0] == ["d"]


def test_who_heard_what_a_failover_forgot_hears_what_the_new_primary_took_before_that() -> None:
    heard, begin = numbers(Stream(("1000-0", "a"), ("9000-0", "forgotten")), "0")
    assert heard == ["a", "forgotten"]
    other = Stream(("1000-0", "a"), ("5000-0", "b"), ("7000-0", "c"))
    heard, begin = numbers(other, begin)
    assert heard == ["a", "b", "c"]
    assert numbers(other, begin)[0] == []


def test_another_message_at_the_very_same_place_is_told_from_the_one_that_was_heard() -> None:
    _, begin = numbers(Stream(("9000-0", "forgotten")), "0")
    assert numbers(Stream(("5000-0", "b"), ("9000-0", "c")), begin)[0] == ["b", "c"]


def test_who_goes_back_goes_back_by_a_minute_and_not_to_the_beginning() -> None:
    _, begin = numbers(Stream(("100000-0", "gone")), "0")
    assert numbers(Stream((f"{100_000 - MINUTE_MS - 1}-0", "old"), ("100001-0", "new")), begin)[0] == ["new"]
    assert numbers(Stream(), begin) == ([], begin)


def test_reading_on_at_the_end_is_tried_again_and_not_given_up_at_the_first_error() -> None:
    use = BroadcastUse(Stage(told(), "broadcast"))
    use.places = {(1, "tag"): "0"}
    actor = Actor(use, 999)

    class Away:
        def execute_command(self, *_: Any) -> None:
            raise redis.TimeoutError("timed out")

    actor._client = Away()
    with pytest.raises(redis.TimeoutError):
        use.audit(actor)
    actor._client = Stream(("1-0", "1-7"), ("2-0", "1-8"))
    use.audit(actor)
    assert use.places == {(1, "tag"): "2-0 1-8"}
