"""Limits on everything that comes from outside, one row each; `docs/run/limits.md` shows them.

A limit is enforced where the value is decoded or taken in, by the module that its row names. Values that fit are never
changed; what happens to one that does not fit is part of the row.
"""

from typing import Final, NamedTuple


class Limit(NamedTuple):
    """One bound."""

    name: str
    """The constant's name, in lower case."""
    value: int
    unit: str
    of: str
    """What is bounded."""
    beyond: str
    """What happens to a value beyond the limit."""
    enforced_in: str
    """Path of the module that enforces it, from the repository's root."""


MAX_RECORD_BYTES: Final = 1 << 20
"""Kafka's own default limit of a request."""
MAX_ID_LENGTH: Final = 256
MAX_NAME_LENGTH: Final = 1024
MAX_CONTACT_ENTRIES: Final = 20_480
"""Six a second for an hour. A state with so many takes a megabyte, and is read and written with each event."""
MAX_CONTACT_OPEN_CONVERSATIONS: Final = 1_000
MAX_CONTACT_CONVERSATIONS: Final = 20_000
"""Twenty-five a day for the 800 days that are kept."""
MAX_CONTACT_CHUNKS: Final = 2_048
MOST_PAIRS: Final = 64
MOST_TOUCHES: Final = 256
MAX_BATCH_BYTES: Final = 16 << 20
"""A producer sends 1 MiB before compression unless told otherwise, and a broker takes 1 MiB after it."""

# Of an account's settings: some ten times what the largest team needs, and cheap enough to compile at any time.
MAX_SCHEDULES: Final = 1_000
MAX_SCHEDULE_VERSIONS: Final = 100
MAX_VERSIONS: Final = 2_000
"""Compiled they take 50 ms and 3 MB."""
MAX_DAY_INTERVALS: Final = 24
MAX_SPECIAL_DAYS: Final = 2_000
MAX_HOLIDAYS: Final = 2_000
MAX_GROUPS: Final = 1_000
MAX_ADVISORS: Final = 10_000
MAX_SNOOZE_REASONS: Final = 200
MAX_EFFECTIVE_CHANNELS: Final = 100
MAX_TARGET_SECONDS: Final = 366 * 86_400
MAX_STORED_SETTINGS_BYTES: Final = MAX_RECORD_BYTES
"""What is stored is read like a record, so it must fit into one."""

MAX_DAYS: Final = 3_660
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 9998
"""From the year 9999 on, local days leave the calendar."""
MAX_FILTER_VALUES: Final = 100
MAX_FILTER_COMBINATIONS: Final = 1_000
"""More than anybody picks by hand; it keeps addresses and answers short."""

MAX_PAGE_ROWS: Final = 1_000
MAX_PAGE_OFFSET: Final = 10_000_000

MAX_PARTITIONS: Final = 10_000
MAX_HORIZON_STEP_DAYS: Final = 7

MAX_BODY_BYTES: Final = 1 << 20
MAX_REQUEST_EVENTS: Final = 10_000
"""More of the shortest valid events than `MAX_BODY_BYTES` holds, so no honest sender meets it."""
MAX_REJECTIONS: Final = 1_000
MAX_REJECTION_DETAIL: Final = 300

MAX_CELL_BYTES: Final = 16 << 20
"""Texts of messages stand in exports; Python's own limit of 128 KiB is less than a long e-mail."""
MAX_WORKBOOK_BYTES: Final = 1 << 30

HTTP_CONNECTIONS: Final = 2_000
"""Twice the listeners that the page takes (`streams.web.revisions`); each idle one costs some 20 kB."""
HTTP_HEADER_SECONDS: Final = 15
HTTP_IDLE_SECONDS: Final = 75
"""Longer than the 60 s for which most proxies keep a connection: else one may send a request as we close."""
HTTP_BODY_SECONDS: Final = 20
HTTP_UNREAD_SECONDS: Final = 20
HTTP_LINE_BYTES: Final = 8_190
HTTP_HEADERS: Final = 100
MAX_DAY_NAMES: Final = 2000
MAX_TABLE_ROWS: Final = 2000

