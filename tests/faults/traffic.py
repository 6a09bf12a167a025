"""Traffic whose report does not depend on how the two event topics interleave.

Kafka gives no order between topics, so after a fault nobody can say in which order a worker met a contact's events and
the events of its conversations. A conversation event counts only if it is not further behind than the lateness; near
that limit its fate would hang on the interleaving, and there would be no one right report. So traffic comes in rounds:

- Within a round all stamps of a contact lie within `SPAN_MS`, less than the lateness: however they are shuffled,
  doubled or interleaved, all are in time. Between rounds lie hours of event time, and the campaign goes on to the next
  round only when the one before is applied.
- After a roll-back several rounds are a backlog. Workers read a backlog in event time, and the records of one topic
  never overtake each other: no event of a later round is met before a conversation event of an earlier one.
- An event that is meant to come too late is held back until its contact has had conversation events of a later round,
  in the same partition before it. It is too late then in every interleaving.
- A contact's own events count in their place whenever they arrive, its creation after up to 200 events: they are held
  back and doubled freely, and no contact has more events than that.

So the accepted set is a function of the log, and the oracle may take the conversations first and the contacts after.
Settings change only between rounds, and only by a schedule that takes effect on a day after all that was sent: older
events have the same durations under the old settings and the new, so a batch that is read again may meet either.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import orjson

from tests.oracle.choices import Seeded
from tests.oracle.instants import utc
from tests.oracle.lives import ACCOUNTS, Event, Step, life, step

DAY_MS = 86_400_000
ROUND_MS = 9 * 3_600_000
"""From the beginning of one round to that of the next, in event time."""
SPAN_MS = 32 * 60_000
"""Longest time of a contact in one round."""
SPREAD_MS = 4 * 3_600_000
"""Contacts of a round begin within so much."""
MOST_STEPS = 8
"""Of a contact in one round."""
MOST_EVENTS = 150
"""Of a contact in its life: fewer than a creation may follow."""
MOST_HELD_ROUNDS = 4

Settings = dict[str, Any]


@dataclass
class _Person:
    """A contact, what has happened to it and what of that is not sent yet."""

    account: Mapping[str, Any]
    name: str
    born_ms: int
    steps: list[Step] = field(default_factory=list)
    now_ms: int = 0
    talked: int = -1
    """The last round in which a conversation event of its was sent in time."""
    sent: list[Event] = field(default_factory=list)
    held: list[tuple[int, Event]] = field(default_factory=list)
    """Events kept back, with their round."""


@dataclass(frozen=True)
class Send:
    """One record to be sent; `event` is `None` for one that is no event at all."""

    topic: str
    key: bytes | None
    value: bytes | None
    event: Event | None = None


class Traffic:
    """Rounds of events drawn from a seed, over all accounts of the oracle's histories."""

    def __init__(self, seed: int, begin_ms: int) -> None:
        self._random = Random(seed)
        self._choices = Seeded(self._random)
        self._begin_ms = begin_ms
        self._people: list[_Person] = []
        self._number = 0
        self._settings: dict[str, Settings] = {a["account_id"]: dict(a) for a in ACCOUNTS}
        self.too_late: list[Event] = []
        """Events that were sent too late on purpose."""

    @property
    def accounts(self) -> list[Settings]:
        """The settings in force."""
        return list(self._settings.values())

    @property
    def begin_ms(self) -> int:
        """Where the round to come begins, in event time."""
        return self._begin_ms + self._number * ROUND_MS

    def round(self, events: int) -> list[Send]:
        """The next round, about that many records in the order in which they are to be sent."""
        arriving: list[tuple[float, int, Event]] = []
        count = 0
        while count < events:
            person = self._someone()
            for event in self._live(person):
                arriving.append((self._random.random() + count / events, count, event))
                count += 1
        self._number += 1
        arriving.sort(key=lambda each: each[:2])
        sends = [_send(event) for _, _, event in arriving]
        for _ in range(len(sends) // 120):
            sends.insert(self._random.randrange(len(sends)), self._bad())
        return sends

    def change_settings(self) -> Settings:
        """New settings of an account, from a day after everything that was sent."""
        account_id = self._random.choice(list(self._settings))
        settings = dict(self._settings[account_id])
        day = utc(self.begin_ms * 1_000).date() + dt.timedelta(days=2)
        opens, closes = sorted(self._random.sample(range(25), 2))
        hours = [[f"{opens:02}:00", f"{closes:02}:00"]]
        version = {"valid_from": day.isoformat(), "weekly": dict.fromkeys(("mon", "tue", "thu", "sat", "sun"), hours)}
        schedules = dict(settings.get("schedules") or {})
        name = self._random.choice([*schedules, "new"])
        known = [each for each in schedules.get(name, []) if each.get("valid_from") != version["valid_from"]]
        # A schedule that did not exist has no hours before that day, which is not the same as none being set.
        if not known:
            settings["name"] = f"{account_id} {self._number}"
        else:
            schedules[name] = sorted([*known, version], key=lambda each: str(each.get("valid_from", "")))
            settings["schedules"] = schedules
        self._settings[account_id] = settings
        return settings

    # --- people ------------------------------------------------------------------------------------------------------

    def _someone(self) -> _Person:
        """Somebody new, or somebody known who is not yet in this round."""
        known = [person for person in self._random.sample(self._people, min(8, len(self._people))) if self._can(person)]
        if known and self._random.random() < 0.55:
            return known[0]
        born_ms = self.begin_ms + self._random.randrange(SPREAD_MS)
        account = self._choices.pick(ACCOUNTS)
        person = _Person(account, f"c{len(self._people)}", born_ms, now_ms=born_ms)
        self._people.append(person)
        return person

    def _can(self, person: _Person) -> bool:
        return person.now_ms < self.begin_ms and len(person.sent) + len(person.held) < MOST_EVENTS - 3 * MOST_STEPS

    def _live(self, person: _Person) -> Iterator[Event]:
        """What is sent of a contact in this round: some of what happens now, copies, and some of what is overdue."""
        told = len(self._events(person))
        first = not person.steps
        if not first:
            begin_ms = self.begin_ms + self._random.randrange(SPREAD_MS)
            gap_ms, person.now_ms = begin_ms - person.now_ms, begin_ms
            person.steps.append(replace(step(self._choices), gap_ms=gap_ms, snap=None))
        elif self._choices.chance(90):
            person.steps.append(replace(step(self._choices, creation=True), snap=None))
        for _ in range(self._random.randint(1, MOST_STEPS - 1)):
            taken = step(self._choices)
            taken = replace(taken, gap_ms=taken.gap_ms % (SPAN_MS // MOST_STEPS), snap=None)
            person.now_ms += taken.gap_ms
            person.steps.append(taken)
        overdue = self._overdue(person)
        talks = False
        for event in self._events(person)[told:]:
            own = event["type"].startswith("contact.")
            if self._choices.chance(8 if own else 2):
                person.held.append((self._number, event))
                continue
            talks = talks or not own
            person.sent.append(event)
            yield event
            if self._choices.chance(5):
                yield dict(event)
        yield from overdue
        if person.sent and self._choices.chance(10):
            yield dict(self._choices.pick(person.sent))
        if talks:
            person.talked = self._number

    def _overdue(self, person: _Person) -> list[Event]:
        """Events kept back whose time has come: a contact's own ones, and others that are too late by now."""
        due = []
        for number, event in list(person.held):
            own = event["type"].startswith("contact.")
            waited = self._number - number > self._random.randrange(MOST_HELD_ROUNDS)
            if (own and waited) or (not own and person.talked > number):
                person.held.remove((number, event))
                due.append(event)
                if own:
                    person.sent.append(event)
                else:
                    self.too_late.append(event)
        return due

    def _events(self, person: _Person) -> list[Event]:
        return life(person.account, person.name, person.born_ms * 1_000, person.steps)

    def _bad(self) -> Send:
        """A record that is no event."""
        topic = self._choices.pick(("contacts", "conversations"))
        value = self._choices.pick(
            (
                b"",
                None,
                b"\x00\xff",
                b'{"id": "x", "type": "message.sent", "account_id": "utc"',
                b"[" * 5_000,
                b'{"id": 1, "type": ["contact.moved"], "account_id": null}',
                orjson.dumps(
                    {
                        "id": "future",
                        "type": "contact.deleted",
                        "account_id": "utc",
                        "contact_id": "c0",
                        "occurred_at": "2999-01-01T00:00:00Z",
                    }
                ),
            )
        )
        return Send(topic, b"c0", value)


def _send(event: Event) -> Send:
    topic = "contacts" if event["type"].startswith("contact.") else "conversations"
    return Send(topic, event["contact_id"].encode(), orjson.dumps(event), event)
