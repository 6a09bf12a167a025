"""Laws of counters: they add up exactly in any order, and equal ones have equal bytes."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates import counters
from aggregates.counters import (
    Deltas,
    Field,
    Value,
    Vector,
    added,
    business_bins,
    decode_field,
    decode_value,
    elapsed_bins,
    encode_field,
    encode_value,
    observation,
    packed,
    unpacked,
)
from aggregates.cube import merged_counters
from aggregates.errors import NegativeCounter
from aggregates.sketch import bin_of

counts = st.integers(1, 1 << 40)
vectors = st.dictionaries(st.integers(0, 4_000), st.integers(1, 1 << 40), min_size=1, max_size=20)
values: st.SearchStrategy[Value] = counts | vectors

texts = st.text(max_size=8)
dimensions = st.none() | texts | st.booleans() | st.integers(-(1 << 40), 1 << 40)
fields: st.SearchStrategy[Field] = st.tuples(
    st.sampled_from("friuxwnoca"),
    dimensions,
    st.recursive(dimensions, lambda item: st.tuples(item, item), max_leaves=8),
)
durations_ms = st.integers(0, 1 << 42)


@given(fields)
def test_a_field_survives_its_bytes(field: Field) -> None:
    found = decode_field(encode_field(field))
    assert found == field
    assert repr(found) == repr(field)  # True stays True, and is not 1
    assert encode_field(found) == encode_field(field)


@given(values)
def test_a_value_survives_its_bytes(value: Value) -> None:
    assert decode_value(encode_value(value)) == value


@given(vectors, st.randoms(use_true_random=False))
def test_equal_vectors_have_equal_bytes_whatever_order_they_were_filled_in(vector: Vector, random: Any) -> None:
    shuffled = list(vector.items())
    random.shuffle(shuffled)
    assert encode_value(dict(shuffled)) == encode_value(vector)


@given(vectors)
def test_packing_is_undone_by_unpacking_in_small_numbers(vector: Vector) -> None:
    numbers = packed(vector)
    assert unpacked(numbers) == vector
    assert sum(numbers[::2]) == max(vector)


@given(vectors, vectors)
def test_adding_vectors_commutes_and_taking_away_gives_back(one: Vector, other: Vector) -> None:
    total = added(one, other)
    assert total == added(other, one)
    assert added(total, {slot: -n for slot, n in other.items()}) == one
    assert added(one, {slot: -n for slot, n in one.items()}) is None


@given(vectors, vectors, vectors)
def test_adding_vectors_associates(one: Vector, two: Vector, three: Vector) -> None:
    first, last = added(one, two), added(two, three)
    assert first is not None
    assert last is not None
    assert added(first, three) == added(one, last)


@given(vectors, vectors)
def test_adding_changes_neither_argument(one: Vector, other: Vector) -> None:
    before = dict(one), dict(other)
    added(one, other)
    assert (one, other) == before


@given(counts, counts)
def test_counts_add_and_never_fall_below_zero(one: int, other: int) -> None:
    assert added(one, other) == one + other
    assert added(one, -one) is None
    with pytest.raises(NegativeCounter):
        added(one, -one - other)
    with pytest.raises(NegativeCounter):
        added(None, -other)


@given(durations_ms, st.none() | durations_ms, st.none() | durations_ms)
def test_an_observation_is_one_duration_on_both_clocks(
    elapsed_ms: int, business_ms: int | None, target_ms: int | None
) -> None:
    vector = observation(elapsed_ms, business_ms, target_ms)
    worked_ms = elapsed_ms if business_ms is None else business_ms
    assert vector[counters.COUNT] == 1
    assert elapsed_bins(vector) == {bin_of(elapsed_ms): 1}
    assert business_bins(vector) == {bin_of(worked_ms): 1}
    assert vector.get(counters.WITHOUT_SCHEDULE, 0) == (business_ms is None)
    assert vector.get(counters.TARGETED, 0) == (target_ms is not None)
    assert vector.get(counters.WITHIN_ELAPSED, 0) == (target_ms is not None and elapsed_ms <= target_ms)
    assert vector.get(counters.WITHIN_BUSINESS, 0) == (target_ms is not None and worked_ms <= target_ms)


# A few counters on a few days, as steps of folding.
_COUNTED = st.tuples(st.integers(1, 2), st.sampled_from([("n", "Web"), ("n", None)]), st.integers(-2, 2))
_OBSERVED = st.tuples(st.integers(1, 2), st.just(("r", "Web")), st.dictionaries(st.integers(0, 3), st.integers(1, 3)))
steps = st.lists(_COUNTED | _OBSERVED, max_size=12)


def deltas_of(taken: list[Any]) -> Deltas:
    deltas = Deltas()
    for day, field, what in taken:
        if isinstance(what, dict):
            deltas.observe(day, field, what, 1)
        else:
            deltas.count(day, field, what)
    return deltas


def significant(deltas: Deltas) -> dict[int, dict[Field, Value]]:
    deltas.clear_zeros()
    return {
        day: {
            field: {slot: n for slot, n in value.items() if n} if isinstance(value, dict) else value
            for field, value in found.items()
        }
        for day, found in deltas.days.items()
    }


@given(steps, steps)
def test_adding_deltas_is_taking_both_courses_of_steps(one: list[Any], other: list[Any]) -> None:
    total = deltas_of(one)
    total.add(deltas_of(other), 1)
    assert significant(total) == significant(deltas_of(one + other))


@given(steps)
def test_deltas_taken_away_again_leave_nothing_to_write(taken: list[Any]) -> None:
    deltas = deltas_of(taken)
    deltas.add(deltas_of(taken), -1)
    deltas.clear_zeros()
    assert deltas.days == {}


@given(st.lists(st.dictionaries(st.sampled_from([("r", "Web"), ("r", None)]), vectors), max_size=3))
def test_merging_shards_does_not_depend_on_their_order(shards: list[dict[Field, Value]]) -> None:
    merged = [merged_counters(shard.items() for shard in order) for order in permutations(shards)]
    assert all(total == merged[0] for total in merged)
    assert [encode_value(merged[0][field]) for field in sorted(merged[0], key=repr)] == [
        encode_value(merged[-1][field]) for field in sorted(merged[-1], key=repr)
    ]
