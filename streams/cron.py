"""When a schedule in the form of cron is due next, in UTC."""

from datetime import UTC, datetime

from croniter import croniter
from croniter.croniter import CroniterError

_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class CronError(ValueError):
    """A schedule that cannot be used; the text says why."""


def next_time(schedule: str, after: datetime) -> datetime:
    """The first time after an instant. Raises `CronError` where there is none."""
    try:
        following: datetime = croniter(schedule, after).get_next(datetime)
    except (CroniterError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise CronError(" ".join(str(error).split()) or "it is no schedule") from None
    return following


def check_schedule(schedule: str) -> None:
    """Raise `CronError` for what is no schedule, or for a day that never comes, such as 30 February."""
    next_time(schedule, _SOME_DAY)
