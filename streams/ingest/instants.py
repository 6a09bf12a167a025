"""Reading instants as people's files write them.

A form is `iso`, `unix`, `unix_ms`, `excel` (a spreadsheet's days since 1900), or a pattern of `strptime`. Beyond what
`strptime` reads: no-break spaces; `a. m.` and `p. m.` however they are spaced; names of months in Spanish, Portuguese
and English, cut short or not; seconds that are missing, or there although the pattern has none. Fractions of a second
are cut after the microsecond.

Nothing, and a zero however it is written, is no time (`is_no_time`): a time that some program never set. What is before
1990 is refused: nobody chatted then, but a broken clock or a wrong form shows such times.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from schemas import zones
from schemas.errors import InvalidEvent

ISO, UNIX, UNIX_MS, EXCEL = "iso", "unix", "unix_ms", "excel"
NAMED_FORMS = (ISO, UNIX, UNIX_MS, EXCEL)

BAD_TIME = "bad-time"

FIRST = datetime(1990, 1, 1, tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXCEL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a spreadsheet's days are of its zone

# As numbers: days of a spreadsheet from 1980 to 2118; seconds and milliseconds from 1990 on.
_DAYS = (Decimal(29_221), Decimal(80_000))
_SECONDS = (Decimal(631_152_000), Decimal(10_000_000_000))
_MILLISECONDS = (Decimal(631_152_000_000), Decimal(10_000_000_000_000))

_MONTHS = {
    1: "enero ene janeiro january jan",
    2: "febrero fevereiro february feb fev",
    3: "marzo março marco march mar",
    4: "abril abr april apr",
    5: "mayo maio may mai",
    6: "junio junho june jun",
    7: "julio julho july jul",
    8: "agosto ago august aug",
    9: "septiembre setiembre setembro september sept sep set",
    10: "octubre outubro october oct out",
    11: "noviembre novembro november nov",
    12: "diciembre dezembro december dic dez dec",
}
_MONTH_OF = {name: f"{number:02}" for number, names in _MONTHS.items() for name in names.split()}
_WORD = r"[^\W\d_]+"
_MONTH = re.compile(rf"(?<![^\W\d_])({'|'.join(sorted(_MONTH_OF, key=len, reverse=True))})(?![^\W\d_])\.?")
_WEEKDAY = re.compile(rf"^{_WORD}(?:-feira)?[.,]?\s*")
_PATTERN_WEEKDAY = re.compile(r"^%[aA][.,]?\s*")
_HALF_DAY = re.compile(r"(?<![^\W\d_])([ap])\s*\.?\s*m(?![^\W\d_])\s*\.?")
_NOON = re.compile(r"(?<=\d)\s*m\.?$")
_LONG_FRACTION = re.compile(r"([.,]\d{6})\d+")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_SPACES = re.compile(r"\s+")
_UTC = ("%Sz", "%fz", "%Mz", " utc", " gmt")
"""How a pattern ends that says UTC in letters."""

_NO_TIME = frozenset({"", "-", "--", "—", "null", "none", "nil", "nan", "nat", "n/a", "na", "undefined", "#n/a"})
_ZERO = re.compile(r"0+([.,]0+)?")
_ZERO_DATE = re.compile(r"0{1,4}[-/.]0{1,2}[-/.]0{1,4}([T ][0:.]+Z?)?")


def is_no_time(text: str | None) -> bool:
    """Whether a cell holds no time: nothing, a word for nothing, or a zero."""
    if text is None:
        return True
    bare = text.strip()
    return bare.lower() in _NO_TIME or bool(_ZERO.fullmatch(bare) or _ZERO_DATE.fullmatch(bare))


def check_form(form: str) -> None:
    """Raise `ValueError` for a form that nothing can be read by."""
    if form not in NAMED_FORMS and "%" not in form:
        raise ValueError(f"{form!r} is no form of time: {', '.join(NAMED_FORMS)}, or a pattern such as %d/%m/%Y %H:%M")


def read_instant(value: str | datetime, form: str, zone: str | None) -> datetime:
    """The instant, in UTC, that a cell holds. `zone` is that of times without an offset.

    Raises `InvalidEvent` for one that is none, with what to do where that can be told.
    """
    shown = str(value)[:80]
    if isinstance(value, datetime):
        moment = value
    else:
        if is_no_time(value):
            raise InvalidEvent(BAD_TIME, f"{shown!r} is no time")
        moment = _read(value.strip(), form)
    if moment.tzinfo is None:
        if zone is None:
            raise InvalidEvent(BAD_TIME, f"{shown!r} has no offset, and the mapping names no zone")
        # An hour that the clock shows twice is its first occurrence; one that it skips is counted on from before.
        moment = moment.replace(tzinfo=zones.zone(zone))
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise InvalidEvent(BAD_TIME, f"{shown!r} leaves the calendar") from None
    if moment < FIRST:
        raise InvalidEvent(BAD_TIME, f"{shown!r} is {moment:%Y-%m-%d}, before 1990: no time{_hint(shown, form)}")
    return moment


def _read(text: str, form: str) -> datetime:
    try:
        if form in (UNIX, UNIX_MS, EXCEL):
            return _of_number(text, form)
        return _of_iso(text) if form == ISO else _of_pattern(text, form)
    except (ValueError, OverflowError, ArithmeticError):
        raise InvalidEvent(BAD_TIME, f"{text[:80]!r} is no instant of the form {form!r}{_hint(text, form)}") from None


def _of_number(text: str, form: str) -> datetime:
    number = _number(text)
    if number is None:
        raise ValueError(text)
    if form == EXCEL:
        if not 1 <= number < 2_958_466:  # the year 9999
            raise ValueError(text)
        return _of_days(number)
    if form == UNIX and _within(number, _DAYS):
        raise ValueError(text)
    return _EPOCH + timedelta(microseconds=int(number * (1_000_000 if form == UNIX else 1_000)))


def _of_days(days: Decimal) -> datetime:
    """A spreadsheet's time. Fewer than eight digits after the point cannot tell seconds apart, so nearest ones count;
    with more, nearest milliseconds: the rest is noise of the binary fraction."""
    digits = -int(days.as_tuple().exponent)
    unit = Decimal(86_400) if digits < 8 else Decimal(86_400_000)
    count = int((days * unit).to_integral_value())
    return _EXCEL_EPOCH + (timedelta(seconds=count) if digits < 8 else timedelta(milliseconds=count))


def _of_iso(text: str) -> datetime:
    plain = re.sub(r"\s*(utc|gmt)$", "+00:00", _plain(text))
    return datetime.fromisoformat(_LONG_FRACTION.sub(r"\1", plain).upper())


def _of_pattern(text: str, pattern: str) -> datetime:
    plain, simple = _plain(text), _simple(pattern)
    if _PATTERN_WEEKDAY.match(pattern):
        plain = _WEEKDAY.sub("", plain)
    if "%m" in simple and simple != _SPACES.sub(" ", pattern):
        plain = _MONTH.sub(lambda found: _MONTH_OF[found[1]], plain)
    if "%p" in simple:
        plain = _NOON.sub(" pm", _HALF_DAY.sub(r"\1m", plain))
    plain = _LONG_FRACTION.sub(r"\1", plain)
    # `PM` with or without a space before it, whatever the pattern says.
    plain = re.sub(r"\s*([ap]m)\b", r" \1", plain)
    for form in _variants(simple, plain):
        try:
            moment = datetime.strptime(plain, form)  # noqa: DTZ007 - the zone follows
            return moment.replace(tzinfo=UTC) if form.endswith(_UTC) and moment.tzinfo is None else moment
        except ValueError:
            continue
    raise ValueError(text)


@lru_cache(maxsize=256)
def _simple(pattern: str) -> str:
    """A pattern without weekdays and names of months, in the form that texts are brought into."""
    simple = _PATTERN_WEEKDAY.sub("", _SPACES.sub(" ", unicodedata.normalize("NFKC", pattern)))
    simple = re.sub(r"%[bB]\.?", "%m", simple)
    literal = re.sub(r"(%.)|([^%]+)", lambda found: found[1] or found[2].lower(), simple)
    return re.sub(r"\s*%p", " %p", literal)


def _variants(simple: str, plain: str) -> list[str]:
    """The pattern, and what it is without seconds, or with them, as the text asks."""
    clock = _CLOCK.search(plain)
    variants = [simple]
    if clock is not None and clock[1] is None:
        variants.append(re.sub(r":%S([.,]%f)?", "", simple))
    elif clock is not None and "%S" not in simple:
        variants += [simple.replace("%M", "%M:%S"), simple.replace("%M", "%M:%S.%f")]
    if "%f" not in simple:
        variants += [simple.replace("%S", "%S.%f"), simple.replace("%S", "%S,%f")]
    return variants


def _plain(text: str) -> str:
    """The text in lower case, with ordinary spaces, one at a time."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip().lower()


def _number(text: str) -> Decimal | None:
    """The number in a text; of a decimal comma too."""
    try:
        number = Decimal(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _within(number: Decimal, bounds: tuple[Decimal, Decimal]) -> bool:
    return bounds[0] <= number < bounds[1]


def _hint(text: str, form: str) -> str:
    number = _number(text)
    if number is None:
        return ""
    for bounds, what, name in (
        (_DAYS, "a spreadsheet's date", EXCEL),
        (_SECONDS, "seconds since 1970", UNIX),
        (_MILLISECONDS, "milliseconds since 1970", UNIX_MS),
    ):
        if _within(number, bounds) and form != name:
            return f"; it looks like {what}: set the form of time to {name!r}"
    return ""
