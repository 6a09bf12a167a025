"""What is right and wrong about topics, from what Kafka says of them."""

from schemas.topics import topics
from streams.findings import Finding, as_json, as_lines, failed
from streams.kafka.topics import DAY_MS, TopicState, topic_findings

TOPICS = topics("mediana")


def topic(name: str, partitions: int = 6, replicas: int = 3, **settings: object) -> TopicState:
    texts = {key.replace("_", "."): str(value) for key, value in settings.items()}
    return TopicState(name=name, partitions=partitions, replicas=replicas, settings=texts)


def good() -> dict[str, TopicState]:
    states = [
        topic(TOPICS.contacts, cleanup_policy="delete", retention_ms=90 * DAY_MS, retention_bytes=-1),
        topic(TOPICS.conversations, cleanup_policy="delete", retention_ms=-1, retention_bytes=-1),
        topic(TOPICS.accounts, partitions=1, cleanup_policy="compact"),
        topic(TOPICS.dead_letters, partitions=1, cleanup_policy="delete"),
    ]
    return {state.name: state for state in states}


def wrong(states: dict[str, TopicState]) -> list[tuple[str, str]]:
    return [(finding.status, finding.what) for finding in topic_findings(TOPICS, states) if finding.status != "ok"]


def test_good_topics_give_no_complaint() -> None:
    assert wrong(good()) == []
    assert [finding.what for finding in topic_findings(TOPICS, good())] == [
        "both event topics have 6 partitions",
        "mediana.contacts keeps events for 90 days",
        "mediana.conversations keeps events without limit",
        "mediana.accounts is compacted",
    ]


def test_every_missing_topic_is_named() -> None:
    assert wrong({}) == [
        ("fail", "topic mediana.contacts does not exist"),
        ("fail", "topic mediana.conversations does not exist"),
        ("fail", "topic mediana.accounts does not exist"),
        ("fail", "topic mediana.dead-letters does not exist"),
    ]


def test_unequal_partition_counts_fail() -> None:
    states = good() | {TOPICS.contacts: topic(TOPICS.contacts, partitions=7, cleanup_policy="delete")}
    assert wrong(states) == [("fail", "mediana.contacts has 7 partitions, mediana.conversations 6")]


def test_accounts_that_are_not_compacted_fail() -> None:
    states = good() | {TOPICS.accounts: topic(TOPICS.accounts, cleanup_policy="delete")}
    assert wrong(states) == [("fail", "mediana.accounts is not compacted: settings would be forgotten")]


def test_accounts_that_are_compacted_and_deleted_are_compacted() -> None:
    assert wrong(good() | {TOPICS.accounts: topic(TOPICS.accounts, cleanup_policy="compact,delete")}) == []


def test_compacted_events_fail() -> None:
    states = good() | {TOPICS.contacts: topic(TOPICS.contacts, cleanup_policy="compact")}
    assert wrong(states) == [("fail", "mediana.contacts is compacted: it forgets events")]


def test_events_kept_for_less_than_a_week_are_a_warning() -> None:
    short = topic(TOPICS.contacts, cleanup_policy="delete", retention_ms=7 * DAY_MS - 1)
    assert wrong(good() | {TOPICS.contacts: short}) == [("warn", "mediana.contacts keeps events for 7.0 days")]
    week = topic(TOPICS.contacts, cleanup_policy="delete", retention_ms=7 * DAY_MS)
    assert wrong(good() | {TOPICS.contacts: week}) == []


def test_events_cut_by_size_are_a_warning() -> None:
    cut = topic(TOPICS.contacts, cleanup_policy="delete", retention_ms=-1, retention_bytes=10**9)
    assert wrong(good() | {TOPICS.contacts: cut}) == [("warn", "mediana.contacts is cut by size (retention.bytes)")]


def test_one_copy_is_a_warning() -> None:
    states = good() | {TOPICS.accounts: topic(TOPICS.accounts, replicas=1, cleanup_policy="compact")}
    assert wrong(states) == [("warn", "one copy only of mediana.accounts")]


def test_topics_whose_settings_are_hidden_are_taken_as_they_are() -> None:
    hidden = {name: topic(name) for name in good()}
    assert wrong(hidden) == []


# --- findings ---------------------------------------------------------------------------------------------------------

FINDINGS = [Finding("ok", "all is well"), Finding("warn", "one copy", "keep three")]


def test_warnings_are_no_failure() -> None:
    assert not failed(FINDINGS)
    assert failed([*FINDINGS, Finding("fail", "no Redis")])


def test_findings_are_lines_with_the_advice_below() -> None:
    assert as_lines(FINDINGS) == "ok    all is well\nwarn  one copy\n      → keep three\n"


def test_findings_are_one_json_document() -> None:
    assert as_json(FINDINGS) == (
        '{"ok":true,"findings":[{"status":"ok","what":"all is well","advice":""},'
        '{"status":"warn","what":"one copy","advice":"keep three"}]}\n'
    )
