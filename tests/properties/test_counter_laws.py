"""Laws of counters: they add up exactly in any order, and facts take back what they brought."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates import facts
from aggregates.counters import Vector, added, decode_vector, encode_vector, summed
from aggregates.errors import NegativeCounter
from aggregates.sketch import bin_of
from aggregates.totals import TRANSFERS, add_fact, hours, sketch_bins, totals_of
from tests.properties.test_fact_laws import contributions
from tests.support.contributions import Contributions

vectors = st.dictionaries(st.integers(0, 4_000), st.integers(1, 1 << 40), max_size=20)


@given(vectors)
def test_a_vector_survives_its_bytes(vector: Vector) -> None:
    assert decode_vector(encode_vector(vector)) == vector


@given(vectors, st.randoms(use_true_random=False))
def test_equal_vectors_have_equal_bytes_whatever_order_they_were_filled_in(vector: Vector, random: Any) -> None:
    shuffled = list(vector.items())
    random.shuffle(shuffled)
    assert encode_vector(dict(shuffled)) == encode_vector(vector)


@given(st.binary(max_size=30))
def test_bytes_of_any_kind_are_a_vector_or_refused(data: bytes) -> None:
    try:
        vector = decode_vector(data)
    except ValueError:
        return
    assert all(isinstance(number, int) for pair in vector.items() for number in pair)


@given(vectors, vectors)
def test_adding_vectors_commutes_and_taking_away_gives_back(one: Vector, other: Vector) -> None:
    total = added(one, other)
    assert total == added(other, one) == summed([one, other])
    assert added(total, {slot: -n for slot, n in other.items()}) == one
    assert added(one, {slot: -n for slot, n in one.items()}) == {}


@given(vectors, vectors, vectors)
def test_adding_vectors_associates(one: Vector, two: Vector, three: Vector) -> None:
    assert added(added(one, two), three) == added(one, added(two, three)) == summed([one, two, three])


@given(st.permutations([{1: 2, 3: 4}, {1: -2}, {3: 1, 5: 1}, {5: -1, 3: -5}]))
def test_a_sum_keeps_no_zero_in_any_order(changes: list[Vector]) -> None:
    assert summed(changes) == {}


@given(vectors, vectors)
def test_adding_changes_neither_argument(one: Vector, other: Vector) -> None:
    before = dict(one), dict(other)
    added(one, other)
    summed([one, other])
    assert (one, other) == before


@given(vectors, st.integers(0, 4_000), st.integers(1, 1 << 40))
def test_counts_never_fall_below_zero(vector: Vector, slot: int, more: int) -> None:
    held = vector.get(slot, 0)
    assert slot not in added(vector, {slot: -held})
    with pytest.raises(NegativeCounter):
        added(vector, {slot: -held - more})


# --- totals of facts --------------------------------------------------------------------------------------------------


@given(contributions, st.randoms(use_true_random=False))
def test_facts_that_come_and_go_in_any_order_leave_the_totals_of_those_that_stay(
    told: Contributions, random: Any
) -> None:
    """As batches add and take away facts, and a day's hash gets the sum of their changes."""
    steps = [(fact, +1) for _, fact in told]
    gone = random.sample(steps, len(steps) // 2)
    steps += [(fact, -1) for fact, _ in gone]
    random.shuffle(steps)
    half: list[Vector] = [{}, {}]
    for number, (fact, times) in enumerate(steps):
        add_fact(half[number % 2], fact, times)
    left = Counter(fact for _, fact in told) - Counter(fact for fact, _ in gone)
    assert summed(half) == totals_of(left.elements())


@given(contributions)
def test_totals_count_facts_by_kind_hour_and_bin(told: Contributions) -> None:
    found = [fact for _, fact in told]
    totals = totals_of(found)
    assert Counter({kind: totals.get(kind, 0) for kind in range(facts.WAITING + 1)}) == Counter(
        fact.kind for fact in found
    )
    closures = [fact for fact in found if fact.kind == facts.CLOSED]
    assert totals.get(TRANSFERS, 0) == sum(fact.flags & facts.TRANSFERRED for fact in closures)
    started = Counter(fact.flags for fact in found if fact.kind == facts.STARTED)
    assert hours(totals) == [started[hour] for hour in range(24)]
    for kind in (facts.FIRST_RESPONSE, facts.RESPONSE):
        answers = [fact for fact in found if fact.kind == kind]
        elapsed = Counter(bin_of(fact.at_ms - fact.since_ms) for fact in answers)
        assert sketch_bins(totals, kind, "elapsed") == elapsed
        assert sketch_bins(totals, kind, "business") == Counter(bin_of(fact.business_ms) for fact in answers)
