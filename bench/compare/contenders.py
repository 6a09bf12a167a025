"""The lanes, in the order of the table."""

from typing import NamedTuple

MEDIANA = "mediana"
FLOOR = "floor"


class Lane(NamedTuple):
    """One contender. `share` is the part of the events it gets: slow ones get fewer, from the same topics."""

    name: str
    title: str
    module: str
    share: float
    needs: str | None = None
    """The module without which it cannot run."""
    in_summary: bool = True


LANES: tuple[Lane, ...] = (
    Lane(FLOOR, "floor: aiokafka, decode to a small struct", "bench.compare.aiokafka_floor", 1.0),
    Lane(
        "decode_record",
        "aiokafka, decode to Mediana's checked events",
        "bench.compare.aiokafka_floor",
        1.0,
        in_summary=False,
    ),
    Lane(MEDIANA, "Mediana worker: full report, atomic commits", "bench.compare.mediana", 1.0),
    Lane("faust_empty", "Faust agent that does nothing", "bench.compare.faust_agent", 0.1),
    Lane("faust_table", "Faust agent, count per contact in a Table", "bench.compare.faust_agent", 0.05),
    Lane(
        "quixstreams",
        "quixstreams, count per contact in its state",
        "bench.compare.quix_counter",
        0.2,
        needs="quixstreams",
    ),
    Lane("bytewax", "bytewax, count per contact in memory", "bench.compare.bytewax_counter", 1.0, needs="bytewax"),
    Lane(
        "bytewax_items",
        "bytewax, the same item by item",
        "bench.compare.bytewax_counter",
        0.5,
        "bytewax",
        in_summary=False,
    ),
    Lane("hincrby", "aiokafka, one HINCRBY per event, pipelined", "bench.compare.aiokafka_floor", 0.5),
)
