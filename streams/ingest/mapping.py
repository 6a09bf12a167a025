"""A mapping file: which columns of an export make which events.

TOML. At the top what holds for every row, then one `[[events]]` table per kind of event that a row may give:

    account_id = "acme"
    zone = "America/Santiago"             # of instants without an offset
    time_format = "%d/%m/%Y %H:%M:%S"     # iso (default), unix, unix_ms, excel, or a pattern of strptime

    [[events]]
    when = { direction = ["in", "IN"] }   # "*" any text, "" none; without `when`: every row
    type = "message.received"
    id = { template = "message-{message_id}" }
    contact_id = "customer"               # a text names a column; of JSON, a path: "customer.id"
    conversation_id = "chat"
    occurred_at = "date"
    channel = { column = "source", values = { WA = "whatsapp", FB = "messenger" } }

A field is a column's name, or a table with `column`, `constant` or `template`, and with any of `values` (what stands in
the column → what it means; `"*"` for all else), `default` (for an empty cell), `lower = true`, and for `occurred_at`
`zone` and `format` (`streams/ingest/instants.py` reads them). `type` is a type's name, or such a table. Without `id`,
an event is named by its content: the same row gives the same id, whenever it is imported.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct

from schemas import zones
from schemas.errors import InvalidEvent, UnknownType
from schemas.events import EVENT_TYPES, Event, decode_event, encode_event, type_name
from streams.ingest.instants import ISO, check_form, is_no_time, read_instant

Row: TypeAlias = Mapping[str, Any]

ANY, EMPTY = "*", ""

NO_RULE = "no-rule"

_PLACE = re.compile(r"\{([^{}]+)\}")
_TYPES = {type_name(struct): struct for struct in EVENT_TYPES}
_INSTANTS = frozenset({"occurred_at", "waiting_since"})
_IDS = frozenset(
    field.encode_name
    for struct in EVENT_TYPES
    for field in msgspec.structs.fields(struct)
    if field.encode_name in ("id", "into", "from") or field.encode_name.endswith("_id")
)
# A field that an event must have although its value may be null: an empty cell is that null.
_NULLABLE = {"contact.created": "origin", "contact.moved": "group_id"}


class MappingError(ValueError):
    """A mapping file that cannot be used; its text names the place in it."""


class Field(Struct, forbid_unknown_fields=True, frozen=True):
    """Where a field's value comes from."""

    column: str | None = None
    constant: str | int | None = None
    template: str | None = None
    values: dict[str, str] | None = None
    default: str | None = None
    lower: bool = False
    zone: str | None = None
    format: str | None = None

    def columns(self) -> set[str]:
        """The columns it reads."""
        named = set(_PLACE.findall(self.template or ""))
        return named if self.column is None else named | {self.column}

    def read(self, row: Row) -> str | None:
        """The text that a row gives, `None` for none. Raises `InvalidEvent` for one that `values` does not know."""
        if self.constant is not None:
            return str(self.constant)
        if self.template is not None:
            parts = {name: cell(row, name) for name in _PLACE.findall(self.template)}
            if None in parts.values():
                return self.default
            # Made of columns, it is a name: of a number that became a float, the number.
            return _PLACE.sub(lambda place: id_of(str(parts[place[1]])), self.template)
        text = cell(row, self.column or "")
        if text is None:
            return self.default
        if self.values is not None:
            found = self.values.get(text, self.values.get(ANY))
            if found is None:
                raise InvalidEvent(
                    "malformed", f"column {self.column!r} holds {text[:80]!r}, which `values` does not name"
                )
            text = found
        return text.lower() if self.lower else text

    def moment(self, row: Row) -> datetime | None:
        """The time in a cell of a workbook, which needs no reading."""
        found = None if self.column is None else row.get(self.column)
        return found if isinstance(found, datetime) else None


class _Rule(Struct, frozen=True):
    """One `[[events]]` table."""

    type: Field
    when: dict[str, frozenset[str]]
    fields: dict[str, Field]
    author: dict[str, Field]
    time_columns: frozenset[str]
    """Columns that hold instants: a zero in one is no time, as if it were empty."""

    def applies(self, row: Row) -> bool:
        for name, wanted in self.when.items():
            text = cell(row, name)
            if text is not None and name in self.time_columns and is_no_time(text):
                text = None
            if (EMPTY if text is None else text) not in wanted and (text is None or ANY not in wanted):
                return False
        return True

    def columns(self) -> set[str]:
        named = set(self.when)
        for field in (self.type, *self.fields.values(), *self.author.values()):
            named |= field.columns()
        return named


