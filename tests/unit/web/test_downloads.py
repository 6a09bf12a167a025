"""Files of rows: sent as they are read, whole or visibly broken off, safe in a spreadsheet, and a few at a time."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import ConnectionError as RedisConnectionError

from streams.web.downloads import AT_ONCE, CHUNK_BYTES, DOWNLOADS, PAGE_ROWS
from streams.web.lists_csv import COLUMNS, ROW_TABLES
from streams.web.server import create_web_app
from tests.support.fake_reader import HOSTILE, FakeReader

ROWS = "/api/v1/accounts/acme/rows.csv"
LISTS = "/api/v1/accounts/acme/lists"
WEEK = "from=2026-11-16&to=2026-11-22"

Client = TestClient[Any, Any]


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader("acme")


@pytest.fixture
async def client(reader: FakeReader) -> AsyncIterator[Client]:
    async with TestClient(TestServer(create_web_app(reader))) as client:
        yield client


async def rows(client: Client, query: str) -> list[dict[str, str]]:
    async with client.get(f"{ROWS}?{query}") as response:
        assert response.status == 200
        return list(csv.DictReader(io.StringIO(await response.text(), newline="")))


async def test_a_file_says_what_it_is_and_of_which_revision(client: Client) -> None:
    response = await client.get(f"{ROWS}?table=contacts&{WEEK}")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["ETag"] == '"7"'
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.headers["Content-Disposition"] == (
        'attachment; filename="mediana_acme_contacts_2026-11-16_2026-11-22.csv"'
    )
    lines = (await response.text()).split("\r\n")
    assert lines[0] == "contact_id,at,day,origin,group,channel,by,deleted,merged"
    assert len(lines) == 1 + 7 * 5 + 1
    assert lines[1] == "c0,2026-11-16T15:00:00.000Z,2026-11-16,Web,sales,webchat,contact,false,false"
    assert lines[-1] == ""


@pytest.mark.parametrize("name", ROW_TABLES)
async def test_every_table_is_answered_for_a_preset(client: Client, name: str) -> None:
    response = await client.get(f"{ROWS}?table={name}&period=last_month")
    assert f"_{name}_2026-10-01_2026-10-31.csv" in response.headers["Content-Disposition"]
    assert (await response.text()).split("\r\n")[0] == ",".join(COLUMNS[ROW_TABLES[name]])


async def test_a_filter_narrows_the_rows(client: Client) -> None:
    assert len(await rows(client, f"table=responses&{WEEK}")) == 14
    assert {row["channel"] for row in await rows(client, f"table=responses&{WEEK}&channel=email")} == {"email"}
    assert {row["group"] for row in await rows(client, f"table=responses&{WEEK}&group=none")} == {""}
    assert {row["advisor"] for row in await rows(client, f"table=closures&{WEEK}&advisor=ana")} == {"ana"}
    response = await client.get(f"{ROWS}?table=contacts&{WEEK}&advisor=ana")
    assert (response.status, (await response.json())["error"]["code"]) == (422, "list_refused")


async def test_a_list_is_a_file_too(client: Client) -> None:
    response = await client.get(f"{LISTS}/response.csv?{WEEK}&over=60&order=longest")
    assert response.headers["Content-Disposition"] == (
        'attachment; filename="mediana_acme_response_2026-11-16_2026-11-22.csv"'
    )
    found = list(csv.DictReader(io.StringIO(await response.text(), newline="")))
    assert [row["elapsed_seconds"] for row in found] == ["3600.0"] * 7
    assert {(row["within_target_elapsed"], row["without_schedule"]) for row in found} == {("false", "false")}
    whole = await client.get(f"{LISTS}/waiting.csv")
    assert 'filename="mediana_acme_waiting_all.csv"' in whole.headers["Content-Disposition"]
    assert len((await whole.text()).splitlines()) == 2


async def test_no_cell_begins_like_a_formula(client: Client) -> None:
    found = await rows(client, "table=responses&period=today&channel=email")
    assert {(row["origin"], row["advisor"]) for row in found} == {(HOSTILE, "'=ana")}


async def test_who_has_the_revision_is_not_sent_the_file_again(client: Client) -> None:
    response = await client.get(f"{ROWS}?table=contacts&{WEEK}", headers={"If-None-Match": '"7"'})
    assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", '"7"')


async def test_head_tells_about_the_file_without_sending_it(client: Client) -> None:
    response = await client.head(f"{ROWS}?table=contacts&{WEEK}")
    assert (response.status, await response.read(), response.headers["ETag"]) == (200, b"", '"7"')


async def test_a_failure_before_the_first_byte_is_an_error_like_any_other(client: Client, reader: FakeReader) -> None:
    reader.failure = RedisConnectionError("gone")
    response = await client.get(f"{ROWS}?table=contacts&{WEEK}")
    assert (response.status, (await response.json())["error"]["code"]) == (503, "redis_unavailable")


async def test_a_file_that_fails_half_way_is_not_taken_for_a_whole_one(client: Client, reader: FakeReader) -> None:
    reader.failures_after[1] = RedisConnectionError("gone")
    response = await client.get(f"{ROWS}?table=responses&from=2020-01-01&to=2026-11-22")
    assert response.status == 200
    with pytest.raises(ClientPayloadError):
        await response.read()
    assert client.app is not None
    assert client.app[DOWNLOADS].open == 0
    assert len(await rows(client, f"table=responses&{WEEK}")) == 14


async def test_a_long_file_comes_in_pieces_and_whole(client: Client) -> None:
    response = await client.get(f"{ROWS}?table=responses&from=2020-01-01&to=2026-11-22")
    text = await response.text()
    assert len(text) > 4 * CHUNK_BYTES
    found = text.splitlines()[1:]
    days = {line.split(",")[2] for line in found}
    assert len(found) == 2 * len(days) > PAGE_ROWS
    assert (len(days), min(days), max(days)) == (2518, "2020-01-01", "2026-11-22")


async def test_only_a_few_files_are_sent_at_a_time(client: Client) -> None:
    assert client.app is not None
    client.app[DOWNLOADS].open = AT_ONCE
    response = await client.get(f"{ROWS}?table=contacts&{WEEK}")
    assert (response.status, (await response.json())["error"]["code"]) == (503, "too_many_downloads")
    assert response.headers["Retry-After"] == "10"
    client.app[DOWNLOADS].open = AT_ONCE - 1
    assert len(await rows(client, f"table=contacts&{WEEK}")) == 35
    assert client.app[DOWNLOADS].open == AT_ONCE - 1


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        (WEEK, 400, "unknown_table"),
        (f"table=days&{WEEK}", 400, "unknown_table"),
        (f"table=contacts&table=contacts&{WEEK}", 400, "repeated_parameter"),
        ("table=contacts", 400, "bad_range"),
        ("table=contacts&period=last_century", 400, "unknown_period"),
        (f"table=contacts&{WEEK}&hour=9", 400, "unknown_parameter"),
        (f"table=contacts&{WEEK}&over=60", 422, "list_refused"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_the_one_shape(
    client: Client, query: str, status: int, code: str
) -> None:
    response = await client.get(f"{ROWS}?{query}")
    assert (response.status, (await response.json())["error"]["code"]) == (status, code)
