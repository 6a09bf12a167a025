"""What a site publishes of the golden history, beside what an independent program says of it."""

from datetime import date

import orjson

from aggregates.filters import Filters
from schemas.accounts import decode_settings
from schemas.events import decode_event
from streams.cli.replay import Replay
from streams.kafka.log_end import LogEnds
from streams.snapshots.publisher import Published
from streams.snapshots.reader import SnapshotReader
from streams.snapshots.snapshotter import Snapshotter
from tests.support.cluster import GOLDEN, Site, golden
from tests.support.comparison import differences, report_of


async def publish(site: Site) -> list[Published]:
    """One round of all accounts."""
    ends = LogEnds(site.config)
    try:
        return await Snapshotter(site.client, site.config, ends).publish(all_accounts=True)
    finally:
        await ends.close()


async def golden_differences(site: Site) -> list[str]:
    """Where the published reports, filtered in many ways, differ from what is expected of all golden events.

    Within the stated error from an independent program's numbers, and in no digit from a replay's.
    """
    accounts, events = golden()
    replay = Replay(map(decode_settings, accounts))
    for line in events:
        replay.fold(decode_event(line))
    reader = SnapshotReader(site.client, site.config.namespace)
    found = []
    for line in (GOLDEN / "expected.jsonl").read_bytes().splitlines():
        expected = orjson.loads(line)
        account_id, asked = expected["account"], expected["filters"]
        first, last = date.fromisoformat(expected["from"]), date.fromisoformat(expected["to"])
        answer = await reader.metrics(account_id, first, last, Filters.parse(**asked))
        label = f"{account_id} {asked or ''}"
        if not answer.complete:
            found.append(f"{label}: not complete")
        found += [f"{label}: {line}" for line in differences(expected["metrics"], answer.metrics)]
        if answer.metrics != report_of(replay, account_id, first, last, asked):
            found.append(f"{label}: not what a replay says")
    return found
