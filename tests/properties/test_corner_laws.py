"""Short lives of one contact that are all corners, in batches, beside the oracle.

Few conversations, few instants, every type of event: creations that arrive late and twice, merges, and other content
under the id of an event that was taken in before. So small a life is told whole by the ten lists.
"""

from random import Random
from typing import Any

import orjson
import pytest

from aggregates import contact as contact_module
from aggregates import history as history_module
from aggregates.facts import read_fact
from aggregates.filters import Filters
from aggregates.history import Lateness, Outcome
from aggregates.lists import WaitClocks, list_rows
from aggregates.rules import Rules, RulesBook
from schemas.accounts import decode_settings
from tests.oracle.choices import Seeded
from tests.oracle.instants import HOUR_US, instant_us, utc
from tests.oracle.lists import LISTS
from tests.oracle.lives import _KINDS, _WITH_CONVERSATION, ACCOUNTS, Event, _fields
from tests.oracle.report import Oracle
from tests.support.comparison import LATER_MS
from tests.support.contacts import Contacts, decoded
from tests.support.contributions import rows_of

ACCOUNT = next(account for account in ACCOUNTS if account["account_id"] == "lord-howe")
BEGIN_US = instant_us("2026-03-02T09:00:00Z")
CONVERSATIONS = ("k0", "k1", "k2", "k3")
OFTEN = ("contact.created", "contact.moved", "contact.absorbed", "message.received", "message.sent")


def life(random: Random) -> tuple[list[Event], int]:
    """Events with their instants (`at_us`), and the step in which these were drawn."""
    choices, step_us = Seeded(random), random.choice([1_000_000, 60_000_000, 600_000_000, HOUR_US])
    span = random.choice([5, 20, 60])
    events = []
    for number in range(random.randint(2, 40)):
        kind = random.choice(_KINDS if random.random() < 0.7 else OFTEN)
        event: Event = {"id": f"e{number:03}", "type": kind, "account_id": ACCOUNT["account_id"], "contact_id": "c"}
        event |= _fields(choices, kind)
        event["at_us"] = random.randint(0, span) * step_us + random.choice([0, 0, 0, 1_000])
        if kind.startswith(_WITH_CONVERSATION):
            event["conversation_id"] = random.choice(CONVERSATIONS)
        if kind == "conversation.transferred" and random.random() < 0.7:
            event["to_conversation_id"] = random.choice(CONVERSATIONS)
        if kind == "contact.absorbed":
            known = random.sample(CONVERSATIONS, random.randint(0, 2))
            event["open_conversations"] = [{"id": conversation, "channel": "sms"} for conversation in known]
            if random.random() < 0.7:
                since_us = max(0, event["at_us"] + random.randint(-10, 2) * step_us)
                event["waiting_since"] = utc(BEGIN_US + since_us).isoformat()
        if random.random() < 0.2:
            event["sequence"] = random.randint(-1, 1)
        events.append(event)
    return sorted(events, key=lambda event: event["at_us"]), step_us


def arrival(random: Random) -> list[Event]:
    """A life as a log carries it: shuffled, and with earlier content under ids that were there before."""
    events, step_us = life(random)
    arriving: list[tuple[int, int, Event]] = []
    for event in events:
        own = event["type"].startswith("contact.")
        delay_us = 0 if random.random() < 0.6 else random.randint(0, 60) * step_us
        due_us = event["at_us"] + (delay_us if own else min(delay_us, HOUR_US))
        arriving.append((due_us, len(arriving), event))
        other = random.choice(events)
        earlier_us = event["at_us"] - random.randint(1, 5) * step_us
        if random.random() < 0.15 and earlier_us >= 0 and other["type"].startswith("contact.") == own:
            left_out = ("sequence", "waiting_since")
            other = {name: value for name, value in other.items() if name not in left_out}
            other |= {"id": event["id"], "at_us": earlier_us}
            arriving.append((due_us + random.randint(0, 3) * step_us, len(arriving), other))
    log = []
    for _, _, event in sorted(arriving, key=lambda each: each[:2]):
        at = utc(BEGIN_US + event["at_us"]).isoformat()
        log.append({name: value for name, value in event.items() if name != "at_us"} | {"occurred_at": at})
    return log


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: round(cell, 3) if isinstance(cell, float) else cell for name, cell in row.items()} for row in rows]


@pytest.mark.parametrize("first_seed", range(0, 120, 20))
def test_every_list_is_the_oracles(first_seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(first_seed, first_seed + 20):
        random = Random(seed)
        log = arrival(random)
        monkeypatch.setattr(history_module, "CHUNK_ENTRIES", random.choice([1, 2, 3, 32]))
        monkeypatch.setattr(contact_module, "NAMED_CLOSED", random.choice([0, 1, 32]))
        rules = Rules(decode_settings(orjson.dumps(ACCOUNT)))
        lateness = Lateness(HOUR_US, random.choice([1, 10, 1_000]) * HOUR_US)
        contacts = Contacts({ACCOUNT["account_id"]: RulesBook(rules)}, lateness, chunks=False)
        most, applied, at = random.choice([1, 1, 3, 50]), list[Event](), 0
        while at < len(log):
            batch = log[at : at + random.randint(1, most)]
            at += len(batch)
            outcomes = contacts.apply(decoded(batch))
            applied += [event for event, outcome in zip(batch, outcomes, strict=True) if outcome is Outcome.APPLIED]
        contacts.check_totals()

        oracle = Oracle(applied, [ACCOUNT])
        facts = [read_fact(day, *item) for (_, day), found in contacts.facts().items() for item in found.items()]
        rows = rows_of(facts)
        first, last = utc(BEGIN_US - 40 * 24 * HOUR_US).date(), utc(BEGIN_US + 40 * 24 * HOUR_US).date()
        for name in LISTS:
            expected = oracle.rows(ACCOUNT["account_id"], name, first, last, {}, LATER_MS * 1000)
            assert expected is not None
            found = list_rows(name, rows, Filters(), WaitClocks(rules.clock_of_group, LATER_MS))[1]
            assert rounded(found) == rounded(expected), (seed, name)
