"""The facts that shards hold, that a fold makes, and that states say they made: three ways to the same."""

from collections.abc import Iterable, Mapping
from typing import Any

from aggregates.answers import Retracted
from aggregates.contact import standing_facts, step
from aggregates.counters import decode_vector
from aggregates.facts import CONTACT, WAITING, Fact, fact_field, fact_value, read_fact
from aggregates.history import ContactHistory, FactChanges, Lateness, Outcome
from aggregates.rules import Rules, RulesBook
from aggregates.sealed import TOTALS, facts_in
from aggregates.totals import totals_of
from schemas.accounts import AccountSettings, default_settings
from schemas.events import Event, instant_us
from streams.redis.keys import ShardKeys, chunk_field, contact_key, split_day_member

LATENESS = Lateness(3_600_000_000, 30 * 86_400_000_000)

Facts = dict[tuple[str, int], dict[bytes, bytes]]
"""Of each account and day that has some: facts by field."""


class WrongTotals(AssertionError):
    """A day's totals are not those of its facts."""


def day_facts(ordinal: int, held: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The facts in a day's hash, sealed or not. Raises `WrongTotals`."""
    facts = facts_in(held)
    of_facts = totals_of(read_fact(ordinal, name, value)[1] for name, value in facts.items())
    totals = decode_vector(held[TOTALS]) if TOTALS in held else {}
    if totals != of_facts:
        raise WrongTotals(f"day {ordinal} says {totals}, its facts are {of_facts}")
    return facts


def shard_facts(data: Mapping[bytes, Any], keys: ShardKeys) -> Facts:
    """The facts of a shard, out of a Redis in memory. Raises `WrongTotals`."""
    found: Facts = {}
    for member in data.get(keys.changed, {}):
        ordinal, account_id = split_day_member(member)
        if facts := day_facts(ordinal, data.get(keys.day(ordinal, account_id), {})):
            found[account_id, ordinal] = facts
    return found


def merged(shards: Iterable[Facts]) -> Facts:
    """The facts of several shards, which share no contact."""
    found: Facts = {}
    for shard in shards:
        for day, facts in shard.items():
            into = found.setdefault(day, {})
            assert not into.keys() & facts.keys()
            into.update(facts)
    return found


class OneByOne:
    """Folds events one after the other, with nothing in the way: no batches, no Redis, nothing sealed or shrunk."""

    def __init__(self, accounts: Iterable[AccountSettings | Rules], lateness: Lateness = LATENESS) -> None:
        """`accounts`: their settings, compiled or not."""
        compiled = [each if isinstance(each, Rules) else Rules(each) for each in accounts]
        self._books = {rules.settings.account_id: RulesBook(rules) for rules in compiled}
        self._lateness = lateness
        self._histories: dict[tuple[str, str], ContactHistory] = {}
        self._chunks: dict[tuple[str, str], dict[int, bytes]] = {}
        self._days: Facts = {}

    def book(self, account_id: str) -> RulesBook:
        """An account's settings; the default ones if it has none."""
        if account_id not in self._books:
            self._books[account_id] = RulesBook(Rules(default_settings(account_id)))
        return self._books[account_id]

    def fold(self, event: Event) -> Outcome:
        """Take an event in."""
        account_id, contact_id = key = (event.account_id, event.contact_id)
        history = self._histories.setdefault(key, ContactHistory())
        chunks, changes = self._chunks.setdefault(key, {}), FactChanges()
        history.attach_chunks([chunks[number] for number in history.chunk_numbers()])
        taken = [(event, instant_us(event.occurred_at))]
        (outcome,) = history.fold(taken, self.book(account_id), self._lateness, changes)
        removed, added = changes.net()
        for fact in removed:
            del self._days[account_id, fact.day][fact_field(contact_id, fact)]
        for fact in added:
            self._days.setdefault((account_id, fact.day), {})[fact_field(contact_id, fact)] = fact_value(fact)
        for number, chunk in history.compact(self._lateness):
            if chunk is None:
                del chunks[number]
            else:
                chunks[number] = chunk
        return outcome

    @property
    def facts(self) -> Facts:
        """The facts of all that was folded."""
        return {day: facts for day, facts in self._days.items() if facts}

    def facts_of(self, account_id: str) -> dict[int, dict[bytes, bytes]]:
        """The facts of an account, day by day."""
        return {day: facts for (name, day), facts in self._days.items() if name == account_id and facts}


def contradictions(data: Mapping[bytes, Any], keys: ShardKeys, contacts: Mapping[str, str]) -> list[str]:
    """Where a shard holds other facts than its states say they made, each answer as it was counted.

    `contacts` tells the account of each. What is settled is known to the facts alone: they may be more, as long as they
    are no newer than that.
    """
    held: dict[tuple[str, str], dict[tuple[int, bytes], Fact]] = {}
    for (account_id, ordinal), facts in shard_facts(data, keys).items():
        for name, value in facts.items():
            contact_id, fact = read_fact(ordinal, name, value)
            held.setdefault((account_id, contact_id), {})[ordinal, name] = fact
    found = []
    for contact_id, account_id in contacts.items():
        key = contact_key(account_id, contact_id)
        state = data.get(keys.states, {}).get(key)
        stands = held.pop((account_id, contact_id), {})
        if state is None:
            if stands:
                found.append(f"{contact_id} has facts and no state: {stands}")
            continue
        history = ContactHistory.decode(state)
        history.attach_chunks([data[keys.chunks][chunk_field(key, number)] for number in history.chunk_numbers()])
        made = {(fact.day, fact_field(contact_id, fact)): fact for fact in contributed(history)}
        if lacking := {name: fact for name, fact in made.items() if stands.get(name) != fact}:
            found.append(f"{contact_id} made {lacking}, the days have {[stands.get(name) for name in lacking]}")
        settled_ms = history.settled_us // 1000
        for place, fact in stands.items():
            if place not in made and (fact.kind in (CONTACT, WAITING) or fact.at_ms > settled_ms):
                found.append(f"{contact_id} did not make {fact}")
    return found + [f"facts of {contact}, who has no state" for contact in held]


def contributed(history: ContactHistory) -> list[Fact]:
    """The facts that a history's entries made, as they were counted, and those that follow from its state."""
    made: list[Fact] = []
    contact = history.start()
    for entry in history.entries:
        step(contact, entry, Retracted(), made)
    return [*made, *standing_facts(history.contact)]
