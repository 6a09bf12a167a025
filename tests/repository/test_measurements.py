"""The pure parts of the measurements beside `make bench`: lines, quantiles, tables, waits, pauses, made traffic."""

from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.history import ContactHistory, FactChanges, Outcome
from aggregates.rules import Rules, RulesBook
from bench.harness import tables
from bench.harness.commit_times import Observations, longest_pauses, waits
from bench.harness.errors import BenchError
from bench.harness.population import LATENESS, Population, contact_id, life, live_records, steady_records
from bench.harness.rate_sender import Paced
from bench.harness.report import Outcome as Measured
from bench.harness.report import Table, line, page, text
from bench.harness.statistics import fitted, quantile
from bench.harness.variables import Variables
from bench.scaling.snapshots import random_filters
from schemas.events import decode_event, instant_us

POPULATION = Population(contacts=100, accounts=3, days=5, partitions=4, until_ms=1_780_000_000_000)


# --- lines and quantiles ----------------------------------------------------------------------------------------------


def test_points_on_a_line_give_that_line() -> None:
    found = fitted([(0, 3.0), (1, 5.0), (4, 11.0)])
    assert found.slope == pytest.approx(2.0)
    assert found.at(10) == pytest.approx(23.0)


def test_a_line_weighs_all_points_and_not_the_last_one() -> None:
    # Level but for the last of five: least squares gives 10 * 2 / 10 = 2 for each step, not 10.
    assert fitted([(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (4, 10.0)]).slope == pytest.approx(2.0)


def test_one_point_gives_a_level_line_and_none_gives_no_line() -> None:
    assert fitted([(5, 7.0)]).slope == 0
    assert fitted([(5, 7.0)]).at(100) == 7
    with pytest.raises(ValueError, match="no points"):
        fitted([])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_lies_between_the_least_and_the_greatest(values: list[float], share: float) -> None:
    assert min(values) <= quantile(values, share) <= max(values)


def test_quantiles_lie_between_the_closest_ranks() -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == pytest.approx(2.5)
    assert quantile([1.0, 2.0], 0.99) == pytest.approx(1.99)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_table_has_texts_to_the_left_numbers_to_the_right_and_dashes_for_what_is_not_known() -> None:
    shown = tables.plain(("what", "µs", "events"), [("floor", 2.25, 1_000), ("mediana", None, 20)])
    assert shown.splitlines() == [
        "what      µs  events",
        "--------------------",
        "floor    2.2   1,000",
        "mediana    -      20",
    ]
    assert tables.markdown(("a", "b"), [("x", 1.0)]) == "| a | b |\n| --- | ---: |\n| x | 1.0 |"


def test_an_outcome_is_a_page_a_text_and_one_line_of_json() -> None:
    outcome = Measured(
        name="flat", tables=[Table("Cost", ("known", "µs"), [("10", 1.5)])], summary={"us": 1.5}, notes=["A note."]
    )
    assert page(outcome, "2 cores").splitlines()[:3] == ["# flat", "", "Written by `make bench-flat` on 2 cores."]
    assert "| 10 | 1.5 |" in page(outcome, "2 cores")
    assert text(outcome).endswith("A note.")
    assert msgspec.json.decode(line(outcome)) == {"flat": {"us": 1.5}}


def test_what_can_be_chosen_has_defaults_and_names_what_cannot_be_used() -> None:
    variables = Variables({"SIZES": "10x2, 30x4", "EMPTY": "", "BAD": "ten", "LOW": "0"})
    assert variables.pairs("SIZES", "1x1") == [(10, 2), (30, 4)]
    assert variables.number("EMPTY", 5) == 5
    assert variables.numbers("UNSET", "1 2 4") == [1, 2, 4]
    for name in ("BAD", "LOW"):
        with pytest.raises(BenchError, match=name):
            variables.number(name, 1)
    with pytest.raises(BenchError, match="SHAPE"):
        Variables({"SHAPE": "10"}).pairs("SHAPE", "1x1")


# --- waits and pauses -------------------------------------------------------------------------------------------------

SENT = Paced(sent={"conversations/0": [10.0, 10.1, 11.0]}, began=10.0, ended=11.0, latest=0.0)


def test_a_record_is_committed_when_the_position_is_past_its_offset() -> None:
    # Offsets 7, 8 and 9: the first two with the commit at 10.3, the third with that at 11.5.
    seen = {"conversations/0": [(0.0, 7), (10.3, 9), (11.5, 10)]}
    assert waits(SENT, seen) == pytest.approx([0.3, 0.2, 0.5])
    assert waits(SENT, seen, skip_seconds=0.5) == pytest.approx([0.5])


def test_a_record_that_was_not_seen_committed_is_an_error_and_no_short_wait() -> None:
    with pytest.raises(ValueError, match="record 9 was not committed"):
        waits(SENT, {"conversations/0": [(0.0, 7), (10.3, 9)]})


def test_observations_keep_only_what_moved() -> None:
    found = Observations([(0, 0), (5, 5)])
    found.add(1.0, [(0, 0), (5, 5)])
    found.add(2.0, [(0, 3), (5, 5)])
    assert found.seen["conversations/0"] == [(0.0, 0), (2.0, 3)]
    assert found.seen["contacts/0"] == [(0.0, 0)]
    assert found.total == 13


def test_a_pause_reaches_from_commit_to_commit_or_to_the_end() -> None:
    seen = {"a": [(0.0, 0), (9.5, 1), (10.5, 2), (14.0, 3)], "b": [(0.0, 0), (10.1, 4)]}
    assert longest_pauses(seen, 10.0, 15.0) == pytest.approx({"a": 3.5, "b": 4.9})


# --- made traffic -----------------------------------------------------------------------------------------------------


def test_a_life_is_accepted_whole_and_in_order() -> None:
    (company, *_) = POPULATION.companies()
    book, history = RulesBook(Rules(company.settings)), ContactHistory()
    events = list(life(company, contact_id(company, 0), POPULATION.begin_ms(0), 3, Random(1)))
    assert len(events) == 13
    timed = [(event, instant_us(event.occurred_at)) for event in events]
    assert history.fold(timed, book, LATENESS, FactChanges()) == [Outcome.APPLIED] * 13
    assert all(one.occurred_at <= other.occurred_at for one, other in pairwise(events))


def test_live_events_go_to_the_shards_of_their_contacts_in_the_order_of_time() -> None:
    records = live_records(POPULATION, [5, 5, 17], 1_780_000_000_000, 60_000, "a")
    events = [decode_event(record.value) for record in records]
    assert len(events) == len({event.id for event in events}) == 12
    assert all(one.occurred_at <= other.occurred_at for one, other in pairwise(events))
    names = {contact_id(POPULATION.companies()[n % 3], n).encode(): POPULATION.shard(n) for n in (5, 17)}
    assert {record.key: record.shard for record in records} == names


def test_steady_events_are_evenly_spaced_and_some_are_of_new_contacts() -> None:
    records = steady_records(POPULATION, 4_500, 1_780_000_000_000, 500.0, "b")
    events = [decode_event(record.value) for record in records]
    assert [event.occurred_at.timestamp() for event in events[:3]] == pytest.approx(
        [1_780_000_000.0, 1_780_000_000.002, 1_780_000_000.004]
    )
    assert len({event.id for event in events}) == 4_500
    created = sum(record.topic == "contacts" for record in records)
    assert 400 < created < 700  # one of nine, and more at the beginning, when all visits are young
    shards: dict[bytes, set[int]] = {}
    for record in records:
        shards.setdefault(record.key, set()).add(record.shard)
    assert all(len(found) == 1 for found in shards.values())


def test_the_same_population_gives_the_same_records() -> None:
    assert steady_records(POPULATION, 100, 0, 50.0, "c") == steady_records(POPULATION, 100, 0, 50.0, "c")


@pytest.mark.parametrize("dimensions", range(5))
def test_random_filters_have_as_many_dimensions_as_asked(dimensions: int) -> None:
    (company, *_) = POPULATION.companies()
    for seed in range(20):
        filters = random_filters(company, dimensions, Random(seed))
        asked = [filters.origin, filters.group, filters.channel, filters.advisor]
        assert sum(values is not None for values in asked) == dimensions
