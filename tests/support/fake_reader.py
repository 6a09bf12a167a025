"""A reader of snapshots that needs no Redis: a plausible account made from a seed, and switches for what goes wrong."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from aggregates import facts, report
from aggregates.comparison import comparison
from aggregates.day_block import Contribution, decode_block, encode_block
from aggregates.facts import Fact
from aggregates.filters import Filters
from aggregates.lists import WaitClocks, check_list, list_rows
from aggregates.localtime import LocalCalendar
from aggregates.periods import Period, period, presets
from aggregates.rows import Rows
from schemas.accounts import WEEKDAYS
from streams.snapshots.reader import Answer, Compared, ListPage, ListQuery, Newest, NoReport, WholeList

TODAY = date(2026, 11, 22)
HOSTILE = "<img src=x onerror=alert(1)>"
"""An origin that would run in a page that took data for markup."""

ORIGINS = ("Instagram", "Google", HOSTILE, "Recomendación", None)
CHANNELS = ("whatsapp", "messenger", "email", "call")
GROUPS = {"sales": "Ventas", "support": "Soporte & más"}
ADVISORS = {"ana": "Ana Pérez", "beto": "Beto", "carla": None}
AS_OF = "2026-11-22T17:03:00.000Z"
AS_OF_MS = 1_795_366_980_000
CALENDAR = LocalCalendar("America/Santiago")


def day_facts(day: int) -> list[Contribution]:
    """What every day's lists are made of: an answer of no time, one of an hour, five contacts, two closures."""
    noon_ms = CALENDAR.first_instant_ms(day, 12 * 3_600_000)

    def fact(kind: int, minute: int, **more: Any) -> Fact:
        return Fact(kind, day, noon_ms + 60_000 * minute, 0, **{"origin": "Web", "group": "sales"} | more)

    answer = {"channel": "whatsapp", "advisor": "ana", "conversation": f"v{day}"}
    hostile = {"origin": HOSTILE, "group": None, "channel": "email", "advisor": "=ana", "conversation": "=v"}
    return [
        ("c0", fact(facts.RESPONSE, 0, **answer, since_ms=noon_ms)),
        ("=c1", fact(facts.RESPONSE, 1, **hostile, since_ms=noon_ms + 60_000 - 3_600_000, flags=facts.TARGETED)),
        *(
            (f"c{number}", fact(facts.CONTACT, number, channel="webchat", entry_group="sales", text="contact"))
            for number in range(5)
        ),
        *((f"c{number}", fact(facts.CLOSED, 30 + number, **answer, text="Resuelto")) for number in range(2)),
        ("c3", fact(facts.WAITING, 40, channel="whatsapp")),
    ]


EDGES = (60, 300, 900, 1800, 3600, 14400, 28800, 86400, 259200, 604800, None)


