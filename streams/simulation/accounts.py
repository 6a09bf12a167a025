"""Accounts of the simulated service: their settings, and how busy they are.

Pure: everything follows from its arguments. Two accounts are written out (Santiago and Madrid); more are variations of
them under other ids.
"""

from datetime import UTC, date, datetime, time, timedelta
from random import Random

import msgspec
from msgspec import Struct

from schemas import zones
from schemas.accounts import WEEKDAYS, AccountSettings, decode_settings, encode_settings

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 UTC, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def to_datetime(at_ms: int) -> datetime:
    """The instant `at_ms` milliseconds after 1970, in UTC."""
    return _EPOCH + timedelta(milliseconds=at_ms)


class Personality(Struct, frozen=True):
    """How an advisor answers: the median delay in working time, its spread, and how often outside working hours."""

    median_ms: int
    spread: float
    after_hours: float


QUICK = Personality(median_ms=100_000, spread=0.8, after_hours=0.25)
STEADY = Personality(median_ms=6 * MINUTE_MS, spread=0.9, after_hours=0.08)
SLOW = Personality(median_ms=28 * MINUTE_MS, spread=1.1, after_hours=0.02)


class Weighted(Struct, frozen=True):
    """A choice among values, some more often than others."""

    values: tuple[str | None, ...]
    weights: tuple[int, ...]

    def pick(self, rng: Random) -> str | None:
        """One of the values."""
        return rng.choices(self.values, self.weights)[0]


class Company(Struct, frozen=True):
    """An account and its habits. `bot_channels` are answered by a bot first; `size` scales its contacts."""

    settings: AccountSettings
    personalities: dict[str, Personality]
    origins: Weighted
    channels: Weighted
    entry_groups: Weighted
    close_reasons: Weighted
    bot_channels: frozenset[str]
    size: float

    @property
    def account_id(self) -> str:
        """The account's id."""
        return self.settings.account_id

    def advisors_of(self, group_id: str | None) -> list[str]:
        """The advisors of a group; everybody when nobody is in it."""
        members = [name for name, advisor in self.settings.advisors.items() if advisor.group_id == group_id]
        return members or list(self.settings.advisors)


class OpeningHours:
    """When a schedule of an account is open: enough of a business clock to make advisors behave, no more.

    An unknown schedule, or none, is always open.
    """

    def __init__(self, settings: AccountSettings, schedule: str | None) -> None:
        self.zone = zones.zone(settings.timezone)
        versions = settings.schedules.get(schedule or "", ())
        self._version = versions[-1] if versions else None

    def intervals(self, day: date) -> list[tuple[int, int]]:
        """The open intervals of a local day, as instants in milliseconds."""
        if self._version is None:
            return [(self._instant_ms(day, "00:00"), self._instant_ms(day, "24:00"))]
        text = day.isoformat()
        pairs = self._version.weekly.get(WEEKDAYS[day.weekday()], ())
        if text in self._version.holidays:
            pairs = ()
        pairs = self._version.special_days.get(text, pairs)
        return [(self._instant_ms(day, opening), self._instant_ms(day, close)) for opening, close in pairs]

    def next_open_ms(self, at_ms: int) -> int:
        """`at_ms` if it is inside working hours, else the next opening (at most a month away)."""
        first = to_datetime(at_ms).astimezone(self.zone).date()
        for ahead in range(31):
            for opening_ms, close_ms in self.intervals(first + timedelta(days=ahead)):
                if at_ms < close_ms:
                    return max(at_ms, opening_ms)
        return at_ms

    def _instant_ms(self, day: date, clock: str) -> int:
        if clock == "24:00":
            day, clock = day + timedelta(days=1), "00:00"
        return to_ms(datetime.combine(day, time.fromisoformat(clock), self.zone))


