"""Errors of the fold and the counters.

ValueError
└── StateVersionError   bytes of a version that this program does not know
RuntimeError
└── ChunksNeeded       an event belongs before the journal, and its chunks are not at hand
KeyError
└── MissingRules        a journal names a version of the rules that was not loaded
ArithmeticError
└── NegativeCounter     state and counters are not of one history
"""


class StateVersionError(ValueError):
    """The bytes are of a version of the state that this program does not know."""

    def __init__(self, version: int, known: int) -> None:
        super().__init__(
            f"state version {version} is unknown to this program, which writes {known}: "
            "run the version of Mediana that wrote it, or rebuild into a new namespace"
        )
        self.version = version


class ChunksNeeded(RuntimeError):
    """`fold` was given an event that belongs before the journal, without the chunks; see `needs_chunks`."""


class MissingRules(KeyError):
    """A journal names a version of the rules that was not loaded."""

    def __init__(self, account_id: str, version: bytes) -> None:
        super().__init__(f"account {account_id!r}: no settings of version {version.hex()} at hand")
        self.account_id = account_id
        self.version = version


class NegativeCounter(ArithmeticError):
    """More was taken away from a counter than it held: state and counters are not of one history."""

    def __init__(self, slot: int) -> None:
        super().__init__(f"counter {slot} would fall below zero; state and counters do not belong together")
        self.slot = slot