class _File(Struct, forbid_unknown_fields=True):
    events: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    account_id: str | None = None
    zone: str | None = None
    time_format: str = ISO
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    encoding: str | None = None
    sheet: str | None = None
    unmatched: str = "error"


class ExportMapping(Struct, frozen=True):
    """A mapping file, read and checked."""

    rules: tuple[_Rule, ...]
    account_id: str | None
    zone: str | None
    time_format: str
    delimiter: str | None
    encoding: str | None
    sheet: str | None
    skip_unmatched: bool

    def columns(self) -> set[str]:
        """Every column that any rule reads."""
        return set().union(*(rule.columns() for rule in self.rules))

    def names_accounts(self) -> bool:
        """Whether every rule reads the account from the row."""
        return all("account_id" in rule.fields for rule in self.rules)

    def events(self, row: Row, account_id: str | None = None) -> Iterator[Event]:
        """The events of a row, all of them `account_id`'s if given. Raises `InvalidEvent` for what it cannot make."""
        matched = False
        for rule in self.rules:
            if rule.applies(row):
                matched = True
                yield self._event(rule, row, account_id)
        if not matched and not self.skip_unmatched:
            raise InvalidEvent(
                NO_RULE, 'no `when` of the mapping fits this row (unmatched = "skip" leaves such rows out)'
            )

    def _event(self, rule: _Rule, row: Row, account_id: str | None) -> Event:
        fields: dict[str, Any] = {"account_id": account_id or self.account_id, "type": rule.type.read(row)}
        for name, field in rule.fields.items():
            if name == "account_id" and account_id is not None:
                continue
            text = field.read(row)
            if text is not None and name in _INSTANTS:
                moment = field.moment(row) or text
                text = read_instant(moment, field.format or self.time_format, field.zone or self.zone).isoformat()
            elif text is not None and name in _IDS:
                text = id_of(text)
            fields[name] = _whole_number(text) if text is not None and name == "sequence" else text
        author = {name: field.read(row) for name, field in rule.author.items()}
        if (author_id := author.get("id")) is not None:
            author["id"] = id_of(author_id)
        if any(author.values()):
            fields["author"] = {name: text for name, text in author.items() if text is not None}
        null = _NULLABLE.get(str(fields["type"]))
        fields = {name: value for name, value in fields.items() if value is not None or name == null}
        if null is not None:
            fields.setdefault(null, None)
        named = "id" in fields
        try:
            event = decode_event(msgspec.json.encode(fields if named else {**fields, "id": "unnamed"}))
        except UnknownType as error:
            raise InvalidEvent("unknown-type", str(error)) from None
        return event if named else msgspec.structs.replace(event, id=content_id(event))


def content_id(event: Event) -> str:
    """A name made of everything else in the event: equal events, equal ids, whichever file they stand in."""
    content = encode_event(msgspec.structs.replace(event, id="unnamed"))
    return f"import-{hashlib.sha256(content).hexdigest()[:32]}"


_FLOAT_ID = re.compile(r"(-?[0-9]+)\.0+")
_SCIENTIFIC = re.compile(r"[0-9](?:[.,]([0-9]+))?E\+([0-9]{2,3})")
"""As spreadsheets write it. Ids such as `7e10` are somebody's hashes."""

MOST_EXACT = 2**53
"""From here on a number that was a float on its way may be another one."""


def id_of(text: str) -> str:
    """An id as it was before a program took it for a number: `42.0` is 42. Raises `InvalidEvent` if digits are lost."""
    if (found := _FLOAT_ID.fullmatch(text)) is not None:
        if abs(int(found[1])) > MOST_EXACT:
            raise InvalidEvent("malformed", f"{text[:80]!r} has lost digits of an id: export the column as text")
        return found[1]
    if (found := _SCIENTIFIC.fullmatch(text)) is not None:
        # 5.69123456E+11 has lost digits; 1.5E+3 has not.
        if int(found[2]) > len(found[1] or ""):
            raise InvalidEvent("malformed", f"{text[:80]!r} has lost digits of an id: export the column as text")
        return str(int(Decimal(text.replace(",", "."))))
    return text


