"""Periods of a report, in the account's calendar days; both ends included where people see them."""

from datetime import date, timedelta

from msgspec import Struct

from schemas.limits import FIRST_YEAR, LAST_YEAR, MAX_DAYS


class RangeError(ValueError):
    """A range of days that cannot be answered; the text says why."""


class Period(Struct, frozen=True):
    """From day `start` to day `end`, both included."""

    start: date
    end: date

    @property
    def days(self) -> range:
        """The days as ordinals."""
        return range(self.start.toordinal(), self.end.toordinal() + 1)

    @property
    def previous(self) -> "Period":
        """As many days, just before. Raises `RangeError` when those would lie before the calendar begins."""
        days = len(self.days)
        if self.start.toordinal() <= days:
            raise RangeError(f"{self.start} has no {days} days before it")
        return Period(self.start - timedelta(days), self.start - timedelta(1))


def period(start: date, end: date) -> Period:
    """A custom range. Raises `RangeError` when it is upside down, too long or out of the calendar."""
    if end < start:
        raise RangeError(f"the range ends ({end}) before it starts ({start})")
    if (end - start).days >= MAX_DAYS:
        raise RangeError(f"the range is longer than {MAX_DAYS} days")
    if start.year < FIRST_YEAR or end.year > LAST_YEAR:
        raise RangeError(f"the range is not within the years {FIRST_YEAR} to {LAST_YEAR}")
    return Period(start, end)


def presets(today: date) -> dict[str, Period]:
    """The named periods as of a day of the account. Weeks begin on Monday."""
    monday = today - timedelta(today.weekday())
    month = today.replace(day=1)
    quarter = month.replace(month=month.month - (month.month - 1) % 3)
    last_month_end, last_quarter_end = month - timedelta(1), quarter - timedelta(1)
    return {
        "today": Period(today, today),
        "yesterday": Period(today - timedelta(1), today - timedelta(1)),
        "last_7_days": Period(today - timedelta(6), today),
        "last_30_days": Period(today - timedelta(29), today),
        "this_month": Period(month, today),
        "last_month": Period(last_month_end.replace(day=1), last_month_end),
        "this_week": Period(monday, today),
        "last_week": Period(monday - timedelta(7), monday - timedelta(1)),
        "last_90_days": Period(today - timedelta(89), today),
        "this_quarter": Period(quarter, today),
        "last_quarter": Period(last_quarter_end.replace(day=1, month=last_quarter_end.month - 2), last_quarter_end),
        "this_year": Period(today.replace(month=1, day=1), today),
    }
