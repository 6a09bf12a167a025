"""The snapshot document: an account's published report, and the `metrics` object in it.

These types describe the document for readers: the published JSON Schema is generated from them, and tests hold real
documents to it. Durations are seconds, dates are the account's calendar days (both ends included), instants are RFC
3339 in UTC. What is empty is `null`, never 0. Fields may be added, none is renamed or removed.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.accounts import DATE_PATTERN, Weekday
from schemas.events import END, Channel, Id, Name

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, description="seconds")]
Share = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")]
Day = Annotated[str, Meta(pattern=DATE_PATTERN, description="a calendar day of the account, YYYY-MM-DD")]
UtcInstant = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\.[0-9]{{3}}Z{END}",
        description="an instant, RFC 3339 in UTC",
    ),
]
Hours = Annotated[list[Count], Meta(min_length=24, max_length=24, description="one number per hour of the day")]


class Quantiles(Struct, kw_only=True):
    """Of one clock; `null` when there is nothing to measure."""

    median: Seconds | None
    p90: Seconds | None


class Shares(Struct, kw_only=True):
    """The share within the account's target, by each clock; `null` without a target or without answers."""

    elapsed: Share | None
    business: Share | None


class Bucket(Struct, kw_only=True):
    """How many took at most `up_to` seconds, and more than the bucket before; `null` is everything longer."""

    up_to: Seconds | None
    count: Count


class Distribution(Struct, kw_only=True):
    """The durations of each clock in buckets, shortest first."""

    elapsed: list[Bucket]
    business: list[Bucket]


class DurationsOfDay(Struct, kw_only=True):
    """Answers of a day and how long they took; `null` where there were none."""

    count: Count
    elapsed: Quantiles
    business: Quantiles


class Durations(Struct, kw_only=True):
    """Answers and how long they took: wall clock (`elapsed`), and the advisor's working hours only (`business`)."""

    count: Count
    elapsed: Quantiles
    business: Quantiles
    within_target: Shares
    without_schedule: Annotated[Count, Meta(description="answers by advisors without a schedule: business = elapsed")]
    distribution: Distribution | None = None
    by_day: dict[Day, DurationsOfDay] | None = None


class ContactsOfDay(Struct, kw_only=True):
    """Contacts reached in a day, and pairs of advisor and contact."""

    contacts: Count
    advisor_contacts: Count


class Interactions(Struct, kw_only=True):
    """Contacts the team reached, each once a day; the totals are the sums of the days."""

    contacts: Count
    advisor_contacts: Count
    by_day: dict[Day, ContactsOfDay] | None = None


class NewContacts(Struct, kw_only=True):
    """Contacts created; those deleted or merged since are in `total` and counted beside it."""

    total: Count
    deleted: Count
    merged: Count
    by_day: dict[Day, Count] | None = None


class NewConversations(Struct, kw_only=True):
    """Conversations started, and the distinct contacts that did, or were done, anything."""

    total: Count
    active_contacts: Count
    by_channel: dict[str, Count]
    by_opener: dict[Literal["contact", "advisor", "bot", "system", "transfer"], Count]
    by_day: dict[Day, Count] | None = None


class ClosedConversations(Struct, kw_only=True):
    """Conversations closed or transferred; a snooze closes nothing."""

    total: Count
    closed: Count
    transferred: Count
    by_day: dict[Day, Count] | None = None


class Origin(Struct, kw_only=True):
    """Contacts of one origin, created in the period and neither deleted nor merged away."""

    origin: Name | None
    new_contacts: Count
    engaged: Count
    closed: Count
    resolved: Count
    at_rest: Annotated[Count, Meta(description="of `closed`, those without a conversation that is open now")]


class Waiting(Struct, kw_only=True):
    """Contacts still waiting for an answer, how many of them snoozed, and since when the oldest waits."""

    contacts: Count
    snoozed: Count
    oldest: UtcInstant | None


class AdvisorRow(Struct, kw_only=True):
    """An advisor's share of the report."""

    advisor: Id
    first_response: Durations
    response: Durations
    interactions: Interactions
    closed_conversations: ClosedConversations


class GroupRow(Struct, kw_only=True):
    """A group's share of the report; `null` is contacts without a group."""

    group: Id | None
    first_response: Durations
    response: Durations
    interactions: Interactions
    closed_conversations: ClosedConversations
    new_contacts: NewContacts | None = None
    new_conversations: NewConversations | None = None
    waiting: Waiting | None = None


class ChannelRow(Struct, kw_only=True):
    """A channel's share of the report: of each number by the channel that a filter means there."""

    channel: Channel
    first_response: Durations
    response: Durations
    interactions: Interactions
    closed_conversations: ClosedConversations
    new_contacts: NewContacts | None = None
    new_conversations: NewConversations | None = None
    waiting: Waiting | None = None