class FakeReader:
    """Answers like `streams.snapshots.reader.SnapshotReader`; `accounts_published` and `failure` may be changed."""

    def __init__(self, *accounts: str) -> None:
        self.accounts_published = list(accounts)
        self.revision = 7
        self.as_of = AS_OF
        self.complete = True
        self.empty = False
        self.complete_from: str | None = None
        self.failure: Exception | None = None
        self.failures_after: dict[int, Exception] = {}
        """What goes wrong once so many rows of a list were made."""
        self.asked: list[tuple[str, date, date, Filters]] = []
        self.subscriptions: list[str] = []
        self._published = asyncio.Event()

    async def accounts(self) -> Sequence[str]:
        if self.failure is not None:
            raise self.failure
        return self.accounts_published

    async def report(self, account_id: str) -> bytes | None:
        if self.failure is not None:
            raise self.failure
        if account_id not in self.accounts_published:
            return None
        return msgspec.json.encode(self._document(account_id))

    async def metrics(
        self, account_id: str, start: date, end: date, filters: Filters, *, compare: str | None = "previous"
    ) -> Answer:
        if self.failure is not None:
            raise self.failure
        wanted = period(start, end)
        self.asked.append((account_id, start, end, filters))
        if account_id not in self.accounts_published:
            raise NoReport(account_id)
        return Answer(
            account_id=account_id,
            period=wanted,
            metrics=self._metrics(wanted, filters),
            compared=None if compare is None else self._compared(compare, wanted, filters),
            unknown_values={"origin": ["Nowhere"]} if "Nowhere" in (filters.origin or ()) else {},
            revision=self.revision,
            as_of=self.as_of,
            timezone="America/Santiago",
            complete=self.complete,
            complete_from=self.complete_from,
            as_of_published=AS_OF,
        )

    def _compared(self, name: str, wanted: Period, filters: Filters) -> Compared:
        earlier, cut_ms = comparison(name, wanted, CALENDAR, AS_OF_MS)
        found = self._metrics(earlier, filters)
        if cut_ms is not None:
            del found["origins"], found["waiting"]
        return Compared(name, earlier, found)

    def _metrics(self, days: Period, filters: Filters) -> dict[str, Any]:
        if self.empty:
            return report.metrics(days, Rows.of([]), filters, CALENDAR)
        return metrics(days, filters, tables=True)

    async def list(self, account_id: str, days: Period | None, query: ListQuery) -> WholeList:
        if self.failure is not None:
            raise self.failure
        check_list(query.name, query.filters, over=query.over, clock=query.clock, order=query.order)
        if account_id not in self.accounts_published:
            raise NoReport(account_id)
        wanted = period(TODAY, TODAY) if days is None else days
        rows = Rows.of([decode_block(encode_block(day, day_facts(day))) for day in wanted.days])

        def page(offset: int, limit: int | None) -> ListPage:
            for after, failure in self.failures_after.items():
                if offset >= after:
                    raise failure
            total, shown = list_rows(
                query.name,
                rows,
                query.filters,
                WaitClocks(lambda _: None, AS_OF_MS),
                over=query.over,
                clock=query.clock,
                order=query.order,
                offset=offset,
                limit=limit,
            )
            return ListPage(
                account_id=account_id,
                period=days,
                total=total,
                rows=shown,
                unknown_values={},
                revision=self.revision,
                as_of=self.as_of,
                timezone="America/Santiago",
                complete=self.complete,
                complete_from=self.complete_from,
                as_of_published=AS_OF,
            )

        return WholeList(page)

    async def newest(self, account_id: str) -> Newest | None:
        if self.failure is not None:
            raise self.failure
        if account_id not in self.accounts_published:
            return None
        return Newest(account_id, self.revision, self.as_of, self.complete, self.complete_from)

    async def announcements(self, account_id: str, patience_seconds: float) -> AsyncGenerator[None, None]:
        self.subscriptions.append(account_id)
        try:
            while True:
                yield
                async with asyncio.timeout(patience_seconds):
                    await self._published.wait()
        finally:
            self.subscriptions.remove(account_id)

    def publish(self, revision: int) -> None:
        """Publish a revision, and tell whoever listens."""
        self.revision = revision
        self._published.set()
        self._published = asyncio.Event()

    def _document(self, account_id: str) -> dict[str, Any]:
        return {
            "schema": "mediana.report/1",
            "account_id": account_id,
            "timezone": "America/Santiago",
            "revision": self.revision,
            "published_at": "2026-11-22T17:03:02.000Z",
            "as_of": AS_OF,
            "next_due_at": "2026-11-22T20:00:00.000Z",
            "complete": self.complete,
            "incomplete_reasons": [] if self.complete else ["records are waiting in Kafka"],
            "complete_from": self.complete_from,
            "lag": {"records": 0 if self.complete or self.complete_from else 1234},
            "sketch_relative_error": 0,
            "account": {
                "name": "Acme & hijos",
                "groups": GROUPS,
                "advisors": ADVISORS,
                "targets": {"first_response_seconds": 300, "response_seconds": 600},
            },
            "dimensions": {
                "origin": ORIGINS,
                "group": ["sales", "support", None],
                "channel": CHANNELS,
                "advisor": list(ADVISORS),
            },
            "waiting": {"contacts": 12, "snoozed": 3, "oldest": "2026-11-20T11:30:00.000Z"},
            "periods": {
                name: {**_box(days, tables=True), "previous": _box(days.previous, tables=False)}
                for name, days in presets(TODAY).items()
            },
        }


def _box(days: Period, *, tables: bool) -> dict[str, Any]:
    return {"from": days.start, "to": days.end, "metrics": metrics(days, Filters(), tables=tables)}


