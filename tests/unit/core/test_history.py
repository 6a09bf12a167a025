"""A contact's history: duplicates, lateness, archives and bytes."""

from typing import Any

import msgspec
import orjson
import pytest

from aggregates import counters, history
from aggregates.contact_bytes import encode_contact
from aggregates.counters import Deltas, added
from aggregates.errors import ArchiveNeeded, MissingRules, StateVersionError
from aggregates.history import STATE_VERSION, ContactHistory, Outcome
from aggregates.journal import decode_entries, journal_of
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from schemas.events import Event, decode_event
from tests.support.comparison import Plain
from tests.support.events import answered, closed, created, deleted, merged, moved, received

LATENESS_MS = 3_600_000

APPLIED, DUPLICATE, TOO_LATE = Outcome.APPLIED, Outcome.DUPLICATE, Outcome.TOO_LATE


def event(plain: Plain) -> Event:
    return decode_event(orjson.dumps(plain))


def rules(**settings: Any) -> Rules:
    return Rules(decode_settings(orjson.dumps({"account_id": "acme", **settings})))


def in_order(*events: Plain) -> list[Plain]:
    return sorted(events, key=lambda plain: str(plain["occurred_at"]))


class Kept:
    """A history with the counters it gave and the archive it wrote, as a ledger keeps them."""

    def __init__(self, *events: Plain, book: RulesBook | None = None) -> None:
        self.history = ContactHistory()
        self.book = book or RulesBook(rules())
        self.archive: dict[int, bytes] = {}
        self.days: dict[int, dict[counters.Field, counters.Value]] = {}
        for plain in events:
            self.fold(plain)

    def fold(self, plain: Plain) -> Outcome:
        if self.history.needs_archive(event(plain), LATENESS_MS):
            self.history.attach_archive(self.chunks())
        deltas = Deltas()
        outcome = self.history.fold(event(plain), self.book, LATENESS_MS, deltas)
        for day, fields in deltas.days.items():
            for field, delta in fields.items():
                value = added(self.days.setdefault(day, {}).get(field), delta, field)
                if value is None:
                    del self.days[day][field]
                else:
                    self.days[day][field] = value
        self.days = {day: fields for day, fields in self.days.items() if fields}
        return outcome

    def compact(self) -> list[tuple[int, bytes]]:
        chunks = self.history.compact(LATENESS_MS)
        self.archive.update(chunks)
        return chunks

    def chunks(self) -> list[bytes]:
        return [self.archive[number] for number in range(self.history.archive_count)]

    def restart(self) -> None:
        self.history = ContactHistory.decode(self.history.encode())


@pytest.fixture
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "CHUNK_ENTRIES", 2)


def archived() -> Kept:
    """Two messages (v1, v2) in the archive, two (v3, v4) in the journal. Needs `chunks_of_two`."""
    kept = Kept(received("01:00", "v1"), received("02:00", "v2"))
    assert kept.compact() == []  # past the window only of newer events
    kept.fold(received("05:00", "v3"))
    kept.fold(received("05:30", "v4"))
    assert [number for number, _ in kept.compact()] == [0]
    return kept


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


def test_events_of_the_contact_are_never_too_late_and_make_others_late() -> None:
    kept = Kept(received("10:00"))
    assert kept.fold(created("01:00")) is APPLIED
    assert kept.fold(moved("12:00", "nights")) is APPLIED
    assert kept.fold(received("10:59:59")) is TOO_LATE


def test_an_event_too_late_makes_no_other_late() -> None:
    kept = Kept(received("10:00"))
    kept.fold(answered("08:59"))
    assert kept.fold(answered("09:00")) is APPLIED
    assert kept.history.newest_us == kept.history.journal[-1].at_us


# --- archives ---------------------------------------------------------------------------------------------------------


def test_a_short_or_fresh_history_has_no_archive() -> None:
    kept = Kept(*(received(f"09:{minute:02}", id=f"m{minute}") for minute in range(31)))
    kept.compact()
    kept.fold(received("23:00"))
    assert kept.compact() == []
    assert kept.history.archive_count == 0


