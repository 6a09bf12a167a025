"""A contact's history: duplicates, lateness, chunks, rest and bytes."""

from typing import Any

import msgspec
import orjson
import pytest

from aggregates import facts, history
from aggregates.contact_bytes import encode_contact
from aggregates.errors import ChunksNeeded, MissingRules, StateVersionError
from aggregates.facts import Fact, fact_field
from aggregates.history import STATE_VERSION, ContactHistory, FactChanges, Lateness, Outcome
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import Event, decode_event, instant_us
from schemas.limits import MAX_CONTACT_CHUNKS, MAX_CONTACT_OPEN_CONVERSATIONS
from tests.support.comparison import Plain
from tests.support.events import MONDAY, TUESDAY, absorbed, answered, closed, created, deleted, merged, moved, received

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
LATENESS = Lateness(HOUR_US, 30 * DAY_US)

APPLIED, DUPLICATE, TOO_LATE, TOO_LARGE = Outcome

Days = dict[int, dict[bytes, Fact]]


def event(plain: Plain) -> Event:
    return decode_event(orjson.dumps(plain))


def at_us(plain: Plain) -> int:
    return instant_us(event(plain).occurred_at)


def rules(**settings: Any) -> Rules:
    return Rules(decode_settings(orjson.dumps({"account_id": "acme", **settings})))


def in_order(*events: Plain) -> list[Plain]:
    return sorted(events, key=lambda plain: str(plain["occurred_at"]))


class Kept:
    """A history with the facts it gave and the chunks it wrote, as a ledger keeps them."""

    def __init__(self, *events: Plain, book: RulesBook | None = None, lateness: Lateness = LATENESS) -> None:
        self.history = ContactHistory()
        self.book = book or RulesBook(rules())
        self.lateness = lateness
        self.chunks: dict[int, bytes] = {}
        self.days: Days = {}
        for plain in events:
            self.fold(plain)

    def fold(self, plain: Plain) -> Outcome:
        """Take an event in; its chunks are read when it needs them."""
        found, instant = event(plain), at_us(plain)
        if self.history.needs_chunks(found, instant, self.lateness):
            self.attach()
        changes = FactChanges()
        (outcome,) = self.history.fold([(found, instant)], self.book, self.lateness, changes)
        self._apply(changes)
        return outcome

    def fold_together(self, *events: Plain) -> list[Outcome]:
        """Take events in as one batch."""
        found = [(event(plain), at_us(plain)) for plain in events]
        if any(self.history.needs_chunks(each, instant, self.lateness) for each, instant in found):
            self.attach()
        changes = FactChanges()
        outcomes = self.history.fold(found, self.book, self.lateness, changes)
        self._apply(changes)
        return outcomes

    def attach(self) -> None:
        self.history.attach_chunks([self.chunks[number] for number in self.history.chunk_numbers()])

    def compact(self) -> list[int]:
        """The numbers of the chunks that are written or deleted."""
        return self._write(self.history.compact(self.lateness))

    def rest(self, now_us: int) -> list[int] | None:
        """The numbers of the chunks that are deleted; `None` when nothing is done."""
        writes = self.history.rest(now_us, self.lateness)
        return None if writes is None else self._write(writes)

    def restart(self) -> None:
        """Forget the history, and read it back."""
        self.history = ContactHistory.decode(self.history.encode())

    def instants(self) -> list[str]:
        """Hours and minutes of the journal's entries."""
        return [clock(entry.at_us) for entry in self.history.entries[-self.history.journal_length :]]

    def facts(self, kind: int) -> list[Fact]:
        found = [fact for facts_of_day in self.days.values() for fact in facts_of_day.values() if fact.kind == kind]
        return sorted(found, key=lambda fact: (fact.at_ms, fact.tie))

    def _apply(self, changes: FactChanges) -> None:
        removed, added = changes.net()
        for fact in removed:
            assert self.days[fact.day].pop(fact_field("c", fact)) == fact
        for fact in added:
            assert self.days.setdefault(fact.day, {}).setdefault(fact_field("c", fact), fact) is fact
        self.days = {day: found for day, found in self.days.items() if found}

    def _write(self, writes: list[tuple[int, bytes | None]]) -> list[int]:
        for number, chunk in writes:
            if chunk is None:
                del self.chunks[number]
            else:
                self.chunks[number] = chunk
        assert sorted(self.chunks) == list(self.history.chunk_numbers())
        return [number for number, _ in writes]


def clock(instant: int) -> str:
    minutes = instant // 60_000_000 % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


@pytest.fixture
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "CHUNK_ENTRIES", 2)


MESSAGES = (received("01:00", "v1"), received("02:00", "v2"), received("05:00", "v3"), received("05:30", "v4"))


