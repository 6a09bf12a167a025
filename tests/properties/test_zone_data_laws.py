"""The zone database changes under a running history, and late events go on taking back exactly what was counted.

Every zone gets the rules of another, as no government ever did it. The settings of before are then what a worker finds
after its restart: the bytes in its shard's hash, compiled with the new rules. Late events, late creations and chunks
follow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates import history as history_module
from aggregates import rules as rules_module
from aggregates.answers import Measured, Retracted
from aggregates.entry import Counted, Entry
from aggregates.facts import FIRST_RESPONSE, RESPONSE, read_fact
from aggregates.rules import Rules, RulesBook
from schemas import zones
from schemas.accounts import decode_settings, encode_settings
from streams.redis.settings_store import add_versions
from tests.oracle.histories import History, arrivals, histories, random_arrival, random_history
from tests.oracle.lives import ACCOUNTS
from tests.properties.test_history_laws import NOTHING_SETTLES, Contacts, NeverStoodError, batches, decoded
from tests.properties.test_late_events_laws import Together
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
    """Contacts, and the settings of their shard's hash, through restarts with other zone data."""

    def __init__(self, contacts: Contacts) -> None:
        self.stored: dict[str, dict[bytes, bytes]] = {}
        self.contacts = contacts

    def restart(self) -> None:
        """Begin anew with the zone data of now."""
        self.contacts.books = {account["account_id"]: self._book(account) for account in ACCOUNTS}

    def _book(self, account: Plain) -> RulesBook:
        book = RulesBook(Rules(decode_settings(orjson.dumps(account))))
        held = self.stored.setdefault(account["account_id"], {})
        assert add_versions(book, account["account_id"], held) == []
        held[book.current.version] = encode_settings(book.current.settings)
        return book


def run(log: Sequence[Plain], releases: Sequence[str], most: int, contacts: Contacts) -> Contacts:
    """Take a log in, in batches, with restarts in between; a fact taken away that does not stand is an error."""
    workers = Workers(contacts)
    random = Random(len(log))
    parts = -(-len(log) // len(releases))
    for place, release in enumerate(releases):
        with zone_data(release):
            workers.restart()
            for batch in batches(decoded(log[place * parts : (place + 1) * parts]), random, most):
                contacts.apply(batch)
    return contacts


@pytest.fixture(params=[2, 32], ids="chunks of {}".format, autouse=True)
def chunk_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "CHUNK_ENTRIES", request.param)


@pytest.mark.parametrize("seed", [501, 502])
def test_all_facts_that_stand_are_what_the_states_contributed(seed: int) -> None:
    log = random_arrival(random_history(seed, contacts=60).events, seed, too_late_percent=5)
    for contacts in (Contacts(NOTHING_SETTLES), Together(NOTHING_SETTLES)):
        found = run(log, ["real", "far", "near", "real"], 40, contacts)
        assert found.facts() == found.contributed()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_arrival_of_any_history_through_any_releases(data: st.DataObject) -> None:
    history: History = data.draw(histories())
    log = list(data.draw(arrivals(history.events)))
    releases = data.draw(st.lists(st.sampled_from(RELEASES), min_size=2, max_size=4))
    found = run(log, releases, data.draw(st.integers(1, 20)), Together(NOTHING_SETTLES))
    assert found.facts() == found.contributed()


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
        found = run([ASKED, ANSWERED, MOVED_LATE], ["real", "real", "far"], 1, Contacts())
    facts = [
        read_fact(day, field, value) for (_, day), fields in found.facts().items() for field, value in fields.items()
    ]
    (answer,) = [fact for _, fact in facts if fact.kind == RESPONSE]
    assert (answer.group, answer.channel, answer.advisor, answer.flags) == ("north", "whatsapp", "a", 0)
    # From 11:00 to 13:00 in UTC the office in Santiago (UTC-3) was open for one hour, from 12:00 on.
    assert (answer.at_ms - answer.since_ms, answer.business_ms) == (7_200_000, 3_600_000)


def test_what_a_country_changed_is_taken_back_as_it_was_counted() -> None:
    # Until a release of zone data, Santiago had the clock of La Paz: the office opened at 13:00 UTC, not at 12:00.
    account: Plain = {
        "account_id": "acme", "timezone": "America/Santiago", "default_schedule": "o",
        "schedules": {"o": [{"weekly": {"fri": [["09:00", "18:00"]]}}]},
    }  # fmt: skip
    head: Plain = {"account_id": "acme", "contact_id": "c"}
    talk: Plain = {**head, "conversation_id": "k1", "channel": "whatsapp"}

    def answered(number: str, clock: str, advisor: str) -> Plain:
        author, at = {"kind": "advisor", "id": advisor}, f"2026-11-27T{clock}:00Z"
        return {**talk, "id": number, "type": "message.sent", "author": author, "occurred_at": at}

    log: list[Plain] = [
        {**head, "id": "e1", "type": "contact.created", "origin": "web", "channel": "whatsapp",
         "occurred_at": "2026-11-27T11:30:00Z"},
        {**talk, "id": "e2", "type": "message.received", "occurred_at": "2026-11-27T11:30:00Z"},
        answered("e3", "12:30", "ana"),
        answered("e4", "12:15", "bob"),
    ]  # fmt: skip

    def first_responses(log: Sequence[Plain], releases: Sequence[str]) -> list[tuple[str | None, int, int]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{__name__}.ACCOUNTS", [account])
            patch.setitem(_ELSEWHERE, "before", "America/La_Paz")
            days = run(log, releases, 1, Contacts()).facts()
        facts = [read_fact(day, *item)[1] for (_, day), fields in days.items() for item in fields.items()]
        answers = [fact for fact in facts if fact.kind == FIRST_RESPONSE]
        return [(fact.advisor, fact.at_ms - fact.since_ms, fact.business_ms) for fact in answers]

    assert first_responses(log[:3], ["before"]) == [("ana", 3_600_000, 0)]
    assert first_responses(log, ["before"] * 3 + ["real"]) == [("bob", 2_700_000, 900_000)]


def test_without_what_was_kept_a_fact_is_taken_away_that_does_not_stand(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(history_module, "Retracted", MeasuredAgain)
    run([ASKED, ANSWERED, MOVED_LATE], ["real", "real", "real"], 1, Contacts())
    with pytest.raises(NeverStoodError):
        run([ASKED, ANSWERED, MOVED_LATE], ["real", "real", "far"], 1, Contacts())