def companies(count: int, year: int) -> list[Company]:
    """The first `count` accounts, with the holidays of `year` and the years beside it."""
    originals = (_inmobiliaria(year), _clinica(year))
    return [_numbered(originals[number % len(originals)], number // len(originals)) for number in range(count)]


def _numbered(company: Company, copy: int) -> Company:
    if copy == 0:
        return company
    settings = msgspec.structs.replace(
        company.settings,
        account_id=f"{company.account_id}-{copy + 1}",
        name=f"{company.settings.name} {copy + 1}",
    )
    return msgspec.structs.replace(company, settings=settings, size=company.size / (copy + 1))


def _settings(**fields: object) -> AccountSettings:
    """Settings that went through the check every account's go through."""
    return decode_settings(msgspec.json.encode(fields))


def _weekdays(*intervals: tuple[str, str], days: int = 5) -> dict[str, list[tuple[str, str]]]:
    return {day: list(intervals) for day in WEEKDAYS[:days]}


def _yearly(year: int, *days: str) -> list[str]:
    return [f"{which}-{day}" for which in (year - 1, year, year + 1) for day in days]


def _inmobiliaria(year: int) -> Company:
    weekly = _weekdays(("09:00", "13:30"), ("14:30", "18:30")) | {"sat": [("10:00", "14:00")]}
    settings = _settings(
        account_id="andes",
        name="Inmobiliaria Andes",
        timezone="America/Santiago",
        schedules={
            "oficina": [
                {
                    "weekly": weekly,
                    "holidays": _yearly(year, "01-01", "05-01", "09-18", "09-19", "10-12", "12-08", "12-25"),
                    "special_days": {day: [("09:00", "12:30")] for day in _yearly(year, "12-24", "12-31")},
                }
            ],
            "guardia": [{"weekly": _weekdays(("18:30", "23:00"), days=7)}],
        },
        default_schedule="oficina",
        groups={
            "ventas": {"name": "Ventas", "schedule": "oficina"},
            "arriendos": {"name": "Arriendos", "schedule": "oficina"},
            "postventa": {"name": "Posventa"},
        },
        advisors={
            "ana": {"name": "Ana Contreras", "group_id": "ventas"},
            "bruno": {"name": "Bruno Saavedra", "group_id": "ventas"},
            "carla": {"name": "Carla Muñoz", "group_id": "ventas", "schedule": "guardia"},
            "diego": {"name": "Diego Rojas", "group_id": "arriendos"},
            "elena": {"name": "Elena Vidal", "group_id": "arriendos"},
            "felipe": {"name": "Felipe Araya", "group_id": "postventa"},
        },
        targets={"first_response_seconds": 300, "response_seconds": 600},
    )
    return Company(
        settings=settings,
        personalities={
            "ana": QUICK,
            "bruno": STEADY,
            "carla": QUICK,
            "diego": STEADY,
            "elena": SLOW,
            "felipe": STEADY,
        },
        origins=Weighted(
            ("Instagram", "Portal Inmobiliario", "Google", "Referido", "Facebook", None), (34, 26, 18, 10, 9, 3)
        ),
        channels=Weighted(("whatsapp", "messenger", "instagram", "email", "webchat", "sms"), (64, 12, 7, 9, 6, 2)),
        entry_groups=Weighted(("ventas", "arriendos", "postventa", None), (55, 30, 10, 5)),
        close_reasons=Weighted(
            ("Venta concretada", "No le interesa", "Sin respuesta", "Información entregada", "Fuera de presupuesto"),
            (14, 20, 30, 24, 12),
        ),
        bot_channels=frozenset({"whatsapp", "webchat"}),
        size=1.0,
    )


def _clinica(year: int) -> Company:
    settings = _settings(
        account_id="sonrisa",
        name="Clínica Dental Sonrisa",
        timezone="Europe/Madrid",
        schedules={
            "recepcion": [
                {
                    "weekly": _weekdays(("09:00", "14:00"), ("16:00", "20:00")),
                    "holidays": _yearly(year, "01-01", "01-06", "05-01", "08-15", "10-12", "11-01", "12-06", "12-25"),
                }
            ]
        },
        default_schedule="recepcion",
        groups={
            "recepcion": {"name": "Recepción", "schedule": "recepcion"},
            "ortodoncia": {"name": "Ortodoncia"},
            "urgencias": {"name": "Urgencias"},
        },
        advisors={
            "lucia": {"name": "Lucía Prieto", "group_id": "recepcion"},
            "marcos": {"name": "Marcos Gil", "group_id": "recepcion"},
            "nerea": {"name": "Nerea Soto", "group_id": "ortodoncia"},
            "oscar": {"name": "Óscar Vega", "group_id": "urgencias"},
        },
        snooze_reasons=["Esperando visita", "Esperando recordatorio", "Esperando presupuesto"],
        effective_channels=["whatsapp", "messenger", "instagram", "email", "sms", "webchat", "call"],
        targets={"first_response_seconds": 600, "response_seconds": 900},
    )
    return Company(
        settings=settings,
        personalities={"lucia": QUICK, "marcos": STEADY, "nerea": SLOW, "oscar": QUICK},
        origins=Weighted(("Google", "Web", "Instagram", "Doctoralia", "Referido", None), (32, 24, 20, 12, 9, 3)),
        channels=Weighted(("whatsapp", "webchat", "instagram", "email", "messenger"), (58, 16, 12, 9, 5)),
        entry_groups=Weighted(("recepcion", "ortodoncia", "urgencias", None), (66, 20, 10, 4)),
        close_reasons=Weighted(
            ("Cita reservada", "Consulta resuelta", "Sin respuesta", "Presupuesto rechazado"), (38, 30, 22, 10)
        ),
        bot_channels=frozenset({"webchat"}),
        size=0.6,
    )


def encoded_settings(company: Company) -> bytes:
    """The value of the account's record."""
    return encode_settings(company.settings)
