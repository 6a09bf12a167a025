"""A report of the whole log held to the oracle, which shares no code with the fold."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from tests.oracle.arrival import split
from tests.oracle.report import Oracle
from tests.simulation.expected import event_in
from tests.simulation.kafka_log import Log
from tests.support.comparison import differences, expected_uncounted, expected_waiting

LATENESS_SECONDS = 3_600


def differences_from_oracle(
    log: Log, topics: tuple[str, str], account: Mapping[str, Any], found: Mapping[str, Any], days: tuple[date, date]
) -> list[str]:
    """Where an account's report is not what the oracle makes of the log.

    The traffic is such that any interleaving of the topics gives the same, so conversations may come first.
    """
    events = [
        msgspec.json.decode(record.value or b"")
        for topic in reversed(topics)
        for partition, records in log.history.items()
        if partition.topic == topic
        for record in records
        if event_in(record, topics) is not None
    ]
    counted = [event for event in split(events, LATENESS_SECONDS).counted if "contact_id" in event]
    oracle = Oracle(counted, [account])
    account_id = account["account_id"]
    expected = oracle.metrics(account_id, *days)
    del expected["heatmap_occurrences"]  # the oracle looks back from long after the range, a report does not
    expected["waiting"] = expected_waiting(oracle, account, *days, {})
    expected["uncounted_advisor_messages"] = expected_uncounted(oracle, account_id, *days, {})
    return differences(expected, found)