def chunked() -> Kept:
    """Two messages (v1, v2) in a chunk, two (v3, v4) in the journal. Needs `chunks_of_two`."""
    kept = Kept(*MESSAGES[:2])
    assert kept.compact() == []  # past the window only of newer events
    kept.fold(MESSAGES[2])
    kept.fold(MESSAGES[3])
    assert kept.compact() == [0]
    return kept


def on(day: int, clock: str) -> str:
    """An instant of a day of March 2026."""
    return f"2026-03-{day:02}T{clock}:00Z"


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_the_same_event_again_is_a_duplicate() -> None:
    kept = Kept(created("09:00"), received("09:10"))
    before = kept.history.encode()
    assert [kept.fold(created("09:00")), kept.fold(received("09:10"))] == [DUPLICATE, DUPLICATE]
    assert kept.history.encode() == before


def test_later_content_under_a_known_id_is_ignored() -> None:
    kept = Kept(received("09:10", "v1", id="e"))
    assert kept.fold(received("09:20", "v2", id="e")) is DUPLICATE
    assert kept.days == Kept(received("09:10", "v1", id="e")).days


def test_earlier_content_under_a_known_id_replaces_it() -> None:
    kept = Kept(created("09:00"), received("09:20", "v2", id="e"), answered("09:30"))
    assert kept.fold(received("09:10", "v1", "email", id="e")) is APPLIED
    assert kept.days == Kept(created("09:00"), received("09:10", "v1", "email", id="e"), answered("09:30")).days


def test_earlier_content_that_is_no_creation_takes_the_creations_place() -> None:
    kept = Kept(created("09:00", id="e"), received("09:10"))
    assert kept.fold(moved("08:50", "nights", id="e")) is APPLIED
    assert kept.days == Kept(moved("08:50", "nights", id="e"), received("09:10")).days


def test_an_id_is_its_contacts_own() -> None:
    kept = Kept(received("09:10", id="e"))
    other = Kept()
    assert other.fold(received("09:10", id="e", contact_id="d")) is APPLIED
    assert kept.fold(received("09:10", id="f")) is APPLIED


def test_ids_are_found_again_in_a_long_journal_and_after_a_restart() -> None:
    kept = Kept(*(received(f"09:{second // 60:02}:{second % 60:02}", id=f"e{second}") for second in range(150)))
    again = [received("09:00:01", id="e1"), received("09:02:29", id="e149"), received("09:40", id="e14")]
    for restarted in (False, True):
        if restarted:
            kept.restart()
        assert [kept.fold(plain) for plain in again] == [DUPLICATE] * 3
    assert kept.fold(received("09:40", id="e150")) is APPLIED
    assert kept.fold(received("09:41", id="e150")) is DUPLICATE


# --- lateness ---------------------------------------------------------------------------------------------------------


def test_a_conversation_event_exactly_at_the_window_is_in_time_and_a_millisecond_further_is_not() -> None:
    newest = received("10:00:00.000")
    assert Kept(newest).fold(answered("09:00:00.000")) is APPLIED
    assert Kept(newest).fold(answered("08:59:59.999")) is TOO_LATE
    assert Kept(newest).fold(answered("09:00:00.001")) is APPLIED


def test_an_event_too_late_leaves_no_trace() -> None:
    kept = Kept(received("10:00"))
    before = kept.history.encode(), dict(kept.days)
    assert kept.fold(answered("08:00")) is TOO_LATE
    assert (kept.history.encode(), kept.days) == before


def test_an_exact_copy_is_a_duplicate_however_late_while_it_is_remembered() -> None:
    kept = Kept(received("08:00"), received("10:00"))
    assert kept.fold(received("08:00")) is DUPLICATE


def test_an_event_of_the_contact_has_the_longer_window_and_makes_others_late() -> None:
    kept = Kept(received("2026-03-31T09:00:00Z"))
    assert kept.fold(moved("2026-03-01T09:00:00Z", "nights")) is APPLIED
    assert kept.fold(moved("2026-03-01T08:59:59.999999Z", "nights")) is TOO_LATE
    kept = Kept(received("10:00"))
    assert kept.fold(moved("12:00", "nights")) is APPLIED
    assert kept.fold(received("10:59:59")) is TOO_LATE


def test_an_event_too_late_makes_no_other_late() -> None:
    kept = Kept(received("10:00"))
    kept.fold(answered("08:59"))
    assert kept.fold(answered("09:00")) is APPLIED
    assert kept.history.newest_us == kept.history.entries[-1].at_us


