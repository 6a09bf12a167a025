"""quixstreams: a count per contact in its RocksDB state, with the changelog topic that makes it survive."""

import sys
from typing import Any

from quixstreams import Application

from bench.harness.task import Meter, Task, decode_item, read_task


def run(task: Task) -> None:
    """Both topics joined into one stream; values are decoded as on the floor, not by the slower default."""
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.name,
        auto_offset_reset="earliest",
        state_dir=task.folder / "state",
        loglevel="ERROR",
        use_changelog_topics=True,
    )
    meter = Meter(task)

    def count(value: bytes, state: Any) -> None:
        meter.begin()
        decode_item(value)
        state.set("events", state.get("events", 0) + 1)
        meter.count(1)

    frames = [
        app.dataframe(app.topic(topic, key_deserializer="str", value_deserializer="bytes")) for topic in task.topics
    ]
    frames[0].concat(frames[1]).update(count, stateful=True)
    app.run()


if __name__ == "__main__":
    run(read_task(sys.argv))
