"""The type of a metric: what it is called, counts and means. Each program's catalogue is a tuple of these."""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric: its name, kind, labels, meaning, a histogram's bucket ends, the known values of a counter's label."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()
    known: tuple[str, ...] = ()
