"""The bench's arithmetic: from given rounds to medians, ratios, the table, the charts and the last line."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench.compare.contenders import LANES
from bench.compare.mediana import environment
from bench.harness import charts
from bench.harness.errors import BenchError
from bench.harness.options import BenchSettings
from bench.harness.proc import Usage
from bench.harness.results import LaneResult, as_json, from_json, last_line, markdown, summarize, table
from bench.harness.task import Measured, Task, decode_item
from bench.harness.traffic import events_of, plan_of
from schemas.events import encode_event

DOCS = Path(__file__).parents[2] / "docs" / "develop"
SVG = "{http://www.w3.org/2000/svg}"


def measured(cpu_us: float, *, events: int = 1_000, seconds: float = 0.5, server_us: float | None = None) -> Measured:
    """A round in which every event cost this much."""
    return Measured(
        events=events,
        cpu_seconds=cpu_us * events / 1e6,
        wall_seconds=seconds,
        peak_mib=50.0,
        server_seconds=None if server_us is None else server_us * events / 1e6,
    )


ROUNDS: list[dict[str, Measured | str]] = [
    {"floor": measured(4.0), "mediana": measured(12.0, server_us=6.0), "faust_empty": measured(200.0, events=100)},
    {"floor": measured(8.0), "mediana": measured(20.0, server_us=9.0), "faust_empty": measured(600.0, events=100)},
    {"floor": measured(5.0), "mediana": measured(10.0, server_us=7.0), "faust_empty": "not done after 90 s"},
]


def lane(name: str, rounds: list[dict[str, Measured | str]] | None = None) -> LaneResult:
    return next(result for result in summarize(rounds or ROUNDS) if result.name == name)


def test_a_lanes_cost_is_the_median_of_its_rounds_with_the_lowest_and_the_highest_beside_it() -> None:
    floor = lane("floor")
    assert floor.cpu_us == pytest.approx(5.0)
    assert floor.cpu_us_low == pytest.approx(4.0)
    assert floor.cpu_us_high == pytest.approx(8.0)
    assert floor.events_per_second == pytest.approx(2_000.0)


def test_a_ratio_is_taken_within_each_round_and_then_the_median() -> None:
    # 12/4, 20/8, 10/5: the slow second round slows both. The ratio of the medians would be 12/5 = 2.4.
    assert lane("mediana").times_floor == pytest.approx(2.5)
    assert lane("faust_empty").times_mediana == pytest.approx((200 / 12 + 600 / 20) / 2)


def test_the_last_line_names_every_lane_of_the_summary_and_is_null_where_there_is_no_number() -> None:
    assert last_line(summarize(ROUNDS)) == (
        '{"cpu_us_per_event":{"floor":5.0,"mediana":12.0,"mediana_redis":7.0,"faust_empty":400.0,"faust_table":null,'
        '"quixstreams":null,"bytewax":null,"hincrby":null}}'
    )


def test_the_last_line_of_a_run_in_which_nothing_worked_is_still_one() -> None:
    rounds: list[dict[str, Measured | str]] = [{lane.name: "broken" for lane in LANES}]
    costs = msgspec.json.decode(last_line(summarize(rounds)))["cpu_us_per_event"]
    assert set(costs.values()) == {None}
    assert list(costs) == [
        *("floor", "mediana", "mediana_redis", "faust_empty", "faust_table", "quixstreams", "bytewax", "hincrby")
    ]


def test_a_lane_that_failed_is_in_the_table_with_its_reason() -> None:
    text = table(summarize([{"floor": measured(4.0), "bytewax": "bytewax is not installed"}]))
    assert "bytewax: no number: bytewax is not installed" in text
    assert "faust_empty: a round failed: not done after 90 s" in table(summarize(ROUNDS))


def test_the_table_shows_the_redis_server_in_floors() -> None:
    row = next(line for line in table(summarize(ROUNDS)).splitlines() if "its Redis server" in line)
    assert row.split()[3:] == ["7.0", "1.4"]


def test_charts_are_drawn_from_the_json_of_a_run(tmp_path: Path) -> None:
    data = as_json(summarize(ROUNDS), {"rounds": 3})
    paths = charts.draw(data, tmp_path)
    assert [path.name for path in paths] == ["cpu.svg", "throughput.svg"]
    image = ET.fromstring(paths[0].read_text())
    texts = [text.text for text in image.iter(f"{SVG}text")]
    assert "Mediana worker: full report, atomic commits" in texts
    assert "400.0" in texts


def test_a_bar_is_as_long_as_its_number() -> None:
    image = ET.fromstring(
        charts.bars("t", [charts.Bar("a", 10, None, None, ours=True), charts.Bar("b", 40, None, None, ours=False)], 0)
    )
    widths = [float(bar.attrib["width"]) for bar in image.iter(f"{SVG}rect")][1:]
    assert widths[1] / widths[0] == pytest.approx(4.0, rel=0.01)


def test_the_simulated_traffic_is_in_the_past_and_repeats_itself() -> None:
    now = datetime(2026, 5, 20, 15, 30, tzinfo=UTC)
    plan = plan_of(2_000, 7, now)
    events = list(events_of(plan, 2_000))
    assert len(events) == 2_000
    assert max(event.occurred_at for _, event in events) < now
    assert [encode_event(event) for _, event in events_of(plan, 2_000)] == [encode_event(event) for _, event in events]


def test_more_events_than_the_plan_has_are_refused() -> None:
    plan = plan_of(1_000, 7, datetime(2026, 5, 20, tzinfo=UTC))
    with pytest.raises(BenchError, match="do not fit"):
        list(events_of(plan, 100_000))


def test_what_the_lanes_decode_is_read_from_a_real_event() -> None:
    now = datetime(2026, 5, 20, tzinfo=UTC)
    _, event = next(events_of(plan_of(1_000, 7, now), 1))
    item = decode_item(encode_event(event))
    assert (item.type, item.contact_id) == ("contact.created", event.contact_id)


def test_settings_come_from_the_environment_and_a_wrong_one_is_named() -> None:
    settings = BenchSettings.read({"BENCH_EVENTS": "5000", "BENCH_ROUNDS": "", "BENCH_LANES": "floor, mediana"})
    assert (settings.events, settings.rounds) == (5_000, 3)
    assert settings.lanes == {"floor", "mediana"}
    assert settings.folder.name == "mediana-bench"
    with pytest.raises(BenchError, match="BENCH_ROUNDS is 'many'"):
        BenchSettings.read({"BENCH_ROUNDS": "many"})


def test_the_worker_is_measured_with_its_default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIANA_BATCH_EVENTS", "999999")
    task = Task("mediana", "127.0.0.1:1", "redis://127.0.0.1:2/0", "bench", 4, 10, "bench-1-mediana", "nowhere")
    given = {name for name in environment(task, 1234) if name.startswith("MEDIANA_")}
    assert given == {
        *("MEDIANA_KAFKA_BOOTSTRAP", "MEDIANA_REDIS_URL", "MEDIANA_TOPIC_PREFIX", "MEDIANA_NAMESPACE"),
        *("MEDIANA_METRICS_PORT", "MEDIANA_LOG_LEVEL"),
    }


def test_the_use_of_a_process_is_read_whatever_its_name(tmp_path: Path) -> None:
    usage = Usage(1)
    folder = tmp_path / "42"
    folder.mkdir()
    (folder / "stat").write_text("42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15\n")
    (folder / "status").write_text("Name:\ta\nVmHWM:\t   2048 kB\n")
    usage._folder, usage._ticks = folder, 100
    assert usage.cpu_seconds() == pytest.approx(2.0)
    assert usage.peak_mib() == pytest.approx(2.0)


def test_results_come_back_from_their_json() -> None:
    results = summarize(ROUNDS)
    assert from_json(as_json(results, {"rounds": 3})) == results


def test_the_page_shows_the_numbers_that_lie_beside_it() -> None:
    results = from_json((DOCS / "performance" / "results.json").read_bytes())
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- bench: begin -->\n")[2].partition("\n<!-- bench: end -->")[0]
    assert shown == markdown(results), (
        "run BENCH_CHARTS=docs/develop/performance make bench, and copy table.md into the page"
    )
