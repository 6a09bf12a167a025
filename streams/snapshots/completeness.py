"""Whether a report has all that was sent: how far behind the log it is, and what of the log it never had."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from aggregates.report import instant_text
from streams.kafka.gaps import complete_from
from streams.redis.shard_reader import ShardState

MOST_SPELLED_OUT = 3
"""Shards whose lost records a report names. A log that has lost its beginning has usually lost it everywhere."""


class Completeness(Struct, frozen=True):
    """What a report made from the shards lacks."""

    lag_records: int
    pending: tuple[str, ...]
    """Why a later report may have more."""
    lost: tuple[str, ...]
    """What no later report will have."""
    complete_from_ms: int | None
    """From when on nothing is lost; `None` when nothing is, or when that is not known."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the report is not complete; none when it is."""
        return self.lost + self.pending


def completeness(states: Sequence[ShardState], ends: Mapping[int, tuple[int, int]] | None) -> Completeness:
    """What the shards lack of the log that ended at `ends`: shard → end of its contacts and of its conversations.

    `ends` is `None` when Kafka did not say.
    """
    lag = 0
    pending = []
    gapped = [state for state in states if state.gaps.text]
    if ends is None:
        pending.append("the log's end is not known: Kafka does not answer")
    for state in states:
        contacts_end, conversations_end = (ends or {}).get(state.shard, (0, 0))
        if not state.present:
            pending.append(f"shard {state.shard} has no ledger yet: no worker has claimed it")
            lag += contacts_end + conversations_end
            continue
        behind = max(0, contacts_end - (state.contacts or 0)) + max(0, conversations_end - (state.conversations or 0))
        lag += behind
        if behind:
            pending.append(f"shard {state.shard} is {behind} records behind")
    return Completeness(lag, tuple(pending), _lost(gapped), complete_from(state.gaps for state in states))


def _lost(gapped: Sequence[ShardState]) -> tuple[str, ...]:
    """What is missing for good: the records of each shard, or where those are many only the shards."""
    if len(gapped) <= MOST_SPELLED_OUT:
        return tuple(
            f"shard {state.shard} lacks records that Kafka lost before they were read: {state.gaps.text}; "
            f"{_since(complete_from([state.gaps]))}"
            for state in gapped
        )
    shards = ", ".join(str(state.shard) for state in gapped)
    since = _since(complete_from(state.gaps for state in gapped))
    return (
        f"shards {shards} lack records that Kafka lost before they were read ('mediana check' names them); {since}",
    )


def _since(complete_from_ms: int | None) -> str:
    instant = instant_text(complete_from_ms)
    return f"everything sent from {instant} on is there" if instant else "from when on nothing is lost is not known"
