"""A journal's rows: few bytes, read back whole."""

import msgspec
import pytest

from aggregates import entry as entries
from aggregates.entry import Entry
from aggregates.journal import Journal, journal_of
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
    name = {"LOGGED": "CALLED", "ADDED": "NOTED"}.get(word, word)
    assert getattr(entries, name) == struct.rank  # type: ignore[attr-defined]


def test_a_plain_message_costs_little_more_than_its_id() -> None:
    # id 11 + 1, array 1, milliseconds 3, code 3, and a byte each for rules, channel and conversation
    one, many = (len(bytes(journal_of([message(n) for n in range(count)]).parts()[-1])) for count in (1, 101))
    assert (many - one) / 100 <= 24


def test_an_id_that_is_the_beginning_of_another_is_another() -> None:
    journal = journal_of([message(1)])
    assert journal.known("message-001") == message(1)
    assert journal.known("message-00") is None
    assert journal.known("message-0012") is None


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


@pytest.mark.parametrize("count", [1, 15, 16, 300])
def test_a_journal_of_any_length_is_read_back(count: int) -> None:
    journal = Journal(journal_of([message(n) for n in range(count)]).parts())
    assert (journal.count, journal.first_us) == (count, AT_US)
    assert journal.entries() == [message(n) for n in range(count)]
    assert journal.last() == message(count - 1)
    assert journal.known(f"message-{count - 1:03}") == message(count - 1)
    assert journal.known(f"message-{count:03}") is None


def test_what_was_absorbed_is_kept() -> None:
    absorbed = Entry(
        AT_US, 0, entries.ABSORBED, "a", SEVEN, 739_900, 0, channel="sms", since_ms=0, since_day=739_800,
        conversations=(("v1", "sms"), ("v2", "call")),
    )  # fmt: skip
    assert Journal(journal_of([absorbed, message(1)]).parts()).entries() == [absorbed, message(1)]


def test_ids_that_go_make_room() -> None:
    told = [message(number) for number in range(32)]
    nameless = [msgspec.structs.replace(each, id="") for each in told]
    assert len(journal_of(told).parts()[-1]) - len(journal_of(nameless).parts()[-1]) == 32 * len("message-000")
    assert journal_of(told).has_conversation_ids
    assert not journal_of(nameless).has_conversation_ids


@pytest.mark.parametrize("keep", [0, 1, 2, 30, -1])
def test_damaged_rows_are_refused(keep: int) -> None:
    *head, rows = journal_of([message(1), message(2)]).parts()
    journal = Journal((*head, rows[:keep]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r".+"):
        journal.entries()
