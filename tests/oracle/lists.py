"""The rows of the ten lists: the facts that a box counts, one by one."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

from tests.oracle.facts import Account, Action, Answer, ContactFacts, Interaction
from tests.oracle.filters import Filters, passes, reaches, waits
from tests.oracle.instants import SECOND_US, instant, local
from tests.oracle.outcomes import is_at_rest, is_resolved

Row = dict[str, Any]
Placed = tuple[int, str, int, Row]
"""A row behind what it is ordered by: the instant as shown, in milliseconds, the contact, the place in event order."""

WITHOUT_ADVISOR = ("new_contacts", "active_contacts", "new_conversations", "origins", "waiting")


def rows_of(
    name: str, contacts: Sequence[ContactFacts], days: set[date], asked: Filters, account: Account, as_of_us: int
) -> list[Row]:
    """The rows of a list, of contacts that the origin filter lets through."""
    if name == "waiting":
        placed = list(_waiting(contacts, days, asked, account, as_of_us))
    else:
        placed = [row for facts in contacts for row in _ROWS[name](facts, days, asked)]
    return [row for *_, row in sorted(placed, key=lambda each: each[:3])]


def _row(facts: ContactFacts, at_us: int, place: int, group: str | None, **fields: Any) -> Placed:
    head = {"contact_id": facts.contact, "at": instant(at_us), "origin": facts.origin, "group": group}
    return at_us // 1_000, facts.contact, place, {**head, **fields}


def _answer(facts: ContactFacts, answer: Answer) -> Placed:
    target = answer.target_seconds
    within = {
        "elapsed": target is not None and answer.elapsed_us <= target * SECOND_US,
        "business": target is not None and answer.business_us <= target * SECOND_US,
    }
    return _row(
        facts, answer.at_us, answer.place, answer.group, day=answer.day.isoformat(), channel=answer.channel,
        advisor=answer.advisor, conversation_id=answer.conversation, within_target=None if target is None else within,
        elapsed_seconds=answer.elapsed_us / SECOND_US, business_seconds=answer.business_us / SECOND_US,
        without_schedule=answer.without_schedule, **{"from": instant(answer.from_us)},
    )  # fmt: skip


def _first_response(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    answer = facts.first_response
    if answer and answer.day in days and reaches(answer, asked):
        yield _answer(facts, answer)


def _responses(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    for answer in facts.responses:
        if answer.day in days and reaches(answer, asked):
            yield _answer(facts, answer)


def _matching(facts: ContactFacts, day: date, asked: Filters) -> list[Interaction]:
    return [touch for touch in facts.interactions if touch.day == day and reaches(touch, asked)]


def _interactions(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    for day in {touch.day for touch in facts.interactions} & days:
        if touches := _matching(facts, day, asked):
            advisors = sorted({touch.advisor for touch in touches if touch.advisor is not None})
            channels = sorted({touch.channel for touch in touches})
            first = touches[0]
            lists = {"advisors": advisors, "channels": channels}
            yield _row(facts, first.at_us, first.place, first.group, day=day.isoformat(), **lists)


def _advisor_contacts(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    for day in {touch.day for touch in facts.interactions} & days:
        touches = _matching(facts, day, asked)
        for advisor in {touch.advisor for touch in touches}:
            first = next(touch for touch in touches if touch.advisor == advisor)
            fields = {"channel": first.channel, "advisor": advisor}
            yield _row(facts, first.at_us, first.place, first.group, day=day.isoformat(), **fields)


def _new_contacts(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    creation = facts.creation
    if (
        creation
        and creation.day in days
        and passes(asked.channel, creation.channel)
        and passes(asked.group, creation.entry_group)
    ):
        yield _row(
            facts, creation.at_us, creation.place, creation.entry_group, day=creation.day.isoformat(),
            channel=creation.channel, by=creation.by, deleted=facts.deleted and not facts.merged, merged=facts.merged,
        )  # fmt: skip


def _active_contacts(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    def matches(action: Action) -> bool:
        return action.day in days and passes(asked.channel, action.channel) and passes(asked.group, action.group)

    if actions := [action for action in facts.actions if matches(action)]:
        first = actions[0]
        on_days = sorted({action.day.isoformat() for action in actions})
        yield _row(facts, first.at_us, first.place, first.group, channel=first.channel, actions_days=on_days)


def _new_conversations(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    for start in facts.starts:
        day = start.moment.date()
        if day in days and passes(asked.channel, start.channel) and passes(asked.group, start.group):
            yield _row(
                facts, start.at_us, start.place, start.group, day=day.isoformat(), channel=start.channel,
                conversation_id=start.conversation, opener=start.opener,
            )  # fmt: skip


def _closed_conversations(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    for closure in facts.closures:
        if (
            closure.day in days
            and passes(asked.channel, closure.channel)
            and passes(asked.group, closure.group)
            and passes(asked.advisor, closure.advisor)
        ):
            yield _row(
                facts, closure.at_us, closure.place, closure.group, day=closure.day.isoformat(),
                channel=closure.channel, conversation_id=closure.conversation, advisor=closure.advisor,
                kind="transferred" if closure.transferred else "closed", reason=closure.reason,
            )  # fmt: skip


def _origins(facts: ContactFacts, days: set[date], asked: Filters) -> Iterator[Placed]:
    creation = facts.creation
    if (
        creation
        and creation.day in days
        and not facts.deleted
        and not facts.merged
        and passes(asked.channel, creation.channel)
        and passes(asked.group, facts.group)
    ):
        yield _row(
            facts, creation.at_us, creation.place, facts.group, day=creation.day.isoformat(), channel=creation.channel,
            engaged=bool(facts.interactions), closed=bool(facts.closures), resolved=is_resolved(facts),
            at_rest=is_at_rest(facts),
        )  # fmt: skip


def _waiting(
    contacts: Sequence[ContactFacts], days: set[date], asked: Filters, account: Account, as_of_us: int
) -> Iterator[Placed]:
    for facts in contacts:
        waiting = facts.waiting
        if not waiting or not waits(waiting, asked):
            continue
        day = local(waiting.since_us, account.zone).date()
        if day not in days:
            continue
        until_us = max(as_of_us, waiting.since_us)
        schedule = account.clock.schedule_of_group(waiting.group)
        yield _row(
            facts, waiting.since_us, 0, waiting.group, day=day.isoformat(), channel=waiting.channel,
            snoozed=waiting.snoozed, elapsed_seconds=(until_us - waiting.since_us) / SECOND_US,
            business_seconds=account.clock.worked_by_us(schedule, waiting.since_us, until_us) / SECOND_US,
            without_schedule=schedule is None,
        )  # fmt: skip


_ROWS: dict[str, Callable[[ContactFacts, set[date], Filters], Iterator[Placed]]] = {
    "first_response": _first_response,
    "response": _responses,
    "interactions": _interactions,
    "advisor_contacts": _advisor_contacts,
    "new_contacts": _new_contacts,
    "active_contacts": _active_contacts,
    "new_conversations": _new_conversations,
    "closed_conversations": _closed_conversations,
    "origins": _origins,
}
LISTS = (*_ROWS, "waiting")
