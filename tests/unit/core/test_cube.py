"""Cubes of a day, by hand: slices, sets, and the values that occurred."""

from itertools import product
from typing import Any

import pytest

from aggregates import counters, cube
from aggregates.counters import COUNT, Field, Value, packed
from aggregates.cube import (
    ADVISOR,
    CHANNEL,
    GROUP,
    ORIGIN,
    VALUES_KEY,
    Slice,
    build,
    decode_sets,
    decode_slice,
    decode_touches,
    decode_values,
    matches,
    merged_counters,
    ordered_values,
    query_keys,
    sets_key,
    slice_key,
)
from aggregates.errors import NegativeCounter
from aggregates.filters import Filters

DAY = 739_677
ANA, BO = ("ana", "whatsapp", "sales"), ("bo", "email", "nights")

COUNTERS: dict[Field, Value] = {
    (counters.FIRST_RESPONSE, "Web", "sales", "whatsapp", "ana"): {COUNT: 1, 8: 1, 9: 1},
    (counters.RESPONSE, "Web", "sales", "whatsapp", "ana"): {COUNT: 2, 8: 2, 9: 2},
    (counters.RESPONSE, "Web", "nights", "email", "bo"): {COUNT: 1, 10: 1, 9: 1},
    (counters.INTERACTION, "Web", (ANA, BO)): 3,
    (counters.INTERACTION, None, (ANA,)): 1,
    (counters.UNCOUNTED, "Web", "sales", "telegram", "ana"): 4,
    (counters.NEW_CONTACT, "Web", "sales", "webchat", counters.LIVE): 5,
    (counters.NEW_CONTACT, "Web", None, "webchat", counters.DELETED): 2,
    (counters.NEW_CONTACT, "Web", "sales", "webchat", counters.MERGED): 1,
    (counters.ORIGIN, "Web", "sales", "webchat", True, True, False): 3,
    (counters.ORIGIN, "Web", "nights", "webchat", False, False, False): 2,
    (counters.NEW_CONVERSATION, "Web", "sales", "whatsapp", "contact", 9): 6,
    (counters.NEW_CONVERSATION, "Web", "nights", "email", "transfer", 23): 1,
    (counters.CLOSED, "Web", "sales", "whatsapp", "ana", False): 2,
    (counters.CLOSED, "Web", "sales", "whatsapp", None, True): 1,
    (counters.WAITING, "Web", "sales", "whatsapp", False, 2_000): 1,
    (counters.WAITING, "Web", "nights", "email", True, 1_000): 2,
    (counters.ACTIVE, "Web", (("email", "sales", True, DAY - 3), ("whatsapp", "sales", False, DAY - 1))): 2,
    (counters.ACTIVE, None, (("whatsapp", None, True, None),)): 1,
}


@pytest.fixture(scope="module")
def built() -> dict[bytes, bytes]:
    return build(COUNTERS)


def slice_of(cube_of_day: dict[bytes, bytes], **filters: list[str]) -> Slice | None:
    (key,) = query_keys(Filters.parse(**filters))
    return decode_slice(cube_of_day[key]) if key in cube_of_day else None


def test_the_whole_slice_adds_up_every_counter(built: dict[bytes, bytes]) -> None:
    assert slice_of(built) == Slice(
        first_response=packed({COUNT: 1, 8: 1, 9: 1}),
        response=packed({COUNT: 3, 8: 2, 9: 3, 10: 1}),
        uncounted=4,
        live=5,
        deleted=2,
        merged=1,
        conversations=[("email", "transfer", 23, 1), ("whatsapp", "contact", 9, 6)],
        closed=2,
        transferred=1,
        origins=[("Web", False, False, False, 2), ("Web", True, True, False, 3)],
        waiting=3,
        snoozed=2,
        oldest_ms=1_000,
    )


def test_a_slice_of_several_dimensions_holds_what_has_them_all(built: dict[bytes, bytes]) -> None:
    assert slice_of(built, group=["nights"], channel=["email"], origin=["Web"]) == Slice(
        response=packed({COUNT: 1, 9: 1, 10: 1}),
        conversations=[("email", "transfer", 23, 1)],
        waiting=2,
        snoozed=2,
        oldest_ms=1_000,
    )


def test_a_slice_with_an_advisor_holds_only_what_advisors_do(built: dict[bytes, bytes]) -> None:
    assert slice_of(built, advisor=["ana"]) == Slice(
        first_response=packed({COUNT: 1, 8: 1, 9: 1}), response=packed({COUNT: 2, 8: 2, 9: 2}), uncounted=4, closed=2
    )
    assert slice_of(built, advisor=["none"]) == Slice(transferred=1)


def test_new_contacts_are_under_their_entry_group_and_origins_under_the_current_one(built: dict[bytes, bytes]) -> None:
    nobody, nights = slice_of(built, group=["none"]), slice_of(built, group=["nights"])
    assert nobody is not None
    assert nights is not None
    assert (nobody.live, nobody.deleted, nobody.origins) == (0, 2, [])
    assert (nights.live, nights.origins) == (0, [("Web", False, False, False, 2)])


