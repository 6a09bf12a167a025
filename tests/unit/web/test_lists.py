"""Lists over HTTP: the rows behind a number, a page at a time."""

from typing import Any

import pytest

from schemas.limits import MAX_PAGE_OFFSET, MAX_PAGE_ROWS
from schemas.lists import LISTS
from streams.web.lists_csv import COLUMNS, cells
from tests.support.tokens import Client, bearer

BASE = "/api/v1/accounts/acme/lists"
WEEK = "from=2026-11-16&to=2026-11-22"


async def body(client: Client, address: str) -> Any:
    async with client.get(f"{BASE}/{address}") as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_page_says_what_it_is_of(client: Client) -> None:
    found = await body(client, f"response?{WEEK}&channel=whatsapp&limit=2")
    rows = found.pop("rows")
    assert found == {
        "account_id": "acme",
        "list": "response",
        "from": "2026-11-16",
        "to": "2026-11-22",
        "timezone": "America/Santiago",
        "revision": 7,
        "as_of": "2026-11-22T17:03:00.000Z",
        "complete": True,
        "complete_from": None,
        "filters": {"channel": ["whatsapp"]},
        "unknown_values": {},
        "over": None,
        "clock": "elapsed",
        "order": "oldest",
        "offset": 0,
        "limit": 2,
        "total": 7,
    }
    assert [row["day"] for row in rows] == ["2026-11-16", "2026-11-17"]
    assert rows[0]["conversation_id"].startswith("v")


async def test_pages_are_the_list_in_parts(client: Client) -> None:
    whole = (await body(client, f"new_contacts?{WEEK}&limit=1000"))["rows"]
    parts = [
        (await body(client, f"new_contacts?{WEEK}&limit=10&offset={offset}"))["rows"] for offset in range(0, 40, 10)
    ]
    assert [row for part in parts for row in part] == whole
    assert (await body(client, f"new_contacts?{WEEK}&offset=35"))["rows"] == []


async def test_over_and_order_choose_by_the_clock(client: Client) -> None:
    found = await body(client, f"response?{WEEK}&over=3599.9&clock=elapsed&order=longest")
    assert {row["contact_id"] for row in found["rows"]} == {"=c1"}
    assert (await body(client, f"response?{WEEK}&over=3600"))["total"] == 0
    assert (await body(client, f"response?{WEEK}&over=60&clock=business"))["total"] == 0
    newest = await body(client, f"response?{WEEK}&order=newest")
    assert [row["at"] for row in newest["rows"]] == sorted((row["at"] for row in newest["rows"]), reverse=True)


async def test_who_waits_is_listed_without_a_range(client: Client) -> None:
    found = await body(client, "waiting")
    assert "from" not in found
    assert [row["contact_id"] for row in found["rows"]] == ["c3"]


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        (f"nothing?{WEEK}", 422, "list_refused"),
        (f"new_contacts?{WEEK}&advisor=ana", 422, "list_refused"),
        (f"new_contacts?{WEEK}&over=60", 422, "list_refused"),
        (f"closed_conversations?{WEEK}&order=longest", 422, "list_refused"),
        (f"response?{WEEK}&order=fastest", 422, "list_refused"),
        (f"response?{WEEK}&clock=wall", 422, "list_refused"),
        (f"response?{WEEK}&over=-1", 422, "list_refused"),
        (f"response?{WEEK}&over=nan", 422, "list_refused"),
        (f"response?{WEEK}&limit=0", 422, "bad_page"),
        (f"response?{WEEK}&limit={MAX_PAGE_ROWS + 1}", 422, "bad_page"),
        (f"response?{WEEK}&offset={MAX_PAGE_OFFSET + 1}", 422, "bad_page"),
        (f"response?{WEEK}&offset=x", 422, "bad_page"),
        (f"response.csv?{WEEK}&limit=5", 400, "unknown_parameter"),
        ("response", 400, "bad_range"),
        (f"response?{WEEK}&table=days", 400, "unknown_parameter"),
        ("response?from=2026-11-22&to=2026-11-01", 400, "bad_range"),
    ],
)
async def test_what_cannot_be_given_is_refused_with_a_reason(
    client: Client, address: str, status: int, code: str
) -> None:
    response = await client.get(f"{BASE}/{address}")
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (status, code)
    assert error["message"]
    assert error["hint"]


@pytest.mark.parametrize("name", LISTS)
async def test_every_column_of_a_file_is_a_key_of_its_rows_and_none_is_left_out(client: Client, name: str) -> None:
    rows = (await body(client, f"{name}?{WEEK}"))["rows"]
    flat = {key for row in rows for key in row}
    if "within_target" in flat:
        flat = flat - {"within_target"} | {"within_target_elapsed", "within_target_business"}
    assert not rows or flat == set(COLUMNS[name])
    assert all(len(cells(COLUMNS[name], row)) == len(COLUMNS[name]) for row in rows)


async def test_a_list_is_for_who_may_read_the_account(guarded: Client) -> None:
    address = "/api/v1/accounts/globex/lists/response?period=today"
    for suffix in ("", "&limit=1"):
        assert (await guarded.get(address + suffix, headers=bearer("acme"))).status == 403
        assert (await guarded.get(address + suffix)).status == 401
        assert (await guarded.get(address + suffix, headers=bearer("globex"))).status == 200
