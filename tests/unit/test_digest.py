"""The arithmetic of digests: independent of order and of shards, sensitive to every part; comparison over time."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.digest.definition import (
    MODULUS,
    NEVER,
    Digest,
    Part,
    boundaries_from,
    compare,
    end_of,
    frame,
    letter_of,
    of_data,
    sum_records,
)
from operations.digest.live import width
from operations.digest.reader import Counters, databases
from operations.errors import InvalidInput
from tests.digest_reference import Hash, Value, kind_of, reference
from tests.unit.states import inventory_of

NOW_MS = 1_800_000_000_000
BOUNDARIES = boundaries_from(NOW_MS)

texts = st.binary(max_size=12)
scores = st.floats(allow_nan=False, width=32).filter(lambda score: score != 0)
values: st.SearchStrategy[Value] = st.one_of(
    texts,
    st.lists(texts, min_size=1, max_size=5),
    st.sets(texts, min_size=1, max_size=5),
    st.dictionaries(texts, scores, min_size=1, max_size=5),
    st.dictionaries(texts, texts, min_size=1, max_size=5).map(Hash),
)
data_sets = st.dictionaries(texts, st.tuples(values, st.just(-1) | st.integers(1, 1 << 50)), max_size=12)


@given(data_sets, st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_order_or_on_the_number_of_shards(
    data: dict[bytes, tuple[Value, int]], shards: int, dice: random.Random
) -> None:
    items = list(data.items())
    dice.shuffle(items)
    parts: list[dict[bytes, tuple[Value, int]]] = [{} for _ in range(shards)]
    for key, value in items:
        dice.choice(parts)[key] = value
    assert sum(map(reference, parts)) % MODULUS == reference(data)


@given(data_sets, data_sets)
def test_different_data_have_different_digests(
    first: dict[bytes, tuple[Value, int]], second: dict[bytes, tuple[Value, int]]
) -> None:
    assert (reference(first) == reference(second)) == (told(first) == told(second))


def told(data: dict[bytes, tuple[Value, int]]) -> dict[bytes, tuple[bytes, Value, int]]:
    """Data with its types, because Python takes some values of different types for equal."""
    return {key: (kind_of(value), value, expiry) for key, (value, expiry) in data.items()}


def test_databases_are_part_of_the_digest() -> None:
    data: dict[bytes, tuple[Value, int]] = {b"key": (b"value", -1)}
    assert reference(data, 0) != reference(data, 1)


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_frames_keep_words_apart(first: list[bytes], second: list[bytes]) -> None:
    assert (b"".join(map(frame, first)) == b"".join(map(frame, second))) == (first == second)


@given(st.lists(st.tuples(st.integers(0, MODULUS - 1), st.sampled_from("-ABC")), max_size=20))
def test_records_of_a_batch_are_summed_by_letter(records: list[tuple[int, str]]) -> None:
    parts: dict[str, Part] = {}
    sum_records("".join(f"{number:040x}{letter}" for number, letter in records), parts)
    for letter in "-ABC":
        numbers = [number for number, other in records if other == letter]
        assert parts.get(letter, Part()) == Part(len(numbers), sum(numbers) % MODULUS)


def digest(**parts: int) -> Digest:
    """A digest whose parts hold one key each."""
    named = {letter.replace("never", NEVER): Part(1, number) for letter, number in parts.items()}
    return Digest(BOUNDARIES, named, began_ms=NOW_MS, ended_ms=NOW_MS + 1000)


@given(st.integers(1, 1 << 50))
def test_letters_follow_the_boundaries(expiry_ms: int) -> None:
    index = ord(letter_of(expiry_ms, BOUNDARIES)) - ord("A")
    assert index == 0 or BOUNDARIES[index - 1] <= expiry_ms
    assert index == len(BOUNDARIES) or expiry_ms < BOUNDARIES[index]


def test_digests_of_shards_add_up() -> None:
    both = replace(digest(never=MODULUS - 1), libraries=frozenset("a"), changes=1) + replace(digest(never=3, B=7), opaque=2)
    assert both.parts == {NEVER: Part(2, 2), "B": Part(1, 7)}
    assert (both.all, both.expiring, set(both.libraries), both.opaque, both.changes) == (Part(3, 9), 1, {"a"}, 2, 1)


def test_digests_with_other_boundaries_are_not_mixed() -> None:
    other = Digest(boundaries_from(NOW_MS + 1))
    for mix in (compare, Digest.__add__):
        with pytest.raises(InvalidInput, match="boundaries"):
            mix(digest(), other)


def test_a_digest_survives_json() -> None:
    found = replace(digest(never=1, C=5), libraries=frozenset("ab"), opaque=1, changes=2)
    assert of_data(found.to_data()) == found
    for broken in ({}, {**found.to_data(), "parts": 1}, {**found.to_data(), "boundaries_ms": "x"}):
        with pytest.raises(InvalidInput, match="no digest"):
            of_data(broken)


def test_equal_digests_agree_and_others_name_what_differs() -> None:
    same = compare(digest(never=1, D=2), digest(never=1, D=2))
    assert (same.equal, same.certain, same.compared, same.left_out) == (True, True, 2, 0)
    assert "something in them differs" in compare(digest(never=1), digest(never=2)).differences[0]
    assert "keys that expire after" in compare(digest(never=1, D=2), digest(never=1)).differences[0]
    assert "libraries" in compare(digest(), replace(digest(), libraries=frozenset("a"))).differences[0]


def test_keys_that_may_have_expired_meanwhile_are_left_out() -> None:
    before = digest(never=1, A=2, B=3, E=4)
    later = replace(digest(never=1, E=4), ended_ms=BOUNDARIES[1])
    comparison = compare(before, later)
    assert comparison.equal
    assert (comparison.compared, comparison.left_out) == (2, 2)
    assert not compare(before, replace(digest(never=1), ended_ms=BOUNDARIES[1])).equal


def test_fields_that_may_have_expired_meanwhile_are_left_out_and_the_hashes_that_had_them_are_compared() -> None:
    before = digest(never=1, B=3, b=2, d=5)
    later = replace(digest(never=1, d=5), ended_ms=BOUNDARIES[1])
    comparison = compare(before, later)
    assert comparison.equal and (before.all.keys, comparison.compared, comparison.left_out) == (2, 1, 1)
    assert "fields of hashes" in compare(before, replace(digest(never=1), ended_ms=BOUNDARIES[1])).differences[0]


@pytest.mark.parametrize(
    ("expiry_ms", "lasting", "longest_ms", "ends_ms"),
    [
        (-1, True, -1, -1),
        (7, False, -1, 7),
        (-1, True, 5, -1),
        (-1, False, 5, 5),
        (3, False, 5, 3),
        (7, False, 5, 5),
        (7, True, 5, 7),
    ],
)
def test_a_hash_goes_with_its_last_field_or_by_its_own_expiry(
    expiry_ms: int, lasting: bool, longest_ms: int, ends_ms: int
) -> None:
    assert end_of(expiry_ms, lasting, longest_ms) == ends_ms


def test_a_digest_taken_under_writes_proves_no_difference() -> None:
    assert not compare(digest(never=1), replace(digest(never=2), changes=1)).certain


def test_counters_tell_writes_expiry_and_a_reset() -> None:
    before = {
        "rdb_changes_since_last_save": "5",
        "rdb_last_save_time": "1",
        "run_id": "a",
        "expired_keys": "2",
        "evicted_keys": "0",
    }

    def changes(**later: str) -> int:
        return Counters.of(before).changes_until(Counters.of(before | later))

    assert changes() == 0
    assert changes(rdb_changes_since_last_save="8", expired_keys="4") == 5
    assert changes(rdb_changes_since_last_save="0", rdb_last_save_time="2") == 1
    assert changes(run_id="b", rdb_changes_since_last_save="9") == 9


def test_databases_are_read_from_info() -> None:
    assert databases({"db10": "keys=1", "db2": "keys=1", "dbs": "x", "role": "master"}) == [2, 10]


@pytest.mark.parametrize(("processors", "at_once"), [(1, 1), (2, 1), (3, 2), (16, 3)])
def test_a_digest_leaves_one_processor_of_this_machine_to_the_clients(processors: int, at_once: int) -> None:
    primaries = inventory_of("cluster").data_nodes[:3]
    assert width(primaries, processors) == at_once


def test_servers_elsewhere_are_all_read_at_the_same_time() -> None:
    nodes = [node.model_copy(update={"host": "192.0.2.1"}) for node in inventory_of("cluster").data_nodes]
    assert width(nodes, 2) == len(nodes)