def test_values_that_did_not_occur_have_no_slice(built: dict[bytes, bytes]) -> None:
    assert slice_of(built, channel=["sms"]) is None
    assert slice_of(built, group=["sales"], channel=["email"]) is None


def test_every_slice_is_under_one_of_the_sixteen_masks(built: dict[bytes, bytes]) -> None:
    keys = {slice_key(mask, values) for mask, values in _combinations()}
    others = {sets_key(mask) for mask in range(16)} | {VALUES_KEY}
    assert built.keys() <= keys | others
    assert len([key for key in built if key in keys]) > 30


def _combinations() -> list[tuple[int, tuple[str | None, ...]]]:
    names: list[tuple[str | None, ...]] = [
        ("Web", None),
        ("sales", "nights", None),
        ("whatsapp", "email", "webchat", "telegram"),
        ("ana", "bo", None),
    ]
    return [
        (mask, values)
        for mask in range(16)
        for values in product(*[dimension for bit, dimension in enumerate(names) if mask >> bit & 1])
    ]


def test_interactions_forget_what_the_mask_leaves_out_but_not_how_many_advisors_there_were(
    built: dict[bytes, bytes],
) -> None:
    def interactions(mask: int) -> list[Any]:
        found = decode_sets(built[sets_key(mask)]).interactions
        return [(origin, decode_touches(touches), n) for origin, touches, n in found]

    anywhere = ((None, None),)
    assert interactions(0) == [(None, ((None, anywhere),), 1), (None, ((None, anywhere), (None, anywhere)), 3)]
    assert interactions(ORIGIN) == [
        ("Web", ((None, anywhere), (None, anywhere)), 3),
        (None, ((None, anywhere),), 1),
    ]
    assert interactions(ADVISOR | CHANNEL) == [
        (None, (("ana", (("whatsapp", None),)),), 1),
        (None, (("bo", (("email", None),)), ("ana", (("whatsapp", None),))), 3),
    ]


def test_activity_joins_pairs_that_look_alike_under_the_mask(built: dict[bytes, bytes]) -> None:
    def active(mask: int) -> list[Any]:
        return decode_sets(built[sets_key(mask)]).active

    assert active(0) == [(None, ((None, None, True, None),), 1), (None, ((None, None, True, DAY - 1),), 2)]
    assert active(GROUP) == [(None, ((None, "sales", True, DAY - 1),), 2), (None, ((None, None, True, None),), 1)]
    assert active(CHANNEL) == [
        (None, (("whatsapp", None, True, None),), 1),
        (None, (("email", None, True, DAY - 3), ("whatsapp", None, False, DAY - 1)), 2),
    ]
    assert active(ADVISOR) == []


def test_the_values_that_occurred_are_those_a_filter_could_find(built: dict[bytes, bytes]) -> None:
    assert decode_values(built[VALUES_KEY]) == (
        ["Web", None],
        ["nights", "sales", None],
        ["email", "telegram", "webchat", "whatsapp"],
        ["ana", "bo", None],
    )


def test_what_was_active_on_other_days_only_is_no_value_of_this_day() -> None:
    field = (counters.ACTIVE, "Web", (("sms", "old", False, DAY - 1), ("email", "sales", True, None)))
    assert decode_values(build({field: 1})[VALUES_KEY]) == (["Web"], ["sales"], ["email"], [])


def test_a_day_without_counters_has_an_empty_cube() -> None:
    assert build({}) == {}


def test_equal_counters_make_equal_cubes_whatever_their_order(built: dict[bytes, bytes]) -> None:
    assert build(dict(reversed(COUNTERS.items()))) == built


def test_filters_of_several_values_ask_for_each_combination() -> None:
    keys = query_keys(Filters.parse(group=["sales", "none"], channel=["sms", "email"]))
    assert keys == [slice_key(6, pair) for pair in product(("sales", None), ("sms", "email"))]
    assert query_keys(Filters()) == [slice_key(0, ())]


def test_counters_of_shards_are_added() -> None:
    one: dict[Field, Value] = {("n", "Web"): 1, ("r", "Web"): {0: 1, 8: 1}}
    other: dict[Field, Value] = {("n", "Web"): 2, ("r", "Web"): {0: 1, 9: 1}, ("x",): 1}
    assert merged_counters([one.items(), other.items()]) == {
        ("n", "Web"): 3,
        ("r", "Web"): {0: 2, 8: 1, 9: 1},
        ("x",): 1,
    }
    assert merged_counters([]) == {}
    assert one == {("n", "Web"): 1, ("r", "Web"): {0: 1, 8: 1}}


def test_a_negative_counter_of_a_shard_is_refused() -> None:
    with pytest.raises(NegativeCounter):
        merged_counters([[(("n",), -1)]])


def test_values_are_in_order_with_null_last_and_match_as_asked() -> None:
    assert ordered_values([None, "b", "a"]) == ["a", "b", None]
    assert [matches(None, None), matches(("a", None), None), matches(("a",), None), matches(("a",), "a")] == [
        True,
        True,
        False,
        True,
    ]
    assert cube.DIMENSIONS == 4