def metrics(days: Period, filters: Filters, *, tables: bool) -> dict[str, Any]:
    """A `metrics` object that reconciles: by-day sums are totals, the heatmap's total is the new conversations'."""
    dice = random.Random(f"{days}{filters}")
    dates = [(days.start + timedelta(offset)).isoformat() for offset in range(len(days.days))]
    heat, by_day = _heat(dice, days)
    conversations = sum(by_day.values())
    contacts = {day: by_day[day] * 2 // 3 for day in dates}
    reached = {
        day: {"contacts": by_day[day] * 2, "advisor_contacts": by_day[day] * 2 + day.count("1")} for day in dates
    }
    closed = {day: by_day[day] * 3 // 4 for day in dates}
    document: dict[str, Any] = {
        "first_response": _durations(dice, sum(contacts.values()), 340) | {"by_day": _times_by_day(contacts, 340)},
        "response": _durations(dice, conversations * 3, 95) | {"by_day": _times_by_day(by_day, 95)},
        "interactions": {
            "contacts": sum(day["contacts"] for day in reached.values()),
            "advisor_contacts": sum(day["advisor_contacts"] for day in reached.values()),
            "by_day": reached,
        },
        "new_contacts": {"total": sum(contacts.values()), "deleted": 4, "merged": 1, "by_day": contacts},
        "new_conversations": {
            "total": conversations,
            "active_contacts": conversations * 4 // 5,
            "by_channel": _split(conversations, CHANNELS),
            "by_opener": _split(conversations, ("contact", "advisor", "transfer", "bot")),
            "by_day": by_day,
        },
        "closed_conversations": {
            "total": sum(closed.values()),
            "closed": sum(closed.values()) - sum(closed.values()) // 8,
            "transferred": sum(closed.values()) // 8,
            "by_day": closed,
        },
        "origins": _origins(max(sum(contacts.values()) - 5, 0)),
        "heatmap": heat,
        "heatmap_occurrences": {
            weekday: [sum((day - 1) % 7 == i for day in days.days)] * 24 for i, weekday in enumerate(WEEKDAYS)
        },
        "waiting": {"contacts": 9, "snoozed": 2, "oldest": "2026-11-21T20:10:00.000Z"},
        "uncounted_advisor_messages": 0,
    }
    if filters.advisor is not None:
        for name in ("new_contacts", "new_conversations", "origins", "heatmap", "waiting"):
            document[name] = None
    if tables:
        document["by_advisor"] = [_row(dice, "advisor", advisor) for advisor in ADVISORS]
        document["by_group"] = [_row(dice, "group", group) for group in ("sales", "support", None)]
        document["by_channel"] = [_channel_row(dice, document, channel) for channel in CHANNELS]
    return document


def _heat(dice: random.Random, days: Period) -> tuple[dict[str, list[int]], dict[str, int]]:
    heat: dict[str, list[int]] = {weekday: [0] * 24 for weekday in WEEKDAYS}
    by_day = {}
    for ordinal in days.days:
        weekday = WEEKDAYS[(ordinal - 1) % 7]
        busy = 0.25 if weekday in ("sat", "sun") else 1.0
        hours = [int(dice.uniform(0, 9) * busy) if 8 <= hour <= 20 else dice.choice((0, 0, 0, 1)) for hour in range(24)]
        heat[weekday] = [old + new for old, new in zip(heat[weekday], hours, strict=True)]
        by_day[date.fromordinal(ordinal).isoformat()] = sum(hours)
    return heat, by_day


def _durations(dice: random.Random, count: int, typical: float) -> dict[str, Any]:
    business = typical * dice.uniform(0.8, 1.3)
    counts = [count // 2, count // 4, *[0] * 8]
    spread = [{"up_to": edge, "count": n} for edge, n in zip(EDGES, [*counts, count - sum(counts)], strict=True)]
    return {
        "count": count,
        "elapsed": {"median": business * 3.1, "p90": business * 190},
        "business": {"median": business, "p90": business * 9.5},
        "within_target": {"elapsed": 0.61, "business": dice.uniform(0.7, 0.9)},
        "distribution": {"elapsed": spread, "business": spread},
        "without_schedule": 0,
    }


def _times_by_day(counts: dict[str, int], typical: float) -> dict[str, Any]:
    figures = {"median": typical, "p90": 3 * typical}
    return {day: {"count": count, "elapsed": figures, "business": figures} for day, count in counts.items()}


def _split(total: int, names: tuple[str, ...]) -> dict[str, int]:
    parts = [total * 6 // 10, total * 2 // 10, total // 10]
    return dict(zip(names, [*parts, total - sum(parts)], strict=True))


def _origins(total: int) -> list[dict[str, Any]]:
    parts = [total * 4 // 10, total * 3 // 10, total // 10, total // 10]
    return [
        {
            "origin": name,
            "new_contacts": n,
            "engaged": n * 4 // 5,
            "closed": n // 2,
            "resolved": n * 2 // 5,
            "at_rest": n * 2 // 5,
        }
        for name, n in zip(ORIGINS, [*parts, total - sum(parts)], strict=True)
    ]


def _channel_row(dice: random.Random, document: dict[str, Any], channel: str) -> dict[str, Any]:
    row = _row(dice, "channel", channel)
    contacts, opened = document["new_contacts"], document["new_conversations"]
    if contacts is not None:
        row["new_contacts"] = {"total": _split(contacts["total"], CHANNELS)[channel], "deleted": 1, "merged": 0}
        started = opened["by_channel"][channel]
        openers = {"contact": started} if started else {}
        counts = {"total": started, "active_contacts": started * 4 // 5}
        row["new_conversations"] = {**counts, "by_channel": {channel: started}, "by_opener": openers}
    row["waiting"] = document["waiting"] and {"contacts": 2, "snoozed": 0, "oldest": "2026-11-21T20:10:00.000Z"}
    return row


def _row(dice: random.Random, dimension: str, value: str | None) -> dict[str, Any]:
    boxes = {
        name: _durations(dice, dice.randint(20, 90), typical)
        for name, typical in (("first_response", 340), ("response", 95))
    }
    return {
        dimension: value,
        **boxes,
        "interactions": {"contacts": dice.randint(40, 200), "advisor_contacts": dice.randint(200, 240)},
        "closed_conversations": {"total": dice.randint(10, 60), "closed": 9, "transferred": 1},
    }
