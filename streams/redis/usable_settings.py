"""Chooses the settings that an account goes on with: its newest, or replacements if those cannot be used.

Whatever is taken over was decoded and compiled first. Still, stored settings may stop being usable: a program with
older zone data does not know a zone, a later release has a tighter limit, bytes are damaged. Then that account alone is
set aside: the settings it had before go on, else the defaults, and a log line, a metric, `mediana check` and its report
say so. No other account notices, and nothing stops.
"""

from typing import Any, NamedTuple

from aggregates.rules import Rules
from schemas.accounts import AccountSettings, decode_settings, default_settings
from schemas.errors import InvalidSettings
from streams.redis.keys import NamespaceKeys


class UnusableSettings(ValueError):
    """Stored settings that cannot be decoded or compiled; the text says why."""


class InUse(NamedTuple):
    """What an account goes on with."""

    rules: Rules
    problem: str | None = None
    """Why these are not the newest settings."""
    instead: str = ""
    """What they are then, in words."""

    @property
    def settings(self) -> AccountSettings:
        """The settings in use."""
        return self.rules.settings


def compiled(account_id: str, data: bytes | None) -> Rules:
    """The rules of an account's stored settings; without any, the default ones. Raises `UnusableSettings`."""
    if data is None:
        return Rules(default_settings(account_id))
    try:
        settings = decode_settings(data)
        if settings.account_id != account_id:
            raise UnusableSettings(f"they are those of account {settings.account_id!r}")
        return Rules(settings)
    except InvalidSettings as error:
        raise UnusableSettings(str(error)) from error
    except UnusableSettings:
        raise
    except Exception as error:
        # Whatever it is, it is this account's alone.
        raise UnusableSettings(f"they cannot be compiled: {type(error).__name__}: {error}"[:500]) from error


def instead(account_id: str, problem: str, before: bytes | None, held: Rules | None = None) -> InUse:
    """What an account goes on with whose newest settings cannot be used.

    `held` are the last ones this program used, `before` those that Redis kept when the newest ones came.
    """
    if held is not None:
        return InUse(held, problem, "the settings used until now go on")
    if before is not None:
        try:
            return InUse(compiled(account_id, before), problem, "the settings before go on")
        except UnusableSettings:
            pass
    return InUse(Rules(default_settings(account_id)), problem, "the default settings go on")


async def in_use(client: Any, keys: NamespaceKeys, account_id: str, stored: bytes | None) -> InUse:
    """What an account goes on with whose newest settings are `stored`. Raises what the client raises."""
    try:
        return InUse(compiled(account_id, stored))
    except UnusableSettings as error:
        return instead(account_id, str(error), await client.hget(keys.settings_before, account_id))
