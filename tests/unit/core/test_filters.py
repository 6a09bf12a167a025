"""Filters from the words people type."""

from aggregates.filters import Filters


def test_no_words_filter_nothing() -> None:
    assert Filters.parse() == Filters()
    assert Filters.parse(origin=[], group=(), channel=[], advisor=[]).dimensions == (None, None, None, None)


def test_none_asks_for_null_among_other_values() -> None:
    assert Filters.parse(group=["sales", "none"]).group == ("sales", None)


def test_a_word_said_twice_counts_once() -> None:
    assert Filters.parse(channel=["sms", "email", "sms"]).channel == ("sms", "email")


def test_a_sign_of_equality_makes_any_word_a_value() -> None:
    assert Filters.parse(origin=["=none", "none", "==x", "="]).origin == ("none", None, "=x", "")


def test_only_the_word_none_means_null() -> None:
    assert Filters.parse(origin=["None", "", "NONE"]).origin == ("None", "", "NONE")
