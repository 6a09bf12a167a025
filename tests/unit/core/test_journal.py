"""A journal's rows: few bytes, read back whole. Chunks of an archive: fewer, and all but ids of conversation events."""

import msgspec
import pytest

from aggregates import entry as entries
from aggregates.entry import Entry
from aggregates.journal import Journal, decode_entries, encode_entries, journal_of
from schemas.events import EVENT_TYPES, type_name

AT_US = 1_780_000_000_000_000
SEVEN, NINE = bytes([7] * 16), bytes([9] * 16)


def message(number: int, **fields: object) -> Entry:
    day = AT_US // 86_400_000_000 + 719_163
    return Entry(
        AT_US + number * 30_000_000, 0, entries.RECEIVED, f"message-{number:03}", SEVEN, day, 11, 0, "contact",
        "whatsapp", "conversation-1", **fields,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("struct", EVENT_TYPES, ids=type_name)
def test_kinds_are_the_ranks_of_the_event_types(struct: type) -> None:
    word = type_name(struct).split(".")[1].upper()
    name = {"LOGGED": "CALLED", "ADDED": "NOTED", "TRANSFERRED": "TRANSFERRED"}.get(word, word)
    assert getattr(entries, name) == struct.rank  # type: ignore[attr-defined]


def test_a_plain_message_costs_little_more_than_its_id() -> None:
    # id 11 + 1, array 1, milliseconds 3, code 3, and a byte each for rules, channel and conversation
    one, many = (len(bytes(journal_of([message(n) for n in range(count)]).parts()[-1])) for count in (1, 101))
    assert (many - one) / 100 <= 24


def test_an_id_that_is_the_beginning_of_another_is_another() -> None:
    journal = journal_of([message(1)])
    assert journal.known("message-001")
    assert not journal.known("message-00")
    assert not journal.known("message-0012")


def test_what_is_rare_is_kept_too() -> None:
    rare = Entry(
        AT_US + 1, -3, entries.TRANSFERRED, "t", NINE, 739_900, 23, conversation="c", group="", to_conversation="d"
    )
    created = Entry(AT_US, 0, entries.CREATED, "k", SEVEN, 739_900, 0, actor="import", channel="email", origin="")
    assert Journal(journal_of([created, rare]).parts()).entries() == [created, rare]


@pytest.mark.parametrize("counted", [(), (-1,), (0, 2**40), (4_800_007, -8)])
@pytest.mark.parametrize("words", [{}, {"advisor": "ana"}, {"advisor": "ana", "group": "north"}, {"group": "north"}])
def test_what_an_answer_was_counted_with_is_kept(counted: tuple[int, ...], words: dict[str, str]) -> None:
    answer = message(1, counted=counted, **words)
    assert Journal(journal_of([message(0), answer, message(2)]).parts()).entries()[1] == answer


def test_a_journal_goes_on_after_its_bytes() -> None:
    journal = journal_of([message(1), message(2)])
    again = Journal(journal.parts())
    again.append(message(3, advisor="ana"))
    assert [entry.id for entry in again.entries()] == ["message-001", "message-002", "message-003"]
    assert [entry.at_us for entry in again.entries()] == [AT_US + n * 30_000_000 for n in (1, 2, 3)]
    assert again.parts()[2] == 3


def test_a_chunk_of_an_archive_keeps_the_ids_of_the_contacts_own_events_only() -> None:
    created = Entry(AT_US, 0, entries.CREATED, "k", SEVEN, 739_900, 0, actor="import", channel="email", origin="")
    merged = Entry(AT_US + 1, 0, entries.MERGED, "m", SEVEN, 739_900, 0)
    chunk = decode_entries(encode_entries([created, merged, message(1, advisor="ana")]))
    assert chunk == [created, merged, msgspec.structs.replace(message(1, advisor="ana"), id="")]


def test_a_chunk_of_an_earlier_build_is_read_with_its_ids() -> None:
    chunk = [message(1), message(2)]
    assert decode_entries(msgspec.msgpack.encode(journal_of(chunk).parts())) == chunk


def test_an_archived_message_costs_half_of_what_it_cost_in_the_journal_or_less() -> None:
    chunk = [message(number) for number in range(32)]
    assert 2 * len(encode_entries(chunk)) < len(journal_of(chunk).parts()[-1])


@pytest.mark.parametrize("keep", [0, 1, 2, 30, -1])
def test_a_damaged_chunk_is_refused(keep: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_entries(encode_entries([message(1), message(2)])[:keep])