LIMITS: Final = (
    Limit(
        "max_record_bytes",
        MAX_RECORD_BYTES,
        "bytes",
        "value of one event or settings record",
        "refused as `oversize`, a dead letter",
        "schemas/events.py",
    ),
    Limit(
        "max_id_length",
        MAX_ID_LENGTH,
        "characters",
        "any id: of an account, contact, conversation, advisor, group or event",
        "refused as `malformed`, a dead letter",
        "schemas/events.py",
    ),
    Limit(
        "max_name_length",
        MAX_NAME_LENGTH,
        "characters",
        "a name or free text: an origin, a reason, the name of a group or advisor",
        "refused as `malformed`, a dead letter",
        "schemas/events.py",
    ),
    Limit(
        "max_schedules",
        MAX_SCHEDULES,
        "schedules",
        "schedules of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_schedule_versions",
        MAX_SCHEDULE_VERSIONS,
        "versions",
        "versions of one schedule",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_versions",
        MAX_VERSIONS,
        "versions",
        "versions of all schedules of an account together",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_day_intervals",
        MAX_DAY_INTERVALS,
        "intervals",
        "opening hours of one weekday or special day",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_special_days",
        MAX_SPECIAL_DAYS,
        "days",
        "days with special hours in one version of a schedule",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_holidays",
        MAX_HOLIDAYS,
        "days",
        "holidays in one version of a schedule",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_groups",
        MAX_GROUPS,
        "groups",
        "groups of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_advisors",
        MAX_ADVISORS,
        "advisors",
        "advisors of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_snooze_reasons",
        MAX_SNOOZE_REASONS,
        "reasons",
        "reasons that only snooze a contact",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_effective_channels",
        MAX_EFFECTIVE_CHANNELS,
        "channels",
        "effective channels of an account",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_target_seconds",
        MAX_TARGET_SECONDS,
        "seconds",
        "a target of an account (366 days)",
        "refused as `malformed`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_stored_settings_bytes",
        MAX_STORED_SETTINGS_BYTES,
        "bytes",
        "an account's settings as Redis keeps them",
        "refused as `oversize`, a dead letter; the account's settings stay as they are",
        "schemas/accounts.py",
    ),
    Limit(
        "max_days",
        MAX_DAYS,
        "days",
        "the range of a report: ten years",
        "refused: HTTP 400 `bad_range`, exit status 2",
        "aggregates/periods.py",
    ),
    Limit(
        "first_year",
        FIRST_YEAR,
        "",
        "the earliest year of a report's range",
        "refused: HTTP 400 `bad_range`, exit status 2",
        "aggregates/periods.py",
    ),
    Limit(
        "last_year",
        LAST_YEAR,
        "",
        "the latest year of a report's range",
        "refused: HTTP 400 `bad_range`, exit status 2",
        "aggregates/periods.py",
    ),
    Limit(
        "max_filter_values",
        MAX_FILTER_VALUES,
        "values",
        "different values of one filter of a report",
        "refused: HTTP 400 `too_many_values`, exit status 2",
        "aggregates/filters.py",
    ),
    Limit(
        "max_filter_combinations",
        MAX_FILTER_COMBINATIONS,
        "combinations",
        "the values of a report's filters, multiplied",
        "refused: HTTP 400 `too_many_values`, exit status 2",
        "aggregates/filters.py",
    ),
    Limit(
        "max_partitions",
        MAX_PARTITIONS,
        "partitions",
        "partitions of each event topic (MEDIANA_PARTITIONS): each is a shard",
        "refused when the settings are read",
        "streams/config.py",
    ),
    Limit(
        "max_horizon_step_days",
        MAX_HORIZON_STEP_DAYS,
        "days",
        "days past the retention that one round forgets, beyond the oldest that is held",
        "left to the next round",
        "streams/worker/horizon.py",
    ),
    Limit(
        "max_body_bytes",
        MAX_BODY_BYTES,
        "bytes",
        "body of a request to `ingest`, decompressed",
        "refused: HTTP 413 `too_large`",
        "streams/ingest/room.py",
    ),
    Limit(
        "max_cell_bytes",
        MAX_CELL_BYTES,
        "characters",
        "a cell of a CSV file that `import` reads",
        "the row is an error, `bad-row`",
        "streams/ingest/tables.py",
    ),
    Limit(
        "max_workbook_bytes",
        MAX_WORKBOOK_BYTES,
        "bytes",
        "a workbook that `import` reads, unpacked",
        "refused: save it as CSV",
        "streams/ingest/tables.py",
    ),
    Limit(
        "max_request_events",
        MAX_REQUEST_EVENTS,
        "events",
        "events of one request to `ingest`",
        "refused whole: HTTP 413 `too_many_events`",
        "streams/ingest/body.py",
    ),
    Limit(
        "max_rejections",
        MAX_REJECTIONS,
        "events",
        "events of one request to `ingest` that are refused",
        "the request is refused whole: HTTP 400 `too_many_rejected`, with the first ones listed",
        "streams/ingest/body.py",
    ),
    Limit(
        "max_rejection_detail",
        MAX_REJECTION_DETAIL,
        "characters",
        "what `ingest` says about one refused event",
        "cut",
        "streams/ingest/body.py",
    ),
    Limit(
        "http_connections",
        HTTP_CONNECTIONS,
        "connections",
        "connections of one HTTP server; fewer where the system allows fewer open files",
        "the one that has waited longest without a request is closed, else the new one",
        "streams/http/connections.py",
    ),
    Limit(
        "http_header_seconds",
        HTTP_HEADER_SECONDS,
        "seconds",
        "from a connection's start, or a request's first byte, to the end of its header",
        "the connection is closed",
        "streams/http/connections.py",
    ),
    Limit(
        "http_idle_seconds",
        HTTP_IDLE_SECONDS,
        "seconds",
        "a connection between two requests",
        "the connection is closed",
        "streams/http/connections.py",
    ),
    Limit(
        "http_body_seconds",
        HTTP_BODY_SECONDS,
        "seconds",
        "from the end of a request's header to the end of its body, at `ingest`",
        "refused: HTTP 408 `too_slow`",
        "streams/ingest/room.py",
    ),
    Limit(
        "http_unread_seconds",
        HTTP_UNREAD_SECONDS,
        "seconds",
        "a client that takes less than 64 KiB of an answer, and not the rest of it either",
        "the connection is closed",
        "streams/http/connections.py",
    ),
    Limit(
        "http_line_bytes",
        HTTP_LINE_BYTES,
        "bytes",
        "the address of a request, or one header",
        "refused: HTTP 431 `headers_too_large`",
        "streams/http/connections.py",
    ),
    Limit(
        "http_headers",
        HTTP_HEADERS,
        "headers",
        "headers of one request",
        "refused: HTTP 431 `headers_too_large`",
        "streams/http/connections.py",
    ),
    Limit(
        "max_batch_bytes",
        MAX_BATCH_BYTES,
        "bytes",
        "what the records of one Kafka record batch are decompressed to",
        "the records within it are read; the others are skipped, one dead letter `batch-too-large` names their offsets",
        "streams/kafka/decompress.py",
    ),
    Limit(
        "max_contact_entries",
        MAX_CONTACT_ENTRIES,
        "events",
        "events of one contact within the lateness window",
        "set aside as `contact-too-large`, a dead letter",
        "aggregates/history.py",
    ),
    Limit(
        "max_contact_conversations",
        MAX_CONTACT_CONVERSATIONS,
        "conversations",
        "conversations of one contact, closed ones included",
        "an event that would begin one more is set aside as `contact-too-large`, a dead letter",
        "aggregates/history.py",
    ),
    Limit(
        "max_contact_open_conversations",
        MAX_CONTACT_OPEN_CONVERSATIONS,
        "conversations",
        "conversations of one contact that are open at once",
        "an event that would begin one more is set aside as `contact-too-large`, a dead letter",
        "aggregates/history.py",
    ),
    Limit(
        "max_contact_chunks",
        MAX_CONTACT_CHUNKS,
        "chunks of 32 events or more",
        "older events of one contact that its own late events can still come before",
        "the oldest are settled: what belongs before them is set aside as `too-late`, a dead letter",
        "aggregates/history.py",
    ),
    Limit(
        "most_pairs",
        MOST_PAIRS,
        "pairs",
        "channel and group in which one contact was active on one day",
        "later ones of the day are left out of the active contacts under a filter",
        "aggregates/contact.py",
    ),
    Limit(
        "most_touches",
        MOST_TOUCHES,
        "triples",
        "advisor, channel and group that reached one contact on one day",
        "later ones of the day are left out of the interactions",
        "aggregates/contact.py",
    ),
    Limit(
        "max_page_rows",
        MAX_PAGE_ROWS,
        "rows",
        "rows of a list in one answer of the page's API; a CSV file has all of them",
        "refused, status 422 `bad_page`: ask for the next page",
        "streams/web/query.py",
    ),
    Limit(
        "max_page_offset",
        MAX_PAGE_OFFSET,
        "rows",
        "rows of a list before the first one of an answer",
        "refused, status 422 `bad_page`: narrow the range or the filters",
        "streams/web/query.py",
    ),
    Limit(
        "max_day_names",
        MAX_DAY_NAMES,
        "names",
        "different origins, groups, channels, advisors or closing reasons of an account's day, each",
        "the most frequent keep their names in reports, all others count as `other`; a notice says how many",
        "aggregates/day_block.py",
    ),
    Limit(
        "max_table_rows",
        MAX_TABLE_ROWS,
        "rows",
        "a report's table by advisor, group or channel, or its origins",
        "tables show the most frequent, and `rows_left_out` how many they lack; origins add the others up as `other`",
        "aggregates/report.py",
    ),
)
"""All limits, in the order of the page."""