def test_a_chunk_leaves_the_journal_when_it_is_past_the_window() -> None:
    kept = Kept(*(received(f"09:{minute:02}", id=f"m{minute}") for minute in range(32)))
    assert kept.compact() == []
    kept.fold(received("10:31"))  # 09:31 is exactly at the window
    assert kept.compact() == []
    kept.fold(received("10:31:01"))
    ((number, chunk),) = kept.compact()
    assert (number, kept.history.archive_count) == (0, 1)
    assert [entry.at_ms // 60_000 % 60 for entry in decode_entries(chunk)] == list(range(32))
    assert [entry.at_ms // 60_000 % 60 for entry in kept.history.journal] == [31, 31]
    assert kept.compact() == []


@pytest.mark.usefixtures("chunks_of_two")
def test_only_a_contacts_own_event_before_the_journal_or_a_first_creation_needs_the_archive() -> None:
    kept = archived()

    def needs(plain: Plain) -> bool:
        return kept.history.needs_archive(event(plain), LATENESS_MS)

    assert [needs(moved("01:30", None)), needs(deleted("02:00")), needs(deleted("02:00:01"))] == [True, True, False]
    assert [needs(created("05:10")), needs(created("09:00"))] == [True, True]  # none is known yet
    assert [needs(received("01:30")), needs(received("05:10"))] == [False, False]
    kept.fold(created("05:20"))
    kept.compact()
    assert [needs(created("05:10")), needs(created("05:25"))] == [True, False]


@pytest.mark.usefixtures("chunks_of_two")
def test_an_event_before_the_journal_is_refused_without_the_archive_and_changes_nothing() -> None:
    kept = archived()
    before, deltas = kept.history.encode(), Deltas()
    with pytest.raises(ArchiveNeeded):
        kept.history.fold(event(moved("01:30", "nights")), kept.book, LATENESS_MS, deltas)
    assert (kept.history.encode(), deltas.days) == (before, {})


@pytest.fixture(params=["this build", "an earlier one"])
def archived_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, chunks_of_two: None) -> Kept:  # noqa: ARG001
    """The same archive, as this build writes it, and as the one did that left all ids in it and deflated nothing."""
    with monkeypatch.context() as build:
        if request.param == "an earlier one":
            build.setattr(
                history, "encode_entries", lambda entries: msgspec.msgpack.encode(journal_of(entries).parts())
            )
            build.setattr(history, "deflated", bytes)
        return archived()


@pytest.mark.parametrize(
    "late",
    [moved("01:30", "nights"), created("00:30"), created("02:30"), created("05:20"), merged("01:00"), deleted("02:00")],
)
def test_an_event_before_the_journal_gives_what_timely_arrival_gives(late: Plain, archived_by: Kept) -> None:
    kept = archived_by
    assert kept.fold(late) is APPLIED
    rewritten = kept.compact()
    assert [number for number, _ in rewritten] == list(range(kept.history.archive_count))
    messages = [received("01:00", "v1"), received("02:00", "v2"), received("05:00", "v3"), received("05:30", "v4")]
    assert kept.days == Kept(*in_order(late, *messages)).days
    assert kept.fold(late) is DUPLICATE
    kept.compact()
    kept.restart()
    after = [answered("05:40"), closed("06:10", "v3"), moved("01:45", "nights")]
    for plain in after:
        assert kept.fold(plain) is APPLIED
        kept.compact()
    assert kept.days == Kept(*in_order(late, *messages, *after)).days


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("restarted", [False, True])
def test_ids_in_the_archive_are_forgotten_alike_with_and_without_a_restart(restarted: bool) -> None:
    kept = archived()
    if restarted:
        kept.restart()
    old_id = received("01:00")["id"]
    assert kept.fold(received("05:40", "v9", id=old_id)) is APPLIED
    assert kept.fold(received("01:00", "v1")) is TOO_LATE


def test_an_id_of_an_archived_conversation_event_is_forgotten_by_events_of_the_contact_too(archived_by: Kept) -> None:
    assert archived_by.fold(moved("00:30", "nights", id=received("01:00")["id"])) is APPLIED
    expected = Kept(moved("00:30", "nights", id="another"), received("01:00", "v1"), received("02:00", "v2"),
                    received("05:00", "v3"), received("05:30", "v4"))  # fmt: skip
    assert archived_by.days == expected.days


def test_an_id_of_an_archived_event_of_the_contact_is_known_for_ever(chunks_of_two: None) -> None:  # noqa: ARG001
    kept = Kept(created("00:30"), moved("01:00", "nights", id="e"))
    kept.compact()
    kept.fold(received("05:00"))
    kept.compact()
    assert [entry.id for entry in decode_entries(kept.archive[0])] == [created("00:30")["id"], "e"]
    assert kept.fold(moved("01:00", "nights", id="e")) is DUPLICATE
    assert kept.fold(moved("00:45", "days", id="e")) is APPLIED
    assert kept.days == Kept(created("00:30"), moved("00:45", "days", id="e"), received("05:00")).days


@pytest.mark.parametrize("lateness_ms", [LATENESS_MS, 100 * LATENESS_MS])
def test_a_conversation_event_from_before_the_journal_is_too_late_however_long_the_window_is_now(
    lateness_ms: int, archived_by: Kept
) -> None:
    kept = archived_by.history
    before, deltas = kept.encode(), Deltas()
    for plain in (received("01:00", "v1"), received("01:30"), received("02:00", "v2"), received("02:00", id="new")):
        assert not kept.needs_archive(event(plain), lateness_ms)
        assert kept.fold(event(plain), archived_by.book, lateness_ms, deltas) is TOO_LATE
    assert (kept.encode(), deltas.days) == (before, {})
    behind = kept.fold(event(received("02:00:00.001")), archived_by.book, lateness_ms, deltas)
    assert behind is (APPLIED if lateness_ms > LATENESS_MS else TOO_LATE)


@pytest.mark.usefixtures("chunks_of_two")
@pytest.mark.parametrize("lateness_ms", [LATENESS_MS, 100 * LATENESS_MS])
def test_an_exact_copy_is_a_duplicate_while_it_is_in_the_journal_though_its_instant_is_in_the_archive(
    lateness_ms: int,
) -> None:
    kept = Kept(received("01:00", "v1"), received("02:00", "v2", id="a"))
    kept.compact()
    for plain in (received("02:00", "v3", id="b"), received("05:00", "v4")):
        kept.fold(plain)
    kept.compact()
    assert [entry.id for entry in kept.history.journal] == ["b", received("05:00", "v4")["id"]]
    outcomes = [
        kept.history.fold(event(plain), kept.book, lateness_ms, Deltas())
        for plain in (received("02:00", "v3", id="b"), received("02:00", "v2", id="a"))
    ]
    assert outcomes == [DUPLICATE, TOO_LATE]


@pytest.mark.usefixtures("chunks_of_two")
def test_two_events_before_the_journal_between_two_commits() -> None:
    kept = archived()
    assert kept.fold(created("00:30")) is APPLIED
    # Not yet committed: the archive at hand is the one that holds the creation.
    assert kept.history.fold(event(created("00:30")), kept.book, LATENESS_MS, Deltas()) is DUPLICATE
    kept.compact()
    assert kept.days == Kept(created("00:30"), *(received(f"0{h}:00", f"v{v}") for h, v in ((1, 1), (2, 2), (5, 3))),
                             received("05:30", "v4")).days  # fmt: skip


@pytest.mark.usefixtures("chunks_of_two")
def test_a_second_creation_changes_nothing_though_the_journal_is_empty() -> None:
    # The newest instant was an event's that earlier content replaced: all of the journal is past the window.
    first = (created("00:30"), moved("01:00", "nights"), moved("09:00", "x", id="e"), moved("02:00", "y", id="e"))
    kept = Kept(*first)
    kept.compact()
    kept.compact()
    assert kept.history.journal == []
    assert kept.fold(created("10:00", origin="Instagram")) is APPLIED
    assert kept.history.contact.origin == "Web"
    assert kept.fold(moved("11:00", "z")) is APPLIED
    assert kept.days == Kept(*first, moved("11:00", "z")).days


@pytest.mark.usefixtures("chunks_of_two")
def test_a_creation_replaced_by_other_content_within_the_journal_is_taken_back_behind_an_archive() -> None:
    kept = archived()
    kept.fold(created("05:20", id="e"))
    kept.compact()
    assert kept.fold(moved("05:10", "nights", id="e")) is APPLIED
    messages = [received("01:00", "v1"), received("02:00", "v2"), received("05:00", "v3"), received("05:30", "v4")]
    assert kept.days == Kept(*messages, moved("05:10", "nights", id="e")).days


@pytest.mark.usefixtures("chunks_of_two")
def test_slightly_disordered_arrival_does_not_keep_the_journal_from_shrinking() -> None:
    kept = Kept()
    longest = 0
    for hour in range(24):
        for minute in (10, 0, 30, 20, 50, 40):  # each pair swapped
            kept.fold(received(f"{hour:02}:{minute:02}"))
            kept.compact()
            longest = max(longest, len(kept.history.journal))
    assert kept.history.archive_count > 0
    assert longest < 50


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
    assert kept.history.rule_versions() == {before.version}
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
    fields = [field for fields in kept.days.values() for field in fields]
    assert {field[3] for field in fields if field[0] == counters.RESPONSE} == {"whatsapp", "email"}
    assert [field[3] for field in fields if field[0] == counters.UNCOUNTED] == ["whatsapp"]


def test_an_older_version_that_is_not_at_hand_is_asked_for_and_nothing_is_changed() -> None:
    before, after, _ = two_versions()
    kept = Kept(received("09:00"), answered("09:10"), book=RulesBook(before))
    kept.book = RulesBook(after)
    state, deltas = kept.history.encode(), Deltas()
    with pytest.raises(MissingRules) as caught:
        kept.history.fold(event(received("08:55")), kept.book, LATENESS_MS, deltas)
    assert caught.value.version == before.version
    assert (kept.history.encode(), deltas.days) == (state, {})


def test_an_answer_whose_wait_stays_is_taken_back_and_added_again_without_its_settings() -> None:
    before, after, _ = two_versions()
    kept = Kept(received("09:00"), answered("09:10"), book=RulesBook(before))
    kept.book = RulesBook(after)
    kept.restart()
    kept.fold(moved("09:05", "nights"))
    expected = Kept(received("09:00"), moved("09:05", "nights"), answered("09:10"), book=RulesBook(before))
    assert kept.days == expected.days


@pytest.mark.usefixtures("chunks_of_two")
def test_the_versions_of_an_attached_archive_are_asked_for_too() -> None:
    kept = archived()
    (known,) = kept.history.rule_versions()
    kept.book = two_versions()[2]
    kept.fold(received("05:40"))
    newer = kept.book.current.version
    assert kept.history.rule_versions() == {known, newer}
    later = Kept(book=kept.book)
    later.history, later.archive = kept.history, kept.archive
    for minute in range(40, 60, 5):
        later.fold(received(f"07:{minute}"))
        later.compact()
    assert later.history.rule_versions() == {newer}
    later.history.attach_archive(later.chunks())
    assert later.history.rule_versions() == {known, newer}


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_a_history_survives_its_bytes() -> None:
    kept = Kept(created("09:00"), received("09:10"), answered("09:20"), closed("09:30", reason="Esperando visita"))
    data = kept.history.encode()
    assert data[0] == STATE_VERSION
    assert ContactHistory.decode(data).encode() == data
    assert encode_contact(ContactHistory.decode(data).contact) == encode_contact(kept.history.contact)


@pytest.mark.parametrize(("data", "version"), [(b"", -1), (b"\x00", 0), (b"\x01\x98", 1), (b"\xff", 255)])
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


def test_a_contact_with_forty_events_fits_into_a_few_kilobytes() -> None:
    kept = Kept(created("08:00"), *(received(f"09:{minute:02}", id=f"message-{minute}") for minute in range(40)))
    assert len(kept.history.encode()) < 3_000
    kept.compact()
    kept.fold(received("12:00"))
    kept.compact()
    assert len(kept.history.encode()) < 500