def cell(row: Row, name: str) -> str | None:
    """What stands in a column, or at a path in a JSON object, as text without surplus space; `None` if nothing does."""
    value: Any = row.get(name)
    if value is None and "." in name:
        value = row
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        if abs(value) > MOST_EXACT:
            raise InvalidEvent("malformed", f"{name!r} holds {value:.0f}, which has lost digits: export it as text")
        return str(int(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def read_mapping(path: Path) -> ExportMapping:
    """The mapping in a file. Raises `MappingError` for one that cannot be used, `OSError` for one that is not there."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MappingError(f"{path} is not TOML: {error}") from None
    try:
        return parse_mapping(content)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from None


def parse_mapping(content: dict[str, Any]) -> ExportMapping:
    """The mapping that a file's content describes. Raises `MappingError`."""
    try:
        file = msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        raise MappingError(str(error)) from None
    if file.unmatched not in ("error", "skip"):
        raise MappingError('unmatched must be "error" or "skip"')
    try:
        "".encode(file.encoding or "utf-8")
    except LookupError:
        raise MappingError(f"encoding: {file.encoding!r} is not known") from None
    _check_zone("zone", file.zone)
    _check_time_format("time_format", file.time_format)
    rules = tuple(_rule(f"events[{number}]", table) for number, table in enumerate(file.events))
    return ExportMapping(
        rules,
        file.account_id,
        file.zone,
        file.time_format,
        file.delimiter,
        file.encoding,
        file.sheet,
        skip_unmatched=file.unmatched == "skip",
    )


def _rule(where: str, table: dict[str, Any]) -> _Rule:
    table = dict(table)
    when = table.pop("when", {})
    author = table.pop("author", {})
    kind = table.pop("type", None)
    if isinstance(kind, str):
        kind = {"constant": kind}
    if kind is None or not isinstance(when, dict) or not isinstance(author, dict):
        raise MappingError(f"{where} needs a type; `when` and `author` are tables")
    fields = {name: _field(f"{where}.{name}", spec) for name, spec in table.items()}
    rule = _Rule(
        _field(f"{where}.type", kind),
        {name: _wanted(f"{where}.when.{name}", texts) for name, texts in when.items()},
        fields,
        {name: _field(f"{where}.author.{name}", spec) for name, spec in author.items()},
        frozenset(field.column for name, field in fields.items() if name in _INSTANTS and field.column is not None),
    )
    _check_fields(where, rule)
    return rule


def _field(where: str, spec: object) -> Field:
    if isinstance(spec, str):
        return Field(column=spec)
    try:
        field = msgspec.convert(spec, Field)
    except msgspec.ValidationError as error:
        raise MappingError(f"{where}: {error}") from None
    if (field.column is not None) + (field.constant is not None) + (field.template is not None) != 1:
        raise MappingError(f"{where} needs exactly one of column, constant and template")
    _check_zone(f"{where}.zone", field.zone)
    if field.format is not None:
        _check_time_format(f"{where}.format", field.format)
    return field


def _wanted(where: str, texts: object) -> frozenset[str]:
    found = [texts] if isinstance(texts, str) else texts
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise MappingError(f"{where} must be a text or a list of texts")
    return frozenset(found)


def _check_fields(where: str, rule: _Rule) -> None:
    """Refuse field names that no type has, and fields that a fixed type cannot do without."""
    kinds = [rule.type.constant] if rule.type.constant is not None else list((rule.type.values or {}).values())
    for kind in kinds:
        if kind not in _TYPES:
            raise MappingError(f"{where}.type: there is no event type {kind!r}")
    structs = [_TYPES[str(kind)] for kind in kinds] or list(EVENT_TYPES)
    known = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
    for name in rule.fields:
        if name not in known:
            raise MappingError(f"{where}.{name}: {', '.join(map(str, kinds)) or 'no event'} has no such field")
    if (rule.author and "author" not in known) or set(rule.author) - {"kind", "id"}:
        raise MappingError(f"{where}.author: only message.sent has one, with kind and id")
    if rule.type.constant is not None:
        # An id is made from the content, an account may be given beside the mapping, an empty cell may be null.
        free = {"id", "account_id", "author", _NULLABLE.get(str(kinds[0]))}
        needed = {field.encode_name for field in msgspec.structs.fields(structs[0]) if field.required} - free
        missing = sorted(needed - set(rule.fields))
        if missing:
            raise MappingError(f"{where}: {kinds[0]} needs {', '.join(missing)}")
        if str(kinds[0]) == "message.sent" and "kind" not in rule.author:
            raise MappingError(f"{where}: message.sent needs author.kind")


def _check_zone(where: str, zone: str | None) -> None:
    try:
        if zone is not None:
            zones.zone(zone)
    except ValueError as error:
        raise MappingError(f"{where}: {error}") from None


def _check_time_format(where: str, form: str) -> None:
    try:
        check_form(form)
    except ValueError as error:
        raise MappingError(f"{where}: {error}") from None


def _whole_number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # the decoder says what is wrong with it
