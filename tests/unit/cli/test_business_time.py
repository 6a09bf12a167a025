"""`mediana business-time`: a line of JSON in, a line of JSON out."""

import io
import json
from typing import Any

import pytest

from streams.cli.business_time import run

OFFICE = {"mon": [["09:00", "13:00"], ["14:00", "18:00"]], "tue": [["09:00", "18:00"]]}
# Monday 17:00 to Tuesday 10:00 in Madrid: an hour of each day is inside the office's hours.
CASE: dict[str, Any] = {
    "timezone": "Europe/Madrid",
    "schedule": OFFICE,
    "holidays": [],
    "start": "2026-03-02T17:00:00+01:00",
    "end": "2026-03-03T10:00:00+01:00",
}


def answers(*lines: str) -> tuple[list[Any], int]:
    out = io.StringIO()
    status = run(lines, out)
    return [json.loads(line) for line in out.getvalue().splitlines()], status


def answer(**changes: Any) -> Any:
    got, status = answers(json.dumps(CASE | changes))
    assert status == 0
    assert len(got) == 1
    return got[0]


def refusal(**changes: Any) -> str:
    got, status = answers(json.dumps(CASE | changes))
    assert status == 1
    assert [list(item) for item in got] == [["error"]]
    return str(got[0]["error"])


class TestAnswers:
    def test_a_case_gives_its_business_seconds(self) -> None:
        assert answer() == {"seconds": 7200}

    def test_whole_seconds_are_written_without_a_point(self) -> None:
        out = io.StringIO()
        assert run([json.dumps(CASE)], out) == 0
        assert out.getvalue() == '{"seconds":7200}\n'

    def test_milliseconds_are_kept(self) -> None:
        assert answer(end="2026-03-03T08:59:59.001Z") == {"seconds": 7199.001}

    def test_instants_may_have_any_offset(self) -> None:
        assert answer(start="2026-03-02T16:00:00Z", end="2026-03-03T04:00:00-05:00") == {"seconds": 7200}

    def test_a_holiday_is_left_out(self) -> None:
        assert answer(holidays=["2026-03-03"]) == {"seconds": 3600}

    def test_a_special_day_replaces_the_weekly_hours(self) -> None:
        assert answer(special_days={"2026-03-03": [["09:30", "12:00"]]}) == {"seconds": 5400}

    def test_an_end_before_the_start_is_zero(self) -> None:
        assert answer(end="2026-03-01T10:00:00+01:00") == {"seconds": 0}
        assert answer(end="2026-03-01T10:00:00+01:00", schedule=None) == {"seconds": 0}

    def test_without_a_schedule_all_time_counts(self) -> None:
        assert answer(schedule=None) == {"seconds": 17 * 3600}
        bare = {"start": CASE["start"], "end": CASE["end"]}
        assert answers(json.dumps(bare)) == ([{"seconds": 17 * 3600}], 0)

    def test_a_schedule_without_hours_is_never_open(self) -> None:
        assert answer(schedule={}) == {"seconds": 0}

    def test_a_null_field_is_missing(self) -> None:
        assert answer(holidays=None, special_days=None, valid_from=None) == {"seconds": 7200}
        assert answer(timezone=None) == {"seconds": 2 * 3600}  # Monday 16:00 to 18:00 in UTC

    def test_unknown_fields_are_ignored(self) -> None:
        assert answer(name="two days in the office") == {"seconds": 7200}

    @pytest.mark.parametrize("field", ["schedule", "versions"])
    def test_a_list_of_versions_is_taken_as_settings_have_it(self, field: str) -> None:
        versions = [{"valid_from": "2026-03-03", "weekly": {"tue": [["09:45", "18:00"]]}}, {"weekly": OFFICE}]
        assert answer(**{"schedule": None, field: versions}) == {"seconds": 3600 + 900}

    def test_the_only_version_also_covers_the_time_before_its_valid_from(self) -> None:
        assert answer(valid_from="2026-12-01") == {"seconds": 7200}


class TestLines:
    def test_blank_lines_are_ignored(self) -> None:
        assert answers("\n", json.dumps(CASE) + "\n", "  \n") == ([{"seconds": 7200}], 0)

    def test_no_line_is_no_answer(self) -> None:
        assert answers() == ([], 0)

    def test_a_bad_line_is_answered_in_its_place_and_named_on_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        got, status = answers(json.dumps(CASE), "", "nonsense", json.dumps(CASE))
        assert status == 1
        assert [list(item) for item in got] == [["seconds"], ["error"], ["seconds"]]
        assert capsys.readouterr().err == f"line 3: {got[1]['error']}\n"


class TestRefusals:
    def test_an_instant_without_offset(self) -> None:
        assert "timezone" in refusal(start="2026-03-02T17:00:00")

    @pytest.mark.parametrize("end", [None, "tomorrow", 1772438400, "2026-02-30T10:00:00Z"])
    def test_an_end_that_is_no_instant(self, end: object) -> None:
        assert "$.end" in refusal(end=end)

    def test_a_missing_end(self) -> None:
        got, status = answers(json.dumps({"start": CASE["start"]}))
        assert status == 1
        assert "end" in got[0]["error"]

    @pytest.mark.parametrize("timezone", ["Europe/Nowhere", "America", "../UTC"])
    def test_a_zone_that_is_none(self, timezone: str) -> None:
        assert timezone in refusal(timezone=timezone)
        assert timezone in refusal(timezone=timezone, schedule=None)

    @pytest.mark.parametrize("hours", [["9:00", "18:00"], ["09:00", "25:00"], ["09:00"], "09:00-18:00"])
    def test_hours_that_are_none(self, hours: object) -> None:
        refusal(schedule={"mon": [hours]})

    def test_a_weekday_that_is_none(self) -> None:
        assert "monday" in refusal(schedule={"monday": [["09:00", "18:00"]]})

    def test_a_holiday_that_is_no_date(self) -> None:
        assert "2026-02-30" in refusal(holidays=["2026-02-30"])

    @pytest.mark.parametrize("line", ["[]", "{}", "null", "3", '"text"', "{", "[" * 100_000])
    def test_a_line_that_is_no_case(self, line: str) -> None:
        got, status = answers(line)
        assert status == 1
        assert list(got[0]) == ["error"]

    def test_the_ends_of_time_do_not_break_it(self) -> None:
        got, _ = answers(json.dumps(CASE | {"start": "0001-01-01T00:00:00+14:00", "end": "0001-01-02T00:00:00Z"}))
        assert len(got) == 1
