"""The lists behind the numbers of the report: their names, and how one may be asked for."""

from typing import Final

LISTS: Final = (
    "first_response",
    "response",
    "interactions",
    "advisor_contacts",
    "new_contacts",
    "active_contacts",
    "new_conversations",
    "closed_conversations",
    "origins",
    "waiting",
)
ORDERS: Final = ("oldest", "newest", "longest")
CLOCKS: Final = ("elapsed", "business")
COMPARISONS: Final = ("previous", "to-date", "year")
