"""Tunes Python's garbage collector for processes that hold many objects for long.

What is remembered for long is bytes, which the collector does not look at; a batch's objects go when their last
reference does. So hardly anything is left for it to find.
"""

import gc

THRESHOLDS = (50_000, 20, 50)
"""With Python's own (700, 10, 10) the collector walks everything again and again."""


def calm() -> None:
    """Once, when a worker has started: what there is now stays."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