class Metrics(Struct, kw_only=True):
    """Every number of a range of days. An advisor filter makes `null` what no advisor does."""

    first_response: Durations
    response: Durations
    interactions: Interactions
    new_contacts: NewContacts | None
    new_conversations: NewConversations | None
    closed_conversations: ClosedConversations
    origins: list[Origin] | None
    heatmap: dict[Weekday, Hours] | None
    heatmap_occurrences: dict[Weekday, Hours]
    waiting: Waiting | None
    uncounted_advisor_messages: Annotated[
        Count, Meta(description="messages of advisors on channels that the account does not count as effective")
    ]
    by_advisor: list[AdvisorRow] | None = None
    by_group: list[GroupRow] | None = None
    by_channel: list[ChannelRow] | None = None


class NewContactsToDate(Struct, kw_only=True):
    """Contacts created before an instant."""

    total: Count
    by_day: dict[Day, Count]


class MetricsToDate(Struct, kw_only=True):
    """The numbers of an earlier period up to an instant: of what had happened by then.

    What says how a contact is now is left out: origins, who waits, and how many were deleted or merged.
    """

    first_response: Durations
    response: Durations
    interactions: Interactions
    new_contacts: NewContactsToDate | None
    new_conversations: NewConversations | None
    closed_conversations: ClosedConversations
    heatmap: dict[Weekday, Hours] | None
    heatmap_occurrences: dict[Weekday, Hours]
    uncounted_advisor_messages: Count


class PreviousPeriodToDate(Struct, kw_only=True, rename={"from_": "from"}):
    """As many days, just before, as far as they had run at the same time of the day that today is compared with."""

    from_: Day
    to: Day
    metrics: MetricsToDate


class PreviousPeriod(Struct, kw_only=True, rename={"from_": "from"}):
    """As many days, just before."""

    from_: Day
    to: Day
    metrics: Metrics


class Period(PreviousPeriod, kw_only=True, rename={"from_": "from"}):
    """A preset range of days, and the one before it."""

    previous: PreviousPeriod
    previous_to_date: PreviousPeriodToDate | None = None


class Periods(Struct, kw_only=True):
    """The preset periods, in the account's calendar as of the snapshot."""

    today: Period
    yesterday: Period
    last_7_days: Period
    last_30_days: Period
    this_month: Period
    last_month: Period
    this_week: Period
    last_week: Period
    last_90_days: Period
    this_quarter: Period
    last_quarter: Period
    this_year: Period


class Lag(Struct, kw_only=True):
    """Records in Kafka that were not counted yet."""

    records: Count


class AccountTargets(Struct, kw_only=True):
    """The account's targets, in seconds."""

    first_response_seconds: Seconds | None
    response_seconds: Seconds | None


class Account(Struct, kw_only=True):
    """Names to show in place of ids."""

    name: Name | None
    groups: dict[Id, Name | None]
    advisors: dict[Id, Name | None]
    targets: AccountTargets


class Dimensions(Struct, kw_only=True):
    """The values that a filter may offer; `null` is asked for as `none`."""

    origin: list[Name | None]
    group: list[Id | None]
    channel: list[str | None]
    advisor: list[Id | None]


class Notice(Struct, kw_only=True, omit_defaults=True):
    """Something that a reader of the report should know."""

    code: Annotated[str, Meta(min_length=1, description="a stable word; more may be added")]
    count: Count
    values: Annotated[list[str], Meta(description="what it is about, where there is something to name")] = []


class Snapshot(Struct, kw_only=True):
    """One published revision of an account's report."""

    schema: Literal["mediana.report/1"]
    account_id: Id
    timezone: str
    revision: Annotated[int, Meta(ge=1, description="rises by one with each publication")]
    published_at: UtcInstant
    as_of: Annotated[UtcInstant, Meta(description="the instant that 'today' and 'waiting' refer to")]
    as_of_before: Annotated[
        UtcInstant | None,
        Meta(description="the revision before was as of this later instant: a clock is or was wrong; else null"),
    ]
    next_due_at: Annotated[
        UtcInstant | None, Meta(description="when the next publication is due, by the snapshotter's schedule")
    ]
    complete: Annotated[bool, Meta(description="false when something is missing; incomplete_reasons says what")]
    incomplete_reasons: list[str]
    complete_from: Annotated[
        UtcInstant | None,
        Meta(
            description="records are missing for good, and everything that was sent from this instant on is there; "
            "null: none is missing for good, or it is not known from when on (incomplete_reasons says so)"
        ),
    ]
    notices: list[Notice]
    lag: Lag
    sketch_relative_error: Annotated[float, Meta(ge=0, description="the most a quantile may be off, relatively")]
    changed_days: Annotated[
        list[Day] | None, Meta(description="days that differ from the revision before; null: any day may")
    ]
    account: Account
    dimensions: Dimensions
    waiting: Waiting
    periods: Periods
