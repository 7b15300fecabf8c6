"""What visitors saw, from results written by hand."""

import math

import pytest
from outcome import Result, longest_gap, parse, quantile, rows


def results(*seen: tuple[float, int], kind: str = "page") -> list[Result]:
    return [Result(at, kind, status, 0.1) for at, status in seen]


def test_each_request_belongs_to_the_part_in_which_it_was_due() -> None:
    found = rows(results((1, 200), (5, 503), (6, 200), (9, 200)), fault=5, healed=9)
    assert [(row.part, row.requests, row.good) for row in found] == [("before", 1, 1), ("during", 2, 1), ("after", 1, 1)]
    assert found[1].availability == 0.5


def test_refused_in_good_order_is_not_broken() -> None:
    row = rows(results((1, 503), (2, 429), (3, 500), (4, 0), (5, 409), (6, 201)), fault=0, healed=9)[0]
    assert (row.good, row.refused, row.broken) == (1, 2, 3)


def test_the_gap_lasts_until_the_next_success() -> None:
    assert longest_gap(results((1, 200), (2, 503), (3, 0), (7, 200), (8, 503), (9, 200))) == 5
    assert longest_gap(results((1, 200), (2, 200))) == 0
    assert longest_gap(results((1, 503), (4, 503))) == 3


def test_latencies_are_those_of_answers_that_were_good() -> None:
    seen = [Result(at, "page", 200, at / 100) for at in range(1, 101)] + [Result(50, "page", 503, 9.0)]
    row = rows(seen, fault=0, healed=1000)[0]
    assert (row.median_seconds, row.p99_seconds, row.slowest_seconds) == (0.5, 0.99, 1.0)


def test_without_a_good_answer_there_is_no_latency() -> None:
    assert math.isnan(quantile([], 0.5))


def test_a_line_that_was_cut_off_is_no_result() -> None:
    whole = '{"at": 1.0, "kind": "page", "status": 200, "seconds": 0.1}\n'
    assert len(parse([whole, whole[:20]])) == 1
    with pytest.raises(ValueError):
        parse(["not json\n"])
