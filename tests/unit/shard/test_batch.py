"""A batch that meets trouble: one bad record, no dead-letter topic, settings or chunks that are gone."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from aggregates.history import ContactHistory, Lateness
from schemas import zones
from schemas.events import decode_event
from streams.errors import SessionLost, ShardStopped, Unavailable
from streams.fold import batch_fold as folding
from streams.kafka.dead_letters import DeadLetter, DeadLetterLimit
from streams.monitoring.catalogue import WorkerMetrics
from streams.records.columns import NOTHING, Run
from streams.records.decoded import Arrival
from streams.redis.keys import NamespaceKeys, contact_key, split_rules_field
from streams.redis.ledger import Positions, RedisLedger
from streams.redis.settings_store import RulesStore
from streams.shard.batch import Batch, BatchProcessor
from streams.shard.session import Session
from tests.support.fake_redis import FakeRedis
from tests.support.records import record, taken_of

KEYS = NamespaceKeys("test")
LATENESS = Lateness(3_600_000_000, 30 * 86_400_000_000)


def message(number: int, contact: str = "ana", minute: int | None = None) -> bytes:
    clock = f"10:{number if minute is None else minute:02}"
    return (
        f'{{"id": "e{number}", "type": "message.received", "account_id": "acme", "contact_id": "{contact}", '
        f'"occurred_at": "2025-03-02T{clock}:00Z", "conversation_id": "c-{contact}", "channel": "whatsapp"}}'
    ).encode()


def answer(number: int) -> bytes:
    asked = message(number).replace(b"message.received", b"message.sent")
    return asked[:-1] + b', "author": {"kind": "advisor", "id": "eva"}}'


class Letters:
    """Dead letters that are kept, unless the topic is away."""

    def __init__(self) -> None:
        self.written: list[tuple[int, str]] = []
        self.away = False

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        if self.away:
            raise Unavailable("dead letters: away")
        self.written += [(letter.record.offset, letter.reason) for letter in letters]


class Shard:
    """A shard with one session, and what applying batches does to it."""

    def __init__(self, fold: Any = folding.folding, lateness: Lateness = LATENESS) -> None:
        self.redis = FakeRedis()
        client: Any = self.redis
        self.ledger = RedisLedger(client, KEYS.shard(0), 0)
        self.letters = Letters()
        letters: Any = self.letters
        self.metrics = WorkerMetrics(CollectorRegistry())
        limit = DeadLetterLimit(1, 100, 0)

        def restart() -> None:
            rules = RulesStore(client, KEYS, 10)
            self.processor = BatchProcessor(rules, letters, limit, self.metrics, lateness, fold)

        self.restart = restart
        """Begin with nothing in memory."""
        restart()

    async def session(self) -> Session:
        await self.ledger.create(Positions(0, 0))
        claim = await self.ledger.claim()
        assert claim is not None
        return Session(0, self.ledger, claim, 100, 100)

    async def apply(self, session: Session, *values: bytes, topic: int = 1) -> None:
        start = session.positions
        first = start[topic]
        records = []
        for place, value in enumerate(values):
            try:
                key = decode_event(value).contact_id.encode()
            except Exception:  # noqa: BLE001 - a bad one
                key = b"ana"
            records.append(record(first + place, value, key=key))
        end = start._replace(**{("contacts", "conversations")[topic]: first + len(values)})
        await self.processor.apply(Batch(session, start, end, taken_of(Run(topic, records))))

    def history(self, contact: str) -> ContactHistory:
        return ContactHistory.decode(self.redis.data[KEYS.shard(0).states][contact_key("acme", contact)])

    def events_of(self, contact: str) -> list[str]:
        return [entry.id for entry in self.history(contact).entries]


def breaking_at(*ids: str) -> Any:
    """A fold that some events break half way through."""

    def fold(events: Sequence[Arrival], histories: Any, books: Any, lateness: Lateness, one_by_one: Any) -> Any:
        for place, arrival in enumerate(events):
            if arrival.event.id in ids:
                folding.fold(events[: place + 1], histories, books, lateness)
                raise folding.BrokenFold(arrival, ZeroDivisionError("division by zero"))
        return (yield from folding.folding(events, histories, books, lateness, one_by_one))

    return fold


async def test_records_that_break_the_fold_are_set_aside_and_the_others_folded() -> None:
    shard = Shard(breaking_at("e2", "e4"))
    session = await shard.session()
    await shard.apply(session, message(1))
    await shard.apply(session, *(message(number) for number in range(2, 6)), message(6, "bob"))
    assert shard.letters.written == [(1, "fold-error"), (3, "fold-error")]
    assert (shard.events_of("ana"), shard.events_of("bob")) == (["e1", "e3", "e5"], ["e6"])
    assert session.positions == Positions(0, 6)


async def test_bad_late_and_repeated_records_are_counted_each_in_its_way() -> None:
    shard = Shard(lateness=Lateness(60_000_000, 60_000_000))
    session = await shard.session()
    unknown = message(7).replace(b"message.received", b"message.dreamt")
    await shard.apply(session, message(5), b"nonsense", message(5), message(1), unknown)
    assert shard.letters.written == [(1, "malformed"), (3, "too-late")]
    values = {
        sample.name + "".join(sample.labels.values()): sample.value
        for metric in shard.metrics.registry.collect()
        for sample in metric.samples
    }
    assert values["mediana_events_totalmessage.received"] == 1
    assert values["mediana_duplicates_total"] == 1
    assert values["mediana_late_events_total"] == 1
    assert values["mediana_unknown_events_total"] == 1
    assert values["mediana_dead_letters_totalmalformed"] == 1


async def test_the_position_waits_for_the_dead_letters() -> None:
    shard = Shard()
    session = await shard.session()
    shard.letters.away = True
    with pytest.raises(Unavailable):
        await shard.apply(session, message(1), b"nonsense")
    assert shard.redis.data[KEYS.shard(0).ledger][b"conversations"] == b"0"
    assert KEYS.shard(0).states not in shard.redis.data


async def test_a_batch_that_begins_elsewhere_is_refused() -> None:
    shard = Shard()
    session = await shard.session()
    for start in (Positions(0, 1), Positions(1, 0)):
        with pytest.raises(SessionLost):
            await shard.processor.apply(Batch(session, start, Positions(5, 5), NOTHING))
    session.drop()
    with pytest.raises(SessionLost):
        await shard.processor.apply(Batch(session, Positions(0, 0), Positions(0, 1), NOTHING))


async def test_a_state_of_a_newer_program_stops_the_shard() -> None:
    shard = Shard()
    session = await shard.session()
    shard.redis.hash(KEYS.shard(0).states)[contact_key("acme", "ana")] = b"\xff newer"
    with pytest.raises(ShardStopped, match="version 255"):
        await shard.apply(session, message(1))


async def test_counters_that_would_fall_below_zero_stop_the_shard() -> None:
    shard = Shard()
    session = await shard.session()
    await shard.apply(session, message(1, minute=20))
    for key in [key for key in shard.redis.data if b":day:" in key]:
        del shard.redis.data[key]
    claim = await shard.ledger.claim()
    assert claim is not None
    earlier = message(2, minute=50).replace(b"T10:50", b"T09:50")  # the conversation started in another hour
    with pytest.raises(ShardStopped, match="below zero"):
        await shard.apply(Session(0, shard.ledger, claim, 10, 10), earlier)


async def test_settings_that_a_history_names_are_kept_with_it() -> None:
    shard = Shard()
    session = await shard.session()
    await shard.apply(session, message(1))
    for zone in ("America/Santiago", "Asia/Tokyo"):
        settings = f'{{"account_id": "acme", "timezone": "{zone}"}}'.encode()
        shard.redis.hash(KEYS.settings)[b"acme"] = settings
        shard.redis.hash(KEYS.settings_log)[b"version"] = zone.encode()
        await shard.apply(session, message(2 if zone < "As" else 3))
    assert len(shard.redis.data[KEYS.shard(0).rules]) == 3
    # Another worker, that never saw the older settings, corrects an event read under them.
    again = Shard()
    again.redis.data = shard.redis.data
    claim = await again.ledger.claim()
    assert claim is not None
    await again.apply(Session(0, again.ledger, claim, 10, 10), message(4, minute=0))
    assert again.events_of("ana") == ["e4", "e1", "e2", "e3"]


async def test_the_present_settings_stand_in_for_those_that_are_gone_and_nothing_stops() -> None:
    shard = Shard()
    shard.redis.hash(KEYS.settings)[b"acme"] = b'{"account_id": "acme", "timezone": "Asia/Tokyo"}'
    session = await shard.session()
    await shard.apply(session, message(2), answer(10))
    del shard.redis.data[KEYS.shard(0).rules]
    shard.redis.hash(KEYS.settings)[b"acme"] = b'{"account_id": "acme"}'
    again = Shard()
    again.redis.data = shard.redis.data
    claim = await again.ledger.claim()
    assert claim is not None
    session = Session(0, again.ledger, claim, 10, 10)
    # The answer keeps its wait, and needs no settings.
    await again.apply(session, message(5))
    assert again.events_of("ana") == ["e2", "e5", "e10"]
    assert again.metrics.registry.get_sample_value("mediana_missing_settings_total") == 0
    # Its wait began earlier: it is measured again.
    await again.apply(session, message(1))
    assert again.events_of("ana") == ["e1", "e2", "e5", "e10"]
    assert again.metrics.registry.get_sample_value("mediana_missing_settings_total") == 1


async def test_an_account_whose_settings_cannot_be_used_is_counted_on_and_stops_nobody_else() -> None:
    shard = Shard()
    session = await shard.session()
    shard.redis.hash(KEYS.settings)[b"acme"] = b"damaged"
    other = message(2, "bob").replace(b'"acme"', b'"other"')
    await shard.apply(session, message(1), other)
    assert shard.events_of("ana") == ["e1"]
    assert session.positions == Positions(0, 2)
    assert shard.letters.written == []
    assert shard.metrics.registry.get_sample_value("mediana_unusable_settings") == 1
    fields = shard.redis.data[KEYS.shard(0).rules]
    assert {split_rules_field(name)[0]: data for name, data in fields.items()} == {
        "acme": b'{"account_id":"acme"}',
        "other": b'{"account_id":"other"}',
    }


async def test_a_late_event_after_an_update_of_the_zone_data_stops_no_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard()
    office = (
        b'{"account_id": "acme", "timezone": "%s", "schedules": {"s": [{"weekly": {"sun": [["07:05", "24:00"]]}}]}, '
    )
    shard.redis.hash(KEYS.settings)[b"acme"] = office % b"America/Santiago" + b'"default_schedule": "s"}'
    await shard.apply(await shard.session(), message(1), answer(20))
    # Where Santiago had UTC-3, it has UTC+14 from here on.
    real = zones.zone
    monkeypatch.setattr(zones, "zone", lambda name: real("Pacific/Kiritimati" if "Santiago" in name else name))
    monkeypatch.setattr("aggregates.rules.ZONE_DATA_VERSION", "2099z")
    again = Shard()
    again.redis.data = shard.redis.data
    claim = await again.ledger.claim()
    assert claim is not None
    session = Session(0, again.ledger, claim, 10, 10)
    await again.apply(session, message(10), message(0))
    assert again.events_of("ana") == ["e0", "e1", "e10", "e20"]
    assert again.letters.written == []
    assert len(again.redis.data[KEYS.shard(0).rules]) == 2
    assert again.metrics.registry.get_sample_value("mediana_missing_settings_total") == 0


async def test_days_before_the_horizon_are_not_written_again() -> None:
    shard = Shard()
    session = await shard.session()
    session.horizon = 800_000
    await shard.apply(session, message(1))
    assert not [key for key in shard.redis.data if b":day:" in key]
    assert shard.events_of("ana") == ["e1"]
