"""CSV of the tables: the numbers of the JSON, in a form that no spreadsheet runs."""

import csv
import io
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.filters import Filters
from aggregates.periods import Period
from streams.web.csv import TABLES, safe_row, safe_text, to_csv
from tests.support.fake_reader import HOSTILE, metrics

WEEK = Period(date(2026, 11, 16), date(2026, 11, 22))
WHOLE = metrics(WEEK, Filters(), tables=True)
OF_ANA = metrics(WEEK, Filters(advisor=("ana",)), tables=True)


def rows(name: str, document: dict[str, Any] = WHOLE, **names: str | None) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(TABLES[name], document, names).decode(), newline="")))


def shown(value: object) -> str:
    return "" if value is None else str(value)


def test_days_are_those_of_the_boxes() -> None:
    for row in rows("days"):
        day = row["day"]
        assert row == {
            "day": day,
            "new_contacts": str(WHOLE["new_contacts"]["by_day"][day]),
            "new_conversations": str(WHOLE["new_conversations"]["by_day"][day]),
            "closed_conversations": str(WHOLE["closed_conversations"]["by_day"][day]),
            "contacts": str(WHOLE["interactions"]["by_day"][day]["contacts"]),
            "advisor_contacts": str(WHOLE["interactions"]["by_day"][day]["advisor_contacts"]),
        }
    assert [row["day"] for row in rows("days")] == list(WHOLE["interactions"]["by_day"])


def test_origins_and_openers_are_those_of_the_boxes() -> None:
    assert rows("origins") == [{key: shown(value) for key, value in row.items()} for row in WHOLE["origins"]]
    found = {row["opener"]: int(row["new_conversations"]) for row in rows("openers")}
    assert found == WHOLE["new_conversations"]["by_opener"]


def test_the_heatmap_has_a_row_for_each_of_its_168_hours() -> None:
    found = rows("heatmap")
    assert len(found) == 168
    for row in found:
        weekday, hour = row["weekday"], int(row["hour"])
        assert int(row["new_conversations"]) == WHOLE["heatmap"][weekday][hour]
        assert int(row["occurrences"]) == WHOLE["heatmap_occurrences"][weekday][hour]


def test_advisors_and_groups_stand_with_their_names() -> None:
    ana, _, carla = rows("advisors", ana="Ana Pérez", carla=None)
    assert (ana["advisor"], ana["name"], carla["name"]) == ("ana", "Ana Pérez", "")
    expected = WHOLE["by_advisor"][0]
    assert ana["first_response_count"] == str(expected["first_response"]["count"])
    assert float(ana["response_business_p90_seconds"]) == expected["response"]["business"]["p90"]
    assert float(ana["first_response_within_target_elapsed"]) == expected["first_response"]["within_target"]["elapsed"]
    assert ana["closed_conversations"] == str(expected["closed_conversations"]["total"])
    assert [row["group"] for row in rows("groups")] == ["sales", "support", ""]
    assert rows("groups")[0]["waiting_contacts"] == ""  # not in this row of the JSON either


def test_channels_have_their_conversations_first_and_the_boxes_of_groups_after_them() -> None:
    opened = {row["channel"]: int(row["new_conversations"]) for row in rows("channels")}
    assert opened == WHOLE["new_conversations"]["by_channel"]
    (email,) = [row for row in rows("channels") if row["channel"] == "email"]
    expected = next(row for row in WHOLE["by_channel"] if row["channel"] == "email")
    assert float(email["response_business_median_seconds"]) == expected["response"]["business"]["median"]
    assert email["first_response_count"] == str(expected["first_response"]["count"])
    assert email["contacts"] == str(expected["interactions"]["contacts"])
    assert email["new_contacts"] == str(expected["new_contacts"]["total"])
    assert email["active_contacts"] == str(expected["new_conversations"]["active_contacts"])
    assert email["waiting_oldest"] == expected["waiting"]["oldest"]
    assert set(email) - {"channel"} == set(rows("groups")[0]) - {"group", "name"}


def test_the_distribution_has_a_row_for_each_bucket() -> None:
    found = rows("distribution")
    buckets = WHOLE["response"]["distribution"]["elapsed"]
    mine = [row for row in found if row["box"] == "response"]
    assert [row["up_to_seconds"] for row in mine] == [shown(bucket["up_to"]) for bucket in buckets]
    assert [int(row["elapsed_count"]) for row in mine] == [bucket["count"] for bucket in buckets]


