"""The zone database changes under a running history, and late events go on taking back exactly what was counted.

Every zone gets the rules of another, as no government ever did it. The settings of before are then what a worker finds
after its restart: the bytes in its shard's hash, compiled with the new rules. Late events, late creations and archives
follow, by the fold in Python and by the library.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import history as histories_module
from aggregates import rules as rules_module
from aggregates.answers import Measured, Retracted
from aggregates.contact import born_as
from aggregates.counters import RESPONSE, Deltas, decode_field, decode_value, observation
from aggregates.entry import Counted, Entry
from aggregates.errors import NegativeCounter
from aggregates.history import ContactHistory, _creation_in, _fold_entries
from aggregates.journal import decode_entries
from aggregates.rules import Rules, RulesBook
from schemas import zones
from schemas.accounts import decode_settings, encode_settings
from streams.fold.compiled import open_library
from streams.fold.compiled_fold import CompiledFold
from streams.redis.settings_store import add_versions
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.lives import ACCOUNTS
from tests.parity.test_compiled_laws import Shard
from tests.support.comparison import Plain

RELEASES = ("real", "far", "near")

_ELSEWHERE = {"far": "Pacific/Kiritimati", "near": "Europe/Lisbon"}
_real_zone = zones.zone


@contextmanager
def zone_data(release: str) -> Iterator[None]:
    """The zone database of a release; all but the real one have the rules of one zone for all."""

    def zone(name: str) -> tzinfo:
        return _real_zone(_ELSEWHERE.get(release, name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zones, "zone", zone)
        patch.setattr(rules_module, "ZONE_DATA_VERSION", release)
        yield


class Workers:
    """A shard, and the settings of its hash, through restarts with other zone data."""

    def __init__(self, compiled: CompiledFold | None) -> None:
        self.stored: dict[str, dict[bytes, bytes]] = {}
        self.shard = Shard(compiled, {})

    def restart(self) -> None:
        """Begin anew with the zone data of now."""
        self.shard.books = {account["account_id"]: self._book(account) for account in ACCOUNTS}

    def _book(self, account: Plain) -> RulesBook:
        book = RulesBook(Rules(decode_settings(orjson.dumps(account))))
        held = self.stored.setdefault(account["account_id"], {})
        assert add_versions(book, account["account_id"], held) == []
        held[book.current.version] = encode_settings(book.current.settings)
        return book

    def contributed(self) -> Mapping[int, Mapping[bytes, bytes]]:
        """What the states say that their contacts contributed, all accounts together."""
        total = Deltas()
        for contact, state in self.shard.states.items():
            history = ContactHistory.decode(state)
            chunks = self.shard.archive.get(contact, {})
            archive = [chunks[b"%s#%d" % (contact, number)] for number in range(history.archive_count)]
            entries = [entry for chunk in archive for entry in decode_entries(chunk)] + history.journal
            _fold_entries(born_as(_creation_in(entries)), entries, Retracted(), total)
        return total.encoded()

    def counted(self) -> Mapping[int, Mapping[bytes, bytes]]:
        """What the counters hold, all accounts together."""
        total = Deltas()
        for (day, _), fields in self.shard.days.items():
            for field, data in fields.items():
                value = decode_value(data)
                if isinstance(value, dict):
                    total.observe(day, decode_field(field), value, 1)
                else:
                    total.count(day, decode_field(field), value)
        return total.encoded()


def run(log: Sequence[Plain], releases: Sequence[str], most: int, compiled: CompiledFold | None) -> Workers:
    """Take a log in, in batches, with restarts in between; a counter below zero raises."""
    workers = Workers(compiled)
    random = Random(len(log))
    parts = -(-len(log) // len(releases))
    for place, release in enumerate(releases):
        with zone_data(release):
            workers.restart()
            at, end = place * parts, min((place + 1) * parts, len(log))
            while at < end:
                size = min(random.randint(1, most), end - at)
                workers.shard.apply(log[at : at + size], at)
                at += size
    return workers


@pytest.fixture(scope="module")
def compiled() -> CompiledFold:
    return CompiledFold(open_library(), cache_accounts=2)


def compare(log: Sequence[Plain], releases: Sequence[str], most: int, compiled: CompiledFold) -> None:
    pure, fast = run(log, releases, most, None), run(log, releases, most, compiled)
    assert fast.shard.states == pure.shard.states
    assert fast.shard.archive == pure.shard.archive
    assert fast.shard.days == pure.shard.days
    assert pure.counted() == pure.contributed()


@pytest.mark.parametrize("seed", [501, 502])
def test_no_counter_falls_below_zero_and_all_counters_are_what_the_states_contributed(
    seed: int, compiled: CompiledFold
) -> None:
    log = random_arrival(random_history(seed, contacts=60).events, seed, too_late_percent=5)
    compare(list(log), ["real", "far", "near", "real"], 40, compiled)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_arrival_of_any_history_through_any_releases(compiled: CompiledFold, data: st.DataObject) -> None:
    history: History = data.draw(histories())
    log = list(data.draw(arrivals(history.events)))
    releases = data.draw(st.lists(st.sampled_from(RELEASES), min_size=2, max_size=4))
    compare(log, releases, data.draw(st.integers(1, 20)), compiled)


OFFICE: Plain = {
    "account_id": "office", "timezone": "America/Santiago", "default_schedule": "all",
    "schedules": {"all": [{"weekly": {day: [["09:00", "18:00"]] for day in ("mon", "tue", "wed")}}]},
}  # fmt: skip
HEAD: Plain = {"account_id": "office", "contact_id": "c"}
TALK: Plain = {**HEAD, "conversation_id": "k", "channel": "whatsapp"}
ASKED: Plain = {**TALK, "id": "1", "type": "message.received", "occurred_at": "2026-03-02T11:00:00Z"}
ANSWERED: Plain = {
    **TALK, "id": "2", "type": "message.sent", "author": {"kind": "advisor", "id": "a"},
    "occurred_at": "2026-03-02T13:00:00Z",
}  # fmt: skip
MOVED_LATE: Plain = {
    **HEAD, "id": "3", "type": "contact.moved", "group_id": "north", "occurred_at": "2026-03-02T12:00:00Z",
}  # fmt: skip


def test_an_answer_is_moved_to_another_group_with_the_business_time_it_had() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.ACCOUNTS", [OFFICE])
        workers = run([ASKED, ANSWERED, MOVED_LATE], ["real", "real", "far"], 1, None)
    answers = {
        decode_field(field): decode_value(data)
        for fields in workers.shard.days.values()
        for field, data in fields.items()
        if decode_field(field)[0] == RESPONSE
    }
    # From 11:00 to 13:00 in UTC the office in Santiago (UTC-3) was open for one hour, from 12:00 on.
    assert answers == {(RESPONSE, None, "north", "whatsapp", "a"): observation(7_200_000, 3_600_000, None)}


def test_without_what_was_kept_a_counter_falls_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    books: list[RulesBook] = []
    make_book = Workers._book

    def remembered(workers: Workers, account: Plain) -> RulesBook:
        books.append(make_book(workers, account))
        return books[-1]

    class MeasuredAgain(Retracted):
        """Takes back what the rules of today say, as it was done before answers kept their numbers."""

        def __call__(self, entry: Entry, first_ms: int | None, since_ms: int) -> Counted:
            super().__call__(entry, first_ms, since_ms)
            return Measured(books[-1])(entry, first_ms, since_ms)

    monkeypatch.setattr(f"{__name__}.ACCOUNTS", [OFFICE])
    monkeypatch.setattr(Workers, "_book", remembered)
    monkeypatch.setattr(histories_module, "Retracted", MeasuredAgain)
    run([ASKED, ANSWERED, MOVED_LATE], ["real", "real", "real"], 1, None)
    with pytest.raises(NegativeCounter):
        run([ASKED, ANSWERED, MOVED_LATE], ["real", "real", "far"], 1, None)
