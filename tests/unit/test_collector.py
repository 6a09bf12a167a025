"""What caches hold is moved out of the cycle collector's sight while they grow, and only then."""

from streams.collector import GROWTH_ENTRIES, Growth


def test_caches_that_grow_are_frozen_once_per_so_many_entries() -> None:
    frozen: list[str] = []
    growth = Growth(lambda: frozen.append("frozen"))
    growth.add(GROWTH_ENTRIES - 1)
    assert frozen == []
    growth.add(1)
    assert frozen == ["frozen"]
    growth.add(GROWTH_ENTRIES - 1)
    assert frozen == ["frozen"]


def test_caches_that_are_full_are_left_to_the_collector() -> None:
    frozen: list[str] = []
    growth = Growth(lambda: frozen.append("frozen"))
    for _ in range(100):
        growth.add(GROWTH_ENTRIES // 2)
        growth.add(-GROWTH_ENTRIES // 2)
    assert frozen == []