def test_what_a_filter_makes_null_is_empty_and_not_zero() -> None:
    for name in ("origins", "openers", "heatmap"):
        assert to_csv(TABLES[name], OF_ANA).decode().splitlines() == [",".join(TABLES[name].columns)]
    assert {row["new_contacts"] for row in rows("days", OF_ANA)} == {""}
    assert all(row["contacts"] for row in rows("days", OF_ANA))
    assert [row["channel"] for row in rows("channels", OF_ANA)] == ["whatsapp", "messenger", "email", "call"]
    for row in rows("channels", OF_ANA):
        assert {row[name] for name in ("new_contacts", "new_conversations", "active_contacts")} == {""}
        assert row["response_count"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_anything_has_its_header(name: str) -> None:
    assert to_csv(TABLES[name], WHOLE).decode().split("\r\n")[0] == ",".join(TABLES[name].columns)
    widths = {len(row) for row in csv.reader(io.StringIO(to_csv(TABLES[name], WHOLE).decode(), newline=""))}
    assert widths == {len(TABLES[name].columns)}


def test_lines_end_and_quotes_stand_as_rfc_4180_says() -> None:
    counts = dict.fromkeys(("engaged", "closed", "resolved", "at_rest"), 0)
    document = {"origins": [{"origin": 'a,"b"\nc', "new_contacts": 1, **counts}]}
    assert to_csv(TABLES["origins"], document) == (
        b'origin,new_contacts,engaged,closed,resolved,at_rest\r\n"a,""b""\nc",1,0,0,0,0\r\n'
    )
    assert HOSTILE in to_csv(TABLES["origins"], WHOLE).decode()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_becomes_a_formula(start: str) -> None:
    assert safe_text(f"{start}1") == f"'{start}1"
    counts = dict.fromkeys(("new_contacts", "engaged", "closed", "resolved", "at_rest"), 0)
    document = {"origins": [{"origin": f"{start}cmd", **counts}]}
    (row,) = rows("origins", document)
    assert row["origin"] == f"'{start}cmd"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("x;=1", "x;'=1"),
        ("x; =1", "x;' =1"),
        ('x;"=1"', 'x;\'"=1"'),
        ("x\t+1", "x\t'+1"),
        ("x,@SUM(A1)", "x,'@SUM(A1)"),
        ("a\n-1;b\r=2", "a\n'-1;b\r'=2"),
        ("x|=1", "x|'=1"),
        (" =1", "' =1"),
        ('"=1', "'\"=1"),
        ("\ufeff=1", "'\ufeff=1"),
        ("\uff1d1", "'\uff1d1"),
        ("x;;\u2028=1", "x;;\u2028'=1"),
    ],
)
def test_no_part_of_a_text_becomes_a_formula_where_another_separator_is_guessed(text: str, safe: str) -> None:
    assert safe_text(text) == safe


def _raw_cells(line: str, separator: str) -> list[str]:
    """A reader that knows no quotes."""
    return line.split(separator)


def _quoted_cells(line: str, separator: str) -> list[str]:
    """A reader that takes a cell that begins with a quote to its end, and what follows that as it is."""
    cells, at = [], 0
    while at <= len(line):
        cell = ""
        if line.startswith('"', at):
            at += 1
            while at < len(line) and (line[at] != '"' or line.startswith('""', at)):
                at += 2 if line[at] == '"' else 1
                cell += line[at - 1]
            at += 1
        end = line.find(separator, at)
        end = len(line) if end < 0 else end
        cells.append(cell + line[at:end])
        at = end + 1
    return cells


@pytest.mark.parametrize("cells_of", [_raw_cells, _quoted_cells])
@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@given(st.lists(st.text("=+-@ \"';,|\t\r\nx1\ufeff", max_size=12), min_size=1, max_size=4))
def test_no_spreadsheet_finds_a_formula_in_a_row(
    cells_of: Callable[[str, str], list[str]], separator: str, texts: list[str]
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(safe_row(texts))
    for line in re.split("[\r\n]", out.getvalue()) if cells_of is _raw_cells else [out.getvalue().removesuffix("\r\n")]:
        for cell in cells_of(line, separator):
            assert not cell.strip(' "\ufeff').startswith(("=", "+", "-", "@")), (cell, out.getvalue())


_ORDINARY = (
    "",
    "a=b",
    "'=1",
    "Ventas - Norte",
    "a; b, c",
    "1+1=2",
    "ana@acme.cl",
    "x;y-1",
    "línea 1\nlínea 2",
    "c;'=1",
)


def test_other_texts_and_numbers_stay_as_they_are() -> None:
    assert [safe_text(text) for text in _ORDINARY] == list(_ORDINARY)
    document = {"new_conversations": {"by_opener": {"x": -1}}}
    assert rows("openers", document) == [{"opener": "x", "new_conversations": "-1"}]
