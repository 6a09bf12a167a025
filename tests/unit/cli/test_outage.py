"""Outages in the log: one line when something goes, one when it is back, whatever happens in between."""

import logging

import pytest

from streams.outage import SETTLED_SECONDS, TOLD_AT_MOST, WITHIN_SECONDS, Outage

logger = logging.getLogger("tests.outage")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO, logger.name)
    return Outage("Redis", logger, settled_seconds=0, clock=clock)


def test_what_fails_again_a_moment_later_was_not_over(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("Redis", logger, clock=clock)
    for gap in (10.0, 0.5, 1.0):
        outage.failed("refused")
        clock.now += gap
        outage.answered()
    clock.now += SETTLED_SECONDS - 0.5
    outage.answered()
    assert len(caplog.messages) == 1
    clock.now += 0.5
    outage.answered()
    assert caplog.messages[1:] == ["Redis: over after 11.5 s and 3 failed tries"]


def test_a_thousand_failures_are_two_lines_with_how_many_and_for_how_long(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.answered()
    for _ in range(1000):
        outage.failed("Redis: refused")
        clock.now += 0.05
    outage.answered()
    outage.answered()
    assert caplog.messages == [
        "Redis: refused (told once, and again when it is over)",
        "Redis: over after 50.0 s and 1000 failed tries",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_it_is_over_when_everyone_who_failed_has_succeeded(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for shard in range(6):
        outage.failed(f"shard {shard}: refused", shard)
    clock.now += 2
    for shard in range(5):
        outage.answered(shard)
    outage.failed("shard 3: refused", 3)
    outage.answered(5)
    seen = [outage.is_on]
    outage.answered(3)
    seen.append(outage.is_on)
    assert seen == [True, False]
    assert caplog.messages == [
        "shard 0: refused (told once, and again when it is over)",
        "Redis: over after 2.0 s and 7 failed tries",
    ]


def test_who_gave_up_does_not_keep_it_on(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.failed("refused", 1)
    outage.failed("refused", 2)
    outage.gave_up(1)
    outage.gave_up(2)
    assert outage.is_on
    outage.answered(3)
    assert caplog.messages[-1] == "Redis: over after 0.0 s and 2 failed tries"


def test_each_failure_can_be_seen_at_level_debug(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger.name)
    outage.failed("one")
    outage.failed("two")
    assert caplog.messages[1] == "two (try 2)"


def test_what_comes_and_goes_all_the_time_fills_no_log(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6000):
        outage.failed("refused")
        clock.now += 0.05
        outage.answered()
        clock.now += 0.05
    minutes = 600 / WITHIN_SECONDS
    assert len(caplog.messages) <= 2 * TOLD_AT_MOST * (minutes + 1)
    clock.now += WITHIN_SECONDS
    outage.answered()
    caplog.clear()
    outage.failed("refused")
    outage.answered()
    assert caplog.messages[1] == "Redis: over after 0.0 s and 1 failed try"


def test_an_outage_that_begins_in_a_noisy_time_and_lasts_is_told(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(TOLD_AT_MOST + 3):
        outage.failed("flutter")
        outage.answered()
    caplog.clear()
    for _ in range(100):
        outage.failed("gone")
        clock.now += 1
    outage.answered()
    assert caplog.messages[0] == "gone (told once, and again when it is over)"
    assert len(caplog.messages) == 2
