"""The arrival rule: of a log in arrival order, the events that count and those that came too late."""

from collections import Counter
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


CREATION_MAY_FOLLOW = 200  # events of its contact; then it is in time, however old
DAY_SECONDS = 86_400


def split(
    events: Iterable[Event], lateness_seconds: float = 3_600, contact_lateness_seconds: float = 30 * DAY_SECONDS
) -> Arrivals:
    """Set aside every event further behind its contact's newest event than its lateness.

    Events of the contact have the longer of both, and a creation is in time as long as few events came before it. All
    of them make the newest one newer; a repeat of a counted event and an event set aside do not. Same id with other
    content is left to the facts to settle, if it came in time.
    """
    arrivals = Arrivals()
    newest_us: dict[tuple[str, str], int] = {}
    counted: dict[tuple[str, str, str], list[Event]] = {}
    sizes: Counter[tuple[str, str]] = Counter()
    created: set[tuple[str, str]] = set()
    for event in events:
        if event["type"] not in TYPES:
            arrivals.unknown.append(event)
            continue
        contact = (event["account_id"], event["contact_id"])
        same_id = counted.setdefault((*contact, event["id"]), [])
        at_us = instant_us(event["occurred_at"])
        behind_us = newest_us.get(contact, at_us) - at_us
        is_own = event["type"].startswith("contact.")
        is_creation = event["type"] == "contact.created"
        allowed = max(lateness_seconds, contact_lateness_seconds) if is_own else lateness_seconds
        is_awaited = is_creation and contact not in created and sizes[contact] <= CREATION_MAY_FOLLOW
        if event in same_id:
            arrivals.repeats.append(event)
        elif behind_us > allowed * SECOND_US and not is_awaited:
            arrivals.too_late.append(event)
        else:
            same_id.append(event)
            arrivals.counted.append(event)
            sizes[contact] += 1
            if is_creation:
                created.add(contact)
            newest_us[contact] = max(newest_us.get(contact, at_us), at_us)
    return arrivals