def test_an_event_of_the_contact_is_in_time_inside_either_window() -> None:
    kept = Kept(received("10:00"), lateness=Lateness(HOUR_US, 0))
    assert kept.fold(moved("09:00", "nights")) is APPLIED
    assert kept.fold(moved("08:59", "days")) is TOO_LATE


def test_a_creation_is_in_time_after_two_hundred_events_however_old_it_is() -> None:
    first = created("2025-11-01T09:00:00Z")
    talks = [received(f"{9 + n // 60:02}:{n % 60:02}", f"v{n}") for n in range(200)]
    kept = Kept()
    for plain in talks:
        kept.fold(plain)
        kept.compact()
    assert kept.fold(first) is APPLIED
    assert kept.days == Kept(first, *talks).days
    assert kept.fold(created("2025-10-01T09:00:00Z", id="another")) is TOO_LATE  # the first one is known


@pytest.mark.usefixtures("chunks_of_two")
def test_a_contact_whose_creation_never_came_is_settled_behind_so_many_events() -> None:
    kept = Kept()

    def go_on(month: int, days: range) -> None:
        for day in days:
            for hour in (9, 12, 15):
                kept.fold(received(f"2026-{month:02}-{day:02}T{hour:02}:00:00Z"))
                kept.compact()

    go_on(3, range(1, 32))
    go_on(4, range(1, 31))
    assert kept.history.settled_us < 0
    go_on(5, range(1, 32))
    kept.restart()
    kept.attach()
    assert kept.history.settled_us > 0
    assert len(kept.history.entries) == 30 * 3 + 2
    assert kept.fold(created(on(1, "08:00"))) is TOO_LATE
    # What is kept is corrected by a creation that is in time, what is settled is not.
    assert kept.fold(created("2026-05-20T08:00:00Z")) is APPLIED
    of_starts = kept.facts(facts.ACTION)
    assert {fact.group for fact in of_starts if fact.at_ms > kept.history.settled_us // 1000} == {"sales"}
    assert {fact.group for fact in of_starts if fact.at_ms <= kept.history.settled_us // 1000} == {None}
    assert kept.facts(facts.CONTACT)[0].entry_group == "sales"


# --- chunks -----------------------------------------------------------------------------------------------------------


def test_a_short_or_fresh_history_has_no_chunks() -> None:
    kept = Kept(*(received(f"09:{minute:02}", id=f"m{minute}") for minute in range(31)))
    kept.compact()
    kept.fold(received("23:00"))
    assert kept.compact() == []
    assert list(kept.history.chunk_numbers()) == []


def test_a_chunk_leaves_the_journal_when_it_is_past_the_window() -> None:
    kept = Kept(*(received(f"09:{minute:02}", id=f"m{minute}") for minute in range(32)))
    assert kept.compact() == []
    kept.fold(received("10:31"))  # 09:31 is exactly at the window
    assert kept.compact() == []
    kept.fold(received("10:31:01"))
    assert kept.compact() == [0]
    assert kept.instants() == ["10:31", "10:31"]
    kept.attach()
    assert [clock(entry.at_us) for entry in kept.history.entries[:32]] == [f"09:{minute:02}" for minute in range(32)]
    assert kept.compact() == []


@pytest.mark.usefixtures("chunks_of_two")
def test_which_events_need_the_chunks() -> None:
    kept = chunked()

    def needs(plain: Plain) -> bool:
        return kept.history.needs_chunks(event(plain), at_us(plain), LATENESS)

    assert [needs(moved("01:30", None)), needs(deleted("02:00")), needs(deleted("02:00:01"))] == [True, True, False]
    assert [needs(created("05:10")), needs(created("09:00"))] == [True, True]  # none is known yet
    assert [needs(received("01:30")), needs(received("05:10"))] == [False, False]
    kept.fold(created("05:20", id="e"))
    kept.compact()
    assert [needs(created("05:10")), needs(created("05:25"))] == [True, False]
    # Other content under the id of the creation takes its place.
    assert [needs(received("05:10", id="e")), needs(received("05:25", id="e"))] == [True, False]


@pytest.mark.usefixtures("chunks_of_two")
def test_an_event_before_the_journal_is_refused_without_the_chunks_and_changes_nothing() -> None:
    kept = chunked()
    before, changes, late = kept.history.encode(), FactChanges(), moved("01:30", "nights")
    with pytest.raises(ChunksNeeded):
        kept.history.fold([(event(late), at_us(late))], kept.book, LATENESS, changes)
    assert (kept.history.encode(), changes) == (before, FactChanges())


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize(
    "late",
    [
        moved("01:30", "nights"), created("00:30"), created("02:30"), created("05:20"), merged("01:00"),
        deleted("02:00"), absorbed("01:30", open_conversations=[{"id": "v3", "channel": "sms"}]),
    ],
)  # fmt: skip
def test_an_event_before_the_journal_gives_what_timely_arrival_gives(late: Plain) -> None:
    kept = chunked()
    assert kept.fold(late) is APPLIED
    assert kept.compact() == list(kept.history.chunk_numbers())
    assert kept.days == Kept(*in_order(late, *MESSAGES)).days
    assert kept.fold(late) is DUPLICATE
    kept.compact()
    kept.restart()
    after = [answered("05:40"), closed("06:10", "v3"), moved("01:45", "nights"), created("01:50", id="second")]
    for plain in after:
        assert kept.fold(plain) is APPLIED
        kept.compact()
    assert kept.days == Kept(*in_order(late, *MESSAGES, *after)).days


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize(
    "second", [created("05:10", group_id="first"), moved("05:10", "x", id="e"), received("05:10", id="e")]
)
def test_a_creation_behind_chunks_gives_way_to_an_earlier_one_and_to_other_content(second: Plain) -> None:
    first = created("05:20", id="e", group_id="late")
    kept = chunked()
    kept.fold(first)
    kept.compact()
    assert kept.fold(second) is APPLIED
    timely = [second, first] if second["id"] != "e" else [second]
    assert kept.days == Kept(*MESSAGES[:3], *timely, MESSAGES[3]).days


@pytest.mark.usefixtures("chunks_of_two")
def test_late_events_of_a_batch_that_need_chunks_and_that_need_none() -> None:
    kept = chunked()
    kept.fold(created("00:30"))
    kept.compact()
    kept.restart()
    # The first is put into the journal; the creation is in a chunk, that the second does not need.
    batch = (moved("05:10", "nights"), created("05:40", id="second"), answered("05:45"))
    assert kept.fold_together(*batch) == [APPLIED] * 3
    assert kept.days == Kept(*in_order(created("00:30"), *MESSAGES, *batch)).days
    kept.compact()
    batch = (moved("05:20", "days"), moved("01:30", "early"), received("05:50"))
    assert kept.fold_together(*batch) == [APPLIED] * 3
    expected = in_order(created("00:30"), *MESSAGES, moved("05:10", "nights"), created("05:40", id="second"),
                        answered("05:45"), *batch)  # fmt: skip
    assert kept.days == Kept(*expected).days


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("restarted", [False, True])
def test_ids_in_chunks_are_forgotten_alike_with_and_without_a_restart(restarted: bool) -> None:
    kept = chunked()
    if restarted:
        kept.restart()
    old_id = received("01:00")["id"]
    assert kept.fold(received("05:40", "v9", id=old_id)) is APPLIED
    assert kept.fold(received("01:00", "v1")) is TOO_LATE


@pytest.mark.usefixtures("chunks_of_two")
def test_an_id_of_a_conversation_event_in_a_chunk_is_forgotten_by_events_of_the_contact_too() -> None:
    kept = chunked()
    assert kept.fold(moved("00:30", "nights", id=received("01:00")["id"])) is APPLIED
    assert kept.days == Kept(moved("00:30", "nights", id="another"), *MESSAGES).days


@pytest.mark.usefixtures("chunks_of_two")
def test_an_id_of_an_event_of_the_contact_is_known_in_a_chunk() -> None:
    kept = Kept(created("00:30"), moved("01:00", "nights", id="e"))
    kept.compact()
    kept.fold(received("05:00"))
    assert kept.compact() == [0]
    assert kept.fold(moved("01:00", "nights", id="e")) is DUPLICATE
    assert kept.fold(moved("00:45", "days", id="e")) is APPLIED
    assert kept.days == Kept(created("00:30"), moved("00:45", "days", id="e"), received("05:00")).days


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("hours", [1, 100])
def test_a_conversation_event_from_before_the_journal_is_too_late_however_long_the_window_is_now(hours: int) -> None:
    kept = chunked()
    kept.lateness = Lateness(hours * HOUR_US, 30 * DAY_US)
    before, days = kept.history.encode(), dict(kept.days)
    for plain in (received("01:00", "v1"), received("01:30"), received("02:00", "v2"), received("02:00", id="new")):
        assert not kept.history.needs_chunks(event(plain), at_us(plain), kept.lateness)
        assert kept.fold(plain) is TOO_LATE
    assert (kept.history.encode(), kept.days) == (before, days)
    assert kept.fold(received("02:00:00.001")) is (APPLIED if hours > 1 else TOO_LATE)


@pytest.mark.usefixtures("chunks_of_two")
def test_two_events_before_the_journal_between_two_commits() -> None:
    kept = chunked()
    assert kept.fold(created("00:30")) is APPLIED
    # Not yet committed: the chunks at hand are those that hold the creation.
    changes, again = FactChanges(), created("00:30")
    assert kept.history.fold([(event(again), at_us(again))], kept.book, LATENESS, changes) == [DUPLICATE]
    assert kept.history.fold([(event(moved("01:30", "x")), at_us(moved("01:30", "x")))], kept.book, LATENESS, changes)
    kept._apply(changes)
    kept.compact()
    assert kept.days == Kept(*in_order(created("00:30"), moved("01:30", "x"), *MESSAGES)).days


@pytest.mark.usefixtures("chunks_of_two")
def test_a_second_creation_changes_nothing_though_the_journal_is_empty() -> None:
    # The newest instant was an event's that earlier content replaced: all of the journal is past the window.
    first = (created("00:30"), moved("01:00", "nights"), moved("09:00", "x", id="e"), moved("02:00", "y", id="e"))
    kept = Kept(*first)
    kept.compact()
    kept.compact()
    assert kept.history.journal_length == 0
    assert kept.fold(created("10:00", origin="Instagram")) is APPLIED
    assert kept.history.contact.origin == "Web"
    assert kept.fold(moved("11:00", "z")) is APPLIED
    assert kept.days == Kept(*first, moved("11:00", "z")).days


@pytest.mark.usefixtures("chunks_of_two")
def test_slightly_disordered_arrival_does_not_keep_the_journal_from_shrinking() -> None:
    kept = Kept()
    longest = 0
    for hour in range(24):
        for minute in (10, 0, 30, 20, 50, 40):  # each pair swapped
            kept.fold(received(f"{hour:02}:{minute:02}"))
            kept.compact()
            longest = max(longest, kept.history.journal_length)
    assert len(kept.history.chunk_numbers()) > 0
    assert longest < 50


def test_a_contact_of_more_than_a_thousand_events_takes_late_ones_anywhere() -> None:
    plain = [created("2026-03-01T00:00:00Z")]
    for number in range(1_100):
        at = f"2026-03-{1 + number // 240:02}T{number // 10 % 24:02}:{number % 10 * 6:02}:30Z"
        plain.append(answered(at) if number % 3 == 0 else received(at, f"v{number // 50}"))
    kept = Kept()
    for each in plain:
        kept.fold(each)
        kept.compact()
    assert len(kept.history.chunk_numbers()) > 20
    assert kept.history.journal_length < 100
    late = [moved(on(1, "05:00"), "a"), moved(on(3, "05:00"), "b"), deleted(on(4, "09:00"))]
    for each in late:
        kept.restart()
        assert kept.fold(each) is APPLIED
        kept.compact()
    assert kept.days == Kept(*in_order(*plain, *late)).days


# --- what is settled --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("chunks_of_two")
def test_chunks_past_both_windows_go_and_what_belongs_among_them_is_too_late() -> None:
    kept = Kept(created(on(1, "00:30")), lateness=Lateness(HOUR_US, 5 * DAY_US))
    for day in range(1, 13):
        kept.fold(received(on(day, "09:00"), f"v{day}"))
        kept.fold(closed(on(day, "09:30"), f"v{day}"))
        kept.compact()
    assert kept.history.first_chunk > 0
    assert len(kept.chunks) < 7
    settled_day = kept.history.settled_us // DAY_US
    assert settled_day == at_us(received(on(7, "00:00"))) // DAY_US - 1
    days = dict(kept.days)
    kept.restart()
    assert kept.fold(moved(on(6, "09:30"), "x")) is TOO_LATE
    assert kept.fold(received(on(3, "10:00"), "v3")) is TOO_LATE
    assert kept.days == days
    late = moved(on(8, "09:15"), "nights")
    assert kept.fold(late) is APPLIED
    assert {fact.group for fact in kept.facts(facts.CLOSED)} == {"sales", "nights"}
    # Conversations that are settled keep their channel, and their ids are spent.
    assert kept.fold(closed(on(12, "10:00"), "v1")) is APPLIED
    assert len(kept.facts(facts.CLOSED)) == 12


@pytest.mark.usefixtures("chunks_of_two")
def test_a_journal_without_chunks_is_settled_too() -> None:
    kept = Kept(created(on(1, "09:00")), received(on(1, "09:10")), closed(on(1, "09:20")))
    kept.fold(received("2026-04-15T09:00:00Z", "v2"))
    kept.compact()
    kept.compact()
    assert kept.history.settled_us == at_us(closed(on(1, "09:20")))
    assert kept.instants() == ["09:00"]
    kept.restart()
    assert kept.fold(moved("2026-04-14T09:00:00Z", "nights")) is APPLIED
    assert [fact.group for fact in kept.facts(facts.STARTED)] == ["sales", "nights"]
    assert kept.fold(closed("2026-04-15T09:10:00Z", "v1")) is APPLIED
    assert len(kept.facts(facts.CLOSED)) == 1
    assert len(kept.history.contact.spent) == 1


@pytest.mark.usefixtures("chunks_of_two")
def test_no_more_chunks_are_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CONTACT_CHUNKS > 1_000
    monkeypatch.setattr(history, "MAX_CONTACT_CHUNKS", 3)
    kept = Kept(created("00:30"))
    for hour in range(1, 24):
        kept.fold(received(f"{hour:02}:00", f"v{hour}"))
        kept.compact()
        assert len(kept.chunks) <= 3
    assert kept.fold(moved("02:30", "x")) is TOO_LATE
    assert kept.fold(moved(clock(kept.history.chunk_ends[0]), "x")) is APPLIED


# --- contacts at rest -------------------------------------------------------------------------------------------------


def quiet() -> Kept:
    return Kept(created("09:00"), received("09:10"), answered("09:20"), closed("09:30"), received("09:40", "v2"))


NEWEST_US = at_us(received("09:40"))


def test_a_contact_that_is_not_quiet_yet_stays_as_it_is() -> None:
    kept = quiet()
    before = kept.history.encode()
    assert kept.rest(NEWEST_US + HOUR_US) is None
    assert kept.history.encode() == before


def test_after_both_windows_only_the_state_is_left_and_the_facts_stay() -> None:
    kept = quiet()
    days, longer = dict(kept.days), len(kept.history.encode())
    assert kept.rest(NEWEST_US + 40 * DAY_US) == []
    assert kept.history.journal_length == 0
    assert len(kept.history.encode()) < longer / 2
    kept.restart()
    assert kept.rest(NEWEST_US + 40 * DAY_US) is None
    # What is older than its newest event is too late now, repeated or not.
    for plain in (received("09:40", "v2"), answered("09:45"), moved("09:35", "nights")):
        outcome = kept.fold(plain)
        assert outcome is (APPLIED if plain["occurred_at"] > received("09:40")["occurred_at"] else TOO_LATE)
    assert len(kept.facts(facts.RESPONSE)) == 2
    del days


def test_a_contact_that_comes_back_goes_on_where_it_was() -> None:
    back = [answered("2026-05-01T09:00:00Z", conversation="v2"), received("2026-05-01T09:30:00Z", "v1"),
            closed("2026-05-01T09:40:00Z", "v1"), closed("2026-05-01T09:50:00Z", "v2")]  # fmt: skip
    kept, awake = quiet(), quiet()
    kept.rest(NEWEST_US + 40 * DAY_US)
    for plain in back:
        kept.restart()
        assert kept.fold(plain) is awake.fold(plain) is APPLIED
        kept.compact()
    assert kept.days == awake.days
    assert kept.fold(moved("2026-05-01T08:00:00Z", "nights")) is APPLIED
    awake.fold(moved("2026-05-01T08:00:00Z", "nights"))
    assert kept.days == awake.days


def test_a_deletion_now_needs_no_journal() -> None:
    kept = quiet()
    kept.rest(NEWEST_US + 40 * DAY_US)
    kept.restart()
    for plain in (moved("2026-05-01T08:00:00Z", "nights"), deleted("2026-05-01T09:00:00Z")):
        assert kept.fold(plain) is APPLIED
    (contact,) = kept.facts(facts.CONTACT)
    assert (contact.group, contact.flags & facts.DELETED) == ("nights", facts.DELETED)
    assert kept.facts(facts.WAITING) == []


def test_a_contact_without_a_creation_keeps_its_journal() -> None:
    kept = Kept(received("09:10"), answered("09:20"))
    kept.rest(NEWEST_US + 400 * DAY_US)
    kept.restart()
    assert kept.history.journal_length == 2
    assert kept.fold(created("09:00")) is APPLIED
    assert len(kept.facts(facts.FIRST_RESPONSE)) == 1


def test_a_repeated_event_of_a_quiet_contact_never_counts_twice() -> None:
    told = [created("09:00"), received("09:10"), answered("09:20"), received("09:40", "v2")]
    for quiet_us in (0, HOUR_US, 2 * DAY_US, 4 * DAY_US, 40 * DAY_US):
        kept = Kept(*told)
        days = dict(kept.days)
        kept.rest(NEWEST_US + quiet_us)
        kept.restart()
        assert {kept.fold(plain) for plain in told} <= {DUPLICATE, TOO_LATE}
        assert kept.days == days


@pytest.mark.usefixtures("chunks_of_two")
def test_the_chunks_of_a_quiet_contact_go() -> None:
    kept = chunked()
    kept.fold(created("05:40"))
    kept.compact()
    numbers = list(kept.history.chunk_numbers())
    days = dict(kept.days)
    assert kept.rest(at_us(created("05:40")) + 40 * DAY_US) == numbers
    kept.restart()
    assert (kept.chunks, kept.days) == ({}, days)
    assert kept.fold(closed("2026-05-01T09:00:00Z", "v1")) is APPLIED
    assert [fact.channel for fact in kept.facts(facts.CLOSED)] == ["whatsapp"]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_as_many_conversations_may_be_open_as_the_bound_and_closed_ones_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_CONTACT_OPEN_CONVERSATIONS >= 1_000
    monkeypatch.setattr(history, "MAX_CONTACT_OPEN_CONVERSATIONS", 3)
    kept = Kept(*(received(f"09:{n:02}", f"v{n}") for n in range(3)))
    before = kept.history.encode()
    assert kept.fold(received("10:00", "v9")) is TOO_LARGE
    assert kept.fold(received("09:30", "v9")) is TOO_LARGE
    assert kept.history.encode() == before
    assert kept.fold(received("10:01", "v1")) is APPLIED
    for n in range(60):
        assert kept.fold(closed(f"10:02:{n:02}", f"v{n if n < 3 else n + 10}")) is APPLIED
    assert kept.fold(received("10:10", "v9")) is APPLIED


def test_a_contact_has_no_more_conversations_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_CONTACT_OPEN_CONVERSATIONS", 40)
    monkeypatch.setattr(history, "MAX_CONTACT_CONVERSATIONS", 50)
    kept = Kept(*(closed(f"09:{n:02}", f"v{n}") for n in range(50)))
    assert kept.fold(closed("10:00", "v50")) is TOO_LARGE
    assert kept.fold(received("10:00", "v50")) is TOO_LARGE
    assert kept.fold(absorbed("10:00", open_conversations=[{"id": "v50", "channel": "sms"}])) is TOO_LARGE
    assert kept.fold(closed("10:00", "v3")) is APPLIED


def test_an_absorption_brings_no_more_open_conversations_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_CONTACT_OPEN_CONVERSATIONS", 3)
    three = [{"id": f"v{n}", "channel": "sms"} for n in range(3)]
    kept = Kept(received("09:00", "v1"))
    assert kept.fold(absorbed("09:10", open_conversations=[*three, {"id": "v4", "channel": "sms"}])) is TOO_LARGE
    assert kept.fold(absorbed("09:10", open_conversations=three)) is APPLIED
    assert kept.history.contact.open == 3
    # In one batch, the late ones that are still to be folded count as well.
    kept = Kept(received("09:00", "v1"))
    batch = [absorbed("08:50", open_conversations=three), received("08:55", "v5")]
    assert kept.fold_together(*batch) == [APPLIED, TOO_LARGE]


def test_a_contact_has_no_more_events_inside_the_window_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_CONTACT_ENTRIES", 3)
    kept = Kept(received("09:00"), received("09:10"), received("09:20"))
    assert kept.fold(received("09:30")) is TOO_LARGE
    assert kept.fold(received("10:05")) is APPLIED


# --- settings that change ---------------------------------------------------------------------------------------------


def two_versions() -> tuple[Rules, Rules, RulesBook]:
    """Before: only WhatsApp counts, in UTC. After: only e-mail counts, in Santiago, with other snooze reasons."""
    before = rules(effective_channels=["whatsapp"])
    after = rules(effective_channels=["email"], timezone="America/Santiago", snooze_reasons=["Vendido"])
    book = RulesBook(after)
    book.add(before)
    return before, after, book


def test_what_arrived_under_older_settings_stays_as_it_was_read_and_is_taken_back_as_such() -> None:
    before, _, book = two_versions()
    kept = Kept(received("09:00"), answered("09:10"), closed("09:20"), book=RulesBook(before))
    kept.book = book
    kept.restart()
    assert kept.history.settings_versions() == {before.version}
    # A move in between makes the journal be folded again, and the old contribution be taken away.
    assert kept.fold(moved("09:05", "nights")) is APPLIED
    expected = Kept(
        received("09:00"), moved("09:05", "nights"), answered("09:10"), closed("09:20"), book=RulesBook(before)
    )
    assert kept.days == expected.days
    # An answer by e-mail counts from now on, one by WhatsApp does not.
    assert kept.fold(received("09:30")) is APPLIED
    assert kept.fold(answered("09:40")) is APPLIED
    assert kept.fold(answered("09:45", channel="email")) is APPLIED
    assert [fact.channel for fact in kept.facts(facts.RESPONSE)] == ["whatsapp", "email"]
    assert [fact.channel for fact in kept.facts(facts.UNCOUNTED)] == ["whatsapp"]


def test_an_older_version_that_is_not_at_hand_is_asked_for_and_nothing_is_changed() -> None:
    before, after, _ = two_versions()
    kept = Kept(received("09:00"), answered("09:10"), book=RulesBook(before))
    kept.book = RulesBook(after)
    state, changes, late = kept.history.encode(), FactChanges(), received("08:55")
    with pytest.raises(MissingRules) as caught:
        kept.history.fold([(event(late), at_us(late))], kept.book, LATENESS, changes)
    assert caught.value.version == before.version
    assert ContactHistory.decode(state).encode() == state


def test_an_answer_whose_wait_stays_is_taken_back_and_added_again_without_its_settings() -> None:
    before, after, _ = two_versions()
    kept = Kept(received("09:00"), answered("09:10"), book=RulesBook(before))
    kept.book = RulesBook(after)
    kept.restart()
    kept.fold(moved("09:05", "nights"))
    expected = Kept(received("09:00"), moved("09:05", "nights"), answered("09:10"), book=RulesBook(before))
    assert kept.days == expected.days


@pytest.mark.usefixtures("chunks_of_two")
def test_the_versions_of_attached_chunks_are_asked_for_too() -> None:
    kept = chunked()
    (known,) = kept.history.settings_versions()
    kept.book = two_versions()[2]
    kept.fold(received("05:40"))
    newer = kept.book.current.version
    assert kept.history.settings_versions() == {known, newer}
    for minute in range(40, 60, 5):
        kept.fold(received(f"07:{minute}"))
        kept.compact()
    kept.restart()
    assert kept.history.settings_versions() == {newer}
    kept.attach()
    assert kept.history.settings_versions() == {known, newer}


def test_a_day_that_an_older_zone_gave_stays_the_day_of_its_facts() -> None:
    tokyo, santiago = RulesBook(rules(timezone="Asia/Tokyo")), RulesBook(rules(timezone="America/Santiago"))
    kept = Kept(received("20:00"), answered("20:10"), book=tokyo)  # the 3rd in Tokyo, the 2nd in Santiago
    kept.book = santiago
    kept.book.add(tokyo.current)
    kept.fold(moved("20:05", "nights"))
    kept.fold(received("20:30"))
    assert [fact.day for fact in kept.facts(facts.RESPONSE)] == [TUESDAY.toordinal()]
    assert [fact.day for fact in kept.facts(facts.ACTION)] == [TUESDAY.toordinal()] * 2 + [MONDAY.toordinal()]


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_a_history_survives_its_bytes() -> None:
    kept = Kept(created("09:00"), received("09:10"), answered("09:20"), closed("09:30", reason="Esperando visita"))
    data = kept.history.encode()
    assert data[0] == STATE_VERSION
    assert ContactHistory.decode(data).encode() == data
    assert encode_contact(ContactHistory.decode(data).contact) == encode_contact(kept.history.contact)


def test_a_contact_never_heard_of_survives_its_bytes() -> None:
    data = ContactHistory().encode()
    assert ContactHistory.decode(data).encode() == data


@pytest.mark.parametrize(("data", "version"), [(b"", -1), (b"\x00", 0), (b"\xff", 255)])
def test_an_unknown_version_of_the_state_is_named_and_refused(data: bytes, version: int) -> None:
    with pytest.raises(StateVersionError, match="unknown to this program") as caught:
        ContactHistory.decode(data)
    assert caught.value.version == version


@pytest.mark.parametrize("keep", [1, 2, 20, -1])
def test_damaged_bytes_are_refused(keep: int) -> None:
    data = Kept(created("09:00"), received("09:10")).history.encode()
    with pytest.raises(ValueError, match=r".+"):
        ContactHistory.decode(data[:keep])
    with pytest.raises(msgspec.DecodeError):
        ContactHistory.decode(data + b"\x00")


def test_what_a_history_takes() -> None:
    kept = Kept(created("08:00"), *(received(f"09:{minute:02}", id=f"message-{minute}") for minute in range(40)))
    assert len(kept.history.encode()) < 1_500
    kept.compact()
    kept.fold(received("12:00"))
    kept.compact()
    assert len(kept.history.encode()) < 450
    kept.rest(NEWEST_US + 40 * DAY_US)
    assert len(kept.history.encode()) < 180


def test_an_explanation_begins_with_the_contact_before_its_kept_entries() -> None:
    kept = quiet()
    assert kept.history.start().created is False
    kept.rest(NEWEST_US + 40 * DAY_US)
    assert kept.history.start().created is True
    start = kept.history.start()
    start.deleted = True
    assert kept.history.contact.deleted is False
