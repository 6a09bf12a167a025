"""The arrival rule: of a log in arrival order, the events that count and those that came too late."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.facts import TYPES
from tests.oracle.instants import SECOND_US, instant_us

Event = Mapping[str, Any]


@dataclass
class Arrivals:
    """A log, split; each list in arrival order."""

    counted: list[Event] = field(default_factory=list)
    too_late: list[Event] = field(default_factory=list)
    repeats: list[Event] = field(default_factory=list)  # the very same event again: no event at all
    unknown: list[Event] = field(default_factory=list)  # of a type nobody knows: skipped


def split(events: Iterable[Event], lateness_seconds: int = 3_600) -> Arrivals:
    """Set aside every conversation event further behind its contact's newest event than the lateness.

    An event of the contact is always applied in its place, however late. Both kinds make the newest one newer; a repeat
    of a counted event and an event set aside do not. Same id with other content is left to the facts to settle, if it
    came in time.
    """
    arrivals = Arrivals()
    newest_us: dict[tuple[str, str], int] = {}
    counted: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        if event["type"] not in TYPES:
            arrivals.unknown.append(event)
            continue
        contact = (event["account_id"], event["contact_id"])
        same_id = counted.setdefault((*contact, event["id"]), [])
        at_us = instant_us(event["occurred_at"])
        behind_us = newest_us.get(contact, at_us) - at_us
        if event in same_id:
            arrivals.repeats.append(event)
        elif behind_us > lateness_seconds * SECOND_US and not event["type"].startswith("contact."):
            arrivals.too_late.append(event)
        else:
            same_id.append(event)
            arrivals.counted.append(event)
            newest_us[contact] = max(newest_us.get(contact, at_us), at_us)
    return arrivals
