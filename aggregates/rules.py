"""An account's settings, compiled: schedules of advisors and groups, effective channels, snooze reasons.

A journal names the version of the rules each of its events was read under. An answer that a late event gives another
wait is measured by that version again. What was counted before is taken back as it was counted, without any rules.
"""

import hashlib
import unicodedata
from typing import Final

from aggregates.business import BusinessClock
from aggregates.errors import MissingRules
from aggregates.localtime import LocalCalendar
from schemas.accounts import AccountSettings, encode_settings
from schemas.zones import ZONE_DATA_VERSION

VERSION_BYTES: Final = 16
"""Length of a version. 128 bits: nobody makes two settings whose versions are alike."""

_MEANING: Final = b"1"
"""Raised by a change of this program that gives the same settings another meaning: they are another version then."""

_REMEMBERED_REASONS = 1_000
"""Reasons whose normalised form is not worked out again. Teams choose them from a list; free text must not pile up."""


def normalised_reason(reason: str) -> str:
    """A closing reason as reasons are compared: without case, accents or surplus spaces."""
    # Case is folded last: some signs, such as №, come apart into capitals.
    letters = (char for char in unicodedata.normalize("NFKD", reason) if not unicodedata.combining(char))
    return " ".join("".join(letters).casefold().split())


def version_of(settings: AccountSettings) -> bytes:
    """What names these settings, read with the present zone data: `VERSION_BYTES` bytes."""
    head = b"%s %s\n" % (_MEANING, ZONE_DATA_VERSION.encode())
    return hashlib.blake2b(head + encode_settings(settings), digest_size=VERSION_BYTES).digest()


class Rules:
    """One version of an account's settings, compiled. Immutable; equal settings have equal `version`."""

    __slots__ = (
        "_clocks",
        "_default_clock",
        "_group_clocks",
        "_reasons",
        "_schedules",
        "_snooze_reasons",
        "calendar",
        "effective_channels",
        "first_response_target_ms",
        "response_target_ms",
        "settings",
        "version",
    )

    def __init__(self, settings: AccountSettings) -> None:
        self.settings = settings
        self.version = version_of(settings)
        self.calendar = LocalCalendar(settings.timezone)
        self.effective_channels = frozenset(settings.effective_channels)
        self._snooze_reasons = frozenset(map(normalised_reason, settings.snooze_reasons))
        self._reasons: dict[str, bool] = {}
        self.first_response_target_ms = _milliseconds(settings.targets.first_response_seconds)
        self.response_target_ms = _milliseconds(settings.targets.response_seconds)
        clocks = {name: BusinessClock(versions, settings.timezone) for name, versions in settings.schedules.items()}
        self._default_clock = clocks[settings.default_schedule] if settings.default_schedule is not None else None
        self._group_clocks = {
            name: clocks[group.schedule] for name, group in settings.groups.items() if group.schedule is not None
        }
        self._schedules = {advisor_id: _schedule_name(settings, advisor_id) for advisor_id in settings.advisors}
        self._clocks = {
            advisor_id: None if name is None else clocks[name] for advisor_id, name in self._schedules.items()
        }

    def clock_of(self, advisor_id: str | None) -> BusinessClock | None:
        """The business clock of an answer: the advisor's schedule, else the settings' group's, else the account's."""
        if advisor_id is None:
            return self._default_clock
        return self._clocks.get(advisor_id, self._default_clock)

    def clock_of_group(self, group_id: str | None) -> BusinessClock | None:
        """The business clock of a wait that nobody has answered: the group's schedule, else the account's."""
        if group_id is None:
            return self._default_clock
        return self._group_clocks.get(group_id, self._default_clock)

    def clocks(self) -> tuple[BusinessClock | None, dict[str, BusinessClock | None]]:
        """The account's clock, and each known advisor's."""
        return self._default_clock, dict(self._clocks)

    def schedule_of(self, advisor_id: str | None) -> str | None:
        """The name of the schedule that `clock_of` is made from."""
        return self._schedules.get(advisor_id or "", self.settings.default_schedule)

    def snoozes(self, reason: str) -> bool:
        """Whether a close with this reason only snoozes the contact."""
        known = self._reasons.get(reason)
        if known is None:
            if len(self._reasons) >= _REMEMBERED_REASONS:
                self._reasons.clear()
            known = self._reasons[reason] = normalised_reason(reason) in self._snooze_reasons
        return known


class RulesBook:
    """One account's rules: the current ones, and the older versions its journals name."""

    __slots__ = ("_gone", "_versions", "current", "missed")

    def __init__(self, current: Rules) -> None:
        self.current = current
        self._versions = {current.version: current}
        self._gone: set[bytes] = set()
        self.missed: set[bytes] = set()
        """Versions that were asked for, are not to be had any more, and had the current rules in their place."""

    def copy(self) -> "RulesBook":
        """A book with the same rules, to which others can be added."""
        book = RulesBook(self.current)
        book._versions |= self._versions
        return book

    def add(self, rules: Rules, version: bytes | None = None) -> None:
        """Remember a version that is not the current one.

        `version` is what journals name it by, where that is not the rules' own: it was made with other zone data.
        """
        self._versions[rules.version if version is None else version] = rules

    def give_up(self, version: bytes) -> None:
        """A version is not to be had any more: the current rules stand in for it from now on."""
        self._gone.add(version)

    def __contains__(self, version: bytes) -> bool:
        return version in self._versions or version in self._gone

    def version(self, version: bytes) -> Rules:
        """The rules of that version. Raises `MissingRules`."""
        try:
            return self._versions[version]
        except KeyError:
            if version in self._gone:
                self.missed.add(version)
                return self.current
            raise MissingRules(self.current.settings.account_id, version) from None


def _schedule_name(settings: AccountSettings, advisor_id: str) -> str | None:
    advisor = settings.advisors[advisor_id]
    name = advisor.schedule
    if name is None and advisor.group_id is not None:
        name = settings.groups[advisor.group_id].schedule
    return settings.default_schedule if name is None else name


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
