"""Kafka topics. `PREFIX` may be replaced (an install beside another, a test), the rest of each name may not."""

from msgspec import Struct

PREFIX = "mediana"


class Topics(Struct, frozen=True):
    """The names of the four topics under a prefix."""

    contacts: str
    conversations: str
    accounts: str
    dead_letters: str


def topics(prefix: str = PREFIX) -> Topics:
    """Topic names under `prefix`: `mediana.contacts`, `mediana.conversations`, …"""
    return Topics(
        contacts=f"{prefix}.contacts",
        conversations=f"{prefix}.conversations",
        accounts=f"{prefix}.accounts",
        dead_letters=f"{prefix}.dead-letters",
    )
