"""A worker meets what a newer version of the program has written: it refuses, changes nothing, and says what to do."""

from aggregates.history import STATE_VERSION
from streams.kafka.log_end import LogEnds
from streams.worker.startup import FORMAT
from tests.support.cluster import Site, folded, golden

NEWER = 200


async def position_of(site: Site, shard: int) -> list[bytes | None]:
    found: list[bytes | None] = await site.client.hmget(site.keys.shard(shard).ledger, "contacts", "conversations")
    return found


async def test_states_of_a_newer_version_stop_their_shard_and_no_other(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:500])
    worker = site.start_worker()
    await site.wait_for((500).__eq__)
    assert await site.stop(worker) == [0]

    states = site.keys.shard(1).states
    kept = await site.client.hgetall(states)
    assert {state[0] for state in kept.values()} == {STATE_VERSION}
    newer = {contact: bytes([NEWER]) + state[1:] for contact, state in kept.items()}
    await site.client.hset(states, mapping=newer)
    stood = await position_of(site, 1)
    await site.send([], events[500:])
    worker = site.start_worker()
    others = [shard for shard in range(site.partitions) if shard != 1]
    expected = [await end_of(site, shard) for shard in others]
    await site.wait_for(lambda _: f"state version {NEWER} is unknown" in site.told())
    assert "run the version of Mediana that wrote it, or rebuild into a new namespace" in site.told()
    reached = sum(sum(end) for end in expected) + sum(int(value or 0) for value in stood)
    await site.wait_for(reached.__eq__)
    assert worker.poll() is None  # the others go on
    assert await position_of(site, 1) == stood
    assert await site.client.hgetall(states) == newer
    assert await site.stop(worker) == [0]

    # As the newer version would find it: nothing is lost.
    await site.client.hset(states, mapping=kept)
    site.start_worker()
    await site.wait_for(len(events).__eq__)
    assert await site.facts() == folded(accounts, events)


async def end_of(site: Site, shard: int) -> tuple[int, int]:
    ends = LogEnds(site.config)
    try:
        return (await ends.read(site.partitions))[shard]
    finally:
        await ends.close()


async def test_a_namespace_of_a_newer_format_is_refused_whole(site: Site) -> None:
    accounts, events = golden()
    await site.create_topics()
    await site.send(accounts, events[:100])
    worker = site.start_worker()
    await site.wait_for((100).__eq__)
    assert await site.stop(worker) == [0]
    await site.client.hset(site.keys.meta, "format", FORMAT + 1)
    await site.send([], events[100:])
    assert await site.ended(site.start_worker()) == 1
    assert f"has format {FORMAT + 1}, this program knows {FORMAT}" in site.told()
    assert await site.applied() == 100
