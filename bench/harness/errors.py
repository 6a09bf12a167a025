"""What can stand in the way of a measurement.

BenchError
├── LaneFailed      one lane gave no number this round; the others go on
└── (others)        nothing can be measured
"""


class BenchError(Exception):
    """The bench cannot go on; the text says why and what to do."""


class LaneFailed(BenchError):
    """A lane gave no number; the text is the reason that the table shows."""
