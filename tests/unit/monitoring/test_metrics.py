"""The worker's metrics: series whose labels are known stand at 0 before anything happened."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from schemas.errors import EVENT_REASONS, SETTINGS_REASONS
from streams.monitoring.catalogue import DEAD_LETTER_REASONS, WorkerMetrics

SCHEMAS = Path(__file__).parents[3] / "schemas"


def exposed() -> str:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    return generate_latest(registry).decode()


def raised(module: str) -> set[str]:
    """The reasons that a module gives for refusing a record."""
    return set(re.findall(r'Invalid(?:Event|Settings)\(\s*"([a-z-]+)"', (SCHEMAS / module).read_text()))


def test_the_reasons_known_are_those_given() -> None:
    assert raised("events.py") == set(EVENT_REASONS)
    assert raised("accounts.py") == set(SETTINGS_REASONS)


def test_every_reason_of_a_dead_letter_counts_from_zero() -> None:
    assert sorted(DEAD_LETTER_REASONS) == [
        *("batch-damaged", "batch-too-large", "contact-too-large"),
        *("fold-error", "future", "key-mismatch", "malformed", "oversize", "too-late"),
        *("unknown-group", "unknown-schedule", "wrong-topic"),
    ]
    text = exposed()
    for reason in DEAD_LETTER_REASONS:
        assert f'mediana_dead_letters_total{{reason="{reason}"}} 0.0\n' in text
    for reason in SETTINGS_REASONS:
        assert f'mediana_refused_settings_total{{reason="{reason}"}} 0.0\n' in text


def test_every_cause_and_every_type_counts_from_zero() -> None:
    text = exposed()
    for cause in ("lost", "unavailable", "rebalance", "fetch"):
        assert f'mediana_sessions_dropped_total{{cause="{cause}"}} 0.0\n' in text
    assert text.count('mediana_events_total{type="') == 15
    assert 'mediana_events_total{type="conversation.handed_off"} 0.0\n' in text
